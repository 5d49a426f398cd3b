/** The encoder: the JSON is what was meant, its length is what was announced, and base64 does not depend on chunk borders. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { base64, encode, type MultipartOptions } from "../../src/extractor/cloudsquid/encode.ts";
import { submittedType } from "../../src/extractor/cloudsquid/media.ts";
import type { Document } from "../../src/extractor/extractor.ts";
import { documentOf, piece } from "./documents.ts";

const MULTIPART: MultipartOptions = {
  mimetype: "message/rfc822",
  fields: { name: "filename", type: "mimetype", kind: "file_type", content: "file" },
  body: "text",
};

async function text(chunks: AsyncIterable<Uint8Array>): Promise<string> {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all).toString("latin1");
}

async function json(document: Document, encoding: Parameters<typeof encode>[1], multipart = MULTIPART): Promise<unknown> {
  const upload = encode(document, encoding, multipart);
  if (upload === null) return null;
  const body = await text(upload.open());
  expect(body.length).toBe(upload.length);
  return JSON.parse(Buffer.from(body, "latin1").toString("utf8"));
}

const b64 = (content: string) => Buffer.from(content).toString("base64");
const plain = piece("text", "text.txt", "text/plain", "Guten Tag");
const html = piece("html", "html.html", "text/html", "<p>Guten Tag</p>");
const pdf = piece("2", 'Rechnung "März"\n.pdf', "application/octet-stream", "%PDF-1.7");
const xml = piece("3", "invoice.xml", "application/xml", "<Invoice/>");
const forwarded = piece("4", "fwd.eml", "message/rfc822", "Subject: x\r\n\r\n");
const inner = piece("4.2", "inner.png", "image/png", "png");
const innerText = piece("4.text", "text.txt", "text/plain", "inner");
const zip = piece("5", "all.zip", "application/zip", "PK");

describe("multipart", () => {
  test("body first, then the attachments the service takes, in message order; a forwarded message by its parts", async () => {
    const document = documentOf(plain, html, pdf, xml, forwarded, innerText, inner, zip);
    const part = (filename: string, mimetype: string, content: string) => ({ filename, mimetype, file_type: "binary", file: b64(content) });
    expect(await json(document, "multipart")).toEqual({
      filename: `${document.message.slice(0, 16)}.eml`,
      mimetype: "message/rfc822",
      file_type: "multipart",
      file: [
        part("body.txt", "text/plain", "Guten Tag"),
        part("4-body.txt", "text/plain", "inner"),
        part('Rechnung "März"\n.pdf', "application/pdf", "%PDF-1.7"),
        part("invoice.xml", "text/plain", "<Invoice/>"),
        part("inner.png", "image/png", "png"),
      ],
    });
  });

  test.each([
    ["text", [plain, html], ["body.txt"]],
    ["html", [plain, html], ["body.html"]],
    ["both", [plain, html], ["body.txt", "body.html"]],
    ["text", [html], ["body.html"]],
    ["html", [plain], ["body.txt"]],
  ] as const)("body: %s of %#", async (body, parts, names) => {
    const sent = (await json(documentOf(...parts), "multipart", { ...MULTIPART, body })) as {
      file: { filename: string; mimetype: string }[];
    };
    expect(sent.file.map((part) => part.filename)).toEqual(names);
    expect(new Set(sent.file.map((part) => part.mimetype))).toEqual(new Set(["text/plain"]));
  });

  test("body: none leaves the bodies out; nothing left is null", async () => {
    expect(await json(documentOf(plain, html, zip), "multipart", { ...MULTIPART, body: "none" })).toBeNull();
  });

  test("every guess can be switched", async () => {
    const fields = { name: "name", type: "type", kind: null, content: "data" };
    expect(await json(documentOf(pdf), "multipart", { mimetype: "multipart/related", fields, body: "none" })).toMatchObject({
      mimetype: "multipart/related",
      file: [{ name: pdf.filename, type: "application/pdf", data: b64("%PDF-1.7") }],
    });
  });
});

test("rfc822: the exact message as one binary document", async () => {
  const document = documentOf(plain, pdf);
  const raw = await text(document.raw.open());
  expect(await json(document, "rfc822")).toEqual({
    filename: `${document.message.slice(0, 16)}.eml`,
    mimetype: "message/rfc822",
    file_type: "binary",
    file: Buffer.from(raw, "latin1").toString("base64"),
  });
});

test("attachments: the one attachment as a binary document", async () => {
  const document = { ...documentOf(xml), whole: false };
  expect(await json(document, "attachments")).toEqual({
    filename: `${document.message.slice(0, 16)}-invoice.xml`,
    mimetype: "text/plain",
    file_type: "binary",
    file: b64("<Invoice/>"),
  });
  expect(await json(documentOf(plain, zip), "attachments")).toBeNull();
});

test.each([
  ["application/pdf", "a.pdf", "application/pdf"],
  ["Application/PDF; name=a.pdf", null, "application/pdf"],
  ["application/x-pdf", null, "application/pdf"],
  ["application/octet-stream", "A.PDF", "application/pdf"],
  ["application/octet-stream", "a.exe", null],
  ["application/octet-stream", "constructor", null],
  ["application/octet-stream", null, null],
  ["toString", null, null],
  ["image/jpg", null, "image/jpg"],
  ["image/pjpeg", null, "image/jpeg"],
  ["image/tiff", "a.tiff", null],
  ["text/xml", "a.xml", "text/plain"],
  ["application/vnd.xrechnung+xml", "a.xml", "text/plain"],
  ["image/svg+xml", "a.svg", null],
  ["text/html", "a.html", "text/plain"],
  ["message/rfc822", "a.eml", null],
  ["application/zip", "a.pdf", null],
])("%s named %s is submitted as %s", (contentType, filename, expected) => {
  expect(submittedType(contentType, filename)).toBe(expected);
});

test("property: base64 of any bytes in any chunks is Buffer's base64", async () => {
  const chunks = fc.array(fc.uint8Array({ maxLength: 50 }), { maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(chunks, async (parts) => {
      async function* one() {
        // The same buffer each time, as a file stream may do.
        const shared = new Uint8Array(50);
        for (const part of parts) {
          shared.set(part);
          yield shared.subarray(0, part.length);
        }
      }
      expect(await text(base64(one()))).toBe(Buffer.concat(parts).toString("base64"));
    }),
    { numRuns: 500 },
  );
});

test("one chunk of a megabyte is encoded in steps", async () => {
  const bytes = Buffer.alloc(1_000_001, 7);
  async function* one() {
    yield bytes;
  }
  let longest = 0;
  const all: Uint8Array[] = [];
  for await (const chunk of base64(one())) {
    longest = Math.max(longest, chunk.length);
    all.push(chunk);
  }
  expect(Buffer.concat(all).toString("latin1")).toBe(bytes.toString("base64"));
  expect(longest).toBeLessThanOrEqual(65_536);
});
