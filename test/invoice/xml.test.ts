/** UBL and CII of our own, read term by term; and XML that is damaged, hostile, or no invoice. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Fault } from "../../src/base/errors.ts";
import { invoice } from "../../src/invoice/invoice.ts";
import { readInvoice, sameInvoice } from "../../src/invoice/read.ts";
import { ciiInvoice, ublCreditNote, ublInvoice, zugferd1Invoice } from "./samples.ts";

const hint = { contentType: "application/xml", filename: "invoice.xml" };
const read = (text: string | Uint8Array) => readInvoice(typeof text === "string" ? Buffer.from(text) : text, hint);
const faultOf = (text: string) =>
  read(text).then(
    () => null,
    (thrown: unknown) => (thrown instanceof Fault ? thrown.code : thrown),
  );

const expected = {
  number: "BH-2026-0007",
  type: "380",
  issueDate: "2026-04-03",
  dueDate: "2026-05-03",
  currency: "EUR",
  seller: { name: "Hecke & Söhne GmbH", vatId: "DE999999999" },
  buyer: { name: "Orchard Tools Ltd", vatId: null },
  net: "1000.00",
  tax: "190.00",
  gross: "1190.00",
  payable: "1100.00",
  iban: "DE79000000001234567890",
  orderReference: "PO-881",
  lines: [{ id: "1", name: "Billhook <large> &amp; sheath", quantity: "4", unit: "H87", price: "250", net: "1000.00", taxRate: "19" }],
};

describe("e-invoices", () => {
  test("UBL: VAT id, not tax number; tax in the document's currency; the payee's account, not the payer's", async () => {
    expect(await read(ublInvoice)).toEqual({ format: "ubl", invoice: expected });
  });

  test("CII gives the same invoice", async () => {
    expect(await read(ciiInvoice)).toEqual({ format: "cii", invoice: expected });
  });

  test("a credit note keeps its positive amounts", async () => {
    const reading = await read(ublCreditNote);
    expect(reading?.invoice).toMatchObject({
      number: "CN-3",
      type: "381",
      issueDate: "2026-04-10",
      dueDate: "2026-04-20",
      gross: "119",
      tax: "19",
    });
    expect(reading?.invoice.seller).toEqual({ name: "Hedge & Co", vatId: null });
    expect(reading?.invoice.lines).toMatchObject([{ quantity: "1", unit: "C62", net: "100", price: null }]);
  });

  test("ZUGFeRD 1 has other names for the same terms", async () => {
    const reading = await read(zugferd1Invoice);
    expect(reading?.format).toBe("cii");
    expect(reading?.invoice).toMatchObject({ number: "Z-1", issueDate: "2026-04-03", net: "100.00", tax: "19.00", gross: "119.00" });
    expect(reading?.invoice.lines).toMatchObject([{ id: "1", name: "Sheath", taxRate: "19.00" }]);
  });

  test("a Peppol envelope is opened", async () => {
    const body = ublInvoice.replace(/^<\?xml.*\?>/, "");
    const envelope = `<StandardBusinessDocument xmlns="http://www.unece.org/cefact/namespaces/StandardBusinessDocumentHeader"><StandardBusinessDocumentHeader/>${body}</StandardBusinessDocument>`;
    expect((await read(envelope))?.invoice.number).toBe("BH-2026-0007");
  });

  test.each([
    ["UTF-8 with a byte order mark", Buffer.from(`\ufeff${ciiInvoice}`)],
    ["UTF-16LE with a byte order mark", Buffer.from(`\ufeff${ciiInvoice}`, "utf16le")],
    ["UTF-16LE without one", Buffer.from(ciiInvoice, "utf16le")],
    ["UTF-16BE", Buffer.from(`\ufeff${ciiInvoice}`, "utf16le").swap16()],
    ["ISO-8859-1, declared", Buffer.from(ciiInvoice.replace("UTF-8", "ISO-8859-1"), "latin1")],
    ["ISO-8859-1, declared UTF-8", Buffer.from(ciiInvoice, "latin1")],
    ["a declared charset nobody knows", Buffer.from(ciiInvoice.replace("UTF-8", "x-klingon"))],
    ["a comment and an instruction before the root", Buffer.from(ciiInvoice.replace("?>", "?>\n<!-- <Invoice> --><?style none?>"))],
  ])("%s", async (_, bytes) => {
    expect((await read(bytes))?.invoice.seller.name).toBe("Hecke & Söhne GmbH");
  });

  test("what is read keeps the shape of the normalised invoice", async () => {
    for (const text of [ublInvoice, ublCreditNote, ciiInvoice, zugferd1Invoice]) invoice.parse((await read(text))?.invoice);
  });
});

describe("not an invoice", () => {
  test.each([
    ["another document", "<order><ID>1</ID></order>"],
    ["an Invoice of another standard", '<Invoice xmlns="http://www.ebinterface.at/schema/6p1/"><ID>1</ID></Invoice>'],
    ["an Invoice with nothing in it", "<Invoice><Note/></Invoice>"],
    ["cut off, but another document", "<order><ID>1</ID>"],
    ["nothing at all", ""],
    ["a lone bracket", "<"],
    ["HTML larger than an e-invoice may be", `<html>${" ".repeat(21 * 1024 * 1024)}</html>`],
    ["an endless comment", `<!--${"-".repeat(1000)}`],
  ])("%s is null", async (_, text) => {
    expect(await read(text)).toBeNull();
  });
});

describe("damaged and hostile", () => {
  test("an invoice that is cut off anywhere is a permanent fault that quotes nothing of it", async () => {
    const start = ublInvoice.indexOf("<cbc:ID>");
    for (let length = start; length < ublInvoice.trimEnd().length; length += 97) {
      const thrown = await read(ublInvoice.slice(0, length)).catch((error: unknown) => error);
      expect(thrown).toBeInstanceOf(Fault);
      if (!(thrown instanceof Fault)) continue;
      expect(thrown).toMatchObject({ code: "invoice.damaged", temporary: false });
      expect(thrown.message).not.toMatch(/Hecke|BH-2026|DE79/);
    }
  });

  test("an entity bomb is not expanded", async () => {
    const levels = Array.from({ length: 9 }, (_, at) => `<!ENTITY e${at + 1} "${`&e${at};`.repeat(10)}">`).join("");
    const bomb = `<!DOCTYPE Invoice [<!ENTITY e0 "lol"><!ENTITY x SYSTEM "file:///etc/passwd">${levels}]>`;
    const text = ublInvoice.replace("<ubl:Invoice", `${bomb}<ubl:Invoice`).replace("PO-881", "&e9;&x;");
    expect((await read(text))?.invoice.orderReference).toBe("&e9;&x;");
  });

  test("nesting has a limit", async () => {
    const text = ublInvoice.replace("</ubl:Invoice>", `${"<a>".repeat(50_000)}${"</a>".repeat(50_000)}</ubl:Invoice>`);
    expect(await faultOf(text)).toBe("invoice.damaged");
  });

  test("size has a limit, in bytes and in tags", async () => {
    const end = "</ubl:Invoice>";
    expect(await faultOf(ublInvoice.replace(end, ` ${" ".repeat(20 * 1024 * 1024)}${end}`))).toBe("invoice.too-large");
    expect(await faultOf(ublInvoice.replace(end, `${"<a/>".repeat(1_000_000)}${end}`))).toBe("invoice.too-large");
  });

  test("names that mean something to JavaScript are only names", async () => {
    const text = ublInvoice.replace("<cac:OrderReference>", '<toString hasOwnProperty="1">x</toString><cac:OrderReference valueOf="2">');
    expect((await read(text))?.invoice.orderReference).toBe("PO-881");
    expect(await faultOf(ublInvoice.replace("<cac:OrderReference>", "<__proto__/><cac:OrderReference>"))).toBe("invoice.damaged");
  });

  test("any mutation of an invoice gives an invoice, null or a Fault", async () => {
    const edit = fc.record({
      at: fc.double({ min: 0, max: 1, noNaN: true }),
      cut: fc.nat(200),
      put: fc.string({ unit: "binary", maxLength: 20 }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom<string>(ublInvoice, ciiInvoice),
        fc.array(edit, { minLength: 1, maxLength: 4 }),
        async (text, edits) => {
          const mutated = edits.reduce<string>((so, { at, cut, put }) => {
            const from = Math.floor(at * so.length);
            return so.slice(0, from) + put + so.slice(from + cut);
          }, text);
          const reading = await read(mutated).catch((thrown: unknown) => {
            if (!(thrown instanceof Fault)) throw thrown;
            return null;
          });
          if (reading !== null) invoice.parse(reading.invoice);
        },
      ),
      { numRuns: 400 },
    );
  });

  test("any bytes give null or a Fault", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), fc.string(), async (bytes, contentType) => {
        const reading = await readInvoice(bytes, { contentType, filename: null }).catch((thrown: unknown) => {
          if (!(thrown instanceof Fault)) throw thrown;
          return null;
        });
        expect(reading).toBeNull();
      }),
      { numRuns: 400 },
    );
  });
});

describe("the same invoice", () => {
  const base = { ...expected, lines: [] };
  test.each([
    ["itself", base, true],
    ["its number written differently, its gross without decimals", { ...base, number: "bh 2026/0007", gross: "1190" }, true],
    ["less known", { ...base, gross: null, currency: null, seller: { name: null, vatId: null } }, true],
    ["the seller's trading name", { ...base, seller: { name: "Hecke & Söhne", vatId: null } }, true],
    ["another number", { ...base, number: "BH-2026-0008" }, false],
    ["no number", { ...base, number: null }, false],
    ["another gross", { ...base, gross: "1190.01" }, false],
    ["another currency", { ...base, currency: "SEK" }, false],
    ["another seller by VAT id", { ...base, seller: { ...base.seller, vatId: "DE111111111" } }, false],
    ["another seller by name", { ...base, seller: { name: "Baum AG", vatId: null } }, false],
  ])("%s", (_, other, same) => {
    expect(sameInvoice(base, other)).toBe(same);
    expect(sameInvoice(other, base)).toBe(same);
  });
});
