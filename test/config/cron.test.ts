/** What is taken for a cron expression is one node-cron takes too. */
import fc from "fast-check";
import { validate } from "node-cron";
import { expect, test } from "vitest";
import { isCron } from "../../src/config/cron.ts";

test.each([
  "* * * * *",
  "*/1 * * * *",
  "0 */2 * * * *",
  "0,30 8-18 * * mon-fri",
  "5-59/10 0 1,15 jan-mar,DEC 0-7",
  "0 0 31 2,3 *",
  "0  0 29 2 *",
])("%s is one", (text) => {
  expect(isCron(text)).toBe(true);
  expect(validate(text)).toBe(true);
});

test.each([
  "",
  "* * * *",
  "* * * * * * *",
  "60 * * * *",
  "* 24 * * *",
  "* * 0 * *",
  "* * * 13 *",
  "* * * * 8",
  "*/0 * * * *",
  "5/10 * * * *",
  "9-5 * * * *",
  "1,,2 * * * *",
  "* * * mon *",
  "0 0 31 2 *",
  "0 0 30-31 feb *",
  "@hourly",
  "a b c d e",
  "*".repeat(100_000),
])("%s is none", (text) => {
  expect(isCron(text)).toBe(false);
});

test("everything that is one, node-cron takes", () => {
  const number = fc.integer({ min: 0, max: 60 }).map(String);
  const word = fc.oneof(number, fc.constantFrom("*", "jan", "sat", "dec", "sun"));
  const item = fc.oneof(
    { weight: 6, arbitrary: fc.constant("*") },
    word,
    fc.tuple(word, word).map((ends) => ends.join("-")),
    fc.tuple(word, number).map((step) => step.join("/")),
    fc.tuple(number, number, number).map(([from, to, step]) => `${from}-${to}/${step}`),
  );
  const field = fc.array(item, { minLength: 1, maxLength: 2 }).map((items) => items.join(","));
  const expression = fc.array(field, { minLength: 4, maxLength: 7 }).map((fields) => fields.join(" "));
  let ones = 0;
  fc.assert(
    fc.property(expression, (text) => {
      if (!isCron(text)) return;
      ones++;
      expect(validate(text), text).toBe(true);
    }),
    { numRuns: 5000 },
  );
  expect(ones).toBeGreaterThan(50);
});
