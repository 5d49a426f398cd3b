/** Invoices written for people: what is read, what stays null because it is not certain, and what is no invoice. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { htmlText } from "../../src/invoice/html.ts";
import { invoice } from "../../src/invoice/invoice.ts";
import { readInvoice } from "../../src/invoice/read.ts";
import { readText } from "../../src/invoice/text.ts";
import { paperInvoice } from "./samples.ts";

const text = (...lines: readonly string[]) => readText(lines.join("\n"));

describe("read by labels", () => {
  test("German", () => {
    expect(readText(paperInvoice.join("\n"))).toEqual({
      number: "BH-2026-0007",
      type: "380",
      issueDate: "2026-04-03",
      dueDate: "2026-05-03",
      currency: "EUR",
      seller: { name: null, vatId: "DE999999999" },
      buyer: { name: null, vatId: null },
      net: "1000.00",
      tax: "190.00",
      gross: "1190.00",
      payable: null,
      iban: "DE79000000001234567890",
      orderReference: null,
      lines: [],
    });
  });

  test("English, in columns", () => {
    const read = text(
      "INVOICE",
      "Seller:\tBill to:",
      "Thicket Supplies Ltd\tOrchard Tools Ltd",
      "Invoice No.\tInvoice date\tDue date\tPO number",
      "TS/00451\tApril 3, 2026\t2026-05-03\tPO-881",
      "Description\tQty\tPrice\tTotal",
      "Hedge shears\t2\t50.00\t100.00",
      "Subtotal\tGBP 100.00",
      "VAT 20%\tGBP 20.00",
      "Grand total\tGBP 120.00",
      "Amount due\tGBP 70.00",
      "VAT Reg No: GB999999973   Your VAT ID: DE999999999",
    );
    expect(read).toMatchObject({
      number: "TS/00451",
      issueDate: "2026-04-03",
      dueDate: "2026-05-03",
      orderReference: "PO-881",
      currency: "GBP",
    });
    expect(read).toMatchObject({ net: "100.00", tax: "20.00", gross: "120.00", payable: "70.00" });
    expect(read?.seller).toEqual({ name: "Thicket Supplies Ltd", vatId: "GB999999973" });
    expect(read?.buyer).toEqual({ name: "Orchard Tools Ltd", vatId: "DE999999999" });
  });

  test("French", () => {
    const read = text(
      "Facture n° F-2026-12",
      "Date de facture : 3 avril 2026",
      "Total HT : 1 000,00 €",
      "TVA 20 % : 200,00 €",
      "Total TTC : 1 200,00 €",
    );
    expect(read).toMatchObject({
      number: "F-2026-12",
      issueDate: "2026-04-03",
      net: "1000.00",
      tax: "200.00",
      gross: "1200.00",
      currency: "EUR",
    });
  });

  test("a sentence in a mail", () => {
    const read = text(
      "Dear all,",
      "please find attached invoice no. 4711-A, dated 3 April 2026.",
      "The total amount of CHF 1'234.50 is due by 30.04.2026.",
    );
    expect(read).toMatchObject({ number: "4711-A", issueDate: "2026-04-03", dueDate: "2026-04-30" });
    expect(read?.gross).toBe("1234.50");
    expect(read?.currency).toBe("CHF");
  });

  test("a table with a line for each tax rate", () => {
    const read = text(
      "Rechnungs-Nr.  2026-014",
      "Summe netto  300,00",
      "MwSt. 19 % auf 200,00  38,00",
      "MwSt. 7 % auf 100,00  7,00",
      "Rechnungsbetrag  EUR 345,00",
    );
    expect(read).toMatchObject({ net: "300.00", tax: "45.00", gross: "345.00", currency: "EUR" });
  });

  test("a credit note", () => {
    const read = text("Credit note", "Credit note number: CN-9", "Invoice number: TS-451", "Total: $ 12.00");
    expect(read).toMatchObject({ number: "CN-9", type: "381", gross: "12.00", currency: null });
  });

  test("HTML", async () => {
    const html = `<!doctype html><html><head><title>Invoice 1</title><style>td { color: red }</style></head><body><script>if (a<b) "Total: 1.00"</script>
      <p>Invoice&nbsp;number:&#32;<b>H-17</b><br>Invoice date: 2026-04-03</p>
      <table><tr><td>Net amount</td><td>&euro;&nbsp;50.00</td></tr><tr><td>VAT (19&#37;)</td><td>&euro; 9.50</td></tr>
      <tr><td><b>Total</b></td><td><b>&#x20AC; 59.50</b></td></tr></table></body></html>`;
    const reading = await readInvoice(Buffer.from(html), { contentType: "text/html", filename: null });
    expect(reading?.format).toBe("text");
    expect(reading?.invoice).toMatchObject({
      number: "H-17",
      issueDate: "2026-04-03",
      net: "50.00",
      tax: "9.50",
      gross: "59.50",
      currency: "EUR",
    });
  });

  test("a text body in the charset of its part", async () => {
    const bytes = Buffer.from("Rechnungsnummer: K-1\nFälligkeit: 3. März 2026\nGesamtbetrag: 10,00 €".replace("€", "EUR"), "latin1");
    const reading = await readInvoice(bytes, { contentType: 'text/plain; charset="iso-8859-1"', filename: null });
    expect(reading?.invoice).toMatchObject({ number: "K-1", dueDate: "2026-03-03", gross: "10.00", currency: "EUR" });
  });
});

describe("what is not certain stays null", () => {
  const sure = ["Invoice number: A-1", "Total: EUR 119.00"];

  test.each([
    ["two issue dates", ["Invoice date: 2026-04-03", "Invoice date: 2026-04-04"], { issueDate: null }],
    ["an ambiguous date", ["Invoice date: 03/04/2026"], { issueDate: null }],
    ["a day that does not exist", ["Invoice date: 2026-02-30"], { issueDate: null }],
    ["net and tax that do not add up", ["Net amount: EUR 100.00", "VAT: EUR 18.00"], { net: null, tax: null, gross: "119.00" }],
    ["a net amount above the total", ["Net amount: EUR 190.00"], { net: null }],
    ["an IBAN with wrong check digits", ["IBAN: DE78 0000 0000 1234 5678 90"], { iban: null }],
    ["an IBAN of the wrong length", ["IBAN: DE79 0000 0000 1234 5678 9"], { iban: null }],
    ["two VAT ids", ["VAT ID: DE999999999", "VAT ID: DE888888888"], { seller: { name: null, vatId: null } }],
    ["two due dates", ["Due date: 2026-05-03", "payable by 2026-05-04"], { dueDate: null }],
  ])("%s", (_, lines, expected) => {
    expect(text(...sure, ...lines)).toMatchObject({ number: "A-1", gross: "119.00", ...expected });
  });

  test.each([
    ["no number", ["Total: EUR 119.00"]],
    ["no total", ["Invoice number: A-1"]],
    ["two numbers", ["Invoice number: A-1", "Invoice number: A-2", "Total: EUR 119.00"]],
    ["a number that is a date", ["Invoice number: 2026-04-03", "Total: EUR 119.00"]],
    ["a number without a digit", ["Invoice number: pending", "Total: EUR 119.00"]],
    ["two totals and nothing to choose by", ["Invoice number: A-1", "Grand total: EUR 1.00", "Invoice total: EUR 2.00"]],
    ["a total that may be a thousand or one", ["Invoice number: A-1", "Total: EUR 1.190"]],
    ["a count, not an amount", ["Invoice number: A-1", "Total 3 items"]],
    ["the total of an item table", ["Invoice number: A-1", "Item\tTotal", "Shears\t100.00"]],
    ["only a total without tax", ["Invoice number: A-1", "Total excl. VAT: EUR 100.00", "Total (net): EUR 100.00"]],
    ["an order confirmation", ["Order number: 17", "Total: EUR 119.00"]],
    ["a reminder", ["Zahlungserinnerung", ...["Rechnungsnummer: A-1", "Gesamtbetrag: 119,00 €"]]],
    ["a quotation", ["Quotation Q-1", "Invoice number: A-1", "Total: EUR 119.00"]],
    ["a newsletter", ["Save 20 % on every invoice!", "From EUR 9.99 a month"]],
    ["nothing", []],
  ])("%s is no invoice", (_, lines) => {
    expect(text(...lines)).toBeNull();
  });
});

describe("any input ends", () => {
  test("bytes that are no text are null", async () => {
    const png = Buffer.from("89504e470d0a1a0a0000000d49484452", "hex");
    expect(await readInvoice(png, { contentType: "text/plain", filename: "invoice.txt" })).toBeNull();
  });

  test.each([
    "Invoice number: ",
    "Total ",
    "total total ",
    "VAT 19% ",
    "1.000,",
    "(((((",
    "IBAN DE79 0000 ",
    "\t \t ",
    "  ",
    "Rechnung vom ",
    "<td><table>",
    "<script>",
    "</script <",
    "&#x26;&amp",
    ":::...---",
    "Total\t",
    "Invoice number:\t",
    "VAT\t1.00\t",
    "Total\n",
    `${"Total ".repeat(300)}\n`,
    `${"1.00 ".repeat(300)}\n`,
    `VAT${" 1.00".repeat(300)}\n`,
  ])("%j, repeated to 2 MB, is read in a moment", async (piece) => {
    const bytes = Buffer.from(`<p>${piece.repeat(2_000_000 / piece.length)}`);
    const started = performance.now();
    await readInvoice(bytes, { contentType: "text/html", filename: null });
    readText(bytes.toString());
    expect(performance.now() - started).toBeLessThan(5_000);
  });

  test("any mixture of labels and values keeps the shape and the sum", () => {
    const piece = fc.oneof(
      fc.constantFrom(
        ...paperInvoice,
        "Invoice number: ",
        "Total: ",
        "VAT ",
        "Subtotal",
        "\n",
        "\t",
        "€",
        "1.190,00",
        "-",
        "Net amount: 1.00",
        "MwSt.",
      ),
      fc.string({ unit: "grapheme", maxLength: 8 }),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 40 }), fc.constantFrom("\n", " ", "\t"), (pieces, join) => {
        const read = readText(pieces.join(join));
        if (read === null) return;
        invoice.parse(read);
        expect(read.number).not.toBeNull();
        expect(read.gross).not.toBeNull();
        if (read.net !== null && read.tax !== null) expect(Number(read.net) + Number(read.tax)).toBeCloseTo(Number(read.gross), 6);
      }),
      { numRuns: 500 },
    );
  });
});

describe("HTML as text", () => {
  test.each([
    ["<p>one</p><p>two", "one\ntwo"],
    ["a &lt;b&gt; &amp;amp; &#8364; &#x1F600; &unknown; &#0;", "a <b> &amp; € 😀 &unknown; \ufffd"],
    ["<table><tr><td>a</td><td> b</td></tr><tr><th>c</th></tr></table>", "a\tb\nc"],
    ["a<!-- <p>hidden</p> -->b<style>c</style>d", "abd"],
    ["line\n  broken <b>bold</b>", "line broken bold"],
    ["cut <", "cut"],
    ["<script>never closed", ""],
  ])("%j", (html, expected) => {
    expect(htmlText(html)).toBe(expected);
  });
});
