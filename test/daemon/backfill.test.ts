/** The backfill in its odd moments: what is planned, and what becomes of it when mailbox, disk or another process interfere. */
import { watch } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { silent } from "../../src/base/logger.ts";
import { backfill, type Plan, planBackfill, type Tally } from "../../src/daemon/backfill.ts";
import { createImapSource, type ImapOptions } from "../../src/source/imap.ts";
import type { Listed } from "../../src/source/source.ts";
import { openSpool } from "../../src/store/spool.ts";
import { openLedger } from "../../src/store/sql.ts";
import type { Ledger } from "../../src/store/store.ts";
import { type Hoodiecrow, startHoodiecrow } from "../servers/hoodiecrow.ts";
import { asAnother, fastClock, mail, optionsFor } from "../source/watching.ts";
import { temporaryDirectory } from "../store/disk.ts";

let server: Hoodiecrow;
let folder = "";
let folders = 0;
beforeAll(async () => {
  server = await startHoodiecrow();
});
afterAll(() => server.stop());
beforeEach(async () => {
  folder = `Old${++folders}`;
  await server.createFolder(folder);
});

async function ledgerIn(directory: string): Promise<Ledger> {
  const ledger = await openLedger({ directory, own: true, now: new Date() });
  onTestFinished(() => ledger.close());
  return ledger;
}

async function stage(mails: readonly string[], more: Partial<ImapOptions> = {}, minFree = 0) {
  for (const raw of mails) await server.append(folder, raw);
  const uidValidity = await asAnother(server, async (client) => String((await client.mailboxOpen(folder)).uidValidity));
  const directory = await temporaryDirectory();
  const [ledger, spool] = [await ledgerIn(directory), await openSpool(join(directory, "spool"), minFree)];
  const source = createImapSource(optionsFor(server, { folder, ...more }), { clock: fastClock, log: silent });
  onTestFinished(() => source.close());
  const plan = (...uids: number[]): Plan => ({
    uidValidity,
    wanted: new Map(uids.map((uid) => [uid, 10])),
    bytes: 10 * uids.length,
    known: 0,
  });
  const run = (wanted: Plan, tell: (tally: Tally) => void = () => {}) =>
    backfill({ source, plan: wanted, works: { ledger, spool }, tell, clock: fastClock }, new AbortController().signal);
  const uids = async () => [...(await ledger.uids("invoices", uidValidity))].sort((a, b) => a - b);
  return { ledger, spool, directory, plan, run, uids };
}

describe("a plan", () => {
  const listOf = (...parts: (readonly Listed[])[]) =>
    async function* () {
      for (const messages of parts) yield { uidValidity: "9", messages };
    };
  const one = (uid: number, receivedAt: string | null): Listed => ({ uid, size: 100 + uid, receivedAt });

  test("is what came in the period and the ledger does not know, under this UIDVALIDITY", async () => {
    const ledger = await ledgerIn(await temporaryDirectory());
    const known = { receivedAt: null, cursor: null, now: new Date() };
    const arrive = (mailbox: string, uidValidity: string, uid: number) =>
      ledger.receive({ ...known, blob: { sha256: `${uid}`.repeat(64), size: 1 }, origin: { mailbox, uidValidity, uid } });
    await arrive("invoices", "9", 3);
    await arrive("invoices", "8", 4);
    await arrive("other", "9", 5);
    const fault = { code: "imap.unreadable", message: "", advice: null, temporary: false };
    await ledger.receiveUnreadable({ origin: { mailbox: "invoices", uidValidity: "9", uid: 6 }, fault, cursor: null, now: new Date() });
    const list = listOf(
      [one(1, "2025-12-31T23:59:59.000Z"), one(2, "2026-01-01T00:00:00.000Z"), one(3, "2026-01-02T00:00:00.000Z")],
      [one(4, null), one(5, "2026-01-31T23:59:59.000Z"), one(6, "2026-01-03T00:00:00.000Z"), one(7, "2026-02-01T00:00:00.000Z")],
    );
    const period = { since: new Date("2026-01-01T00:00:00Z"), before: new Date("2026-02-01T00:00:00Z") };
    const plan = await planBackfill({ name: "invoices", list }, period, ledger, new AbortController().signal);
    expect(plan).toEqual({
      uidValidity: "9",
      wanted: new Map([
        [2, 102],
        [4, 104],
        [5, 105],
      ]),
      bytes: 311,
      known: 2,
    });
    const open = await planBackfill({ name: "invoices", list }, { ...period, before: null }, ledger, new AbortController().signal);
    expect([...open.wanted.keys()]).toEqual([2, 4, 5, 7]);
    expect(await ledger.mailbox("invoices")).toBeNull();
  });
});

describe("taking in", () => {
  test("only what is wanted, once, of a mailbox that was never read, which stays so; the same bytes are known", async () => {
    const { ledger, plan, run, uids } = await stage([mail("a"), mail("b"), mail("c"), mail("b"), mail("e")]);
    expect(await run(plan(2, 4))).toEqual({ taken: 1, known: 1, tooLarge: 0, unreadable: 0, bytes: 20 });
    expect(await uids()).toEqual([2, 4]);
    expect(await ledger.mailbox("invoices")).toBeNull();
    expect(await ledger.counts()).toMatchObject({ messages: 1, open: 1 });
  });

  test("what the server will not give, and what is too large, is a visible record each; the rest is taken", async () => {
    const { ledger, plan, run, uids } = await stage([mail("a"), mail("b"), "x".repeat(5_000), mail("d")], { maxBytes: 1_000 });
    server.refuse((uid) => uid === 2);
    onTestFinished(() => server.refuse(() => false));
    expect(await run(plan(1, 2, 3, 4))).toMatchObject({ taken: 2, unreadable: 1, tooLarge: 1 });
    expect((await ledger.unreadable()).map(({ origin, fault }) => [origin.uid, fault?.code])).toEqual([
      [2, "imap.unreadable"],
      [3, "imap.too-large"],
    ]);
    expect(await uids()).toEqual([1, 2, 3, 4]);
    expect(await ledger.mailbox("invoices")).toBeNull();
  });

  test("what was expunged meanwhile is not waited for", async () => {
    const { plan, run, uids } = await stage([mail("a"), mail("b"), mail("c")]);
    server.expunge(folder, 2);
    server.expunge(folder, 3);
    expect(await run(plan(1, 2, 3))).toMatchObject({ taken: 1 });
    expect(await uids()).toEqual([1]);
  });

  test("a daemon that starts meanwhile clears what is not finished: it is written again", async () => {
    const { directory, spool, plan, run, uids } = await stage([mail("a"), mail("b"), mail("c")]);
    let starts = 0;
    const watcher = watch(join(directory, "spool", "raw"), (_, name) => {
      if (starts === 3 || !name?.endsWith(".tmp")) return;
      starts += 1;
      void spool.clean();
    });
    onTestFinished(() => watcher.close());
    expect(await run(plan(1, 2, 3))).toMatchObject({ taken: 3, known: 0 });
    expect(await uids()).toEqual([1, 2, 3]);
    expect(starts).toBe(3);
  });

  test("a mailbox that was renumbered since is not taken for the one that was planned", async () => {
    const { plan, run, uids } = await stage([mail("a")]);
    await expect(run({ ...plan(1), uidValidity: "7" })).rejects.toMatchObject({ code: "backfill.renumbered" });
    expect(await uids()).toEqual([]);
  });

  test("a disk that has too little left ends it, with what to do", async () => {
    const { plan, run, uids } = await stage([mail("a")], {}, Number.MAX_SAFE_INTEGER / 2);
    await expect(run(plan(1))).rejects.toMatchObject({ code: "spool.low", advice: expect.stringContaining("free disk space") });
    expect(await uids()).toEqual([]);
  });

  test("while the daemon has much to split it waits, and goes on when there is less", async () => {
    const { ledger, spool, plan, uids } = await stage([mail("a"), mail("b")]);
    const many = Array.from({ length: 1_000 }, (_, index) => ({
      blob: { sha256: index.toString(16).padStart(64, "0"), size: 1 },
      origin: { mailbox: "other", uidValidity: "1", uid: index + 1 },
      receivedAt: null,
      cursor: null,
      now: new Date(),
    }));
    await ledger.receiveAll(many);
    const source = createImapSource(optionsFor(server, { folder }), { clock: fastClock, log: silent });
    onTestFinished(() => source.close());
    const waits: number[] = [];
    const stop = new AbortController();
    const clock = {
      ...fastClock,
      sleep: async (milliseconds: number, signal?: AbortSignal) => {
        if (milliseconds === 1_000) waits.push((await uids()).length);
        const [task] = waits.length === 3 ? await ledger.due(new Date(), 1, [], "split") : [];
        if (task !== undefined) await ledger.save(task, { is: "done" }, new Date());
        if (waits.length === 6) stop.abort();
        await fastClock.sleep(milliseconds, signal);
      },
    };
    const tally = await backfill({ source, plan: plan(1, 2), works: { ledger, spool }, tell: () => {}, clock }, stop.signal);
    // After the third look there was room for one.
    expect(tally.taken).toBe(1);
    expect(waits).toEqual([0, 0, 0, 1, 1, 1]);
  });

  test("aborted it ends after the message in hand, and what was told is in the ledger", async () => {
    const { ledger, spool, plan, uids } = await stage([mail("a"), mail("b"), mail("c"), mail("d")]);
    const stop = new AbortController();
    const source = createImapSource(optionsFor(server, { folder }), { clock: fastClock, log: silent });
    onTestFinished(() => source.close());
    const tell = ({ taken }: Tally) => taken === 2 && stop.abort();
    const tally = await backfill({ source, plan: plan(1, 2, 3, 4), works: { ledger, spool }, tell, clock: fastClock }, stop.signal);
    expect(tally.taken).toBe(2);
    expect(await uids()).toEqual([1, 2]);
  });
});
