/** Globs against a plain reading of them, and against texts made to make them slow. */
import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { isLike } from "../../src/message/glob.ts";

describe("a glob", () => {
  it.each([
    ["invoice.pdf", "*.pdf", true],
    ["INVOICE.PDF", "invoice.*", true],
    ["invoice.pdf.exe", "*.pdf", false],
    ["xinvoice.pdf", "invoice*", false],
    ["ap+de@example.com", "*+de@example.com", true],
    ["ap+de@example.com.evil.example", "*+de@example.com", false],
    ["", "*", true],
    ["", "", true],
    ["", "?", false],
    ["a", "?", true],
    ["\u{1f4a9}", "?", true],
    ["\u{1f4a9}x", "??", true],
    ["ab", "a**b", true],
    ["abcabc", "*abc", true],
    ["abab", "*aba", false],
    ["Fu\u0308r Mu\u0308ller", "*für m?ller*", true],
    ["a.c", "abc", false],
    ["abc", "a.c", false],
    ["a[b]\\c", "a[b]\\c", true],
    ["line\nbreak", "line*break", true],
  ])("%j is like %j: %j", (text, glob, like) => {
    expect(isLike(text, glob)).toBe(like);
  });

  test("says what the rules of globs say, for any text", () => {
    const letters = fc.string({ unit: fc.constantFrom("a", "b", "B", "\u{1f4a9}"), maxLength: 12 });
    const globs = fc.string({ unit: fc.constantFrom("a", "b", "*", "?", "\u{1f4a9}"), maxLength: 8 });
    fc.assert(fc.property(letters, globs, (text, glob) => isLike(text, glob) === plainly([...text], [...glob])));
  });

  test("a million characters and many stars take no longer than a moment", () => {
    const text = "a".repeat(1_000_000);
    const before = performance.now();
    for (const glob of ["*a*a*a*a*a*a*a*b", `*${"a".repeat(30)}b*`, `${"?*".repeat(20)}b`]) expect(isLike(text, glob)).toBe(false);
    expect(performance.now() - before).toBeLessThan(5_000);
  });
});

/** The definition, at any price. */
function plainly(text: readonly string[], glob: readonly string[]): boolean {
  const [mark, ...rest] = glob;
  if (mark === undefined) return text.length === 0;
  if (mark === "*") return plainly(text, rest) || (text.length > 0 && plainly(text.slice(1), glob));
  const [first, ...others] = text;
  return first !== undefined && (mark === "?" || mark.toLowerCase() === first.toLowerCase()) && plainly(others, rest);
}
