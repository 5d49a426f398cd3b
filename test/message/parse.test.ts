/** Splitting: what comes out of well-formed, careless, broken and hostile messages, and what happens when a side fails. */
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import fc from "fast-check";
import { MailParser } from "mailparser";
import { afterEach, describe, expect, test } from "vitest";
import { NO_FACTS } from "../../src/message/facts.ts";
import type { Keep, Split } from "../../src/message/message.ts";
import { type Limits, parse } from "../../src/message/parse.ts";

const kept = new Map<string, Buffer>();
const keep: Keep = async (bytes) => {
  const content = Buffer.concat(await Readable.from(bytes).toArray());
  const sha256 = createHash("sha256").update(content).digest("hex");
  kept.set(sha256, content);
  return { sha256, size: content.length, head: content.subarray(0, 4_100) };
};

type Given = string | Buffer;
const crlf = (message: Given) => (typeof message === "string" ? Buffer.from(message.replace(/\r?\n/g, "\r\n"), "utf8") : message);
const split = (message: Given, limits: Partial<Limits> = {}): Promise<Split> => parse(Readable.from([crlf(message)]), keep, { limits });
const ids = (found: Split) => found.parts.map((part) => part.id);
const codes = (found: Split) => found.faults.map((fault) => fault.code);
const bytesOf = (found: Split, id: string) => kept.get(found.parts.find((part) => part.id === id)?.sha256 ?? "")?.toString("utf8");
const named = (field: string) =>
  `Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: application/pdf${field && `\n${field}`}\n\n%PDF-1.4\n--b--\n`;
const filenameOf = async (field: string) => (await split(named(field))).parts[0]?.filename;

const FORWARD = `Message-ID: <outer@x.example>
From: "Ada" <ada@x.example>
To: team: Bob <bob@x.example>, carol@x.example;, dave@x.example
Date: Sun, 22 Nov 2026 10:00:00 +0100
Subject: =?utf-8?Q?Fwd:_Rechnung_f=C3=BCr_M=C3=A4rz?=
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=outer

--outer
Content-Type: multipart/alternative; boundary=alt

--alt
Content-Type: text/plain; charset=utf-8

see below
--alt
Content-Type: text/html; charset=utf-8

<p>see below</p>
--alt--
--outer
Content-Type: message/rfc822

Subject: the invoice
Content-Type: multipart/mixed; boundary=inner

--inner
Content-Type: text/plain

here it is
--inner
Content-Type: application/octet-stream; name="invoice.pdf"
Content-Disposition: attachment; filename="invoice.pdf"
Content-ID: <pdf@x.example>
Content-Transfer-Encoding: base64

JVBERi0xLjQK
--inner
Content-Type: message/rfc822

Subject: single
Content-Type: application/xml

<a/>
--inner--
--outer
Content-Type: image/png
Content-Disposition: inline

not a png
--outer--
`;

describe("the tree", () => {
  test("a forwarded mail is a part, and its bodies and attachments are parts within it", async () => {
    const found = await split(FORWARD);
    expect(found.facts).toEqual({
      ...NO_FACTS,
      contentType: expect.any(String),
      messageId: "<outer@x.example>",
      subject: "Fwd: Rechnung für März",
      from: [{ name: "Ada", address: "ada@x.example" }],
      to: [
        { name: "Bob", address: "bob@x.example" },
        { name: "", address: "carol@x.example" },
        { name: "", address: "dave@x.example" },
      ],
      date: "2026-11-22T09:00:00.000Z",
    });
    expect(found.text).toBe("see below");
    expect(found.html).toBe("<p>see below</p>");
    expect(found.faults).toEqual([]);
    expect(found.parts.map(({ id, parent, role, contentType }) => [id, parent, role, contentType])).toEqual([
      ["text", null, "body", "text/plain"],
      ["html", null, "body", "text/html"],
      ["2", null, "attachment", "message/rfc822"],
      ["2.text", "2", "body", "text/plain"],
      ["2.2", "2", "attachment", "application/octet-stream"],
      ["2.3", "2", "attachment", "message/rfc822"],
      ["2.3.1", "2.3", "attachment", "application/xml"],
      ["3", null, "attachment", "image/png"],
    ]);
    expect(found.parts.find((part) => part.id === "2.2")).toMatchObject({
      filename: "invoice.pdf",
      contentType: "application/octet-stream",
      sniffedType: "application/pdf",
      disposition: "attachment",
      contentId: "pdf@x.example",
      size: 9,
      sha256: createHash("sha256").update("%PDF-1.4\n").digest("hex"),
    });
    expect(bytesOf(found, "2")).toContain("JVBERi0xLjQK");
    expect(bytesOf(found, "2.text")).toBe("here it is");
  });

  test("a forwarded mail sent as an .eml file of unknown type, in base64, is opened too", async () => {
    const eml = Buffer.from(crlf(FORWARD)).toString("base64").replace(/.{76}/g, "$&\n");
    const found = await split(
      `Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: application/octet-stream; name=mail.eml\nContent-Transfer-Encoding: base64\n\n${eml}\n--b--\n`,
    );
    expect(ids(found)).toEqual(["1", "1.text", "1.html", "1.2", "1.2.text", "1.2.2", "1.2.3", "1.2.3.1", "1.3"]);
    expect(found.text).toBe("");
  });

  test("what a digest holds is a message without saying so", async () => {
    const found = await split(
      "Content-Type: multipart/digest; boundary=d\n\n--d\n\nSubject: one\n\nfirst\n--d\n\nSubject: two\n\nsecond\n--d--\n",
    );
    expect(ids(found)).toEqual(["1", "1.text", "2", "2.text"]);
  });

  test("an inline message is kept whole like any other", async () => {
    const found = await split("Content-Type: message/rfc822\nContent-Disposition: inline\n\nSubject: inner\n\nhi");
    expect(ids(found)).toEqual(["1", "1.text"]);
    expect(bytesOf(found, "1")).toBe("Subject: inner\r\n\r\nhi");
  });

  test("a message that is one attachment has part 1", async () => {
    expect(ids(await split("Content-Type: application/pdf\n\n%PDF-1.4"))).toEqual(["1"]);
  });

  test("ids stay unique in a tree that cannot be", async () => {
    const found = await split(
      "Content-Type: message/rfc822; boundary=b\n\n\n--b\nContent-Type: image/png\n\n1\n--b\nContent-Type: image/png\n\n2\n--b--\n",
    );
    expect(new Set(ids(found)).size).toBe(found.parts.length);
    expect(found.parts.length).toBe(3);
  });
});

describe("names and fields", () => {
  test("RFC 2231 continuations, in any order", async () => {
    const field = `Content-Disposition: attachment; filename*1*=%C3%BCber%20; filename*0*=utf-8''Rechnung%20; filename*2="M.pdf"`;
    expect(await filenameOf(field)).toBe("Rechnung über M.pdf");
  });
  test("RFC 2047 in filename=, which is wrong and common", async () => {
    expect(await filenameOf('Content-Disposition: attachment; filename="=?iso-8859-1?Q?Rechnung_M=E4rz.pdf?="')).toBe("Rechnung März.pdf");
  });
  test("the name parameter when there is no filename", async () => {
    expect(await filenameOf("Content-Disposition: attachment\nX-Other: y\nContent-ID: <>")).toBeNull();
    expect((await split(named("").replace("application/pdf", 'application/pdf; name="a.pdf"'))).parts[0]?.filename).toBe("a.pdf");
  });
  test("a path stays as the sender wrote it: it is a name, not a place", async () => {
    expect(await filenameOf('Content-Disposition: attachment; filename="../../etc/passwd"')).toBe("../../etc/passwd");
  });
  test.each([["utf8"], ["latin1"]] as const)("8-bit fields in %s", async (charset) => {
    const head = "Subject: Rechnung für März\r\nFrom: Müller <m@x.example>\r\n";
    const found = await split(
      Buffer.from(head + named("Content-Disposition: attachment; filename=März.pdf").replace(/\n/g, "\r\n"), charset),
    );
    expect(found.facts.subject).toBe("Rechnung für März");
    expect(found.facts.from).toEqual([{ name: "Müller", address: "m@x.example" }]);
    expect(found.parts[0]?.filename).toBe("März.pdf");
  });
  test("who it came by, and whether a machine or a list sent it", async () => {
    const { facts } = await split(`Return-Path: <bounce+1@seilerei.example>
Delivered-To: invoices+de@buyer.example
X-Original-To: invoices@buyer.example
Authentication-Results: mx.buyer.example;
 dkim=pass header.d=seilerei.example;
 dmarc=pass header.from=seilerei.example
Authentication-Results: elsewhere.example; dkim=fail
From: a@seilerei.example
Reply-To: Buchhaltung <b@seilerei.example>
Cc: c@buyer.example
References: <1@x>
 <2@x>
In-Reply-To: <2@x>
Auto-Submitted: Auto-Generated; owner-email="x"
Precedence: Bulk
List-Id: Angebote <offers.seilerei.example>
X-Auto-Response-Suppress: All
Content-Type: Text/Plain; charset=utf-8

hello`);
    expect(facts).toMatchObject({
      returnPath: "bounce+1@seilerei.example",
      deliveredTo: ["invoices+de@buyer.example", "invoices@buyer.example"],
      authenticationResults: [
        "mx.buyer.example; dkim=pass header.d=seilerei.example; dmarc=pass header.from=seilerei.example",
        "elsewhere.example; dkim=fail",
      ],
      replyTo: [{ name: "Buchhaltung", address: "b@seilerei.example" }],
      cc: [{ name: "", address: "c@buyer.example" }],
      references: ["<1@x>", "<2@x>"],
      autoSubmitted: "auto-generated",
      precedence: "bulk",
      list: "Angebote <offers.seilerei.example>",
      autoResponseSuppress: "all",
      contentType: "text/plain",
    });
    const bounce = await split("Return-Path: <>\nIn-Reply-To: <9@x>\nList-Post: <mailto:x@x.example>\n\nx");
    expect(bounce.facts).toMatchObject({ returnPath: "", references: ["<9@x>"], list: "<mailto:x@x.example>", contentType: null });
    const invoice = await split("From: billing@x.example\nList-Unsubscribe: <https://x.example/>\n\nx");
    expect(invoice.facts.list).toBeNull();
  });

  test("what is missing is null, not invented", async () => {
    const found = await split("Date: the other day\nContent-Type: text/plain\n\nhello");
    expect(found.facts).toEqual({ ...NO_FACTS, contentType: expect.anything() });
    expect((await split("Subject: x\n\nhello")).facts.date).toBeNull();
  });
  test.each([
    ["Sun, 22 Nov 2026 10:00:00 +0100 (CET)", "2026-11-22T09:00:00.000Z"],
    ["22 Nov 26 10:00 GMT", "2026-11-22T10:00:00.000Z"],
    ["Sun, 22 Nov 2026 10:00:00", "2026-11-22T10:00:00.000Z"],
    ["2026", null],
  ])("date %s", async (written, meant) => {
    expect((await split(`Date: ${written}\n\nx`)).facts.date).toBe(meant);
  });
  test("a declared type that cannot be one, and a disposition nobody knows", async () => {
    const found = await split(named("Content-Disposition: form-data").replace("application/pdf", "pdf\r\n file"));
    expect(found.parts[0]).toMatchObject({
      contentType: "application/octet-stream",
      disposition: "attachment",
      sniffedType: "application/pdf",
    });
  });
});

describe("bodies", () => {
  const text = "Grüße aus Köln, 12,50 EUR\n".repeat(900);
  const cases = ["utf-8", "iso-8859-1", "utf-16le"].flatMap((charset) =>
    ["\n--b--\n", "\n", ""].flatMap((end) => [64, 5_000, 1e6].map((chunk) => ({ charset, end, chunk }))),
  );
  test.each(cases)("whole as the last part: $charset, end $end, chunks of $chunk", async ({ charset, end, chunk }) => {
    const encoding = ({ "utf-8": "utf8", "iso-8859-1": "latin1", "utf-16le": "utf16le" } as const)[charset as "utf-8"];
    const body = Buffer.from(text, encoding).toString("base64").replace(/.{76}/g, "$&\n");
    const head = named("").replace("--b--\n", `--b\nContent-Type: text/plain; charset=${charset}\nContent-Transfer-Encoding: base64\n\n`);
    const message = crlf(head + body + end);
    async function* pieces() {
      for (let at = 0; at < message.length; at += chunk) yield message.subarray(at, at + chunk);
    }
    expect((await parse(pieces(), keep)).text).toBe(text);
  });
});

describe("broken messages", () => {
  test.each([
    ["twice", "From: a@x.example\nFrom: b@y.example\n"],
    ["twice, apart, in other letters and with a space", "From: a@x.example\nSubject: x\nFROM : b@y.example\n"],
    ["twice, once empty", "From:\nfrom: b@y.example\n"],
    ["twice, the second time the same", "From: a@x.example\nFrom: a@x.example\n"],
  ])("From stands there %s: from nobody, since nobody knows which one a server has verified", async (_, fields) => {
    expect((await split(`${fields}To: c@x.example\nTo: d@x.example\n\nx`)).facts).toMatchObject({
      from: [],
      to: [{ address: "c@x.example" }, { address: "d@x.example" }],
    });
  });
  test("damaged base64 gives what can be decoded", async () => {
    const found = await split(named("Content-Transfer-Encoding: base64").replace("%PDF-1.4", "JVBE*Ri0x\n!!\nLjQK="));
    expect(bytesOf(found, "1")).toBe("%PDF-1.4\n");
  });
  test("no final boundary", async () => {
    const found = await split(named("").replace("--b--\n", ""));
    expect(bytesOf(found, "1")).toBe("%PDF-1.4\r\n");
  });
  test("white space after a boundary (RFC 2046 5.1.1)", async () => {
    const found = await split(named("").replace("--b\n", "--b \t\n").replace("--b--", "--b--  "));
    expect(bytesOf(found, "1")).toBe("%PDF-1.4");
  });
  test("a boundary that never comes is told", async () => {
    const found = await split("Content-Type: multipart/mixed; boundary=other\n\n--b\nContent-Type: application/pdf\n\n%PDF\n--b--\n");
    expect(found.parts).toEqual([]);
    expect(codes(found)).toEqual(["message.multipart-empty"]);
  });
  test("NUL bytes, an unknown charset and an unknown encoding", async () => {
    const found = await split("Subject: a\0b\nContent-Type: text/plain; charset=x-klingon\nContent-Transfer-Encoding: x-zip\n\nhel\0lo");
    expect(found.text).toBe("hel\0lo");
    expect(found.faults).toEqual([]);
  });
  test("nothing at all", async () => {
    expect(await split("")).toMatchObject({ text: "", html: "", parts: [], faults: [] });
  });
  test("20 nested multiparts", async () => {
    let body = "Content-Type: application/pdf\n\n%PDF-1.4";
    for (let level = 0; level < 20; level += 1)
      body = `Content-Type: multipart/mixed; boundary=l${level}x\n\n--l${level}x\n${body}\n--l${level}x--`;
    expect(ids(await split(body))).toEqual([Array(20).fill("1").join(".")]);
  });
});

describe("limits keep the rest", () => {
  const bomb = "X-Bomb: ".concat("y".repeat(3 * 2 ** 20));
  test.each([
    ["in one line", bomb],
    ["in many lines", "X-Bomb: yyyyyyyyyyyyyyyyyyyyy\n".repeat(120_000).trimEnd()],
  ])("3 MB of header %s, of the message and of a part", async (_, fields) => {
    const message = await split(
      `Subject: kept\nContent-Type: multipart/mixed; boundary=b\n${fields}\n${named("").slice(named("").indexOf("\n") + 1)}`,
    );
    expect(message.facts.subject).toBe("kept");
    expect(ids(message)).toEqual(["1"]);
    expect(codes(message)).toEqual(["message.header-too-long"]);
    const part = await split(
      named("").replace("--b--", `--b\nContent-Type: image/png\n${fields}\n\nx\n--b\nContent-Type: image/gif\n\ny\n--b--`),
    );
    expect(part.parts.map(({ contentType }) => contentType)).toEqual(["application/pdf", "image/png", "image/gif"]);
    expect(codes(part)).toEqual(["message.header-too-long"]);
  });
  test("all headers together", async () => {
    const many = `--b\nContent-Type: image/png\nX: ${"y".repeat(1_000)}\n\nx\n`.repeat(20);
    const found = await split(`Content-Type: multipart/mixed; boundary=b\n\n${many}--b--`, { headers: 10_000 });
    expect(codes(found)).toEqual(["message.headers-too-long"]);
    expect(found.parts).toHaveLength(9);
  });
  test("parts", async () => {
    const found = await split(`Content-Type: multipart/mixed; boundary=b\n\n${"--b\nContent-Type: image/png\n\nx\n".repeat(50)}--b--`, {
      entities: 11,
    });
    expect(codes(found)).toEqual(["message.too-many-parts"]);
    expect(found.parts).toHaveLength(10);
  });
  test("messages within messages", async () => {
    const found = await split(`${"Content-Type: message/rfc822\n\n".repeat(10)}Subject: core\n\nx`);
    expect(codes(found)).toEqual(["message.too-deep"]);
    expect(found.parts).toHaveLength(9);
  });
  test("text is cut, attachments are not", async () => {
    const found = await split(named("").replace("--b\n", `--b\n\n${"hello\n".repeat(1_000)}--b\n`), { text: 100 });
    expect(found.text.length).toBeLessThanOrEqual(100);
    expect(codes(found)).toEqual(["message.text-too-long"]);
    expect(bytesOf(found, "2")).toBe("%PDF-1.4");
  });
});

describe("a side that fails", () => {
  const full = Object.assign(new Error("no space left on device"), { code: "ENOSPC" });

  test("keep: parse rejects with its error", async () => {
    await expect(parse(Readable.from([crlf(FORWARD)]), async () => Promise.reject(full))).rejects.toBe(full);
  });
  test("keep inside a forwarded mail: the same error", async () => {
    const inner: Keep = async (bytes) => {
      const blob = await keep(bytes);
      if (blob.size === 9) throw full;
      return blob;
    };
    await expect(parse(Readable.from([crlf(FORWARD)]), inner)).rejects.toBe(full);
  });
  test("keep that does not read to the end does not stop the rest", async () => {
    const lazy: Keep = async () => ({ sha256: "", size: 0, head: new Uint8Array() });
    const found = await parse(Readable.from([crlf(named("").replace("%PDF-1.4", "x".repeat(1e6)))]), lazy);
    expect(ids(found)).toEqual(["1"]);
  });
  test.each([
    ["", 1],
    ["Content-Type: message/rfc822\n\n", 2],
  ])("the input: parse rejects with its error, and every keep is told before (%j)", async (around, keeps) => {
    const cut = new Error("connection cut");
    const seen: unknown[] = [];
    const begun = Promise.withResolvers<void>();
    let running = 0;
    const telling: Keep = async (bytes) => {
      running += 1;
      if (running === keeps) begun.resolve();
      return await keep(bytes).catch((thrown: unknown) => {
        seen.push(thrown);
        throw thrown;
      });
    };
    async function* broken() {
      const start = crlf(around + named("").replace("%PDF-1.4", "x\n".repeat(5e5)).slice(0, 5e5));
      for (let at = 0; at < start.length; at += 65_536) yield start.subarray(at, at + 65_536);
      await begun.promise;
      throw cut;
    }
    await expect(parse(broken(), telling)).rejects.toBe(cut);
    expect(seen).toHaveLength(keeps);
  });
  test("a destroyed stream rejects", async () => {
    const stream = new Readable({ read() {} });
    stream.push("Subject: x\r\n");
    const parsing = parse(stream, keep);
    stream.destroy(full);
    await expect(parsing).rejects.toBe(full);
  });

  describe("the parser", () => {
    const prototype = MailParser.prototype as unknown as { processChunk: (chunk: { type: string }, done: () => void) => void };
    const real = prototype.processChunk;
    afterEach(() => {
      prototype.processChunk = real;
    });
    test("comes to a halt: what was read is returned, with a fault", async () => {
      let bodies = 0;
      prototype.processChunk = function (chunk, done) {
        if (chunk.type === "body" && ++bodies === 2) return;
        real.call(this, chunk, done);
      };
      const found = await split(named("").replace("--b--", "--b\nContent-Type: image/png\n\nx\n--b--"));
      expect(ids(found)).toEqual(["1"]);
      expect(codes(found)).toEqual(["message.stalled", "message.part-cut"]);
    });
    test("throws: the same", async () => {
      prototype.processChunk = function (chunk, done) {
        if (chunk.type === "body") throw new TypeError("secret content");
        real.call(this, chunk, done);
      };
      const found = await split(`Subject: kept\n${named("")}`);
      expect(found.facts.subject).toBe("kept");
      expect(codes(found)).toEqual(["message.unparsable", "message.part-cut"]);
      expect(JSON.stringify(found.faults)).not.toContain("secret");
    });
  });
});

test("no change of a real message crashes or hangs it, or breaks the shape of what is returned", async () => {
  const seed = crlf(FORWARD);
  const change = fc.record({ at: fc.nat(seed.length - 1), drop: fc.nat(40), put: fc.oneof(fc.uint8Array({ maxLength: 30 }), fragment()) });
  await fc.assert(
    fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 12 }), fc.integer({ min: 1, max: 4_000 }), async (changes, chunk) => {
      let bytes = seed;
      for (const { at, drop, put } of changes) bytes = Buffer.concat([bytes.subarray(0, at), put, bytes.subarray(at + drop)]);
      async function* pieces() {
        for (let at = 0; at < bytes.length; at += chunk) yield bytes.subarray(at, at + chunk);
      }
      const found = await parse(pieces(), keep);
      expect(new Set(ids(found)).size).toBe(found.parts.length);
      for (const part of found.parts) expect(part.parent === null || ids(found).includes(part.parent)).toBe(true);
      JSON.stringify(found);
    }),
    { numRuns: 400 },
  );
});

/** Pieces of syntax that mean something where they land. */
function fragment(): fc.Arbitrary<Uint8Array> {
  const syntax = [
    "--outer\r\n",
    "--inner--\r\n",
    "\r\n\r\n",
    "Content-Type: message/rfc822\r\n\r\n",
    "=?utf-8?B?",
    "*0*=utf-8''%",
    "; boundary=inner",
  ];
  const encodings = [
    "Content-Transfer-Encoding: quoted-printable\r\n",
    "Content-Type: text/plain; charset=iso-2022-jp; format=flowed\r\n",
    "From \r\n",
  ];
  return fc.constantFrom(...syntax, ...encodings).map((text) => Buffer.from(text));
}
