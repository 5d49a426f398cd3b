/** PDFs: with an invoice embedded, with text only, damaged, locked away, and built to exhaust. */
import { constants, deflateRawSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Fault } from "../../src/base/errors.ts";
import { openPdf } from "../../src/invoice/facturx.ts";
import { readInvoice } from "../../src/invoice/read.ts";
import { buildPdf } from "./pdf.ts";
import { ciiInvoice, paperInvoice, ublInvoice } from "./samples.ts";

const hint = { contentType: "application/octet-stream", filename: null };
const read = (bytes: Uint8Array) => readInvoice(bytes, hint);
const embedded = (name: string, xml: string) => ({ name, bytes: Buffer.from(xml), mime: "text/xml" });

describe("a PDF", () => {
  test("with factur-x.xml is read by its XML", async () => {
    const reading = await read(
      buildPdf({ text: ["Rechnungsnummer: X-1", "Gesamtbetrag: 5,00 €"], attachment: embedded("factur-x.xml", ciiInvoice) }),
    );
    expect(reading?.format).toBe("facturx");
    expect(reading?.invoice).toMatchObject({ number: "BH-2026-0007", gross: "1190.00", seller: { vatId: "DE999999999" } });
  });

  test.each(["ZUGFeRD-invoice.xml", "xrechnung.xml", "something.XML"])("with %s too, and UBL as well", async (name) => {
    const reading = await read(buildPdf({ text: [], attachment: embedded(name, ublInvoice) }));
    expect(reading).toMatchObject({ format: "facturx", invoice: { number: "BH-2026-0007" } });
  });

  test("without one is read by its text", async () => {
    const reading = await read(buildPdf({ text: paperInvoice }));
    expect(reading).toMatchObject({
      format: "text",
      invoice: {
        number: "BH-2026-0007",
        issueDate: "2026-04-03",
        dueDate: "2026-05-03",
        net: "1000.00",
        tax: "190.00",
        gross: "1190.00",
        currency: "EUR",
      },
    });
    expect(reading?.invoice.iban).toBe("DE79000000001234567890");
  });

  test("whose XML is damaged is read by its text, and is a fault where that is no invoice", async () => {
    const cut = embedded("factur-x.xml", ciiInvoice.slice(0, 1500));
    expect(await read(buildPdf({ text: paperInvoice, attachment: cut }))).toMatchObject({ format: "text", invoice: { gross: "1190.00" } });
    await expect(read(buildPdf({ text: ["Hello"], attachment: cut }))).rejects.toMatchObject({ code: "invoice.damaged", temporary: false });
  });

  test("with other files, or no invoice in it, is null", async () => {
    expect(await read(buildPdf({ text: ["Minutes of the meeting"], attachment: embedded("order.xml", "<order/>") }))).toBeNull();
  });

  test("of many pages gives its text in order", async () => {
    const lines = Array.from({ length: 120 }, (_, at) => `Line ${at + 1} (of 120)`);
    const { text } = await openPdf(buildPdf({ text: lines }));
    expect(text.split("\n")).toEqual(lines);
  });
});

describe("a damaged or hostile PDF", () => {
  test("that is only a header is a fault", async () => {
    await expect(read(Buffer.from("%PDF-1.7\nnothing"))).rejects.toMatchObject({ code: "invoice.damaged" });
  });

  test("that is too large is not opened", async () => {
    const bytes = new Uint8Array(33 * 1024 * 1024);
    bytes.set(Buffer.from("%PDF-1.7\n"));
    await expect(read(bytes)).rejects.toMatchObject({ code: "invoice.too-large" });
  });

  test("that is locked says so", async () => {
    const locked = Buffer.from(buildPdf({ text: ["x"] })).toString("latin1");
    const encrypt = `/Encrypt << /Filter /Standard /V 1 /R 2 /P -1 /O <${"41".repeat(32)}> /U <${"42".repeat(32)}> >> /ID [<00> <00>] /Size`;
    await expect(read(Buffer.from(locked.replace("/Size", encrypt), "latin1"))).rejects.toMatchObject({ code: "invoice.locked" });
  });

  test("that unpacks to gigabytes is stopped", async () => {
    const block = deflateRawSync(Buffer.alloc(16 * 1024 * 1024), { finishFlush: constants.Z_FULL_FLUSH });
    const bytes = Buffer.concat([Buffer.from([0x78, 0x9c]), ...Array.from({ length: 400 }, () => block), Buffer.from([3, 0])]);
    const plain = Buffer.from(buildPdf({ text: paperInvoice, attachment: { name: "factur-x.xml", bytes, mime: "text/xml" } }));
    const bomb = plain.toString("latin1").replace("/Type /EmbeddedFile", "/Filter /FlateDecode /Type /EmbeddedFile");
    await expect(read(Buffer.from(bomb, "latin1"))).rejects.toMatchObject({ code: "invoice.too-large" });
    expect(process.resourceUsage().maxRSS).toBeLessThan(1.5 * 1024 * 1024);
  });

  test("cut or changed anywhere gives an invoice, null or a Fault", async () => {
    const whole = buildPdf({ text: paperInvoice, attachment: embedded("factur-x.xml", ciiInvoice) });
    const edit = fc.record({ at: fc.nat(whole.length - 1), byte: fc.nat(255) });
    await fc.assert(
      fc.asyncProperty(fc.array(edit, { maxLength: 30 }), fc.option(fc.nat(whole.length)), async (edits, length) => {
        const bytes = whole.slice(0, length ?? whole.length);
        for (const { at, byte } of edits) if (at < bytes.length) bytes[at] = byte;
        await read(bytes).catch((thrown: unknown) => {
          if (!(thrown instanceof Fault)) throw thrown;
        });
      }),
      { numRuns: 30 },
    );
  });
});
