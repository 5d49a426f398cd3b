/** Sets of UIDs as commands carry them. */
import { expect, test } from "vitest";
import { uidSet } from "../../src/source/imap/sweep.ts";

test("a set of UIDs is as short as it can be", () => {
  expect(uidSet([1, 2, 3, 7, 9, 10])).toBe("1:3,7,9:10");
  expect(uidSet([5])).toBe("5");
  expect(uidSet([])).toBe("");
});
