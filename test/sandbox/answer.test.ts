/** The sandbox answers from the bytes alone: which invoices count when several pieces hold one. */
import { describe, expect, test } from "vitest";
import { readSubmitted, type SubmittedPiece } from "../../src/sandbox/answer.ts";
import { RAW, UBL } from "../extractor/documents.ts";
import { buildPdf } from "../invoice/pdf.ts";

const piece = (filename: string, mimetype: string, content: string | Uint8Array): SubmittedPiece => ({
  filename,
  mimetype,
  bytes: Buffer.from(content),
});
const read = (...pieces: SubmittedPiece[]) => readSubmitted({ filename: "x.eml", pieces, size: 0 });

const prose = (number: string) => [
  "Seilerei Kronau GmbH",
  `Rechnungsnummer: ${number}`,
  "Rechnungsdatum: 02.03.2026",
  "Netto: 100,00 EUR",
  "MwSt 19 %: 19,00 EUR",
  "Gesamtbetrag: 119,00 EUR",
];
const xml = piece("invoice.xml", "text/plain", UBL);
const other = piece("second.xml", "text/plain", UBL.replace("RE-2026-0815", "RE-2026-0816"));
const pdf = (number: string) => piece(`${number}.pdf`, "application/pdf", buildPdf({ text: prose(number) }));

describe("what the pieces hold", () => {
  test("an XML invoice comes out field by field", async () => {
    expect(await read(xml)).toEqual({
      status: "done",
      data: {
        invoice_number: "RE-2026-0815",
        invoice_type: "380",
        issue_date: "2026-03-02",
        due_date: null,
        seller_name: "Seilerei Kronau GmbH",
        seller_vat_id: null,
        buyer_name: "Werft Ost AG",
        currency: "EUR",
        net_amount: "100.00",
        tax_amount: "19.00",
        gross_amount: "119.00",
        payable_amount: "119.00",
        iban: null,
        order_reference: null,
        line_items: [{ name: "Hanfseil 12 mm", quantity: "50", unit: "MTR", unit_price: "2.00", net_amount: "100.00", tax_rate: "19" }],
        source_file: "invoice.xml",
        source_format: "ubl",
      },
    });
  });

  test("a PDF and its XML twin are one invoice, the structured one, whichever comes first", async () => {
    for (const pieces of [
      [pdf("RE-2026-0815"), xml],
      [xml, pdf("RE-2026-0815")],
    ]) {
      expect(await read(...pieces)).toMatchObject({ status: "done", data: { source_format: "ubl", seller_name: "Seilerei Kronau GmbH" } });
    }
  });

  test("different invoices are all told, in the order they were sent", async () => {
    const reading = await read(pdf("K-1"), xml, other);
    expect(reading).toMatchObject({
      data: {
        invoices: [
          { invoice_number: "K-1", source_format: "text" },
          { invoice_number: "RE-2026-0815" },
          { invoice_number: "RE-2026-0816" },
        ],
      },
    });
  });

  test("a mail's text counts only when no file held an invoice", async () => {
    const body = piece("body.txt", "text/plain", prose("B-77").join("\n"));
    expect(await read(body)).toMatchObject({ status: "done", data: { invoice_number: "B-77", source_file: "body.txt" } });
    expect(await read(body, xml)).toMatchObject({ status: "done", data: { invoice_number: "RE-2026-0815" } });
    expect(await read(body, pdf("K-1"))).toMatchObject({ status: "done", data: { invoice_number: "K-1" } });
  });

  test("a whole message is taken apart", async () => {
    expect(await read(piece("x.eml", "message/rfc822", RAW))).toMatchObject({
      data: { invoice_number: "RE-2026-0815", source_file: "invoice.xml" },
    });
  });

  test("an invoice in a forwarded message is found", async () => {
    const outer = [
      "Subject: Fwd",
      "MIME-Version: 1.0",
      'Content-Type: multipart/mixed; boundary="o"',
      "",
      "--o",
      "Content-Type: message/rfc822",
      "",
      RAW,
      "--o--",
      "",
    ].join("\r\n");
    expect(await read(piece("x.eml", "message/rfc822", outer))).toMatchObject({ data: { invoice_number: "RE-2026-0815" } });
  });

  test("nothing found, and damaged pieces, are an error with a reason; a good piece beside them counts", async () => {
    const broken = piece("a.pdf", "application/pdf", "%PDF-1.7 and no more");
    const cut = piece("cut.xml", "text/plain", UBL.slice(0, 900));
    expect(await read(piece("a.txt", "text/plain", "Hello"))).toEqual({ status: "error", result: "no invoice found in 1 file(s)" });
    expect(await read(broken, cut)).toMatchObject({ status: "error", result: expect.stringContaining("no invoice found in 2 file(s); ") });
    expect(await read(broken, cut, xml)).toMatchObject({ status: "done" });
    expect(await read(piece("x.eml", "message/rfc822", "\0".repeat(100)))).toMatchObject({ status: "error" });
  });
});
