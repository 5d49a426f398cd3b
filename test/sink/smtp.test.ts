/** The smtp sink against a submission server: how it logs in, what it does when that fails, and how many answers it gives. */
import { setImmediate } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, onTestFinished, test } from "vitest";
import { type Clock, systemClock } from "../../src/base/clock.ts";
import { Fault } from "../../src/base/errors.ts";
import type { Facts } from "../../src/message/message.ts";
import type { Delivery, Sink } from "../../src/sink/sink.ts";
import { createLimit } from "../../src/sink/smtp/limit.ts";
import type { SmtpSinkOptions } from "../../src/sink/smtp.ts";
import { json, startScriptedHttp } from "../servers/scripted-http.ts";
import { type SmtpServer, type SmtpServerOptions, startSmtp } from "../servers/smtp.ts";
import { delivery, MESSAGE, piece } from "./deliveries.ts";
import { hostile } from "./hostile.ts";
import { mailOf, smtpSink, straysOf } from "./smtp-side.ts";

const never = new AbortController().signal;
const keyOf = (n: number) => `${MESSAGE}.${n}.reply`;

async function started(options: SmtpServerOptions = {}): Promise<SmtpServer> {
  const server = await startSmtp(options);
  onTestFinished(server.stop);
  return server;
}

const from = (address: string, facts: Partial<Facts> = {}): { readonly facts: Partial<Facts> } => ({
  facts: { from: [{ name: "", address }], ...facts },
});
const answerable = (n = 1): Delivery => delivery(keyOf(n), from("anna@seilerei.example"));
const faultOf = (attempt: Promise<unknown>): Promise<unknown> =>
  attempt.then(
    () => null,
    (thrown: unknown) => thrown,
  );
const send = (sink: Sink, n = 1) => sink.deliver(answerable(n), keyOf(n), never);

describe("the way in", () => {
  test.each(["implicit", "starttls"] as const)("by tls: %s and password; encrypted, as the user, to the sender alone", async (tls) => {
    const server = await started({ tls });
    const sink = smtpSink(server, { tls });
    const receipt = await send(sink);
    const [taken] = server.taken;
    expect(taken).toMatchObject({ from: "invoices@example.com", to: ["anna@seilerei.example"], encrypted: true, user: server.user });
    expect(taken === undefined ? [] : await straysOf(taken)).toEqual([]);
    const mail = taken && (await mailOf(taken));
    expect(receipt).toEqual({ to: "anna@seilerei.example", messageId: mail?.messageId, response: "250 2.0.0 Ok: queued for …" });
    expect(mail?.inReplyTo).toBe("<1@seilerei.example>");
    expect(await sink.probe(never)).toEqual({ said: `127.0.0.1:${server.port} lets us in` });
    expect(server.taken).toHaveLength(1);
  });

  test("without encryption and without login, where that is asked for", async () => {
    const server = await started({ tls: "none", login: false });
    const sink = smtpSink(server, { tls: "none", user: null, password: null });
    await send(sink);
    expect(server.taken).toMatchObject([{ encrypted: false, user: null }]);
    expect(await sink.probe(never)).toEqual({ said: `127.0.0.1:${server.port} answers` });
  });

  test("starttls is no wish: a server without it gets neither password nor mail", async () => {
    const server = await started({ tls: "none" });
    const sink = smtpSink(server, { tls: "starttls" });
    expect(await faultOf(send(sink))).toMatchObject({ code: "smtp.tls", temporary: true, halts: false });
    expect(await faultOf(sink.probe(never))).toMatchObject({ code: "smtp.tls" });
    expect([server.logins(), server.taken.length]).toEqual([0, 0]);
  });

  test.each(["implicit", "starttls"] as const)("a certificate nobody vouches for ends tls: %s before the password", async (tls) => {
    const server = await started({ tls });
    expect(await faultOf(send(smtpSink(server, { tls, ca: null })))).toMatchObject({
      code: "smtp.tls",
      message: expect.stringContaining("DEPTH_ZERO_SELF_SIGNED_CERT"),
    });
    expect(server.logins()).toBe(0);
  });

  test("tls of the wrong kind, nobody there, no such host", async () => {
    const server = await started({ tls: "starttls" });
    expect(await faultOf(send(smtpSink(server, { tls: "implicit" })))).toMatchObject({ code: "smtp.tls", temporary: true });
    const gone = await startSmtp();
    await gone.stop();
    expect(await faultOf(send(smtpSink(gone)))).toMatchObject({
      code: "smtp.connect",
      message: expect.stringContaining("nothing listens there"),
    });
    expect(await faultOf(send(smtpSink(server, { host: "mail.invalid" })))).toMatchObject({ code: "smtp.connect", temporary: true });
  });

  test("a wrong password halts the sink, and is not told", async () => {
    const server = await started();
    const sink = smtpSink(server, { password: "wrong-Secret-7" });
    for (const thrown of [await faultOf(send(sink)), await faultOf(sink.probe(never))]) {
      expect(thrown).toMatchObject({ code: "smtp.login", temporary: true, halts: true });
      expect(told(thrown)).not.toMatch(/wrong-Secret-7|d3JvbmctU2VjcmV0LTc/);
    }
    expect(server.taken).toEqual([]);
  });

  test("a server that offers no login although there is one to give", async () => {
    const server = await started({ login: false });
    expect(await faultOf(send(smtpSink(server)))).toMatchObject({
      code: "smtp.login",
      halts: true,
      message: expect.stringContaining("offers no login"),
    });
    expect(server.taken).toEqual([]);
  });

  test("a server that wants a login and gets none", async () => {
    const server = await started();
    expect(await faultOf(send(smtpSink(server, { user: null, password: null })))).toMatchObject({ code: "smtp.login", halts: true });
  });
});

describe("OAuth2", () => {
  const oauth2 = { clientId: "billhook", clientSecret: "client-Secret-1", refreshToken: "refresh-Token-1" };

  async function tokens(answer: (nth: number) => readonly [number, unknown]) {
    const server = await startScriptedHttp((_asked, response, nth) => json(response, ...answer(nth)));
    onTestFinished(server.stop);
    return server;
  }
  const withTokens = (server: SmtpServer, tokenUrl: string) => smtpSink(server, { password: null, oauth2: { ...oauth2, tokenUrl } });

  test("a token is fetched once, and renewed when the server refuses it", async () => {
    const server = await started({ tokens: ["second"] });
    const issuer = await tokens((nth) => [200, { access_token: nth === 0 ? "first" : "second", expires_in: 3_600, token_type: "Bearer" }]);
    const sink = withTokens(server, `${issuer.url}/token`);
    await send(sink, 1);
    await send(sink, 2);
    expect(server.taken).toHaveLength(2);
    expect(issuer.asked).toHaveLength(2);
    expect(Object.fromEntries(new URLSearchParams(issuer.asked[0]?.body.toString()))).toEqual({
      client_id: "billhook",
      client_secret: "client-Secret-1",
      refresh_token: "refresh-Token-1",
      grant_type: "refresh_token",
    });
    expect(await sink.probe(never)).toEqual({ said: expect.stringContaining("lets us in") });
  });

  test.each<readonly [string, readonly [number, unknown], object]>([
    [
      "the grant is gone",
      [400, { error: "invalid_grant", error_description: "refresh-Token-1 is expired" }],
      { code: "smtp.token", halts: true },
    ],
    ["the client is unknown", [401, { error: "invalid_client" }], { code: "smtp.token", halts: true }],
    ["the issuer has trouble", [503, { error: "temporarily_unavailable" }], { code: "smtp.token", halts: false, temporary: true }],
    ["the issuer talks nonsense", [200, []], { code: "smtp.token", halts: false, temporary: true }],
    ["the token is worth nothing", [200, { access_token: "worthless-Token" }], { code: "smtp.login", halts: true }],
  ])("%s", async (_, answer, expected) => {
    const server = await started({ tokens: ["right"] });
    const issuer = await tokens(() => answer);
    const thrown = await faultOf(send(withTokens(server, issuer.url)));
    expect(thrown).toMatchObject(expected);
    expect(told(thrown)).not.toMatch(/Secret-1|Token-1|worthless/);
    expect(server.taken).toEqual([]);
  });

  test("an issuer that is not there", async () => {
    const server = await started({ tokens: ["right"] });
    const issuer = await startScriptedHttp(() => {});
    await issuer.stop();
    expect(await faultOf(send(withTokens(server, issuer.url)))).toMatchObject({ code: "smtp.token", temporary: true, halts: false });
  });
});

describe("a server that lets us down", () => {
  test.each(["greeting", "login", "MAIL FROM", "RCPT TO", "dot"] as const)("silence at %s ends after the timeout", async (step) => {
    const server = await started();
    server.answer(step, "silence");
    const begun = performance.now();
    const thrown = await faultOf(send(smtpSink(server, { timeoutMs: 400 })));
    expect(thrown).toMatchObject({
      code: step === "dot" ? "smtp.lost" : "smtp.connect",
      temporary: true,
      message: expect.stringContaining("no answer in time"),
    });
    // Long before the whole conversation is too long.
    expect(performance.now() - begun).toBeLessThan(3_000);
    server.answer(step, null);
    await send(smtpSink(server));
    const ids = await Promise.all(server.taken.map(async (taken) => (await mailOf(taken)).messageId));
    expect(new Set(ids).size).toBe(1);
    expect(ids).toHaveLength(step === "dot" ? 2 : 1);
  });

  test.each(["greeting", "login", "MAIL FROM", "RCPT TO", "dot"] as const)(
    "aborted while it is silent at %s, it ends at once and hangs up",
    async (step) => {
      const server = await started();
      server.answer(step, "silence");
      const stop = new AbortController();
      const reached = server.reached(step);
      const attempt = faultOf(smtpSink(server).deliver(answerable(), keyOf(1), stop.signal));
      await reached;
      const reason = new Error("stopped");
      stop.abort(reason);
      expect(await attempt).toBe(reason);
      while (server.open() > 0) await setImmediate();
    },
  );

  test("aborted while it knocks", async () => {
    const server = await started();
    server.answer("login", "silence");
    const stop = new AbortController();
    const reached = server.reached("login");
    const attempt = faultOf(smtpSink(server).probe(stop.signal));
    await reached;
    const reason = new Error("stopped");
    stop.abort(reason);
    expect(await attempt).toBe(reason);
    while (server.open() > 0) await setImmediate();
  });

  test("what the server says is told as one line, without addresses and secrets", async () => {
    const server = await started();
    server.answer("RCPT TO", 550);
    const thrown = await faultOf(send(smtpSink(server)));
    expect(told(thrown)).toContain("550 5.7.1 No");
    expect(told(thrown)).not.toMatch(/@|smtp-Pass-1|\n/);
  });
});

describe("fixed addresses", () => {
  const to = ["books@buyer.example", "archive@buyer.example"];

  test("all of them in one mail, for a mail from anybody", async () => {
    const server = await started();
    const sink = smtpSink(server, { to });
    const given = delivery(keyOf(1), from("robot@evil.example", { autoSubmitted: "auto-generated" }));
    expect(sink.destination(given)).toBe("a mail to books@buyer.example, archive@buyer.example");
    expect(await sink.deliver(given, keyOf(1), never)).toMatchObject({ to: to.join(", ") });
    expect(server.taken).toMatchObject([{ to }]);
  });

  test("one put off: the others do not get it twice; one unknown: the receipt says so", async () => {
    const server = await started();
    const sink = smtpSink(server, { to });
    server.answer("RCPT TO", (address) => (address.startsWith("books") ? 450 : null));
    expect(await faultOf(send(sink))).toMatchObject({ code: "smtp.deferred", temporary: true });
    expect(await faultOf(send(sink))).toMatchObject({ code: "smtp.deferred", temporary: true });
    server.answer("RCPT TO", null);
    expect(await send(sink)).toMatchObject({ to: to.join(", ") });
    expect(server.taken.map((taken) => taken.to)).toEqual([["archive@buyer.example"], ["books@buyer.example"]]);
    server.answer("RCPT TO", (address) => (address.startsWith("books") ? 550 : null));
    expect(await send(sink, 2)).toMatchObject({ refused: "books@buyer.example" });
  });
});

describe("answers to one address", () => {
  /** A clock that stands still unless it is moved. */
  function clockAt(iso: string): Clock & { readonly move: (milliseconds: number) => void } {
    let now = Date.parse(iso);
    const move = (milliseconds: number) => {
      now += milliseconds;
    };
    return { ...systemClock, now: () => new Date(now), move };
  }
  const isNever = () => false;
  const over = { skipped: "3 answers have gone to this address within an hour" };

  test("what is over the limit is skipped, not sent later; after an hour the next ones are sent", async () => {
    const server = await started();
    const clock = clockAt("2026-03-02T12:00:00Z");
    const sink = smtpSink(server, { perHour: 3 }, async () => 0, clock);
    const receipts = await Promise.all([1, 2, 3, 4, 5].map((n) => send(sink, n)));
    expect(receipts.filter((receipt) => "skipped" in receipt)).toEqual([over, over]);
    expect(server.taken).toHaveLength(3);
    const other = delivery(keyOf(6), from("bert@seilerei.example"));
    expect(await sink.deliver(other, keyOf(6), never)).not.toHaveProperty("skipped");
    const shouting = delivery(keyOf(7), from("ANNA@Seilerei.Example"));
    expect(await sink.deliver(shouting, keyOf(7), never)).toEqual(over);
    clock.move(3_600_001);
    expect(await send(sink, 8)).not.toHaveProperty("skipped");
  });

  test("those of earlier lives count as long as they are of the last hour", async () => {
    const server = await started();
    const clock = clockAt("2026-03-02T12:00:00Z");
    const earlier = [-50, -40].map((minutes) => clock.now().getTime() + minutes * 60_000);
    const saved: number[] = [...earlier];
    const sentTo = async (address: string, since: Date) => {
      expect(address).toBe("anna@seilerei.example");
      return saved.filter((at) => at >= since.getTime()).length;
    };
    const sink = smtpSink(server, { perHour: 3 }, sentTo, clock);
    expect(await send(sink, 1)).not.toHaveProperty("skipped");
    expect(await send(sink, 2)).toEqual(over);
    // The first receipt is saved now: it must not count twice.
    saved.push(clock.now().getTime());
    clock.move(11 * 60_000);
    expect(await send(sink, 3)).not.toHaveProperty("skipped");
    expect(await send(sink, 4)).toEqual(over);
  });

  test("a try that failed takes no place, one whose answer was lost does, and its repetition is the same answer", async () => {
    const server = await started();
    const sink = smtpSink(server, { perHour: 1, timeoutMs: 400 });
    server.answer("dot", 451);
    expect(await faultOf(send(sink, 1))).toMatchObject({ code: "smtp.deferred" });
    server.answer("dot", "cut");
    expect(await faultOf(send(sink, 2))).toMatchObject({ code: "smtp.lost" });
    server.answer("dot", null);
    expect(await send(sink, 1)).toHaveProperty("skipped");
    expect(await send(sink, 2)).toHaveProperty("messageId");
  });

  test("an address that is never written to again is forgotten after an hour", async () => {
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    const clock = clockAt("2026-03-02T12:00:00Z");
    const given: WeakRef<Date>[] = [];
    const now = () => {
      const date = clock.now();
      given.push(new WeakRef(date));
      return date;
    };
    const within = createLimit({ perHour: 1, sentTo: async () => 0 }, "reply", { ...clock, now });
    const send = (n: number) => within(`${n}@seilerei.example`, keyOf(n), async () => n, isNever);
    for (let n = 0; n < 1_000; n += 1) await send(n);
    collect();
    const remembered = () => given.filter((date) => date.deref() !== undefined).length;
    expect(remembered()).toBeGreaterThan(999);
    clock.move(3_600_001);
    await send(1_000);
    await setImmediate();
    collect();
    expect(remembered()).toBeLessThan(10);
    expect(await send(1_000)).toBe(1_000);
    expect(await within("1000@seilerei.example", keyOf(1), async () => 1, isNever)).toBeNull();
  });

  test("aborted while it waits for its turn, it ends at once", async () => {
    const server = await started();
    server.answer("dot", "silence");
    const sink = smtpSink(server);
    const stop = new AbortController();
    const reached = server.reached("dot");
    const [first, second] = [new AbortController(), stop];
    const inHand = faultOf(sink.deliver(answerable(1), keyOf(1), first.signal));
    const waiting = faultOf(sink.deliver(answerable(2), keyOf(2), second.signal));
    await reached;
    stop.abort(new Error("stopped"));
    expect(await waiting).toBe(stop.signal.reason);
    first.abort();
    await inHand;
    expect(server.taken).toHaveLength(1);
  });
});

test("who may not be answered is not, and the receipt and the destination say why", async () => {
  const server = await started();
  const sink = smtpSink(server);
  const given = delivery(keyOf(1), from("anna@seilerei.example", { list: "<news.seilerei.example>" }));
  expect(sink.destination(given)).toBe("no answer: the mail came through a list");
  expect(await sink.deliver(given, keyOf(1), never)).toEqual({ skipped: "the mail came through a list" });
  expect(sink.destination(answerable())).toBe("a mail to anna@seilerei.example in reply");
  expect([server.logins(), server.taken.length]).toEqual([0, 0]);
});

test("hostile senders get one mail at their own address or none", async () => {
  const server = await started();
  const sink = smtpSink(server, { perHour: 1_000 });
  for (const [n, [what, value]] of hostile.entries()) {
    for (const address of [`${value}@seilerei.example`, `anna@seilerei.example${value}`]) {
      const facts = from(address, { replyTo: [{ name: value, address }], messageId: value, references: [value] });
      const before = server.taken.length;
      const receipt = await sink.deliver(delivery(keyOf(n), { subject: value, ...facts }), keyOf(n), never);
      if (!("skipped" in receipt))
        expect(
          server.taken.slice(before).map(({ to }) => to.length),
          what,
        ).toEqual([1]);
    }
  }
  expect((await Promise.all(server.taken.map(straysOf))).flat()).toEqual([]);
});

test("what cannot be read from the spool is that fault, not the server's", async () => {
  const server = await started();
  const lost = new Fault("spool.missing", "not there any more", { temporary: false });
  const broken = {
    ...piece("2", "a.pdf", Buffer.alloc(300_000)),
    open: async function* (): AsyncGenerator<Uint8Array> {
      yield Buffer.alloc(100_000);
      throw lost;
    },
  };
  const given = delivery(keyOf(1), { ...from("anna@seilerei.example"), attachments: [broken] });
  const attach = { json: false, csv: false, originals: true };
  expect(await faultOf(smtpSink(server, { attach }).deliver(given, keyOf(1), never))).toMatchObject({
    code: "spool.missing",
    temporary: false,
  });
  expect(lost.code).toBe("spool.missing");
  expect(server.taken).toEqual([]);
});

test.each<readonly [string, Partial<SmtpSinkOptions>]>([
  ["from is no address", { from: "Invoices" }],
  ["from is two", { from: "a@example.com, b@example.com" }],
  ["one of to is none", { to: ["a@example.com", "b"] }],
])("said at once: %s", async (_, options) => {
  const server = await started();
  expect(() => smtpSink(server, options)).toThrow(expect.objectContaining({ code: "config.smtp-address", temporary: false }));
});

function told(thrown: unknown): string {
  if (!(thrown instanceof Fault)) throw new Error("no fault");
  return `${thrown.message} ${thrown.advice}`;
}
