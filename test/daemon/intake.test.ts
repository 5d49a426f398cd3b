/** The intake of a mailbox: what is at hand is kept together and in order, and what one arrival, the disk or the ledger does to it. */
import { createHash } from "node:crypto";
import { mkdir, rm, statfs, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import Database from "better-sqlite3";
import { describe, expect, onTestFinished, test } from "vitest";
import { type Clock, systemClock } from "../../src/base/clock.ts";
import { Fault } from "../../src/base/errors.ts";
import { intake } from "../../src/daemon/intake.ts";
import type { Cursor, Sight, Source } from "../../src/source/source.ts";
import { openSpool } from "../../src/store/spool.ts";
import { LEDGER_FILE, openLedger } from "../../src/store/sql.ts";
import type { Ledger } from "../../src/store/store.ts";
import { worksOf } from "../faults/stage.ts";
import { sourceOf } from "../pipeline/works.ts";
import { listening } from "../source/watching.ts";
import { noDisk, smallDisk, temporaryDirectory } from "../store/disk.ts";

/** Waits of seconds pass in hundredths. */
const clock: Clock = {
  ...systemClock,
  sleep: (milliseconds, signal) => systemClock.sleep(milliseconds >= 1_000 ? milliseconds / 100 : milliseconds, signal),
};
/** A busy machine takes longer than a moment: here a moment is long. */
const patient: Clock = { ...clock, sleep: (milliseconds, signal) => clock.sleep(milliseconds < 1_000 ? 6_000_000 : milliseconds, signal) };
const UID_VALIDITY = "7";
const raw = (uid: number) => Buffer.from(`Subject: mail ${uid}\r\n\r\n${uid}\r\n`);
const hashOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const cursorAt = (uid: number): Cursor => ({ uidValidity: UID_VALIDITY, uid, since: null, until: 0 });

async function* once(bytes: Uint8Array) {
  yield bytes;
}
function arrival(uid: number, bytes: AsyncIterable<Uint8Array> = once(raw(uid)), size = 100): Sight {
  const origin = { mailbox: "invoices", uidValidity: UID_VALIDITY, uid };
  return { is: "arrival", arrival: { origin, receivedAt: null, size, bytes }, cursor: cursorAt(uid) };
}
const swept = (uid: number): Sight => ({ is: "swept", cursor: cursorAt(uid), at: new Date() });
const aborted = (signal: AbortSignal) =>
  new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });

type Script = (since: Cursor | null, signal: AbortSignal) => AsyncGenerator<Sight, void, undefined>;
/** A mailbox with these UIDs, read to its end and then watched. */
const box = (uids: readonly number[], make: (uid: number) => Sight = arrival): Script =>
  async function* (since, signal) {
    for (const uid of uids) if (uid > (since?.uid ?? 0)) yield make(uid);
    yield swept(uids.at(-1) ?? 0);
    await aborted(signal);
  };

type Options = {
  readonly spoolIn?: string;
  readonly minFree?: number;
  readonly mostUnsplit?: number;
  readonly once?: boolean;
  readonly time?: Clock;
};

/** An intake of a scripted mailbox into a real spool and ledger. */
async function begin(script: Script, { spoolIn, minFree = 0, mostUnsplit, once = false, time = clock }: Options = {}) {
  const directory = await temporaryDirectory();
  const ledger = await openLedger({ directory, own: true, now: new Date() });
  const spool = await openSpool(spoolIn ?? join(directory, "spool"), minFree);
  const together: number[] = [];
  const watched: Ledger = {
    ...ledger,
    receiveAll: (arriving) => {
      together.push(arriving.length);
      return ledger.receiveAll(arriving);
    },
  };
  const { log, lines, heard } = listening();
  let changed = () => {};
  const stalls: (string | null)[] = [];
  let trouble: Fault | null = null;
  const source: Source = {
    ...sourceOf("invoices").source,
    arrivals: script,
    stall: (why) => {
      trouble = why;
      if (stalls.at(-1) !== (why?.code ?? null)) stalls.push(why?.code ?? null);
      changed();
    },
    freshness: () => ({ sweptAt: null, trouble }),
  };
  const stop = new AbortController();
  const works = worksOf(watched, spool);
  const more = mostUnsplit === undefined ? {} : { mostUnsplit };
  const tell = () => changed();
  const done = intake({ source, works, tell, swept: tell, log, clock: time, once, ...more }, stop.signal);
  onTestFinished(async () => {
    stop.abort();
    await done;
    await ledger.close();
  });
  /** Resolves when it holds; asked after every change. */
  const until = (holds: () => boolean | Promise<boolean>) =>
    new Promise<void>((resolve) => {
      changed = () => void Promise.resolve(holds()).then((held) => held && resolve());
      changed();
    });
  const has = async (uid: number) => (await ledger.message(hashOf(raw(uid)))) !== null;
  const cursor = async () => (await ledger.mailbox("invoices"))?.cursor.uid ?? 0;
  return { directory, ledger, spool, together, lines, heard, stalls, stop, done, until, has, cursor };
}

describe("what is at hand", () => {
  const UIDS = Array.from({ length: 40 }, (_, index) => index + 1);

  test("is kept by few transactions, in the order it was seen", async () => {
    const { ledger, together, done, cursor } = await begin(box(UIDS), { once: true, time: patient });
    expect(await done).toBe(true);
    expect(together).toEqual([16, 16, 8]);
    expect(await cursor()).toBe(40);
    const order = (await ledger.summaries(100)).map(({ message }) => message.id);
    expect(order).toEqual(UIDS.map((uid) => hashOf(raw(uid))));
  });

  test("is one message where the bytes are the same", async () => {
    const { ledger, together, done } = await begin(
      box([1, 2, 3], (uid) => arrival(uid, once(raw(1)))),
      { once: true, time: patient },
    );
    await done;
    expect(together).toEqual([3]);
    expect(await ledger.counts()).toMatchObject({ messages: 1, open: 1 });
    expect((await ledger.arrivals(hashOf(raw(1)))).map(({ origin }) => origin.uid)).toEqual([1, 2, 3]);
  });

  test("does not wait for what comes later", async () => {
    const { until, has } = await begin(async function* (_since, signal) {
      yield arrival(1);
      await aborted(signal);
    });
    await until(() => has(1));
  });

  test("does not wait for a body that takes its time", async () => {
    const rest = Promise.withResolvers<void>();
    const slow = async function* () {
      yield raw(2).subarray(0, 5);
      await rest.promise;
      yield raw(2).subarray(5);
    };
    const { until, has, cursor } = await begin(box([1, 2, 3], (uid) => arrival(uid, uid === 2 ? slow() : once(raw(uid)))));
    await until(() => has(1));
    expect(await cursor()).toBe(1);
    rest.resolve();
    await until(async () => (await has(2)) && (await has(3)));
  });

  test("is kept when it is told to stop", async () => {
    const stopping = new AbortController();
    const { stop, done, has } = await begin(async function* (_since, signal) {
      yield arrival(1);
      stopping.abort();
      await aborted(signal);
    });
    await aborted(stopping.signal);
    stop.abort();
    expect(await done).toBe(false);
    expect(await has(1)).toBe(true);
  });
});

describe("one that fails among others", () => {
  test("on its way: the others are kept, the cursor never passes it, and it comes once more", async () => {
    let tries = 0;
    const cut = async function* () {
      yield raw(2).subarray(0, 5);
      throw new Fault("imap.lost", "it was cut");
    };
    const run = await begin(async function* (_since, signal) {
      yield arrival(1);
      yield arrival(2, ++tries === 1 ? cut() : once(raw(2)));
      yield arrival(2);
      yield arrival(3);
      yield swept(3);
      await aborted(signal);
    });
    await run.until(() => run.has(3));
    expect(run.lines).toMatchObject([{ name: "receive.retry", fields: { fault: "imap.lost" } }]);
    expect(await run.ledger.counts()).toMatchObject({ messages: 3 });
    expect((await run.ledger.arrivals(hashOf(raw(2)))).length).toBe(1);
    expect(await run.spool.clean()).toBe(0);
  });

  test("in the spool: what came before it is kept, what came after it is not passed over, and it goes on by itself", async () => {
    const directory = await temporaryDirectory();
    const blocked = dirname((await openSpool(directory)).path("raw", hashOf(raw(2))));
    expect([1, 3].map((uid) => hashOf(raw(uid)).slice(0, 2))).not.toContain(hashOf(raw(2)).slice(0, 2));
    await mkdir(dirname(blocked), { recursive: true });
    await writeFile(blocked, "in the way");
    const { ledger, until, has, cursor, stalls, lines } = await begin(box([1, 2, 3]), { spoolIn: directory });
    await until(() => stalls.includes("spool.unwritable"));
    expect([await has(1), await has(2), await has(3)]).toEqual([true, false, false]);
    expect(await cursor()).toBe(1);
    await rm(blocked);
    await until(async () => (await has(2)) && (await has(3)) && stalls.at(-1) === null);
    expect(await ledger.counts()).toMatchObject({ messages: 3 });
    expect(lines.filter(({ name }) => name === "receive.trouble")).toHaveLength(1);
    expect(lines.at(-1)).toMatchObject({ name: "receive.resumed", fields: { mailbox: "invoices" } });
  });

  test("in the ledger for ever: it is a record without bytes, and keeps nobody out", async () => {
    const start = Promise.withResolvers<void>();
    const { directory, ledger, done } = await begin(
      async function* (since, signal) {
        await start.promise;
        yield* box([1, 2, 3])(since, signal);
      },
      { once: true },
    );
    const other = new Database(join(directory, LEDGER_FILE));
    other.exec(`CREATE TRIGGER no BEFORE INSERT ON message WHEN NEW.id = '${hashOf(raw(2))}' BEGIN SELECT RAISE(ABORT, 'no'); END`);
    start.resolve();
    expect(await done).toBe(true);
    expect(await ledger.counts()).toMatchObject({ messages: 2, unreadable: 1 });
    expect(await ledger.unreadable()).toMatchObject([{ origin: { uid: 2 }, fault: { code: "ledger.refused" } }]);
    other.close();
  });
});

describe("what is full", () => {
  const UIDS = Array.from({ length: 17 }, (_, index) => index + 1);

  test("with too many that wait to be split no more are read, and it says so; when they are it goes on", async () => {
    const read: number[] = [];
    const noting = (uid: number) =>
      arrival(
        uid,
        (async function* () {
          read.push(uid);
          yield raw(uid);
        })(),
      );
    const { ledger, done, until, stalls, has } = await begin(box(UIDS, noting), { mostUnsplit: 16, once: true, time: patient });
    await until(() => stalls.includes("receive.backlog"));
    expect(read).toEqual(UIDS.slice(0, 16));
    expect(await has(16)).toBe(true);
    const [task] = await ledger.tasks(hashOf(raw(1)));
    if (task === undefined) throw new Error("no task");
    await ledger.save(task, { is: "done" }, new Date());
    // It came for one sweep, and waits for what is billhook's own to do.
    expect(await done).toBe(true);
    expect(read).toEqual(UIDS);
    expect(stalls.at(-1)).toBeNull();
  });

  test.skipIf(noDisk !== null)(`a message the disk has no room for is not begun; with room it is taken ${noDisk ?? ""}`, async () => {
    const disk = await smallDisk("1m");
    const filler = join(disk, "filler");
    await writeFile(filler, Buffer.alloc(600_000));
    let begun = false;
    const large = async function* () {
      begun = true;
      yield raw(2);
    };
    const make = (uid: number) => (uid === 2 ? arrival(2, large(), 300_000) : arrival(uid));
    const { until, has, stalls, lines } = await begin(box([1, 2, 3], make), { spoolIn: disk, minFree: 200_000 });
    await until(() => stalls.includes("spool.low"));
    expect([await has(1), begun]).toEqual([true, false]);
    expect(lines.find(({ name }) => name === "receive.trouble")?.fields).toMatchObject({ mailbox: "invoices", fault: "spool.low" });
    const { bavail, bsize } = await statfs(disk);
    expect(bavail * bsize).toBeGreaterThan(200_000);
    await rm(filler);
    await until(async () => (await has(2)) && (await has(3)) && stalls.at(-1) === null);
  });

  test.skipIf(noDisk !== null)(`who came for one sweep does not wait for a full disk ${noDisk ?? ""}`, async () => {
    const { done, stalls } = await begin(box([1]), { spoolIn: await smallDisk("1m"), minFree: 2_000_000, once: true });
    expect(await done).toBe(false);
    expect(stalls).toEqual(["spool.low"]);
  });
});
