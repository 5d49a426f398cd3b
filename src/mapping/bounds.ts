/** A service's answer as far as it is looked at: plain data of bounded depth and size, without a cycle, whatever arrived. */

const MOST_VALUES = 200_000;
const DEEPEST = 32;
const LONGEST_KEY = 200;
const LONGEST_TEXT = 1_000_000;

/** A copy; `cut` is true when something of the original is not in it. */
export function bounded(data: unknown): { readonly value: unknown; readonly cut: boolean } {
  let left = MOST_VALUES;
  let cut = false;
  const copy = (value: unknown, depth: number): unknown => {
    left -= 1;
    if (typeof value === "string" && value.length > LONGEST_TEXT) {
      cut = true;
      return null;
    }
    if (typeof value !== "object" || value === null) return typeof value === "function" || typeof value === "symbol" ? null : value;
    if (depth === DEEPEST) {
      cut = true;
      return null;
    }
    if (Array.isArray(value)) {
      const items: unknown[] = [];
      for (const item of value) {
        if (left <= 0) break;
        items.push(copy(item, depth + 1));
      }
      cut ||= items.length < value.length;
      return items;
    }
    const entries: { [key: string]: unknown } = Object.create(null);
    for (const key in value) {
      if (left <= 0 || key.length > LONGEST_KEY) cut = true;
      if (left <= 0) break;
      if (key.length <= LONGEST_KEY && key !== "__proto__")
        entries[key] = copy((value as { readonly [key: string]: unknown })[key], depth + 1);
    }
    return entries;
  };
  return { value: copy(data, 0), cut };
}
