/** CSV: columns that stay, rows that every reader reads alike, cells that no spreadsheet runs. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { csvHeader, csvRowsOf } from "../../src/sink/csv.ts";
import { delivery, deliveryOfMessage, MESSAGE, piece } from "./deliveries.ts";
import { hostile } from "./hostile.ts";
import { isFormula, readTable } from "./table.ts";

/** Excel splits at semicolons where its language has decimal commas; what a quotation mark inside a cell is worth, readers do not agree. */
const split = [";", ","].flatMap((at) => [
  (row: string) => row.trimEnd().split(at),
  (row: string) =>
    row
      .trimEnd()
      .split(at)
      .map((cell) => cell.replaceAll('"', "")),
]);

const KEY = `${MESSAGE}.1.files`;
const tableOf = (body: Parameters<typeof csvRowsOf>[0]) => readTable(csvHeader + csvRowsOf(body).join(""));

/** What somebody's import relies on. New columns may come, each before `document`; this test is then changed with a word in CHANGELOG. */
test("the columns", () => {
  expect(csvHeader.trimEnd().replaceAll('"', "").split(",")).toEqual([
    ...["delivery", "position", "invoice", "status", "seller", "sellerVatId", "buyer", "buyerVatId", "number", "type", "issueDate"],
    ...["dueDate", "currency", "net", "tax", "gross", "payable", "iban", "orderReference", "unmapped", "faultCode", "fault", "files"],
    ...["mailbox", "from", "subject", "date", "receivedAt", "messageId", "service", "runId", "document"],
  ]);
});

test("a row for each invoice, one for a document without, one for a document that could not be read", () => {
  const { body } = deliveryOfMessage(KEY, [
    {
      invoices: [{ number: "007", net: "-12.00", tax: "0", seller: { name: 'Seilerei "Hanf", Ulm', vatId: "DE1" } }, { number: "-12.00" }],
    },
    { attachments: [piece("2", "AGB.pdf", ""), piece("3", "a;b.pdf", "")] },
    { fault: { code: "extend.unreadable", message: "the pages\r\nare blank" } },
  ]);
  expect(tableOf(body)).toMatchObject([
    { delivery: KEY, position: "1", invoice: "1", status: "read", number: "007", net: "-12.00", seller: 'Seilerei "Hanf", Ulm' },
    { delivery: KEY, position: "1", invoice: "2", status: "read", number: "'-12.00", net: "", seller: "" },
    { delivery: KEY, position: "2", invoice: "0", status: "read", number: "", files: "AGB.pdf; a;b.pdf", faultCode: "" },
    { delivery: KEY, position: "3", invoice: "0", status: "failed", faultCode: "extend.unreadable", fault: "the pages are blank" },
  ]);
  const [first] = csvRowsOf(body);
  // Numbers stand bare, texts that look like numbers do not.
  expect(first).toContain(`,"007",`);
  expect(first).toContain(",-12.00,0,");
});

describe("whatever is said", () => {
  const everywhere = (value: string) =>
    delivery(KEY, {
      subject: value,
      from: value,
      messageId: value,
      invoices: [{ number: value, type: value, currency: value, net: value, iban: value, seller: { name: value, vatId: value } }],
      attachments: [piece(value, value, "")],
    }).body;

  function expectTame(value: string): void {
    const rows = csvRowsOf(everywhere(value));
    const table = tableOf(everywhere(value));
    expect(rows).toHaveLength(1);
    expect(rows[0]).toMatch(/^[^\p{Cc}\p{Zl}\p{Zp}]*\r\n$/u);
    expect(table).toHaveLength(1);
    expect(table[0]).toMatchObject({ delivery: KEY, status: "read", document: `${MESSAGE}.1` });
    for (const reader of split) for (const cell of rows.flatMap(reader)) expect(isFormula(cell), cell.slice(0, 100)).toBe(false);
    for (const cell of Object.values(table[0] ?? {})) {
      expect(isFormula(cell)).toBe(false);
      expect(cell.length).toBeLessThan(32_767);
      expect(cell.isWellFormed()).toBe(true);
    }
  }

  test.each(hostile)("%s", (_what, value) => expectTame(value));

  test("formulas at every second place still fit into a cell", () => {
    for (const value of [";=".repeat(50_000), ",@".repeat(50_000), `;${'"'.repeat(30_000)}=1`]) expectTame(value);
  });

  test("anything", () => {
    const part = fc.constantFrom(
      "=",
      "+",
      "-",
      "@",
      '"',
      ",",
      ";",
      "\r",
      "\n",
      "\t",
      "\0",
      " ",
      "'",
      "\u200B",
      "\uFEFF",
      "1",
      "ü",
      "\uD800",
    );
    fc.assert(fc.property(fc.oneof(fc.string({ unit: "binary" }), fc.string({ unit: part })), expectTame), { numRuns: 2_000 });
  });

  test("what does no harm is not changed", () => {
    for (const value of [
      "Rechnung Nr. 4711",
      "a = b",
      "1-2",
      "x@example.com",
      'say "hi", twice; or not',
      "a.pdf; b-2.pdf",
      "Ünïcode 請求書 €",
    ])
      expect(tableOf(everywhere(value))[0]).toMatchObject({ subject: value, number: value });
  });

  test("more than a cell can hold is cut", () => {
    expect(tableOf(everywhere("x".repeat(100_000)))[0]?.subject).toHaveLength(20_000);
  });
});
