/** What the header of a message says, from the fields the parser decoded. */
import type { Address, Facts, Part } from "./message.ts";

/** Field name in lower case -> decoded value, as mailparser gives it. */
export type Fields = { readonly get: (name: string) => unknown };

/** The field as it stands in the message, `Name: value`, folding included. */
export type Line = { readonly key: string; readonly line: string };

export const NO_FACTS: Facts = {
  messageId: null,
  subject: null,
  from: [],
  to: [],
  cc: [],
  replyTo: [],
  date: null,
  references: [],
  returnPath: null,
  deliveredTo: [],
  autoSubmitted: null,
  precedence: null,
  list: null,
  autoResponseSuppress: null,
  contentType: null,
  authenticationResults: [],
};

const MOST_REFERENCES = 50;
const MOST_RESULTS = 20;
/** Not List-Unsubscribe and the others of RFC 2369: billing systems send them with invoices to one customer. */
const LIST_FIELDS = ["list-id", "list-post"];
const DELIVERED_FIELDS = ["delivered-to", "x-original-to", "envelope-to", "x-envelope-to"];

export function factsOf(fields: Fields, lines: readonly Line[]): Facts {
  const valuesOf = (key: string) => lines.filter((line) => line.key === key).map(writtenIn);
  const first = (key: string) => valuesOf(key)[0] ?? null;
  const word = (key: string) => first(key)?.split(";", 1)[0]?.trim().toLowerCase() || null;
  const references = msgIdsOf(first("references") ?? "");
  return {
    messageId: textOf(fields.get("message-id")),
    subject: textOf(fields.get("subject")),
    // Section 3.6 of RFC 5322 allows one; of two the parser keeps the last, and our server may have verified the other.
    from: valuesOf("from").length > 1 ? [] : addressesOf(fields.get("from")),
    to: addressesOf(fields.get("to")),
    cc: addressesOf(fields.get("cc")),
    replyTo: addressesOf(fields.get("reply-to")),
    date: dateOf(lines.findLast((line) => line.key === "date")?.line ?? ""),
    references: references.length > 0 ? references : msgIdsOf(first("in-reply-to") ?? ""),
    returnPath: first("return-path")?.replace(/^<|>$/g, "").trim() ?? null,
    deliveredTo: [...new Set(DELIVERED_FIELDS.flatMap(valuesOf).map((value) => value.replace(/^<|>$/g, "")))].filter((it) =>
      it.includes("@"),
    ),
    autoSubmitted: word("auto-submitted"),
    precedence: word("precedence"),
    list: LIST_FIELDS.map(first).find((value) => value !== null) ?? null,
    autoResponseSuppress: word("x-auto-response-suppress"),
    contentType: word("content-type"),
    authenticationResults: valuesOf("authentication-results").slice(0, MOST_RESULTS),
  };
}

/** What stands behind the name of a field, unfolded (RFC 5322 section 2.2.3); of a very long one the beginning. */
function writtenIn({ line }: Line): string {
  return line
    .slice(line.indexOf(":") + 1)
    .slice(0, 4_000)
    .replace(/\s+/g, " ")
    .trim();
}

/** Section 3.6.4; the last ones where there are very many. */
function msgIdsOf(value: string): readonly string[] {
  return (value.match(/<[^<>\s]{1,250}>/g) ?? []).slice(-MOST_REFERENCES);
}

function textOf(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? value : null;
}

type Listed = { readonly name?: string; readonly address?: string; readonly group?: readonly Listed[] };

/** To and Cc may stand more than once (section 4.5.3 accepts it); groups (section 3.4) give their members. */
function addressesOf(value: unknown): readonly Address[] {
  const fields = (Array.isArray(value) ? value : [value]) as readonly ({ readonly value?: readonly Listed[] } | undefined)[];
  return fields.flatMap((field) => field?.value ?? []).flatMap(membersOf);
}

function membersOf(listed: Listed): readonly Address[] {
  if (listed.group) return listed.group.flatMap(membersOf);
  const { name = "", address = "" } = listed;
  return name === "" && address === "" ? [] : [{ name, address }];
}

/** The parser answers an unreadable date with the present moment, so the field is read here. No zone counts as -0000 (section 4.3). */
function dateOf(line: string): string | null {
  const value = writtenIn({ key: "date", line: line.slice(0, 400) });
  if (!/\d:\d\d/.test(value)) return null;
  const date = new Date(/\d:\d\d(:\d\d)?$/.test(value) ? `${value} +0000` : value);
  return Number.isNaN(date.getTime()) ? null : date.toISOString();
}

/** An attachment as mailparser announces it. */
export type Announced = {
  /** Not always a string, whatever its types say: an empty field gives false. */
  readonly contentType: unknown;
  readonly contentDisposition?: string | undefined;
  readonly filename?: string | undefined;
  readonly cid?: string | undefined;
  readonly headers: Fields;
};

export function labelsOf(announced: Announced): Pick<Part, "filename" | "contentType" | "disposition" | "contentId"> {
  const disposition = announced.contentDisposition;
  return {
    filename: textOf(announced.filename?.trim()),
    contentType: declaredType(announced),
    // RFC 2183 section 2.8: an unknown disposition is an attachment.
    disposition: disposition ? (disposition === "inline" ? "inline" : "attachment") : null,
    contentId: textOf(announced.cid),
  };
}

/** The parser renames application/octet-stream after the file name; the declared type is what the sender said. */
function declaredType(announced: Announced): string {
  const field = announced.headers.get("content-type") as { readonly value?: unknown } | undefined;
  const type = String(field?.value || announced.contentType)
    .trim()
    .toLowerCase();
  return /^[a-z0-9!#$&^_.+-]{1,127}\/[a-z0-9!#$&^_.+-]{1,127}$/.test(type) ? type : "application/octet-stream";
}
