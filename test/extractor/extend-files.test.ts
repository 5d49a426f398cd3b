/** What of a mail goes to Extend: which files, under which names, in which bytes. */
import { describe, expect, test } from "vitest";
import { extensionOf, fileForm, objectionTo, planOf } from "../../src/extractor/extend/files.ts";
import type { Piece } from "../../src/message/message.ts";
import { documentOf, piece } from "./documents.ts";

const text = piece("text", "text.txt", "text/plain", "Dear Sir");
const html = piece("html", "text.html", "text/html", "<p>Dear Sir</p>");
const pdf = piece("2", "Rechnung Nr. 7.PDF", "application/pdf", "%PDF-1.7");

function names(parts: readonly Piece[], body: "text" | "html" | "none" = "text") {
  const document = documentOf(...parts);
  const token = document.message.slice(0, 16);
  const { files, unsupported } = planOf(document, { submit: "parts", body });
  for (const { name } of files) expect(name.startsWith(`${token}-`)).toBe(true);
  return { files: files.map(({ name }) => name.slice(17)), unsupported };
}

test("body first, attachments in order, named by part number and type", () => {
  const xml = piece("3", "", "application/xml", "<a/>");
  expect(names([pdf, text, html, xml])).toEqual({ files: ["text.txt", "2.pdf", "3.xml"], unsupported: [] });
  expect(names([pdf, text, html], "html").files).toEqual(["html.html", "2.pdf"]);
  expect(names([pdf, text, html], "none").files).toEqual(["2.pdf"]);
  expect(names([pdf, text], "html").files, "the other body when it is the only one").toEqual(["text.txt", "2.pdf"]);
});

test("what the service cannot read is told; what is empty or was opened is left out without a word", () => {
  const zip = piece("3", "a.zip", "application/zip", "PK");
  const opened = piece("4", "b.zip", "application/zip", "PK");
  const inside = piece("4.1", "c.pdf", "application/pdf", "%PDF");
  const forwarded = piece("5", "mail.eml", "message/rfc822", "Subject: x");
  const itsBody = piece("5.text", "text.txt", "text/plain", "x");
  const empty = piece("6", "d.pdf", "application/pdf", "");
  expect(names([text, zip, opened, inside, forwarded, itsBody, empty])).toEqual({
    files: ["text.txt", "5.text.txt", "4.1.pdf"],
    unsupported: ["3"],
  });
});

test("eml: the exact mail, as one file", () => {
  const document = documentOf(text, pdf);
  expect(planOf(document, { submit: "eml", body: "none" })).toEqual({
    files: [{ name: `${document.message.slice(0, 16)}.eml`, piece: document.raw }],
    unsupported: [],
  });
});

test.each([
  ["application/pdf", "invoice.exe", "pdf"],
  ["Application/PDF; name=x", null, "pdf"],
  ["application/octet-stream", "INVOICE.XLSX", "xlsx"],
  ["text/plain", "prices.csv", "csv"],
  ["text/plain", "README", "txt"],
  ["text/plain", "a.exe", "txt"],
  ["application/zip", "a.ods", "ods"],
  ["application/vnd.oasis.ubl+xml", "a", "xml"],
  ["application/octet-stream", "a.exe", null],
  ["application/octet-stream", "constructor", null],
  ["__proto__", "a.pdf", null],
  ["application/vnd.ms-outlook", "a.msg", null],
  ["application/json", "a.json", null],
  ["", null, null],
])("%s named %s is sent as %s", (type, filename, extension) => {
  expect(extensionOf(type, filename)).toBe(extension);
});

describe("objections", () => {
  const limits = { name: "extend", unsupported: "refuse", maxBytes: 8 } as const;
  const plan = (parts: readonly Piece[]) => planOf(documentOf(...parts), { submit: "parts", body: "none" });

  test.each([
    ["extend.unsupported", plan([pdf, piece("3", "secret.zip", "application/zip", "PK")])],
    ["extend.nothing-to-send", plan([text])],
    ["extend.too-large", plan([pdf, piece("3", "b.pdf", "application/pdf", "%")])],
    ["extend.too-many-files", plan(Array.from({ length: 51 }, (_, n) => piece(String(n), "a.pdf", "application/pdf", "%")))],
  ])("%s", (code, refused) => {
    const fault = objectionTo(refused, limits);
    expect(fault).toMatchObject({ code, temporary: false });
    expect(fault?.message).not.toContain("secret");
  });

  test("none within the limits", () => {
    expect(objectionTo(plan([pdf]), limits)).toBeNull();
  });
});

test.each([0, 1, 999, 100_000])(
  "the form of a file of %i bytes is what Node's own FormData makes, of exactly the length it says",
  async (size) => {
    const bytes = Buffer.alloc(size, "\r\n--x\0\xff", "latin1");
    const name = "0123456789abcdef-2.pdf";
    const form = fileForm({ name, piece: piece("2", "a", "application/pdf", bytes, 777) });
    const chunks: Uint8Array[] = [];
    for await (const chunk of form.open()) chunks.push(chunk);
    const made = Buffer.concat(chunks);
    expect(made.length).toBe(form.length);

    const reference = new FormData();
    reference.set("file", new Blob([bytes]), name);
    const response = new Response(reference);
    const theirs = /boundary=(.+)$/.exec(response.headers.get("content-type") ?? "")?.[1] ?? "";
    const ours = /boundary=(.+)$/.exec(form.contentType)?.[1] ?? "";
    expect(ours).toMatch(/^[0-9a-f]{64}$/);
    const expected = Buffer.from(await response.arrayBuffer())
      .toString("latin1")
      .replaceAll(theirs, ours);
    expect(made.toString("latin1") === expected, "the same bytes").toBe(true);

    const read = await new Response(made, { headers: { "content-type": form.contentType } }).formData();
    const file = read.get("file") as File;
    expect(file.name).toBe(name);
    expect(Buffer.from(await file.arrayBuffer()).equals(bytes)).toBe(true);
  },
);
