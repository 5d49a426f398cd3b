/** The http sink by itself: what goes over the wire, what the answer becomes, and what no mail can do to a request. */
import { randomBytes } from "node:crypto";
import { Webhook } from "standardwebhooks";
import { describe, expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import type { HttpOptions } from "../../src/http/http.ts";
import type { HttpSinkOptions } from "../../src/sink/http.ts";
import type { Sink } from "../../src/sink/sink.ts";
import { LOCATION_SECRET, type Options, type Receiver, startReceiver } from "../servers/receiver.ts";
import { startScriptedHttp } from "../servers/scripted-http.ts";
import { delivery, deliveryOfMessage, MESSAGE, piece } from "./deliveries.ts";
import { hostile } from "./hostile.ts";
import { formIn, OLD_SECRET, SECRET, sinkAt, TOKEN } from "./http-side.ts";

const never = new AbortController().signal;
const KEY = `${MESSAGE}.1.erp`;

async function receiver(options: Options = {}): Promise<Receiver> {
  const started = await startReceiver(options);
  onTestFinished(started.stop);
  return started;
}

function sink(url: string, options: Partial<HttpSinkOptions> = {}, http: Partial<HttpOptions> = {}, now?: () => Date): Sink {
  const made = sinkAt(url, options, http, now === undefined ? {} : { clock: { ...systemClock, now } });
  onTestFinished(made.http.close);
  return made.sink;
}

async function thrownBy(attempt: Promise<unknown>): Promise<unknown> {
  return attempt.then(
    () => null,
    (thrown: unknown) => thrown,
  );
}

/** The full stop separates what is signed. */
const ID = KEY.replaceAll(".", ":");

describe("a request", () => {
  test("carries the delivery as JSON, by PUT too, to the whole URL, and the receipt is its answer", async () => {
    const other = await receiver();
    const receipt = await sink(other.url, { method: "PUT", id: "id" }).deliver(delivery(KEY), KEY, never);
    expect(receipt).toEqual({ status: 202, id: "r-1", body: '{"id":"r-1"}' });
    const [taken] = other.taken;
    expect(taken?.path).toBe("/invoices?key=secret-in-the-query");
    expect(taken?.headers).toMatchObject({
      "content-type": "application/json",
      "user-agent": "billhook",
      "webhook-id": ID,
      "idempotency-key": KEY,
    });
    expect(taken?.headers).not.toHaveProperty("webhook-signature");
    expect(JSON.parse(String(taken?.body))).toEqual(delivery(KEY).body);
  });

  test("has an id of its own, whatever the sinks are called", async () => {
    const other = await receiver();
    // Document 1 for `a`, the whole message for `1_a` and `1-a`, both for the second time too.
    const keys = ["1.a", "1_a", "1-a", "1.a~2", "1_a~2", "1-a~2", "1-a-2"].map((rest) => `${MESSAGE}.${rest}`);
    for (const key of keys) await sink(other.url).deliver(delivery(key), key, never);
    const ids = other.taken.map(({ headers }) => String(headers["webhook-id"]));
    expect(new Set(ids).size).toBe(keys.length);
    expect(ids.join()).not.toContain(".");
  });

  test("is signed with both secrets while they are changed, with the same id and the time of each try", async () => {
    const other = await receiver();
    const times = [new Date("2026-03-02T10:00:00.900Z"), new Date("2026-03-05T13:00:00Z")];
    other.behave("answers 500");
    for (const time of times) {
      await thrownBy(sink(other.url, { secrets: [SECRET, OLD_SECRET] }, {}, () => time).deliver(delivery(KEY), KEY, never));
      other.behave("takes it");
    }
    await sink(other.url, { secrets: [SECRET, OLD_SECRET] }, {}, () => times[1] ?? new Date(0)).deliver(delivery(KEY), KEY, never);
    expect(other.asked.map((headers) => [headers["webhook-id"], headers["webhook-timestamp"]])).toEqual([
      [ID, "1772445600"],
      [ID, "1772715600"],
      [ID, "1772715600"],
    ]);
    const [taken] = other.taken;
    const theirs = [SECRET, OLD_SECRET].map((secret) => new Webhook(secret).sign(ID, times[1] ?? new Date(0), taken?.body ?? ""));
    expect(taken?.headers["webhook-signature"]).toBe(theirs.join(" "));
  });

  test("says who we are, by a token or by user and password", async () => {
    const other = await receiver();
    await sink(other.url, { auth: { bearer: TOKEN } }).deliver(delivery(KEY), KEY, never);
    await sink(other.url, { auth: { basic: { user: "ap", password: "grün:x" } } }).deliver(delivery(KEY), KEY, never);
    const said = other.taken.map(({ headers }) => String(headers.authorization));
    expect(said).toEqual([`Bearer ${TOKEN}`, `Basic ${Buffer.from("ap:grün:x").toString("base64")}`]);
  });

  test("as a form has the JSON first and then the files, byte for byte, of exactly the length it announces, signed as it is", async () => {
    const other = await receiver({ secrets: [SECRET] });
    const bytes = randomBytes(3_000_000);
    const attachments = [piece("2", "Größe 請求書.pdf", bytes), piece("3.1", "leer.xml", "")];
    const given = deliveryOfMessage(KEY, [{ attachments, subject: "größer" }]);
    const options = { format: "multipart", attachments: true, raw: true, secrets: [SECRET] } as const;
    await sink(other.url, options).deliver(given, KEY, never);
    const [taken] = other.taken;
    expect(taken?.headers["content-length"]).toBe(String(taken?.body.length));
    const form = taken === undefined ? [] : await formIn(taken);
    const fields = await Promise.all(
      form.map(async ([name, value]) =>
        typeof value === "string"
          ? [name, JSON.parse(value)]
          : [name, value.name, value.type, Buffer.from(await value.arrayBuffer()).toString("base64")],
      ),
    );
    expect(fields[0]).toEqual(["delivery", given.body]);
    expect(fields.slice(1).map((field) => field.slice(0, 3))).toEqual([
      ["part-2", "Größe 請求書.pdf", "application/pdf"],
      ["part-3.1", "leer.xml", "application/pdf"],
      ["raw", `${MESSAGE.slice(0, 16)}.eml`, "message/rfc822"],
    ]);
    expect(fields[1]?.[3]).toBe(bytes.toString("base64"));
    expect(fields[3]?.[3]).toBe(Buffer.from("raw").toString("base64"));
  });

  test("reads an attachment while it is sent: a receiver that does not read is not read for", async () => {
    const other = await receiver();
    other.behave("never reads");
    let read = 0;
    const endless = {
      ...piece("2", "a.pdf", ""),
      size: 1e9,
      open: async function* () {
        for (; read < 1e9; read += 65_536) yield Buffer.alloc(65_536);
      },
    };
    const attempt = sink(other.url, { format: "multipart", attachments: true }, { timeoutMs: 500 });
    const fault = await thrownBy(attempt.deliver(delivery(KEY, { attachments: [endless] }), KEY, never));
    expect(fault).toMatchObject({ code: "http.interrupted", temporary: true });
    expect(read).toBeLessThan(32 * 1024 * 1024);
  });
});

describe("an answer", () => {
  test.each([
    ["answers 429", 120],
    ["answers 503", 600],
  ] as const)("%s: not before Retry-After", async (way, seconds) => {
    const other = await receiver();
    other.behave(way);
    const now = new Date("2026-03-02T10:00:00Z");
    const fault = await thrownBy(sink(other.url, {}, {}, () => now).deliver(delivery(KEY), KEY, never));
    expect(fault).toMatchObject({ temporary: true, retryAt: new Date(now.getTime() + seconds * 1_000) });
  });

  test.each(["answers 429", "answers 503"] as const)("%s: until then nothing is sent for the others either", async (way) => {
    const other = await receiver();
    const seconds = way === "answers 429" ? 120 : 600;
    const start = Date.parse("2026-03-02T10:00:00Z");
    let now = start;
    const client = sink(other.url, {}, {}, () => new Date(now));
    other.behave(way);
    await thrownBy(client.deliver(delivery(KEY), KEY, never));
    other.behave("takes it");
    for (const passed of [0, 1, seconds * 1_000 - 1]) {
      now = start + passed;
      const retryAt = new Date(start + seconds * 1_000);
      const message = `sink erp: POST http://127.0.0.1:${other.port} asked not to be called before ${retryAt.toISOString()}`;
      const fault = await thrownBy(client.deliver(delivery(`${MESSAGE}.2.erp`), `${MESSAGE}.2.erp`, never));
      expect(fault).toMatchObject({ code: "http.rate-limited", temporary: true, blameless: true, halts: false, retryAt, message });
    }
    expect(other.asked).toHaveLength(1);
    now = start + seconds * 1_000;
    await client.deliver(delivery(KEY), KEY, never);
    expect(other.taken).toHaveLength(1);
  });

  test.each(["answers 500", "answers 408", "answers 422"] as const)("%s concerns the one delivery only", async (way) => {
    const other = await receiver();
    const client = sink(other.url);
    other.behave(way);
    await thrownBy(client.deliver(delivery(KEY), KEY, never));
    other.behave("takes it");
    await client.deliver(delivery(KEY), KEY, never);
    expect(other.taken).toHaveLength(1);
  });

  test.each(["takes it and answers half", "takes it and answers without end, slowly"] as const)("%s: delivered", async (way) => {
    const other = await receiver();
    other.behave(way);
    const receipt = await sink(other.url, { id: "id" }, { timeoutMs: 500 }).deliver(delivery(KEY), KEY, never);
    expect(receipt).toEqual({ status: 200, id: null, body: expect.stringMatching(/^(\{|\.+)$/) });
  });

  test("a redirect is not followed, and is told by origin", async () => {
    const other = await receiver();
    other.behave("answers 301");
    const fault = await thrownBy(sink(other.url).deliver(delivery(KEY), KEY, never));
    const leads = "answered 301 and leads to https://elsewhere.example; redirects are not followed";
    expect(fault).toMatchObject({ message: `sink erp: POST http://127.0.0.1:${other.port} ${leads}` });
    expect(JSON.stringify(fault)).not.toContain(LOCATION_SECRET);
    other.behave("answers 302 to nowhere");
    expect(await thrownBy(sink(other.url).deliver(delivery(KEY), KEY, never))).toMatchObject({
      message: expect.stringMatching(/answered 302; redirects are not followed$/),
    });
    expect(other.taken).toEqual([]);
  });

  test("of any length is a receipt of a kilobyte, on one line, without what steers a terminal", async () => {
    const answers = ["a\r\nb\x1b[2J\u202Ec\0\u2028d", Buffer.from([0xff, 0xfe, 0x80]), Buffer.alloc(20_000_000, "ü"), ""];
    const other = await receiver({ answer: () => ({ body: answers.shift() ?? "" }) });
    const client = sink(other.url, { id: "id" });
    const receipts = [];
    for (const _ of [...answers]) receipts.push(await client.deliver(delivery(KEY), KEY, never));
    expect(receipts.map(({ body }) => body)).toEqual(["a b [2J c d", "\uFFFD\uFFFD\uFFFD", "ü".repeat(1_024), null]);
    expect(receipts.every(({ status, id }) => status === 202 && id === null)).toBe(true);
  });

  test.each([
    ["id", '{"id":4711}', "4711"],
    ["data.invoices.0.id", '{"data":{"invoices":[{"id":"a\\nb"}]}}', "a b"],
    ["id", '{"id":{"of":"it"}}', null],
    ["__proto__", "{}", null],
    ["id.length", '{"id":"x"}', null],
    ["id", "not json", null],
    ["id", "null", null],
    ["id", `{"id":"${"x".repeat(300)}"}`, "x".repeat(200)],
  ])("its field %s of %s is the receipt's id", async (id, body, expected) => {
    const other = await receiver({ answer: () => ({ body }) });
    expect(await sink(other.url, { id }).deliver(delivery(KEY), KEY, never)).toMatchObject({ id: expected });
  });

  test("that repeats our request brings no secret into the receipt", async () => {
    const other = await receiver({ answer: ({ headers }) => ({ body: JSON.stringify({ id: headers.authorization, headers }) }) });
    const basic = { user: "ap", password: "pass-that-nobody-may-see" };
    for (const auth of [{ bearer: TOKEN }, { basic }]) {
      const headers = { "X-Api-Key": "key-that-nobody-may-see" };
      const receipt = await sink(other.url, { auth, headers, id: "id" }).deliver(delivery(KEY), KEY, never);
      expect(JSON.stringify(receipt)).not.toMatch(/nobody-may-see/);
      expect(JSON.stringify(receipt)).not.toContain(Buffer.from("ap:pass-that").toString("base64").slice(0, 12));
      expect(receipt.id).toMatch(/ \*\*\*$/);
    }
  });
});

describe("a URL that is a secret", () => {
  const TEAM = "T0-team-that-nobody-may-see";
  const CODE = "code+that/nobody may see";
  const secretUrl = (port: number) =>
    `http://127.0.0.1:${port}/services/${TEAM}?v=1&code=${encodeURIComponent(CODE)}&long=code-nobody-may-see&longer=code-nobody-may-see-either`;

  test("is in no receipt, as it is written or as it is read; words and short values stay", async () => {
    const said = (path: string) => {
      const query = Object.fromEntries(new URL(path, "http://x").searchParams);
      return JSON.stringify({ id: `INV-1/${query.code}`, path, query });
    };
    const other = await receiver({ answer: ({ path }) => ({ body: said(path) }) });
    const receipt = await sink(secretUrl(other.port), { id: "id" }).deliver(delivery(KEY), KEY, never);
    expect(receipt.id).toBe("INV-1/***");
    expect(receipt.body).toContain('"path":"/services/***?v=1&code=***&long=***&longer=***"');
    expect(JSON.stringify(receipt)).not.toMatch(/nobody|either/);
  });

  test("is not in the end of an answer that broke off in the middle of it", async () => {
    const other = await startScriptedHttp((_, response) => {
      const begun = `{"path":"/services/${TEAM.slice(0, -1)}`;
      response.writeHead(200, { "content-length": "1000" }).write(begun, () => response.destroy());
    });
    onTestFinished(other.stop);
    const receipt = await sink(`${other.url}/services/${TEAM}`).deliver(delivery(KEY), KEY, never);
    expect(receipt.body).toBe('{"path":"/services/***');
  });

  test("is in no fault and in no destination", async () => {
    const other = await receiver();
    const origin = `http://127.0.0.1:${other.port}`;
    expect(sink(secretUrl(other.port)).destination(delivery(KEY))).toBe(`POST ${origin}`);
    for (const way of ["answers 422", "answers 410", "answers 429", "answers 500", "takes it and hangs up"] as const) {
      const client = sink(secretUrl(other.port));
      other.behave(way);
      for (const _ of [1, 2]) {
        const fault = await thrownBy(client.deliver(delivery(KEY), KEY, never));
        expect(String(fault)).toContain(`POST ${origin}`);
        expect(JSON.stringify([String(fault), fault])).not.toMatch(/services|nobody/);
      }
    }
    const back = await receiver({ answer: () => ({ status: 307, body: "" }) });
    expect(String(await thrownBy(sink(secretUrl(back.port)).deliver(delivery(KEY), KEY, never)))).not.toMatch(/services|nobody/);
  });
});

describe("templates", () => {
  const invoices = [{ number: "RE-1" }, { number: "RE-2" }];

  test("make header fields and the body", async () => {
    const other = await receiver();
    const headers = {
      "X-Company": "4711",
      "X-Invoice": "no {{ invoices[0].invoice.number }} of {{ $count(invoices) }}",
      "X-All": "{{ invoices.invoice.number }}",
      "X-None": "{{ nothing.here }}",
      "Content-Type": "application/vnd.erp+json",
    };
    const body = '{ "nr": invoices.invoice.number, "of": $data.message.subject }';
    await sink(other.url, { headers, body }).deliver(delivery(KEY, { invoices }), KEY, never);
    const [taken] = other.taken;
    expect(taken?.headers).toMatchObject({
      "x-company": "4711",
      "x-invoice": "no RE-1 of 2",
      "x-all": "RE-1, RE-2",
      "content-type": "application/vnd.erp+json",
    });
    expect(taken?.headers).not.toHaveProperty("x-none");
    expect(JSON.parse(String(taken?.body))).toEqual({ nr: ["RE-1", "RE-2"], of: "Rechnung" });
  });

  test.each([
    ["header X-Bad of sink erp fails on this delivery", { headers: { "X-Good": "{{ 1 }}", "X-Bad": "{{ $number(message.subject) }}" } }],
    ["header X-Bad of sink erp gives an object where a text is needed", { headers: { "X-Bad": "{{ message }}" } }],
    ["body of sink erp fails on this delivery", { body: "$error('strictly ' & message.subject)" }],
    ["body of sink erp gives nothing on this delivery", { body: "nothing.here" }],
  ])("%s: permanent, and nothing is sent", async (message, options) => {
    const other = await receiver();
    const fault = await thrownBy(sink(other.url, options).deliver(delivery(KEY), KEY, never));
    expect(fault).toMatchObject({ code: "http.template", temporary: false, message });
    expect(other.asked).toEqual([]);
  });

  const OURS = "webhook-id webhook-timestamp idempotency-key content-type content-length host connection user-agent".split(" ");
  const lineOf = (value: string) => `<${value.toWellFormed().replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, " ")}>`;
  const read = (field: string, value: string) => (/^[ -~]*$/.test(lineOf(value)) ? field : decodeURIComponent(field));

  test.each(hostile.filter(([, value]) => !value.includes("{{")))(
    "%s stays in its header field: one line of ASCII from which the text can be read again",
    async (_, value) => {
      const other = await receiver();
      await sink(other.url, { headers: { "X-Subject": `<${value}>` } }).deliver(delivery(KEY), KEY, never);
      const { "x-subject": field = "", ...rest } = other.taken[0]?.headers ?? {};
      expect(Object.keys(rest).toSorted()).toEqual(OURS.toSorted());
      expect(field).toMatch(/^[ -~]{2,8000}$/);
      if (value.length < 200) expect(read(String(field), value)).toBe(lineOf(value));
    },
  );

  test("and so does what comes by way of a template, which is not taken for one", async () => {
    const other = await receiver();
    const client = sink(other.url, { headers: { "X-Subject": "<{{ message.subject }}>" } });
    for (const value of ["Rechnung\r\nX-Injected: yes", "a\uD800b", "Größe 100 %", "{{ data.total }}", "x".repeat(2_000)]) {
      await client.deliver(delivery(KEY, { subject: value }), KEY, never);
      const { "x-subject": field = "", ...rest } = other.taken.at(-1)?.headers ?? {};
      expect(Object.keys(rest).toSorted()).toEqual(OURS.toSorted());
      expect(read(String(field), value)).toBe(lineOf(value.slice(0, 1_000)));
    }
  });
});

describe("a sink that cannot work is refused at once, without telling a secret", () => {
  const secret = "nobody-may-see-this";
  test.each<[string, Partial<HttpSinkOptions>]>([
    ["config.url", { url: "invoices" }],
    ["config.url", { url: "ftp://erp.example/" }],
    ["config.url", { url: `https://user:${secret}@erp.example/` }],
    ["config.header", { headers: { "X Y": "1" } }],
    ["config.header", { headers: { "X-Y:": "1" } }],
    ["config.header", { headers: { "X\r\nY": "1" } }],
    ["config.header", { headers: { "": "1" } }],
    ["config.header", { headers: { Über: "1" } }],
    ["config.header", { headers: { Host: "1" } }],
    ["config.header", { headers: { "Transfer-Encoding": "chunked" } }],
    ["config.header", { headers: { "Webhook-Id": "1" } }],
    ["config.header", { headers: { "X-A": "1", "x-a": "2" } }],
    ["config.header", { headers: { Authorization: secret }, auth: { bearer: secret } }],
    ["config.header", { headers: { "Content-Type": "text/plain" }, format: "multipart" }],
    ["config.auth", { auth: { bearer: `${secret}\r\nX-Injected: yes` } }],
    ["config.auth", { auth: { bearer: "" } }],
    ["config.auth", { auth: { basic: { user: "a:b", password: secret } } }],
    ["config.auth", { auth: { basic: { user: "a", password: `${secret}\n` } } }],
    ["config.secret", { secrets: [SECRET, secret] }],
    ["config.secret", { secrets: ["whsec_"] }],
    ["config.secret", { secrets: [`whsec_${Buffer.alloc(23).toString("base64")}`] }],
    ["config.secret", { secrets: [`whsec_${"?".repeat(44)}`] }],
    ["config.template", { headers: { "X-A": "{{ 1 + }}" } }],
    ["config.template", { body: "{" }],
  ])("%s", async (code, options) => {
    const fault = await thrownBy((async () => sink("https://erp.example/", options))());
    expect(fault).toMatchObject({ code, temporary: false });
    expect(JSON.stringify([fault, String(fault)])).not.toContain(secret);
    expect(String(fault)).not.toMatch(/[\r\n]/);
  });
});

test("where a delivery goes is said without path, query and secrets; knocking connects and sends nothing", async () => {
  const other = await receiver();
  const client = sink(other.url, { auth: { bearer: TOKEN } });
  expect(client.destination(delivery(KEY))).toBe(`POST http://127.0.0.1:${other.port}`);
  expect((await client.probe(never)).said).toContain(`http://127.0.0.1:${other.port} can be reached`);
  expect(other.connections()).toBe(1);
  expect(other.asked).toEqual([]);
});
