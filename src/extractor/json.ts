/** Reading JSON that a service sent: nothing of its shape is taken for granted. */

export type JsonObject = { readonly [field: string]: unknown };

/** The value as an object; what is not one has no fields. */
export function object(value: unknown): JsonObject {
  return typeof value === "object" && value !== null ? (value as JsonObject) : {};
}

/** The text as a JSON object or array; null when it is anything else. */
export function parsedObject(text: string): JsonObject | null {
  try {
    const json: unknown = JSON.parse(text);
    return typeof json === "object" && json !== null ? (json as JsonObject) : null;
  } catch {
    return null;
  }
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
