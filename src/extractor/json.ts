/** Reading JSON that a service sent: nothing of its shape is taken for granted. */

export type JsonObject = { readonly [field: string]: unknown };

/** The value as an object; what is not one has no fields. */
export function object(value: unknown): JsonObject {
  return isStructured(value) ? value : {};
}

/** No answer of a service is nested this deep; writing one down again that is far deeper would exhaust the stack. */
const DEEPEST = 200;

/** The text as a JSON object or array; null when it is anything else, or nested too deep. */
export function parsedObject(text: string): JsonObject | null {
  try {
    const json: unknown = JSON.parse(text);
    return isStructured(json) && !isDeeper(json, DEEPEST) ? json : null;
  } catch {
    return null;
  }
}

/** Whether the value is an object or a list. */
export function isStructured(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null;
}

function isDeeper(value: unknown, most: number): boolean {
  return isStructured(value) && (most === 0 || Object.values(value).some((one) => isDeeper(one, most - 1)));
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
