/** Doors that do not open, and why they say so: wrong password, wrong folder, certificates, STARTTLS. */
import { once } from "node:events";
import { createServer } from "node:net";
import { inspect } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Fault } from "../../src/base/errors.ts";
import { silent } from "../../src/base/logger.ts";
import { createImapSource, type ImapOptions } from "../../src/source/imap.ts";
import { type Dovecot, requireDovecot, startDovecot } from "../servers/dovecot.ts";
import { type Hoodiecrow, startHoodiecrow } from "../servers/hoodiecrow.ts";
import { startProxy } from "../servers/proxy.ts";
import { fastClock, listening, look, mail, optionsFor, watch } from "./watching.ts";

const missing = requireDovecot();

describe.skipIf(missing !== null)(`connecting to Dovecot ${missing ?? ""}`, () => {
  let dovecot: Dovecot;
  beforeAll(async () => {
    dovecot = await startDovecot();
  });
  afterAll(() => dovecot?.stop());

  const probe = (more: Partial<ImapOptions>) =>
    createImapSource(optionsFor(dovecot, more), { clock: fastClock, log: silent }).probe(new AbortController().signal);
  const refusal = (more: Partial<ImapOptions>): Promise<Fault> =>
    probe(more).then(
      ({ said }) => Promise.reject(new Error(`opened: ${said}`)),
      (fault) => fault,
    );

  test("implicit TLS and STARTTLS with the right CA", async () => {
    const { ca, tlsPort } = dovecot;
    expect((await probe({ tls: "implicit", port: tlsPort, ca })).said).toBe("login ok (implicit TLS), folder INBOX with 0 messages");
    expect((await probe({ tls: "starttls", ca })).said).toBe("login ok (STARTTLS), folder INBOX with 0 messages");
    expect((await probe({ tls: "starttls", ca, host: "localhost" })).said).toContain("login ok");
  });

  test("a certificate nobody vouches for is refused, by both ways of TLS, before the password is sent", async () => {
    const proxy = await startProxy(dovecot);
    const login = proxy.hears(/LOGIN|AUTHENTICATE/).then(() => "password sent");
    for (const more of [{ tls: "implicit", port: dovecot.tlsPort }, { tls: "starttls" }, { tls: "starttls", port: proxy.port }] as const) {
      const fault = await refusal(more);
      expect(fault).toMatchObject({ code: "imap.tls", temporary: true });
      expect(fault.message).toMatch(/self-signed certificate/);
      expect(fault.advice).toContain("CA");
    }
    expect(await Promise.race([login, proxy.stop().then(() => "no")])).toBe("no");
  });

  test("TLS to a port that speaks clear text is a TLS fault with advice", async () => {
    const fault = await refusal({ tls: "implicit" });
    expect(fault.code).toBe("imap.tls");
    expect(fault.advice).toContain("Check tls");
  });

  test("a wrong password: who, where, advice; the password nowhere", async () => {
    const fault = await refusal({ password: "wrong-Secret-9" });
    expect(fault.code).toBe("imap.login");
    expect(fault.message).toContain("does not let a…@example.com in");
    expect(fault.advice).toContain("password");
    expect(inspect(fault, { depth: 20, showHidden: true })).not.toContain("wrong-Secret-9");
  });

  test("a wrong folder is named", async () => {
    const fault = await refusal({ folder: "Rechnungen" });
    expect(fault).toMatchObject({ code: "imap.folder" });
    expect(fault.message).toContain("Could not open folder Rechnungen of a…@example.com");
    expect(fault.advice).toContain("no such folder");
  });

  test("a watch in trouble says so once, settles nothing, and does not ask again when poked after a wrong password", async () => {
    const proxy = await startProxy(dovecot);
    const { log, lines, heard } = listening();
    const options = optionsFor(
      { ...dovecot, port: proxy.port },
      {
        password: "wrong",
        afterwards: { done: { is: "seen" }, failed: { is: "none" } },
      },
    );
    // Back-offs last until the test is over.
    const sleep = (_: number, signal?: AbortSignal) =>
      new Promise<void>((resolve) => {
        signal?.addEventListener("abort", () => resolve(), { once: true });
      });
    const source = createImapSource(options, { clock: { ...fastClock, sleep }, log });
    const watcher = watch(source);
    const ended = watcher.sight().catch(() => "ended");
    await heard("mailbox.trouble");
    expect(source.freshness().trouble?.code).toBe("imap.login");
    for (let poke = 0; poke < 5; poke++) source.sweep();
    const origin = { mailbox: "invoices", uidValidity: "1", uid: 1 };
    await expect(source.settle(origin, "done", new AbortController().signal)).rejects.toMatchObject({ code: "imap.login" });
    expect(proxy.accepted()).toBe(1);
    expect(lines.map((line) => [line.level, line.name, line.fields.fault])).toEqual([["warn", "mailbox.trouble", "imap.login"]]);
    await source.close();
    expect(await ended).toBe("ended");
    await proxy.stop();
  });
});

describe("connecting to odd servers", () => {
  let crow: Hoodiecrow;
  beforeAll(async () => {
    crow = await startHoodiecrow();
  });
  afterAll(() => crow.stop());

  const attempt = (options: ImapOptions): Promise<Fault> =>
    createImapSource(options, { clock: fastClock, log: silent })
      .probe(new AbortController().signal)
      .then(
        ({ said }) => Promise.reject(new Error(`opened: ${said}`)),
        (fault) => fault,
      );

  test("STARTTLS demanded and not offered is a fault, not a login in clear text", async () => {
    const fault = await attempt(optionsFor(crow, { tls: "starttls" }));
    expect(fault.code).toBe("imap.tls");
    expect(fault.advice).toContain("tls: implicit");
  });

  test("a PREAUTH greeting does not get around STARTTLS", async () => {
    const server = createServer((socket) => {
      socket.on("error", () => {});
      socket.write("* PREAUTH [CAPABILITY IMAP4rev1] welcome\r\n");
      socket.on("data", (data) => {
        for (const line of data.toString().split("\r\n").filter(Boolean)) socket.write(`${line.split(" ")[0]} OK done\r\n`);
      });
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    expect((await attempt(optionsFor({ ...crow, port }, { tls: "starttls" }))).code).toBe("imap.tls");
    server.close();
  });

  test("nobody there, and a port that never greets", async () => {
    const proxy = await startProxy(crow);
    await proxy.stop();
    const nobody = await attempt(optionsFor({ ...crow, port: proxy.port }));
    expect(nobody).toMatchObject({ code: "imap.connect", temporary: true });
    expect(nobody.message).toContain("ECONNREFUSED");
    const mute = createServer((socket) => void socket.on("error", () => {})).listen(0, "127.0.0.1");
    await once(mute, "listening");
    const address = mute.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    expect((await attempt(optionsFor({ ...crow, port }, { connectTimeoutMs: 50 }))).code).toBe("imap.connect");
    mute.close();
  });

  test("a server that says when to come back is believed", async () => {
    const server = createServer((socket) => {
      socket.on("error", () => {});
      socket.end("* BYE Request is throttled. Suggested Backoff Time: 92415 milliseconds\r\n");
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const fault = await attempt(optionsFor({ ...crow, port }));
    expect(fault.code).toBe("imap.connect");
    expect((fault.retryAt?.getTime() ?? 0) - Date.now()).toBeGreaterThan(80_000);
    server.close();
  });

  test("a probe is stopped by its signal", async () => {
    const stopping = new AbortController();
    const probing = createImapSource(optionsFor(crow), { clock: fastClock, log: silent }).probe(stopping.signal);
    stopping.abort();
    await expect(probing).rejects.toMatchObject({ name: "Fault" });
  });

  test("a server without IDLE is swept when poked", async () => {
    const plain = await startHoodiecrow({ plugins: [] });
    await plain.append("INBOX", mail("one"));
    const source = createImapSource(optionsFor(plain), { clock: fastClock, log: silent });
    const watcher = watch(source);
    expect((await watcher.sweep()).uids).toEqual([1]);
    const next = watcher.arrival();
    await plain.append("INBOX", mail("two"));
    source.sweep();
    expect((await next).uid).toBe(2);
    await watcher.stop();
    await source.close();
    await plain.stop();
  });

  test("without MOVE and UIDPLUS a move is a copy and a mark, and repeated it is not copied twice", async () => {
    const plain = await startHoodiecrow({ plugins: [] });
    await plain.append("INBOX", mail("one"));
    const afterwards = { done: { is: "move", folder: "Done" }, failed: { is: "none" } } as const;
    const source = createImapSource(optionsFor(plain, { afterwards }), { clock: fastClock, log: silent });
    const watcher = watch(source);
    const { origin } = (await watcher.arrival()).sight.arrival;
    const signal = new AbortController().signal;
    expect(await source.settle(origin, "done", signal)).toBe("told");
    expect(await source.settle(origin, "done", signal)).toBe("told");
    await watcher.stop();
    await source.close();
    expect(await look(plain, "Done")).toHaveLength(1);
    expect(await look(plain, "INBOX")).toEqual([{ uid: 1, flags: ["\\Deleted"] }]);
    await plain.stop();
  });
});
