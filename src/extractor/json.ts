/** Reading JSON that a service sent: nothing of its shape is taken for granted. */

export type JsonObject = { readonly [field: string]: unknown };

/** The value as an object; what is not one has no fields. */
export function object(value: unknown): JsonObject {
  return isStructured(value) ? value : {};
}

/** No answer of a service is nested this deep; writing one down again that is far deeper would exhaust the stack. */
const DEEPEST = 200;

/** Nor holds more values, each of which takes up to some 110 bytes once it is read, however few it was written in. */
const MOST_VALUES = 100_000;

/** Bytes of the longest answer, which gives a run with all it found. With `MOST_VALUES` eight of them are in hand at once in a heap of 256 MB. */
export const LONGEST_ANSWER = 4_000_000;

/** The text as a JSON object or array; null when it is anything else, nested too deep, or of too many values. */
export function parsedObject(text: string): JsonObject | null {
  if (!isBounded(text)) return null;
  try {
    const json: unknown = LONG_NUMBER.test(text) ? JSON.parse(text, withAllDigits) : JSON.parse(text);
    return isStructured(json) ? json : null;
  } catch {
    return null;
  }
}

const LONG_NUMBER = /\d{16}/;

/** An order number of twenty digits loses some as a number: it becomes their text. */
function withAllDigits(_key: string, value: unknown, context: { readonly source?: string } = {}): unknown {
  const { source } = context;
  return typeof value === "number" && source !== undefined && /^-?\d{16,}$/.test(source) && String(value) !== source ? source : value;
}

/** Whether the value is an object or a list. */
export function isStructured(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null;
}

/** Counted in the text: once it is parsed the memory is taken. A value begins the text, or follows a comma or an opening bracket. */
function isBounded(text: string): boolean {
  let depth = 0;
  let values = 1;
  let isQuoted = false;
  for (let at = 0; at < text.length && depth <= DEEPEST && values <= MOST_VALUES; at += 1) {
    const char = text[at];
    if (char === '"') isQuoted = !isQuoted;
    else if (isQuoted) at += char === "\\" ? 1 : 0;
    else if (char === "[" || char === "{") depth += 1;
    else if (char === "]" || char === "}") depth -= 1;
    if (!isQuoted && (char === "[" || char === "{" || char === ",")) values += 1;
  }
  return depth <= DEEPEST && values <= MOST_VALUES;
}

/** One line of at most `most` characters; null when it is not text or empty. */
export function shortText(value: unknown, most: number): string | null {
  if (typeof value !== "string") return null;
  const line = value
    .slice(0, 4 * most)
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\s]+/gu, " ")
    .trim();
  return line === "" ? null : line.slice(0, most);
}

/** An id becomes part of a path: nothing but letters, digits, dashes and underscores. */
export function idOf(value: unknown): string | null {
  return typeof value === "string" && /^[\w-]{1,128}$/.test(value) ? value : null;
}
