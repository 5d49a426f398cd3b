/** The mail itself: threading, words, attachments, and that the same delivery gives the same mail. */
import { buffer } from "node:stream/consumers";
import { type ParsedMail, simpleParser } from "mailparser";
import { describe, expect, test } from "vitest";
import { isOurs, messageIdOf } from "../../src/message/identity.ts";
import type { Delivery } from "../../src/sink/sink.ts";
import { type Composition, compose } from "../../src/sink/smtp/mail.ts";
import { delivery, deliveryOfMessage, MESSAGE, piece } from "./deliveries.ts";
import { hostile } from "./hostile.ts";

const KEY = `${MESSAGE}.reply`;
const composition: Composition = {
  from: { name: "Invoices", address: "invoices@example.com" },
  domain: "example.com",
  to: ["anna@seilerei.example"],
  isAnswer: true,
  attach: { json: false, csv: false, originals: false },
  date: new Date("2026-03-02T12:00:00Z"),
};

const written = async (given: Delivery, changed: Partial<Composition> = {}, key = KEY) =>
  (await buffer(compose(given, key, { ...composition, ...changed }).open())).toString("latin1");
const read = async (given: Delivery, changed: Partial<Composition> = {}): Promise<ParsedMail> =>
  simpleParser(Buffer.from(await written(given, changed), "latin1"));
const references = (mail: ParsedMail) => [mail.references ?? []].flat();

const found = {
  seller: { name: "Seilerei Huber & Söhne <GmbH>", vatId: "DE1" },
  number: "RE-4711",
  issueDate: "2026-02-28",
  currency: "EUR",
  net: "100.00",
  tax: "19.00",
  gross: "119.00",
  iban: "DE89370400440532013000",
};

describe("threading (RFC 5322 section 3.6.4)", () => {
  test.each<readonly [string, { messageId: string | null; references: readonly string[] }, string | undefined, readonly string[]]>([
    ["the first of a thread", { messageId: "<1@x>", references: [] }, "<1@x>", ["<1@x>"]],
    ["a later one", { messageId: "<3@x>", references: ["<1@x>", "<2@x>"] }, "<3@x>", ["<1@x>", "<2@x>", "<3@x>"]],
    ["one that refers to itself", { messageId: "<1@x>", references: ["<1@x>"] }, "<1@x>", ["<1@x>"]],
    ["one without a Message-ID", { messageId: null, references: ["<1@x>"] }, undefined, ["<1@x>"]],
    ["one with a broken Message-ID", { messageId: "<1@x>\r\nBcc: <a@b>", references: ["<2 @x>", "<ü@x>"] }, undefined, []],
  ])("%s", async (_, facts, inReplyTo, thread) => {
    const mail = await read(delivery(KEY, { facts }));
    expect(mail.inReplyTo).toBe(inReplyTo);
    expect(references(mail)).toEqual(thread);
  });

  test("50 long references are folded, none is lost", async () => {
    const many = Array.from({ length: 50 }, (_, n) => `<${"x".repeat(240)}${n}@y>`);
    const raw = await written(delivery(KEY, { facts: { references: many } }));
    expect(references(await simpleParser(raw))).toEqual([...many, "<1@seilerei.example>"]);
    for (const line of raw.split("\r\n")) expect(line.length).toBeLessThanOrEqual(998);
  });

  test.each([
    ["Rechnung 4711", "Re: Rechnung 4711"],
    ["Re: Rechnung", "Re: Rechnung"],
    ["RE: AW: Re: Rechnung", "Re: Rechnung"],
    ["Re[2]: Rechnung", "Re: Rechnung"],
    ["Rechnung Re: 4711", "Re: Rechnung Re: 4711"],
    ["Reifen: vier", "Re: Reifen: vier"],
    ["Größe 請求書 🧾", "Re: Größe 請求書 🧾"],
    [null, "Re:"],
  ])("the subject %j is answered as %j", async (subject, expected) => {
    expect((await read(delivery(KEY, { subject }))).subject).toBe(expected);
  });

  test("an answer and a notice say what they are, and only the answer is one", async () => {
    const answer = await read(delivery(KEY));
    expect(answer.headers.get("auto-submitted")).toBe("auto-replied");
    expect(answer.text).toMatch(/^Your mail “Rechnung”: nothing that looks like an invoice\./);
    const notice = await read(delivery(KEY, { from: "anna@seilerei.example", invoices: [found] }), {
      isAnswer: false,
      to: ["a@b.example", "c@d.example"],
    });
    expect(notice.headers.get("auto-submitted")).toBe("auto-generated");
    expect(notice.inReplyTo).toBeUndefined();
    expect(references(notice)).toEqual([]);
    expect(notice.subject).toBe("1 invoice: Rechnung");
    expect(notice.text).toMatch(/^A mail from anna@seilerei\.example “Rechnung”: 1 invoice\./);
    expect([notice.to ?? []].flat().flatMap(({ value }) => value.map(({ address }) => address))).toEqual(["a@b.example", "c@d.example"]);
  });
});

describe("what a person reads", () => {
  test("a table a document, and what could not be read, as text", async () => {
    const given = deliveryOfMessage(KEY, [
      { subject: "Rechnung 4711", invoices: [found], attachments: [piece("2", "rechnung.pdf", "1"), piece("3", "zugferd.xml", "2")] },
      { attachments: [piece("4", "agb.pdf", "3")] },
      { fault: { code: "extend.damaged", message: "the file is damaged." }, attachments: [piece("5", "scan.tiff", "4")] },
      { invoices: [{ number: "RE-4712" }, { number: "RE-4713" }], attachments: [piece("6", "zwei.pdf", "5")] },
    ]);
    expect((await read(given)).text).toBe(`Your mail “Rechnung 4711”: 3 invoices; 1 document could not be read.

1. rechnung.pdf, zugferd.xml
   Seller  Seilerei Huber & Söhne <GmbH>
   Number  RE-4711
   Date    2026-02-28
   Net     100.00 EUR
   Tax     19.00 EUR
   Gross   119.00 EUR
   IBAN    DE89 3704 0044 0532 0130 00

2. agb.pdf
   Nothing that looks like an invoice.

3. scan.tiff
   Could not be read, because the file is damaged.

4. zwei.pdf
   Seller  not found
   Number  RE-4712
   Date    not found
   Net     not found
   Tax     not found
   Gross   not found
   IBAN    not found

   Seller  not found
   Number  RE-4713
   Date    not found
   Net     not found
   Tax     not found
   Gross   not found
   IBAN    not found

-- 
This mail was written by a program, billhook.
`);
  });

  test("the same as HTML, escaped, with nothing to load and no colours of its own", async () => {
    const html = String((await read(delivery(KEY, { subject: "a <b> & 'c'", invoices: [found] }))).html);
    expect(html).toContain("<bdi>Seilerei Huber &amp; Söhne &lt;GmbH&gt;</bdi>");
    expect(html).toContain("“a &lt;b&gt; &amp; &#39;c&#39;”");
    expect(html).toContain('<meta name="color-scheme" content="light dark">');
    expect(html).not.toMatch(/https?:|src=|href=|url\(|<(script|link|img|style)|[^-]color:|background/i);
  });

  test("what the service was not given is named", async () => {
    const given = delivery(KEY, { attachments: [piece("2", "a.pdf", "1"), piece("3", "b.docx", "2")] });
    const { body } = given;
    if (body.per !== "document") throw new Error("not a document");
    const parts = body.document.parts.map((part) => ({ ...part, submitted: part.filename !== "b.docx" }));
    const { text } = await read({ ...given, body: { ...body, document: { ...body.document, parts } } });
    expect(text).toContain("1. a.pdf\n   Nothing that looks like an invoice.\n   Not looked at: b.docx.");
  });

  test("a mail that was opened and an attempt that never began are not called unread", async () => {
    const told = async (ids: readonly string[], submitted: readonly string[], fault?: { code: string; message: string }) => {
      const given = delivery(KEY, { attachments: ids.map((id) => piece(id, `${id}.pdf`, id)), ...(fault && { fault }) });
      const { body } = given;
      if (body.per !== "document") throw new Error("not a document");
      const parts = body.document.parts.map((part) => ({ ...part, submitted: submitted.includes(part.id) }));
      return (await read({ ...given, body: { ...body, document: { ...body.document, parts } } })).text;
    };
    const opened = await told(["2", "2.1", "2.2", "20"], ["2.1"]);
    expect(opened).toContain("1. 2.1.pdf\n   Nothing that looks like an invoice.\n   Not looked at: 2.2.pdf, 20.pdf.");
    const refused = await told(["2", "3"], [], { code: "extend.too-large", message: "it is too large" });
    expect(refused).toContain("1. 2.pdf, 3.pdf\n   Could not be read, because it is too large.\n");
    expect(refused).not.toContain("Not looked at");
  });

  test("a thousand invoices and documents make no endless mail", async () => {
    const many = await read(delivery(KEY, { invoices: Array.from({ length: 1_000 }, (_, n) => ({ number: `RE-${n}` })) }));
    expect(many.text).toContain("1000 invoices");
    expect(many.text).toContain("And 900 more invoices: see the attached data.");
    expect(many.text?.match(/Number/g)).toHaveLength(100);
    const documents = await read(
      deliveryOfMessage(
        KEY,
        Array.from({ length: 60 }, () => ({})),
      ),
    );
    expect(documents.text).toContain("10 more documents");
  });
});

describe("attachments", () => {
  const attach = { json: true, csv: true, originals: true };

  test("the data as JSON and CSV, and the originals byte for byte, mails in them too", async () => {
    const bytes = Buffer.from(Array.from({ length: 200_000 }, (_, n) => (n * 7) % 256));
    const given = delivery(KEY, {
      invoices: [found],
      attachments: [piece("2", "a.pdf", bytes), { ...piece("3", "mail.eml", "Subject: ü\n\n.\n"), contentType: "message/rfc822" }],
    });
    const mail = await read(given, { attach });
    expect(mail.attachments.map(({ filename }) => filename)).toEqual(["billhook.json", "billhook.csv", "a.pdf", "mail.eml"]);
    const [json, csv, original, inner] = mail.attachments;
    expect(JSON.parse(json?.content.toString() ?? "")).toEqual(given.body);
    expect(csv?.content.toString().split("\r\n")).toHaveLength(3);
    expect(original?.content.equals(bytes)).toBe(true);
    // RFC 2046 section 5.2.1: as a message it could not be encoded.
    expect(await written(given, { attach })).not.toMatch(/^content-type: message/im);
    expect(inner?.content.toString()).toBe("Subject: ü\n\n.\n");
    expect(mail.text).toContain("Attached: billhook.json, billhook.csv, a.pdf, mail.eml.");
  });

  test("too large ones are left out and named; what still fits comes along", async () => {
    const never = () => {
      throw new Error("opened");
    };
    const large = { ...piece("2", "large.pdf", ""), size: 10 * 1024 * 1024, open: never };
    const fits = { ...piece("4", "fits.pdf", "x"), size: 10 * 1024 * 1024 };
    const mail = await read(delivery(KEY, { attachments: [fits, large, piece("3", "small.pdf", "x")] }), {
      attach: { ...attach, csv: false },
    });
    expect(mail.attachments.map(({ filename }) => filename)).toEqual(["billhook.json", "fits.pdf", "small.pdf"]);
    expect(mail.text).toContain("Too large to be attached: large.pdf (10.0 MB).");
  });
});

test("the same delivery gives the same mail but for its Date; another key another Message-ID", async () => {
  const given = delivery(KEY, { invoices: [found], attachments: [piece("2", "a.pdf", "pdf")] });
  const attach = { json: true, csv: true, originals: true };
  const first = await written(given, { attach });
  expect(await written(given, { attach })).toBe(first);
  expect(await written(given, { attach, date: new Date("2027-01-01T00:00:00Z") })).toBe(
    first.replace("Mon, 02 Mar 2026 12:00:00 +0000", "Fri, 01 Jan 2027 00:00:00 +0000"),
  );
  expect((await simpleParser(first)).messageId).toBe(messageIdOf(KEY, "example.com"));
  expect(messageIdOf(`${KEY}2`, "example.com")).not.toBe(messageIdOf(KEY, "example.com"));
  expect(isOurs(messageIdOf(KEY, "example.com"))).toBe(true);
});

test("hostile subjects, names and texts add no field, no part and no line of their own", async () => {
  const plainFields = (await read(delivery(KEY))).headerLines.map(({ key }) => key);
  for (const [what, value] of hostile) {
    const given = delivery(KEY, {
      subject: value,
      facts: { references: [value] },
      invoices: [{ number: value || null, seller: { name: value || null, vatId: null }, currency: value || null }],
      fault: { code: "x", message: value },
      attachments: [{ ...piece("2", value, "x"), contentType: value }],
    });
    const raw = await written(given, { attach: { json: true, csv: true, originals: true } });
    const mail = await simpleParser(Buffer.from(raw, "latin1"));
    expect(
      mail.headerLines.map(({ key }) => key),
      what,
    ).toEqual(plainFields);
    expect(mail.attachments, what).toHaveLength(3);
    expect(mail.subject, what).toMatch(/^Re:[^\p{Cc}]*$/u);
    expect(mail.text, what).not.toMatch(/^(?! {3}|\d+\. |--|$|Your mail|Attached|This mail)/m);
    expect(raw, what).toMatch(/^[\t\r\n\x20-\x7e]*$/);
    for (const line of raw.split("\r\n")) expect(line.length, what).toBeLessThanOrEqual(998);
  }
});
