/** What the header of a message says, from the fields the parser decoded. */
import type { Address, Facts, Part } from "./message.ts";

/** Field name in lower case -> decoded value, as mailparser gives it. */
export type Fields = { readonly get: (name: string) => unknown };

/** The field as it stands in the message, `Name: value`, folding included. */
export type Line = { readonly key: string; readonly line: string };

export const NO_FACTS: Facts = { messageId: null, subject: null, from: [], to: [], date: null };

export function factsOf(fields: Fields, lines: readonly Line[]): Facts {
  return {
    messageId: textOf(fields.get("message-id")),
    subject: textOf(fields.get("subject")),
    from: addressesOf(fields.get("from")),
    to: addressesOf(fields.get("to")),
    date: dateOf(lines.findLast((line) => line.key === "date")?.line ?? ""),
  };
}

function textOf(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? value : null;
}

type Listed = { readonly name?: string; readonly address?: string; readonly group?: readonly Listed[] };

/** A field may stand more than once (RFC 5322 section 4.5.3 accepts it); groups (section 3.4) give their members. */
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
  const value = line
    .slice(line.indexOf(":") + 1, 400)
    .replace(/\s+/g, " ")
    .trim();
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
