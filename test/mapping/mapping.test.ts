/** What a service answers, as the normalised invoice: by the usual names, by the owner's expressions, and against hostile data. */
import { existsSync, globSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Fault } from "../../src/base/errors.ts";
import { type Invoice, invoice as schema } from "../../src/invoice/invoice.ts";
import { readInvoice } from "../../src/invoice/read.ts";
import { createMapping, type Mapped } from "../../src/mapping/mapping.ts";
import { readSubmitted } from "../../src/sandbox/answer.ts";
import { ublInvoice } from "../invoice/samples.ts";

const corpus = new URL("../../../shared/corpus/xrechnung-testsuite/", import.meta.url);
const missing = !existsSync(corpus);
const unlessMissing = missing ? " (skipped: ../shared/corpus is not here)" : "";

type Expressions = Readonly<Record<string, string | null>>;

async function all(data: unknown, expressions: Expressions | null = null): Promise<readonly Mapped[]> {
  const mapped = await createMapping(expressions).apply(data);
  for (const { invoice } of mapped) expect(schema.parse(invoice)).toEqual(invoice);
  return mapped;
}

async function one(data: unknown, expressions: Expressions | null = null): Promise<Mapped> {
  const mapped = await all(data, expressions);
  expect(mapped).toHaveLength(1);
  return mapped[0] as Mapped;
}

/** The sandbox's, for one XML file. */
async function answer(bytes: Uint8Array): Promise<{ readonly data: unknown }> {
  const pieces = [{ filename: "a.xml", mimetype: "application/xml", bytes }];
  const reading = await readSubmitted({ filename: "a.xml", pieces, size: bytes.length });
  if (reading.status !== "done") throw new Error(reading.result);
  return reading;
}

const SAMPLE = {
  number: "INV-7",
  issueDate: "2026-04-03",
  currency: "EUR",
  seller: { name: "Hecke GmbH", vatId: "DE999999999" },
  net: "1000.00",
  tax: "190.00",
  gross: "1190.00",
};

describe("shapes services answer in", () => {
  test.each<[string, unknown, object]>([
    [
      "flat, snake case",
      {
        ...{
          invoice_number: "INV-7",
          invoice_date: "2026-04-03",
          currency: "EUR",
          vendor_name: "Hecke GmbH",
          vendor_vat_id: "DE999999999",
        },
        ...{ net_amount: "1000.00", tax_amount: "190.00", total_amount: "1190.00" },
      },
      SAMPLE,
    ],
    [
      "German, as printed",
      {
        ...{
          Rechnungsnummer: "INV-7",
          Rechnungsdatum: "03.04.2026",
          Währung: "€",
          Lieferant: "Hecke GmbH",
          "Lieferant USt-ID": "DE999999999",
        },
        ...{ Netto: "1.000,00 €", "MwSt-Betrag": "190,00", Brutto: "EUR 1.190,00", "Fälligkeits-Datum": "3. Mai 2026" },
      },
      { ...SAMPLE, dueDate: "2026-05-03" },
    ],
    [
      "nested under invoice, camel case",
      {
        invoice: {
          ...{ invoiceNumber: "INV-7", issueDate: "2026-04-03T10:00:00+02:00", currencyCode: "eur" },
          seller: { name: "Hecke GmbH", vatId: "DE999999999" },
          totals: { net: "1000.00", tax: "190.00", total: "1190.00" },
        },
      },
      SAMPLE,
    ],
    [
      "values with their confidence, under fields",
      {
        fields: {
          ...{
            InvoiceId: { value: null, confidence: 0 },
            invoice_no: { value: "INV-7", confidence: 0.9 },
            date: { value: "April 3, 2026" },
          },
          ...{ supplier: { value: "Hecke GmbH" }, supplier_vat: { value: "DE999999999" }, subtotal: { value: "1,000.00 EUR" } },
          ...{ vat: { value: "190.00" }, total: { value: "1,190.00", currency: "EUR" } },
        },
      },
      SAMPLE,
    ],
    [
      "Extend's currency objects, numbers",
      {
        ...{ invoice_number: "INV-7", issue_date: "2026-04-03", seller: { name: "Hecke GmbH", vat_number: "DE999999999" } },
        net: { amount: 1000, iso_4217_currency_code: "EUR" },
        tax: { amount: 190, iso_4217_currency_code: "EUR" },
        gross: { amount: 1190, iso_4217_currency_code: "EUR" },
      },
      { ...SAMPLE, net: "1000", tax: "190", gross: "1190" },
    ],
    [
      "arrays of one, or of the same",
      {
        ...{
          number: ["INV-7", "INV-7"],
          date: ["2026-04-03"],
          currency: ["EUR"],
          seller: [{ name: ["Hecke GmbH"], vat_id: ["DE999999999"] }],
        },
        ...{ net_amount: ["1000.00"], tax_amount: ["190.00"], gross_amount: ["1190.00", "1,190.00"] },
      },
      SAMPLE,
    ],
  ])("%s", async (_, data, expected) => {
    const { invoice, unmapped } = await one(data);
    expect(invoice).toMatchObject(expected);
    expect(unmapped).toEqual([]);
  });

  test("what the sandbox answers is mapped completely", async () => {
    const { invoice, unmapped } = await one((await answer(Buffer.from(ublInvoice))).data);
    expect(unmapped).toEqual([]);
    expect(invoice).toEqual({
      ...{ number: "BH-2026-0007", type: "380", issueDate: "2026-04-03", dueDate: "2026-05-03", currency: "EUR" },
      seller: { name: "Hecke & Söhne GmbH", vatId: "DE999999999" },
      buyer: { name: "Orchard Tools Ltd", vatId: null },
      ...{ net: "1000.00", tax: "190.00", gross: "1190.00", payable: "1100.00", iban: "DE79000000001234567890", orderReference: "PO-881" },
      lines: [{ id: null, name: "Billhook <large> &amp; sheath", quantity: "4", unit: "H87", price: "250", net: "1000.00", taxRate: "19" }],
    } satisfies Invoice);
  });

  test.skipIf(missing)(`every XRechnung comes back from the sandbox's answer as it was read${unlessMissing}`, async () => {
    let compared = 0;
    for (const file of globSync("**/*.xml", { cwd: corpus.pathname })) {
      const bytes = readFileSync(new URL(file, corpus));
      const read = await readInvoice(bytes, { contentType: "application/xml", filename: file }).catch(() => null);
      if (read === null) continue;
      const { invoice, unmapped } = await one((await answer(bytes)).data);
      // What the sandbox does not answer.
      const { buyer, lines } = read.invoice;
      const answered = { ...read.invoice, buyer: { ...buyer, vatId: null }, lines: lines.map((line) => ({ ...line, id: null })) };
      expect([file, invoice, unmapped]).toEqual([file, answered, []]);
      compared += 1;
    }
    expect(compared).toBeGreaterThan(50);
  });

  test.each<[string, unknown]>([
    ["under invoices", { invoices: [{ invoice_number: "A" }, { invoice_number: "B" }] }],
    ["under data", { data: { invoices: [{ invoice_number: "A" }, { invoice_number: "B" }] } }],
    ["a list", [{ invoice_number: "A" }, { invoice_number: "B" }]],
    ["parallel lists", { invoice_number: ["A", "B"], total: [1, 2], currency: "EUR" }],
  ])("several invoices: %s", async (_, data) => {
    expect((await all(data)).map(({ invoice }) => invoice.number)).toEqual(["A", "B"]);
  });

  test.each<[string, unknown]>([
    [
      "a list",
      {
        line_items: [
          { description: "Hook", qty: 2, unit_price: 5, amount: 10 },
          { description: "Sheath", qty: 1, unit_price: 3, amount: 3 },
        ],
      },
    ],
    [
      "German",
      {
        Positionen: [
          { Bezeichnung: "Hook", Menge: "2", Einzelpreis: "5", Betrag: "10" },
          { Bezeichnung: "Sheath", Menge: "1", Einzelpreis: "3", Betrag: "3" },
        ],
      },
    ],
    ["columns", { description: ["Hook", "Sheath"], quantity: [2, 1], unit_price: [5, 3], amount: [10, 3] }],
    ["columns under a name", { items: { description: ["Hook", "Sheath"], quantity: [2, 1], price: [5, 3], total: [10, 3] } }],
    [
      "money objects",
      {
        lines: [
          { name: "Hook", quantity: 2, price: { amount: 5, currency: "EUR" }, net: { value: 10 } },
          { name: "Sheath", quantity: 1, price: 3, net: 3 },
        ],
      },
    ],
    [
      "each with its currency",
      {
        items: [
          { item: "Hook", quantity: 2, price: 5, amount: 10, currency: "EUR" },
          { item: "Sheath", quantity: 1, price: 3, amount: 3, currency: "EUR" },
        ],
      },
    ],
  ])("lines: %s", async (_, data) => {
    const { invoice, unmapped } = await one({ number: "A", total: 13, ...(data as object) });
    expect(invoice.gross).toBe("13");
    expect(invoice.lines.map(({ name, quantity, price, net }) => [name, quantity, price, net])).toEqual([
      ["Hook", "2", "5", "10"],
      ["Sheath", "1", "3", "3"],
    ]);
    expect(unmapped).toEqual([]);
  });

  test.each([[null], [undefined], [{}], [[]], ["text"], [5], [{ foo: "bar" }]])("%j holds no invoice", async (data) => {
    expect(await all(data)).toEqual([]);
  });
});

describe("never guessed", () => {
  test.each<[string, object, string]>([
    ["two totals that differ", { total: 5, total_amount: 6 }, "gross"],
    ["a list of different numbers", { invoice_number: ["A", "B"], total: 5 }, "number"],
    ["a date of two meanings", { invoice_date: "03/04/2026" }, "issueDate"],
    ["two dates in one", { invoice_date: "03.04.2026 bis 05.04.2026" }, "issueDate"],
    ["a thousand or a fraction", { total: "1.234" }, "gross"],
    ["a thousand or a fraction, beside a decimal comma", { total: "1.234", net: "1.000,50" }, "gross"],
    ["a currency of several countries", { currency: "$" }, "currency"],
    ["totals in two currencies", { net: "1.00 EUR", total: "1.00 USD" }, "currency"],
    ["an amount in another currency", { currency: "EUR", total: "1.00 USD" }, "gross"],
    ["a rate under the name of an amount", { net: 200, vat: 19, total: 238 }, "tax"],
    ["a fraction as a rate", { lines: [{ name: "a", tax_rate: 0.19 }] }, "lines.taxRate"],
    ["an amount that lost its digits", { total: 2 ** 60 }, "gross"],
    ["what is no account", { iban: "see above" }, "iban"],
    ["lines that are only words", { items: ["a", "b"] }, "lines"],
    ["a Gutschrift", { type: "Gutschrift" }, "type"],
  ])("%s: null and listed", async (_, data, term) => {
    const { invoice, unmapped } = await one({ seller_name: "x", ...data });
    expect(unmapped).toEqual([term]);
    const value = term.split(".").reduce<unknown>((held, key) => (Array.isArray(held) ? held[0] : held)[key as never], invoice);
    expect(term === "lines" ? invoice.lines : value).toEqual(term === "lines" ? [] : null);
  });

  test("what the answer does not have is null and not listed", async () => {
    const { invoice, unmapped } = await one({ number: "A", gross: null, iban: "N/A", due_date: "" });
    expect([invoice.gross, invoice.iban, invoice.dueDate]).toEqual([null, null, null]);
    expect(unmapped).toEqual([]);
  });

  test("a certain name beats a plain one", async () => {
    const { invoice } = await one({ number: "17", invoice_number: "A", total: 1, gross_amount: 2, seller: "S", seller_name: "S GmbH" });
    expect(invoice).toMatchObject({ number: "A", gross: "2", seller: { name: "S GmbH" } });
  });

  test("a decimal point elsewhere explains a lone one", async () => {
    const { invoice } = await one({ total: "1190.00", lines: [{ name: "a", quantity: "1.000" }] });
    expect(invoice.lines[0]?.quantity).toBe("1.000");
  });
});

describe("amounts that are numbers", () => {
  test.each([
    [0.1 + 0.2, "0.3"],
    [-0.1, "-0.1"],
    [1e-7, "0.0000001"],
    [-1.25e-7, "-0.000000125"],
    [1e15, "1000000000000000"],
    [-0, "0"],
    [1190.1, "1190.1"],
  ])("%d is %s", async (number, amount) => {
    expect((await one({ number: "A", gross: number })).invoice.gross).toBe(amount);
  });

  test("every amount of up to 15 digits is itself", async () => {
    const cents = fc.record({ whole: fc.nat(999_999_999), fraction: fc.stringMatching(/^\d{0,5}[1-9]$/), sign: fc.constantFrom("", "-") });
    await fc.assert(
      fc.asyncProperty(cents, async ({ whole, fraction, sign }) => {
        const text = `${sign}${whole}.${fraction}`;
        expect((await one({ number: "A", gross: Number(text) })).invoice.gross).toBe(text);
      }),
    );
  });
});

describe("the owner's expressions", () => {
  test("replace the usual names, term by term", async () => {
    const data = {
      doc: { nr: " 4711 " },
      total: 5,
      currency: "EUR",
      vendor: "S",
      rows: [
        { what: "a", n: 2 },
        { what: "b", n: 3 },
      ],
      tax: 1,
    };
    const expressions = {
      number: "doc.nr",
      gross: "$sum(rows.n)",
      lines: "rows",
      "lines.name": "what",
      "lines.quantity": "n",
      "lines.id": "$data.doc.nr",
      tax: null,
    };
    const { invoice, unmapped } = await one(data, expressions);
    expect(invoice).toMatchObject({ number: "4711", gross: "5", currency: "EUR", seller: { name: "S" }, tax: null });
    expect(invoice.lines).toMatchObject([
      { id: "4711", name: "a", quantity: "2" },
      { id: "4711", name: "b", quantity: "3" },
    ]);
    expect(unmapped).toEqual([]);
  });

  test("null: not even from beside the totals", async () => {
    expect((await one({ number: "A", total: "5.00 EUR" })).invoice.currency).toBe("EUR");
    expect((await one({ number: "A", total: "5.00 EUR" }, { currency: null })).invoice.currency).toBeNull();
  });

  test("say where several invoices stand", async () => {
    const data = { who: "S", bag: [{ n: "A" }, { n: "B" }] };
    const mapped = await all(data, { invoices: "bag", number: "n", "seller.name": "$data.who" });
    expect(mapped.map(({ invoice }) => [invoice.number, invoice.seller.name])).toEqual([
      ["A", "S"],
      ["B", "S"],
    ]);
  });

  test("that fail, or run for ever, cost their own term", async () => {
    const hostile = `${"a".repeat(40)}!`;
    const expressions = {
      number: "n",
      gross: "$number(n)",
      net: "($f := function($x) { $f($x) }; $f(1))",
      "seller.name": "$match(text, /^(a+)+$/).match",
      "buyer.name": "($f := function($x) { 1 + $f($x) }; $f(1))",
      "buyer.vatId": "$sum",
      orderReference: "[1..9000000]",
    };
    const { invoice, unmapped } = await one({ n: "A", text: hostile, iban: "DE79 0000 0000 1234 5678 90" }, expressions);
    expect(invoice).toMatchObject({ number: "A", iban: "DE79000000001234567890", gross: null, net: null });
    expect([...unmapped].sort()).toEqual(["buyer.name", "buyer.vatId", "gross", "net", "orderReference", "seller.name"]);
  });

  test("for the invoices that fail leave one that says so", async () => {
    const mapped = await one({ invoice_number: "A" }, { invoices: "$error('no')" });
    expect(mapped.unmapped).toEqual(["invoices"]);
  });

  test.each([
    [{ number: "a.(" }, /number/],
    [{ brutto: "a" }, /brutto/],
    [{ "lines.colour": "a" }, /lines\.colour/],
    [{ constructor: "a" }, /constructor/],
  ])("%j is no mapping", (expressions, naming) => {
    try {
      createMapping(expressions as unknown as Expressions);
    } catch (thrown) {
      expect(thrown).toBeInstanceOf(Fault);
      expect(thrown).toMatchObject({ code: "config.mapping", temporary: false, message: expect.stringMatching(naming) });
      return;
    }
    throw new Error("it was taken");
  });
});

describe("the thread of the expressions", () => {
  test("that runs out of memory costs one term", async () => {
    const { invoice, unmapped } = await one({ n: "A" }, { "seller.name": "$map([1..200000], function($i) { [1..200000] })", number: "n" });
    expect(invoice).toMatchObject({ number: "A", seller: { name: null } });
    expect(unmapped).toEqual(["seller.name"]);
  });

  test("takes thousands of lines", async () => {
    const lines = Array.from({ length: 5_000 }, (_, at) => ({ text: `line ${at}`, n: at }));
    const { invoice, unmapped } = await one({ number: "A", lines }, { "lines.name": "$trim(text)", "lines.quantity": "n * 2" });
    expect(invoice.lines).toHaveLength(5_000);
    expect(invoice.lines[4_999]).toMatchObject({ name: "line 4999", quantity: "9998" });
    expect(unmapped).toEqual([]);
  });
});

describe("hostile answers", () => {
  const nested = (depth: number) => JSON.parse(`${'{"data":'.repeat(depth)}1${"}".repeat(depth)}`) as unknown;
  const circle: { [key: string]: unknown } = { number: "A" };
  circle.data = circle;

  test.each<[string, unknown]>([
    ["a million keys", Object.fromEntries(Array.from({ length: 1_000_000 }, (_, at) => [`total_${at}`, at]))],
    ["a million lines", { number: "A", lines: Array.from({ length: 1_000_000 }, () => ({ name: "a" })) }],
    ["a million values", { number: Array.from({ length: 1_000_000 }, (_, at) => at) }],
    ["nested 5,000 deep", nested(5_000)],
    ["a string of 10 MB", { number: "1".repeat(10_000_000), total: "1,".repeat(5_000_000) }],
    ["a circle", circle],
    [
      "names of the prototype",
      JSON.parse('{"__proto__": {"number": "A"}, "constructor": {"name": "x"}, "toString": 1, "hasOwnProperty": []}'),
    ],
  ])("%s", async (_, data) => {
    const started = performance.now();
    const mapped = await all(data);
    expect(mapped.length).toBeLessThanOrEqual(1);
    expect(performance.now() - started).toBeLessThan(5_000);
    expect(({} as { number?: unknown }).number).toBeUndefined();
  });

  test("what is too long is not cut short but listed", async () => {
    expect((await one({ number: "1".repeat(10_000), total: 5 })).unmapped).toEqual(["number"]);
  });

  test("when not all was looked at, every null term is listed", async () => {
    const { unmapped } = await one({ number: "A", junk: Array.from({ length: 300_000 }, () => 0) });
    expect(unmapped).toContain("gross");
    expect(unmapped).toContain("lines");
  });

  const keys = fc.constantFrom(
    "number",
    "invoice",
    "total",
    "currency",
    "date",
    "seller",
    "lines",
    "description",
    "quantity",
    "value",
    "amount",
    "__proto__",
  );
  const { tree } = fc.letrec<{ tree: unknown }>((tie) => ({
    tree: fc.oneof(
      { maxDepth: 5 },
      fc.oneof(
        fc.string({ unit: "binary" }),
        fc.double(),
        fc.boolean(),
        fc.constant(null),
        fc.constantFrom("1.234,56 €", "03.04.2026", "EUR"),
      ),
      fc.array(tie("tree"), { maxLength: 4 }),
      fc.dictionary(fc.oneof(keys, fc.string()), tie("tree"), { maxKeys: 6 }),
    ),
  }));

  test("any answer gives invoices of the schema, and what is listed is null", async () => {
    await fc.assert(
      fc.asyncProperty(tree, async (data) => {
        for (const { invoice, unmapped } of await all(data)) {
          for (const term of unmapped) if (term in invoice && term !== "lines") expect(invoice[term as keyof Invoice]).toBeNull();
        }
      }),
      { numRuns: 500 },
    );
  });

  test("the same answer through a thread is the same invoice", async () => {
    const data = { number: "A", extra: { what: Number.NaN, s: "\ud800" }, lines: [{ name: "a", price: 1.5 }] };
    expect(await all(data, { type: '"380"' })).toEqual(
      (await all(data)).map((one) => ({ ...one, invoice: { ...one.invoice, type: "380" } })),
    );
  });
});
