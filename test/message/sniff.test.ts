/** Sniffing: the type comes from the bytes, the name only helps between kinds of text. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { typeOf } from "../../src/message/message.ts";
import { sniff } from "../../src/message/sniff.ts";

const bytes = (text: string) => Buffer.from(text, "latin1");
const oid = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07";

test.each<[what: string, head: Buffer, filename: string | null, type: string | null]>([
  ["nothing", bytes(""), "a.pdf", null],
  ["bytes nobody knows", bytes("\x01\x02\x03\x04\x00\xfe"), "a.pdf", null],
  ["a PDF", bytes("%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"), null, "application/pdf"],
  ["a PDF behind a line and a mark", bytes("\xef\xbb\xbf\r\n%PDF-1.4\n%\xe2\xe3"), "a.bin", "application/pdf"],
  ["text about PDF", bytes("The header is %PDF-1.4."), null, "text/plain"],
  ["a PNG called .pdf", bytes("\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0"), "a.pdf", "image/png"],
  ["XML", bytes("<?xml version='1.0'?><a/>"), null, "application/xml"],
  ["XML in UTF-16", Buffer.from("\ufeff<?xml version='1.0' encoding='utf-16'?><a/>", "utf16le"), null, "application/xml"],
  ["XML without a declaration", bytes('<ubl:Invoice xmlns:ubl="urn:x"><cbc:ID>1</cbc:ID>'), "a.txt", "application/xml"],
  ["XML behind a comment", bytes("<!-- made by x -->\n<Invoice>\n  <ID>1</ID></Invoice>"), null, "application/xml"],
  ["XHTML", bytes('<?xml version="1.0"?><!DOCTYPE html><html>'), null, "text/html"],
  ["HTML", bytes("\r\n<!DOCTYPE html>\n<p>x"), null, "text/html"],
  ["an HTML fragment", bytes("<div class='a'>x</div>"), null, "text/html"],
  ["text that begins with an angle", bytes("<name> wrote:\nhello"), null, "text/plain"],
  ["CSV by its name", bytes("a;b\n"), "A.CSV", "text/csv"],
  ["CSV by its columns", bytes('no;name;net\n1;"a;b";2\n2;c;3\n'), null, "text/csv"],
  ["prose with one comma a line", bytes("Dear Bob,\nhello, you\nbye, bye\n"), null, "text/plain"],
  ["a message", bytes("Return-Path: <a@b>\r\nReceived: from x\r\n by y\r\nSubject: z\r\n\r\nhi"), null, "message/rfc822"],
  ["a short message called .eml", bytes("Subject: z\n\nhi"), "mail.EML", "message/rfc822"],
  ["a letter with fields", bytes("From: me\nAmount: 12\nDue: now\n"), null, "text/plain"],
  ["S/MIME", bytes(`\x30\x82\x10\x00${oid}\x03`), "smime.p7m", "application/pkcs7-mime"],
  ["S/MIME of unknown length", bytes(`\x30\x80${oid}\x02`), null, "application/pkcs7-mime"],
  ["a signature", bytes(`\x30\x82\x10\x00${oid}\x02`), "smime.p7s", "application/pkcs7-signature"],
  ["winmail.dat", bytes("\x78\x9f\x3e\x22\x01\x00"), "invoice.pdf", "application/ms-tnef"],
  ["text in latin1", bytes("Gr\xfc\xdfe"), null, "text/plain"],
])("%s", async (_, head, filename, type) => {
  expect(await sniff(head, filename)).toBe(type);
});

test("any bytes get an answer, and a lower-case media type", async () => {
  const magic = fc.constantFrom(
    "PK\x03\x04",
    "%PDF-",
    "\x89PNG\r\n\x1a\n",
    "\x1f\x8b",
    "RIFF",
    "0&\xb2u\x8ef\xcf\x11",
    "II*\0",
    "\xff\xfb",
    "ID3",
    "<",
    "a,",
  );
  await fc.assert(
    fc.asyncProperty(magic, fc.uint8Array({ maxLength: 4_200 }), async (start, rest) => {
      const type = await sniff(Buffer.concat([bytes(start), rest]), null);
      if (type !== null) expect(type).toMatch(/^[a-z]+\/[a-z0-9.+-]+$/);
    }),
    { numRuns: 500 },
  );
});

test("what would be slow for a careless pattern is not", async () => {
  const cases = ["<!--", "<!---->", "< ", "<a ", '"', "a,", ";\n", " ", "x:", "<a:a", "\r\n"].map((piece) => piece.repeat(5_000));
  const start = performance.now();
  for (const text of cases) await sniff(Buffer.from(text), null);
  expect(performance.now() - start).toBeLessThan(2_000);
});

test.each([
  ["application/pdf", null, "application/pdf"],
  ["application/octet-stream", "application/pdf", "application/pdf"],
  ["application/pdf", "text/plain", "text/plain"],
  ["text/calendar", "text/plain", "text/calendar"],
  ["message/rfc822", "text/plain", "message/rfc822"],
  [
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "application/zip",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
  ],
  ["application/pdf", "application/zip", "application/zip"],
])("declared %s, sniffed %s: %s", (contentType, sniffedType, trusted) => {
  expect(typeOf({ contentType, sniffedType })).toBe(trusted);
});
