/** Every e-invoice of the XRechnung test suite against what others read in it, column by column. */
import { existsSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import type { Invoice } from "../../src/invoice/invoice.ts";
import { readInvoice, sameInvoice } from "../../src/invoice/read.ts";

const corpus = new URL("../../../shared/corpus/", import.meta.url);
const oracle = new URL("oracle/invoices.tsv", corpus);
const missing = !existsSync(oracle);
const unlessMissing = missing ? " (skipped: ../shared/corpus is not here)" : "";

const columns: Readonly<Record<string, (invoice: Invoice) => string | null>> = {
  type: (invoice) => invoice.type,
  number: (invoice) => invoice.number,
  issue_date: (invoice) => invoice.issueDate,
  due_date: (invoice) => invoice.dueDate,
  seller_name: (invoice) => invoice.seller.name,
  seller_vat: (invoice) => invoice.seller.vatId,
  buyer_name: (invoice) => invoice.buyer.name,
  currency: (invoice) => invoice.currency,
  net: (invoice) => cents(invoice.net),
  tax: (invoice) => cents(invoice.tax),
  gross: (invoice) => cents(invoice.gross),
  payable: (invoice) => cents(invoice.payable),
  iban: (invoice) => invoice.iban,
};

/** The oracle writes every amount with two decimals. */
function cents(amount: string | null): string | null {
  return amount === null ? null : Number(amount).toFixed(2);
}

function rows(): readonly Readonly<Record<string, string>>[] {
  const [header = "", ...lines] = readFileSync(oracle, "utf8").trimEnd().split("\n");
  const names = header.split("\t");
  return lines.map((line) => Object.fromEntries(line.split("\t").map((value, at) => [names[at] ?? "", value])));
}

function bytesOf(file: string): Uint8Array {
  return readFileSync(new URL(file, corpus));
}

test.skipIf(missing)(`86 e-invoices agree with the oracle in all 13 columns${unlessMissing}`, async () => {
  const disagreements: string[] = [];
  let agreed = 0;
  for (const row of rows()) {
    const reading = await readInvoice(bytesOf(row.file ?? ""), { contentType: "text/xml", filename: null });
    expect(reading?.format, row.file).toBe(row.syntax === "CII" ? "cii" : "ubl");
    for (const [column, read] of Object.entries(columns)) {
      const ours = (reading && read(reading.invoice)) ?? "";
      if (ours === row[column]) agreed += 1;
      else disagreements.push(`${row.file} ${column}: ours ${JSON.stringify(ours)}, oracle ${JSON.stringify(row[column])}`);
    }
  }
  expect(disagreements).toEqual([]);
  expect(agreed).toBe(86 * 13);
});

test.skipIf(missing)(`every e-invoice of the suite has lines with a net amount${unlessMissing}`, async () => {
  for (const row of rows()) {
    const reading = await readInvoice(bytesOf(row.file ?? ""), { contentType: "text/xml", filename: null });
    expect(reading?.invoice.lines.length, row.file).toBeGreaterThan(0);
    for (const line of reading?.invoice.lines ?? []) expect(line.net, row.file).toMatch(/^-?\d/);
  }
});

test.skipIf(missing)(`UBL and CII of one invoice are the same invoice${unlessMissing}`, async () => {
  const hint = { contentType: "application/xml", filename: null };
  const [ubl, cii, other] = await Promise.all(
    ["01.01a-INVOICE_ubl", "01.01a-INVOICE_uncefact", "01.06a-INVOICE_ubl"].map((name) =>
      readInvoice(bytesOf(`xrechnung-testsuite/business-cases/standard/${name}.xml`), hint),
    ),
  );
  if (!ubl || !cii || !other) throw new Error("the suite's invoices did not read");
  expect(sameInvoice(ubl.invoice, cii.invoice)).toBe(true);
  expect(sameInvoice(ubl.invoice, other.invoice)).toBe(false);
});
