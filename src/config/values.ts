/** The kinds of value a key can hold; each says in its own words what it expects, and that phrase is all a fault needs. */
import { isIP } from "node:net";
import { z } from "zod";
import { durationMs } from "../base/clock.ts";
import { isCron } from "./cron.ts";

/** `a, b or c`. */
export function alternatives(words: readonly string[]): string {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
}

/** A mapping with these keys and no others. */
export function section<S extends z.core.$ZodLooseShape>(shape: S) {
  return z.strictObject(shape, { error: (issue) => (issue.code === "invalid_type" ? "a mapping" : undefined) });
}

export const NAME = "a name of lower-case letters, digits, - and _, beginning with a letter or a digit, and not a number";

/** A mapping from names the owner chooses. Not numbers: JavaScript would put them first, and the order counts. */
export function named<S extends z.core.SomeType>(value: S) {
  return z.record(z.string().regex(/^(?!\d+$)[a-z0-9][a-z0-9_-]*$/, NAME), value, {
    error: (issue) => (issue.code === "invalid_type" ? "a mapping of names" : NAME),
  });
}

/** The errors of a union of sections by `kind`. */
export function kindOf(expected: string) {
  return { error: (issue: { readonly code: string }) => (issue.code === "invalid_union" ? expected : "a mapping") };
}

export function choice<const T extends readonly [string, ...string[]]>(...values: T) {
  const expected = alternatives(values);
  return z.enum(values, expected).meta({ expected });
}

export function yesOrNo() {
  const expected = "true or false";
  return z.boolean(expected).meta({ expected });
}

export function whole(least: number, most: number, expected: string) {
  return z.int(expected).min(least, expected).max(most, expected).meta({ expected });
}

export function number(least: number, most: number, expected: string) {
  return z.number(expected).min(least, expected).max(most, expected).meta({ expected });
}

const ONE_LINE = /^[^\x00-\x1f\x7f]+$/;

export function line(expected: string, pattern: RegExp = ONE_LINE) {
  return z.string(expected).regex(pattern, expected).meta({ expected });
}

/** A text that may have several lines. */
export function text(expected: string) {
  return z.string(expected).regex(/\S/, expected).meta({ expected });
}

/** A path as written; load makes it absolute. */
export function path(expected: string) {
  return line(`${expected} (~ is not expanded)`, /^[^~\x00-\x1f\x7f][^\x00-\x1f\x7f]*$/);
}

/** The output is in milliseconds. */
export function duration() {
  const expected = "a duration above zero, such as 500ms, 5s, 30m or 3d";
  return z
    .string(expected)
    .regex(/^(?=.*[1-9])\d{1,5}(\.\d{1,3})?(ms|s|m|h|d)$/, expected)
    .transform((text) => durationMs(text) ?? 0)
    .meta({ expected });
}

const UNIT: { readonly [unit: string]: number } = { K: 1024, M: 1024 ** 2, G: 1024 ** 3 };

/** The output is in bytes; 1 KB is 1024 of them. */
export function size() {
  const expected = "a size above zero, such as 500KB, 20MB or 1GB";
  return z
    .string(expected)
    .regex(/^(?=.*[1-9])\d{1,5}(\.\d{1,3})?[KMG]i?B$/, expected)
    .transform((text) => Math.ceil(Number.parseFloat(text) * (UNIT[text.replace(/^[\d.]+/, "").charAt(0)] ?? 1)))
    .meta({ expected });
}

export function host(example: string) {
  const expected = `a host name such as ${example} or an IP address, without a scheme or a port`;
  const NAME_OF_HOST = /^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$/;
  return z
    .string(expected)
    .refine((text) => NAME_OF_HOST.test(text) || isIP(text) !== 0, expected)
    .meta({ expected });
}

/** The output has no slash at its end. */
export function httpUrl() {
  const expected = "an http or https URL without a user, a query or a fragment";
  return z
    .string(expected)
    .refine((text) => isHttpUrl(text) && new URL(text).search === "", expected)
    .transform((text) => new URL(text).href.replace(/\/+$/, ""))
    .meta({ expected });
}

/** A URL that is called as it stands there. */
export function endpoint() {
  const expected = "an http or https URL without a user or a fragment";
  return z.string(expected).refine(isHttpUrl, expected).meta({ expected });
}

function isHttpUrl(text: string): boolean {
  const url = text.length <= 2_000 ? URL.parse(text) : null;
  return url !== null && /^https?:$/.test(url.protocol) && `${url.username}${url.password}${url.hash}` === "";
}

/** RFC 5322 section 3.4, without comments and quoted local parts: `a@b`, and with `named` also `Name <a@b>`. */
export function address(expected: string, { named = false } = {}) {
  const pattern = new RegExp(named ? `^(${ADDRESS}|(${PHRASE})? ?<${ADDRESS}>)$` : `^${ADDRESS}$`, "u");
  return z
    .string(expected)
    .refine((text) => text.length <= 320 && pattern.test(text), expected)
    .meta({ expected });
}

const ADDRESS = "[\\w!#$%&'*+/=?^`{|}~\\-]+(\\.[\\w!#$%&'*+/=?^`{|}~\\-]+)*@[\\p{L}\\p{N}]([\\p{L}\\p{N}.\\-]*[\\p{L}\\p{N}])?";
const PHRASE = '"[^"\\\\\\p{Cc}]+"|[^<>@"\\\\,;:()\\[\\]\\p{Cc}]+';

/** Permissions of a file as octal text; the output is the number, null when they are left out. */
export function permissions(example: string, what: string, pattern: RegExp) {
  const expected = `${what}, such as "${example}"`;
  return z
    .string(expected)
    .regex(pattern, expected)
    .transform((octal) => Number.parseInt(octal, 8))
    .nullable()
    .default(null)
    .meta({ expected });
}

/** One or a list of them; the output is a list. */
export function severalOf<T extends string>(one: z.ZodType<T, T>, expected: string) {
  return z
    .union([one, z.array(one, expected).min(1, expected)], { error: expected })
    .transform((it): readonly T[] => (Array.isArray(it) ? it : [it]))
    .meta({ expected });
}

/** The output is the first moment of that day, ISO 8601 UTC. */
export function day() {
  const expected = "a date such as 2026-01-01";
  const first = (text: string) => new Date(`${text}T00:00:00.000Z`);
  return z
    .string(expected)
    .regex(/^\d{4}-\d{2}-\d{2}$/, { error: expected, abort: true })
    .refine((text) => !Number.isNaN(first(text).getTime()) && first(text).toISOString().startsWith(text), expected)
    .transform((text) => first(text).toISOString())
    .meta({ expected });
}

export function cron() {
  const expected = "a cron expression of 5 fields (6 with seconds) that can come true, such as */5 * * * *";
  return z.string(expected).refine(isCron, expected).meta({ expected });
}

/** RFC 9051 section 9: a keyword is an atom. */
export function keyword() {
  return line('an IMAP keyword: visible ASCII without spaces and ( ) { ] % * " \\', /^[!#$&'+,\-./0-9:;<=>?@A-Z[^_`a-z|}~]+$/);
}

const MAIL_WORDS = ["message", "position", "document", "service", "mailbox", "date", "subject", "from", "messageId"] as const;
const INVOICE_WORDS = ["issueDate", "dueDate", "number", "type", "currency", "seller", "buyer", "net", "tax", "gross"] as const;
export const TEMPLATE_WORDS = [...MAIL_WORDS, ...INVOICE_WORDS] as const;

/** A file name with `{{words}}` in it; it stays below its directory. */
export function template() {
  const expected = `a relative file name; between {{ and }} stands one of ${TEMPLATE_WORDS.join(", ")} or data.FIELD, without spaces around it`;
  return z.string(expected).refine(isTemplate, expected).meta({ expected });
}

function isTemplate(text: string): boolean {
  const known = (word: string) => (TEMPLATE_WORDS as readonly string[]).includes(word) || /^data(\.[A-Za-z0-9_-]+)+$/.test(word);
  let understood = true;
  const literal = text.replace(/\{\{([^{}]*)\}\}/g, (_, word: string) => {
    understood &&= known(word);
    return "x";
  });
  const segments = literal.split("/");
  return understood && !/[{}\\\x00-\x1f\x7f]/.test(literal) && segments.every((segment) => !["", ".", ".."].includes(segment));
}

/** Addresses with wildcards. A domain by itself would never match. Bounded, for the pattern looks more than once. */
export function likeAddresses() {
  const expected = "an address, with * for any characters and ? for one, such as *@example.com";
  return severalOf(line(expected, /^(?=\S{1,320}$)\S*[@*]\S*$/), `${expected}, or a list of them`);
}
