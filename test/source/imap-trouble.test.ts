/** Trouble while watching: cut and half-open connections, refused and vanished messages, a renumbered mailbox. Nothing is skipped. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createImapSource, type ImapOptions } from "../../src/source/imap.ts";
import type { Source } from "../../src/source/source.ts";
import { type Dovecot, requireDovecot, startDovecot } from "../servers/dovecot.ts";
import { type Hoodiecrow, startHoodiecrow } from "../servers/hoodiecrow.ts";
import { startProxy, type TcpProxy } from "../servers/proxy.ts";
import { asAnother, drain, fastClock, type Line, listening, mail, optionsFor, shortsInFull, type Watcher, watch } from "./watching.ts";

const missing = requireDovecot();

describe.skipIf(missing !== null)(`watching Dovecot through a bad network ${missing ?? ""}`, () => {
  let dovecot: Dovecot;
  let proxy: TcpProxy;
  let source: Source;
  let watcher: Watcher;
  let lines: readonly Line[];
  let heard: ReturnType<typeof listening>["heard"];
  let folder = "";
  let folders = 0;

  beforeAll(async () => {
    dovecot = await startDovecot();
  });
  afterAll(() => dovecot?.stop());
  beforeEach(async () => {
    proxy = await startProxy(dovecot);
    folder = `Trouble${++folders}`;
    await dovecot.createFolder(folder);
  });
  afterEach(async () => {
    await watcher.stop();
    await source.close();
    await proxy.stop();
  });

  function begin(more: Partial<ImapOptions> = {}, clock = fastClock): void {
    const listener = listening();
    ({ lines, heard } = listener);
    const { host, port } = proxy;
    source = createImapSource(optionsFor({ ...dovecot, host, port }, { folder, ...more }), { clock, log: listener.log });
    watcher = watch(source);
  }
  const said = () => lines.map((line) => line.fields.fault ?? line.name);

  test("cut in IDLE: mail that came meanwhile is seen, and the story is told once", async () => {
    begin();
    await dovecot.append(folder, mail("one"));
    const idle = proxy.hears(/ IDLE/);
    expect((await watcher.sweep()).uids).toEqual([1]);
    const next = watcher.arrival();
    await idle;
    proxy.refuse(true);
    proxy.cut();
    await dovecot.append(folder, mail("two"));
    proxy.refuse(false);
    expect(await next).toMatchObject({ uid: 2 });
    expect(said().filter((name) => name !== "imap.connect")).toEqual(["mailbox.watching", "imap.lost", "mailbox.watching"]);
    expect(source.freshness().trouble).toBeNull();
  });

  test("refused, then let in", async () => {
    await dovecot.append(folder, mail("one"));
    proxy.refuse(true);
    begin();
    const next = watcher.arrival();
    while (proxy.accepted() < 3) await new Promise((resolve) => setImmediate(resolve));
    expect(source.freshness()).toMatchObject({ sweptAt: null, trouble: { code: "imap.connect" } });
    proxy.refuse(false);
    expect((await next).raw.toString()).toBe(mail("one"));
    expect(said()).toEqual(["imap.connect", "mailbox.watching"]);
  });

  for (const [when, pattern] of [
    ["before the server took it", / IDLE/],
    ["at its renewal", /DONE/],
  ] as const) {
    test(`half-open in IDLE, ${when}, is noticed`, async () => {
      begin({ idleMs: 6_000, socketTimeoutMs: 20_000 });
      const idle = proxy.hears(pattern);
      await watcher.sweep();
      const next = watcher.arrival();
      await idle;
      proxy.freeze();
      await dovecot.append(folder, mail("one"));
      expect(await next).toMatchObject({ uid: 1 });
      expect(lines.find((line) => line.fields.fault === "imap.lost")?.fields.why).toContain("no answer to NOOP");
    });
  }

  test("half-open in the middle of a body: its reader is told, the message is seen again", async () => {
    await dovecot.append(folder, `Subject: large\r\n\r\n${"x\r\n".repeat(100_000)}`);
    begin({ wholeBytes: 50_000, socketTimeoutMs: 400 });
    const sight = await watcher.sight();
    if (sight.is !== "arrival") throw new Error(sight.is);
    proxy.freeze();
    await expect(drain(sight.arrival.bytes)).rejects.toMatchObject({ code: "imap.lost" });
    expect((await watcher.arrival()).raw.length).toBeGreaterThan(300_000);
  });

  test("half-open in IDLE before the server took it, and somebody wants to work: noticed too", async () => {
    begin({ afterwards: { done: { is: "seen" }, failed: { is: "none" } }, socketTimeoutMs: 20_000 });
    await dovecot.append(folder, mail("one"));
    const idle = proxy.hears(/ IDLE/);
    const { origin } = (await watcher.arrival()).sight.arrival;
    await watcher.sweep();
    const next = watcher.arrival();
    await idle;
    proxy.freeze();
    const settling = source.settle(origin, "done", new AbortController().signal);
    await expect(settling).rejects.toMatchObject({ code: "imap.lost" });
    await dovecot.append(folder, mail("two"));
    expect(await next).toMatchObject({ uid: 2 });
  });

  test("a sight held for longer than the connection may be silent does not cost the connection", async () => {
    await dovecot.append(folder, `Subject: large\r\n\r\n${"x\r\n".repeat(100_000)}`);
    begin({ wholeBytes: 50_000, idleMs: 200, socketTimeoutMs: 450 }, shortsInFull);
    const sight = await watcher.sight();
    if (sight.is !== "arrival") throw new Error(sight.is);
    for (let signs = 0; signs < 6; signs++) await proxy.hears(/ NOOP/);
    expect((await drain(sight.arrival.bytes)).length).toBeGreaterThan(300_000);
    await watcher.sweep();
    expect(proxy.accepted()).toBe(1);
  });

  test("the folder is deleted, and made again: said, and then it is read from its beginning", async () => {
    await dovecot.append(folder, mail("one"));
    begin();
    await watcher.sweep();
    const next = watcher.arrival();
    await asAnother(dovecot, (client) => client.mailboxDelete(folder));
    source.sweep();
    const { why, advice } = (await heard((line) => line.fields.fault === "imap.folder")).fields;
    expect(why).toContain(`Could not open folder ${folder}`);
    expect(advice).toContain("no such folder");
    await asAnother(dovecot, (client) => client.mailboxCreate(folder));
    await dovecot.append(folder, mail("two"));
    expect((await next).raw.toString()).toBe(mail("two"));
    expect(source.freshness().trouble).toBeNull();
  });

  test("the folder is renamed: said, and read on when it has its name again", async () => {
    await dovecot.append(folder, mail("one"));
    begin();
    await watcher.sweep();
    const next = watcher.arrival();
    await asAnother(dovecot, (client) => client.mailboxRename(folder, `${folder}Old`));
    source.sweep();
    await heard((line) => line.fields.fault === "imap.folder");
    await dovecot.append(`${folder}Old`, mail("two"));
    await asAnother(dovecot, (client) => client.mailboxRename(`${folder}Old`, folder));
    expect((await next).raw.toString()).toBe(mail("two"));
  });

  test("another folder gets the name of the one that is watched: its mail is read", async () => {
    await dovecot.append(folder, mail("one"));
    begin();
    await watcher.sweep();
    const next = watcher.arrival();
    await asAnother(dovecot, async (client) => {
      await client.mailboxRename(folder, `${folder}Old`);
      await client.mailboxCreate(folder);
    });
    await dovecot.append(folder, mail("two"));
    source.sweep();
    expect((await next).raw.toString()).toBe(mail("two"));
    expect(lines.map((line) => line.name)).toContain("mailbox.renumbered");
  });

  test("cut in the middle of a streamed body: its reader gets a temporary fault, and the message is seen again, whole", async () => {
    const raw = Buffer.from(`Subject: large\r\n\r\n${`${"x".repeat(76)}\r\n`.repeat(30_000)}`);
    for (const one of [mail("one"), raw, mail("three")]) await dovecot.append(folder, one);
    begin({ wholeBytes: 100_000 });
    expect((await watcher.arrival()).uid).toBe(1);
    const sight = await watcher.sight();
    if (sight.is !== "arrival") throw new Error(sight.is);
    proxy.cutAfter(700_000);
    await expect(drain(sight.arrival.bytes)).rejects.toMatchObject({ name: "Fault", code: "imap.lost", temporary: true });
    const again = await watcher.arrival();
    expect(again.uid).toBe(2);
    expect(again.raw.equals(raw)).toBe(true);
    expect(await watcher.arrival()).toMatchObject({ uid: 3 });
  });

  test("cut three times in the middle of a body, a message is still not given up", async () => {
    await dovecot.append(folder, `Subject: large\r\n\r\n${"x\r\n".repeat(100_000)}`);
    await dovecot.append(folder, mail("two"));
    begin({ wholeBytes: 50_000 });
    for (let times = 0; times < 4; times++) {
      const sight = await watcher.sight();
      if (sight.is !== "arrival") throw new Error(sight.is);
      expect(sight.arrival.origin.uid).toBe(1);
      proxy.cutAfter(120_000);
      await expect(drain(sight.arrival.bytes)).rejects.toMatchObject({ code: "imap.lost" });
    }
    expect((await watcher.arrival()).raw.length).toBeGreaterThan(300_000);
    expect(await watcher.arrival()).toMatchObject({ uid: 2 });
  });

  test("cut in the middle of a batch: every message is seen exactly once", async () => {
    for (let number = 1; number <= 20; number++) await dovecot.append(folder, mail(`m${number}`) + "x".repeat(5_000));
    begin();
    proxy.cutAfter(60_000);
    const seen: number[] = [];
    while (seen.length < 20) seen.push((await watcher.arrival()).uid);
    expect(seen).toEqual(Array.from({ length: 20 }, (_, index) => index + 1));
    expect(said()).toContain("imap.lost");
  });

  test("the server restarts while we idle", async () => {
    begin();
    const idle = proxy.hears(/ IDLE/);
    await watcher.sweep();
    const next = watcher.arrival();
    await idle;
    await dovecot.restart();
    await dovecot.append(folder, mail("one"));
    expect(await next).toMatchObject({ uid: 1 });
  });

  test("another UIDVALIDITY: everything is read again, except mail older than the first contact", async () => {
    await dovecot.append(folder, mail("old"), { receivedAt: new Date("2026-01-01T00:00:00Z") });
    await dovecot.append(folder, mail("one"), { receivedAt: new Date("2026-06-01T00:00:00Z") });
    begin({ start: { is: "since", date: "2026-03-01" } });
    const idle = proxy.hears(/ IDLE/);
    const before = await watcher.sweep();
    expect(before.uids).toEqual([2]);
    const next = watcher.arrival();
    await idle;
    await dovecot.renumber(folder);
    const again = await next;
    expect(again.raw.toString()).toBe(mail("one"));
    expect(again.sight.cursor.uidValidity).not.toBe(before.cursor.uidValidity);
    expect(await watcher.sight()).toMatchObject({ is: "swept", cursor: { uid: 2, since: "2026-03-01T00:00:00.000Z", until: 2 } });
    expect(lines.find((line) => line.name === "mailbox.renumbered")).toMatchObject({ level: "warn" });
  });

  test("a settle on a connection that was cut uses another one", async () => {
    await dovecot.append(folder, mail("one"));
    begin({ afterwards: { done: { is: "seen" }, failed: { is: "none" } } });
    const { origin } = (await watcher.arrival()).sight.arrival;
    const signal = new AbortController().signal;
    proxy.cut();
    // While the connection is given time to come back, whoever wants to settle is told so at once.
    for (let settled: unknown = null; settled !== "told"; ) {
      settled = await source.settle(origin, "done", signal).catch((fault) => fault.code);
      expect(["told", "imap.lost"]).toContain(settled);
      await new Promise((resolve) => setImmediate(resolve));
    }
  });

  test("close() does not wait for a server that no longer answers", async () => {
    begin();
    await watcher.sweep();
    proxy.freeze();
    const began = Date.now();
    await source.close();
    expect(Date.now() - began).toBeLessThan(1_500);
    await expect(watcher.sight()).rejects.toThrow("stopped watching");
  });
});

describe("messages a server will not give", () => {
  let crow: Hoodiecrow;
  let source: Source;
  let watcher: Watcher;

  beforeEach(async () => {
    crow = await startHoodiecrow();
    for (const uid of [1, 2, 3, 4]) await crow.append("INBOX", mail(`m${uid}`));
  });
  afterEach(async () => {
    await watcher.stop();
    await source.close();
    await crow.stop();
  });
  function begin(more: Partial<ImapOptions> = {}): void {
    source = createImapSource(optionsFor(crow, more), { clock: fastClock, log: listening().log });
    watcher = watch(source);
  }

  for (const wholeBytes of [1_000_000, 20]) {
    test(`one is always NO (pieces of ${wholeBytes}): it becomes a record, the rest arrives`, async () => {
      crow.refuse((uid) => uid === 2);
      begin({ wholeBytes });
      expect(await watcher.arrival()).toMatchObject({ uid: 1 });
      const sight = await watcher.sight();
      expect(sight).toMatchObject({
        is: "unreadable",
        origin: { mailbox: "invoices", uidValidity: "1", uid: 2 },
        cursor: { uid: 2 },
        fault: { code: "imap.unreadable", temporary: false },
      });
      if (sight.is === "unreadable") expect(sight.fault.message).toContain("That message is damaged");
      expect(await watcher.arrival()).toMatchObject({ uid: 3 });
      expect(await watcher.arrival()).toMatchObject({ uid: 4 });
      expect(await watcher.sight()).toMatchObject({ is: "swept" });
    });
  }

  test("all are NO: the server is in trouble, no message is given up", async () => {
    let asked = 0;
    let sound = false;
    crow.refuse(() => {
      asked++;
      return !sound;
    });
    begin();
    const first = watcher.arrival();
    while (asked < 25) await new Promise((resolve) => setImmediate(resolve));
    expect(source.freshness().trouble?.code).toBe("imap.refused");
    sound = true;
    expect(await first).toMatchObject({ uid: 1 });
    expect((await watcher.sweep()).uids).toEqual([2, 3, 4]);
  });

  test("NO in the middle of a body is tried again", async () => {
    let pieces = 0;
    crow.refuse((uid) => uid === 1 && ++pieces === 3);
    begin({ wholeBytes: 20 });
    const sight = await watcher.sight();
    if (sight.is !== "arrival") throw new Error(sight.is);
    await expect(drain(sight.arrival.bytes)).rejects.toMatchObject({ code: "imap.refused", temporary: true });
    expect((await watcher.arrival()).raw.toString()).toBe(mail("m1"));
    expect((await watcher.sweep()).uids).toEqual([2, 3, 4]);
  });

  test("expunged between the listing and the fetch: passed over", async () => {
    begin({ wholeBytes: 20 });
    expect(await watcher.arrival()).toMatchObject({ uid: 1 });
    crow.expunge("INBOX", 2);
    expect(await watcher.arrival()).toMatchObject({ uid: 3 });
    crow.expunge("INBOX", 4);
    expect(await watcher.sight()).toMatchObject({ is: "swept", cursor: { uid: 4 } });
    expect(source.freshness().trouble).toBeNull();
  });

  test("expunged while it is read: its reader is told, the rest arrives", async () => {
    begin({ wholeBytes: 20 });
    const sight = await watcher.sight();
    if (sight.is !== "arrival") throw new Error(sight.is);
    crow.expunge("INBOX", 1);
    await expect(drain(sight.arrival.bytes)).rejects.toMatchObject({ code: "imap.gone" });
    expect((await watcher.sweep()).uids).toEqual([2, 3, 4]);
  });
});
