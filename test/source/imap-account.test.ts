/** Several folders of one account: one connection, a fair turn for each, and no folder's trouble is another one's. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Fault } from "../../src/base/errors.ts";
import { type Accounts, createAccounts } from "../../src/source/imap/accounts.ts";
import { backoffMs } from "../../src/source/imap/backoff.ts";
import { createImapSource, type ImapOptions } from "../../src/source/imap.ts";
import type { Source } from "../../src/source/source.ts";
import { type Dovecot, requireDovecot, startDovecot } from "../servers/dovecot.ts";
import { startProxy, type TcpProxy } from "../servers/proxy.ts";
import { drain, fastClock, listening, look, mail, optionsFor, type Watcher, watch } from "./watching.ts";

const missing = requireDovecot();
const signal = new AbortController().signal;

describe.skipIf(missing !== null)(`folders that share an account ${missing ?? ""}`, () => {
  let dovecot: Dovecot;
  let proxy: TcpProxy;
  let accounts: Accounts;
  let count = 0;
  let made: { readonly source: Source; readonly watcher: Watcher }[];

  beforeAll(async () => {
    dovecot = await startDovecot();
  });
  afterAll(() => dovecot?.stop());
  beforeEach(async () => {
    proxy = await startProxy(dovecot);
    accounts = createAccounts(fastClock);
    made = [];
  });
  afterEach(async () => {
    for (const { source, watcher } of made) {
      await watcher.stop();
      await source.close();
    }
    await proxy.stop();
  });

  async function folderOf(...whats: readonly string[]): Promise<string> {
    const folder = `Shared${++count}`;
    await dovecot.createFolder(folder);
    for (const what of whats) await dovecot.append(folder, mail(what));
    return folder;
  }
  function watched(folder: string, more: Partial<ImapOptions> = {}) {
    const { log, lines: own, heard } = listening();
    const options = optionsFor({ ...dovecot, port: proxy.port }, { name: folder, folder, ...more });
    const source = createImapSource(options, { clock: fastClock, log, accounts });
    const one = { folder, source, watcher: watch(source), lines: own, heard };
    made.push(one);
    return one;
  }

  test("three folders: one connection; IDLE tells of the first, sweeps of all, and each is settled in its own", async () => {
    const afterwards = { done: { is: "seen" }, failed: { is: "none" } } as const;
    const [a, b, c] = [await folderOf("a1"), await folderOf("b1"), await folderOf("c1")].map((folder) => watched(folder, { afterwards }));
    if (!a || !b || !c) throw new Error("three");
    const idle = proxy.hears(/ IDLE/);
    const first = await Promise.all([a, b, c].map(({ watcher }) => watcher.arrival()));
    expect(first.map(({ raw }) => raw.toString())).toEqual(["a1", "b1", "c1"].map(mail));
    await Promise.all([a, b, c].map(({ watcher }) => watcher.sweep()));
    const next = [a, b, c].map(({ watcher }) => watcher.arrival());
    await idle;
    for (const { folder } of [a, b, c]) await dovecot.append(folder, mail(`${folder} two`));
    expect((await next[0])?.raw.toString()).toBe(mail(`${a.folder} two`));
    for (const { source } of [b, c]) source.sweep();
    expect((await Promise.all(next)).map(({ raw }) => raw.toString())).toEqual([a, b, c].map(({ folder }) => mail(`${folder} two`)));
    const settled = await Promise.all(
      [a, b, c].flatMap(({ source }, index) =>
        [1, 2].map((uid) => {
          const origin = first[index]?.sight.arrival.origin;
          if (origin === undefined) throw new Error("no origin");
          return source.settle({ ...origin, uid }, "done", signal);
        }),
      ),
    );
    expect(settled).toEqual(Array(6).fill("told"));
    for (const { folder } of [a, b, c]) expect((await look(dovecot, folder))?.map((one) => one.flags)).toEqual([["\\Seen"], ["\\Seen"]]);
    expect(proxy.accepted()).toBe(1);
  });

  test("mail that comes while another folder is open is seen without a poke", async () => {
    const [a, b] = [watched(await folderOf()), watched(await folderOf())];
    await Promise.all([a.watcher.sweep(), b.watcher.sweep()]);
    const next = a.watcher.arrival();
    for (let times = 1; times <= 20; times++) {
      const swept = b.watcher.sweep();
      b.source.sweep();
      if (times === 10) await dovecot.append(a.folder, mail("meanwhile"));
      await swept;
    }
    const rest = b.watcher.sight().catch(() => "ended");
    expect((await next).raw.toString()).toBe(mail("meanwhile"));
    await b.watcher.stop();
    expect(await rest).toBe("ended");
  });

  test("a sight that is held for long does not keep the others from IDLE", async () => {
    const [a, b] = [watched(await folderOf(), { idleMs: 20_000 }), watched(await folderOf("held"), { idleMs: 20_000 })];
    await b.watcher.arrival();
    await a.watcher.sweep();
    const next = a.watcher.arrival();
    await proxy.hears(/ IDLE/);
    await dovecot.append(a.folder, mail("new"));
    expect((await next).raw.toString()).toBe(mail("new"));
    await b.watcher.sweep();
    expect(proxy.accepted()).toBe(1);
  });

  test("a reader that takes no more: why is told, nothing is fetched, and the connection is kept", async () => {
    const { source, watcher } = watched(await folderOf("one", "two"), { wholeBytes: 20, idleMs: 20_000 });
    await watcher.arrival();
    const full = new Fault("spool.low", "the disk is nearly full");
    source.stall(full);
    expect(source.freshness().trouble).toBe(full);
    const fetched = proxy.hears(/ FETCH /).then(() => "fetched");
    source.sweep();
    await proxy.hears(/ NOOP/);
    await proxy.hears(/ NOOP/);
    expect(await Promise.race([fetched, Promise.resolve("nothing fetched")])).toBe("nothing fetched");
    source.stall(null);
    expect(source.freshness().trouble).toBeNull();
    expect((await watcher.arrival()).raw.toString()).toBe(mail("two"));
    expect(proxy.accepted()).toBe(1);
  });

  test("a sight one folder's reader holds, in the middle of a body, holds up no other folder", async () => {
    const [a, b] = [watched(await folderOf(), { wholeBytes: 20_000 }), watched(await folderOf())];
    const raw = `Subject: large\r\n\r\n${"0123456789abcdef\r\n".repeat(20_000)}`;
    await Promise.all([a.watcher.sweep(), b.watcher.sweep()]);
    const next = a.watcher.sight();
    await dovecot.append(a.folder, raw);
    a.source.sweep();
    let sight = await next;
    while (sight.is === "swept") sight = await a.watcher.sight();
    if (sight.is !== "arrival") throw new Error(sight.is);
    const pieces = sight.arrival.bytes[Symbol.asyncIterator]();
    const chunks = [(await pieces.next()).value];
    for (const what of ["one", "two", "three"]) {
      const arrival = b.watcher.arrival();
      await dovecot.append(b.folder, mail(what));
      b.source.sweep();
      expect((await arrival).raw.toString()).toBe(mail(what));
      chunks.push((await pieces.next()).value);
    }
    chunks.push(await drain({ [Symbol.asyncIterator]: () => pieces }));
    expect(Buffer.concat(chunks).toString()).toBe(raw);
    expect(proxy.accepted()).toBe(1);
  });

  test("one folder that is not there: it says so, and the others are read as ever", async () => {
    const a = watched("NoSuchFolder");
    const b = watched(await folderOf("b1"));
    const nothing = a.watcher.sight().catch(() => "ended");
    await a.heard((line) => line.fields.fault === "imap.folder");
    expect((await b.watcher.sweep()).uids).toEqual([1]);
    for (let times = 2; times <= 10; times++) {
      const next = b.watcher.arrival();
      await dovecot.append(b.folder, mail(`b${times}`));
      b.source.sweep();
      a.source.sweep();
      expect(await next).toMatchObject({ uid: times });
    }
    expect(a.source.freshness().trouble?.code).toBe("imap.folder");
    await a.watcher.stop();
    expect(await nothing).toBe("ended");
  });

  test("the connection is lost: both say so once, one new connection serves both", async () => {
    const [a, b] = [watched(await folderOf("a1")), watched(await folderOf("b1"))];
    const idle = proxy.hears(/ IDLE/);
    await Promise.all([a.watcher.sweep(), b.watcher.sweep()]);
    const next = [a.watcher.arrival(), b.watcher.arrival()];
    await idle;
    for (const { folder } of [a, b]) await dovecot.append(folder, mail(`${folder} two`));
    proxy.cut();
    expect((await Promise.all(next)).map(({ uid }) => uid)).toEqual([2, 2]);
    for (const one of [a, b]) {
      expect(one.lines.map((line) => line.fields.fault ?? line.name)).toEqual(["mailbox.watching", "imap.lost", "mailbox.watching"]);
    }
    expect(proxy.accepted()).toBe(2);
  });

  test("closing one leaves the others their connection; closing the last ends it", async () => {
    const [a, b] = [watched(await folderOf("a1")), watched(await folderOf("b1"))];
    await Promise.all([a.watcher.sweep(), b.watcher.sweep()]);
    await a.watcher.stop();
    await a.source.close();
    const next = b.watcher.arrival();
    await dovecot.append(b.folder, mail("b2"));
    expect(await next).toMatchObject({ uid: 2 });
    const over = proxy.hears(/ LOGOUT/);
    await b.watcher.stop();
    await b.source.close();
    await over;
    expect(proxy.accepted()).toBe(1);
  });
});

describe("what the accounts of a process share", () => {
  test("back-off grows from 2 s to 60 s, and is not the same for all", () => {
    const at = (random: number) => Array.from({ length: 12 }, (_, failures) => backoffMs(failures, { ...fastClock, random: () => random }));
    for (const waits of [at(0), at(0.5), at(0.999)]) {
      expect(Math.min(...waits)).toBeGreaterThanOrEqual(2_000);
      expect(Math.max(...waits)).toBeLessThanOrEqual(60_000);
      expect(waits).toEqual([...waits].sort((one, other) => one - other));
    }
    expect(at(0)[0]).not.toBe(at(0.999)[0]);
  });

  test("memory for bodies is divided among those who fetch", () => {
    const accounts = createAccounts(fastClock);
    const ends = Array.from({ length: 100 }, () => accounts.fetching());
    expect(accounts.share(8_000_000)).toBe(1_000_000);
    for (const end of ends.slice(8)) end();
    expect(accounts.share(8_000_000)).toBe(4_000_000);
    for (const end of ends.slice(0, 8)) end();
    expect(accounts.share(8_000_000)).toBe(8_000_000);
  });
});
