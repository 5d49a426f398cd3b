/** The ledger on a hostile machine: locked by another, on a disk that fails, with rows that cannot be read, under a clock that leaps. */
import { join } from "node:path";
import Database from "better-sqlite3";
import { describe, expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { Fault } from "../../src/base/errors.ts";
import { LEDGER_FILE, type LedgerOptions, openLedger } from "../../src/store/sql.ts";
import type { Ledger } from "../../src/store/store.ts";
import { temporaryDirectory } from "../store/disk.ts";
import { at, id, receive, refused, splitDone, taskOf, tell } from "../store/ledgers/story.ts";
import { noStrace } from "../store/process.ts";
import { expectSound, failing, lockLedger, startActor } from "./machine.ts";

async function ledgerIn(directory: string, more: Partial<LedgerOptions> = {}) {
  const ledger = await openLedger({ directory, own: true, now: at(0), ...more });
  onTestFinished(() => ledger.close());
  return ledger;
}

describe("locked by another process", () => {
  test("what is asked waits its turn, and the process does not stand still meanwhile", async () => {
    const directory = await temporaryDirectory();
    const ledger = await ledgerIn(directory);
    const free = await lockLedger(directory);
    let received = false;
    const receiving = [11, 12].map((uid) => receive(ledger, `m${uid}`, uid).then(() => (received = true)));
    // Readers need not wait in WAL mode, and do not.
    expect(await ledger.counts()).toMatchObject({ messages: 0 });
    let longestMs = 0;
    for (let turn = 0; turn < 20; turn += 1) {
      const began = performance.now();
      await systemClock.sleep(10);
      longestMs = Math.max(longestMs, performance.now() - began);
    }
    expect(longestMs).toBeLessThan(1_000);
    expect(received).toBe(false);
    await free();
    await Promise.all(receiving);
    expect(await ledger.counts()).toMatchObject({ messages: 2 });
    await expectSound(directory);
  });

  test("after five seconds it is a fault that says how to find who holds it, and nothing of it was saved", async () => {
    const directory = await temporaryDirectory();
    let waitedMs = 0;
    const sleep = async (milliseconds: number) => {
      waitedMs += milliseconds;
    };
    const ledger = await ledgerIn(directory, { sleep });
    const free = await lockLedger(directory);
    const file = join(directory, LEDGER_FILE);
    await expect(receive(ledger, "a", 11)).rejects.toMatchObject({
      code: "ledger.busy",
      temporary: true,
      message: `${file} was locked by another process for 5 s`,
      advice: expect.stringContaining(`\`fuser ${file}\``),
    });
    expect(waitedMs).toBeGreaterThanOrEqual(5_000);
    expect(waitedMs).toBeLessThan(5_100);
    expect(await ledger.message(id("a"))).toBeNull();
    await free();
    await receive(ledger, "a", 11);
    expect(await ledger.message(id("a"))).toMatchObject({ id: id("a") });
  });

  test("it is opened when its turn comes", async () => {
    const directory = await temporaryDirectory();
    await (await openLedger({ directory, own: true, now: at(0) })).close();
    // Exclusive for readers too: without the WAL a lock is one on all of it.
    const file = new Database(join(directory, LEDGER_FILE));
    file.pragma("journal_mode = DELETE");
    file.exec("BEGIN EXCLUSIVE");
    let tries = 0;
    const sleep = async () => {
      tries += 1;
      if (tries === 3) file.close();
    };
    const ledger = await ledgerIn(directory, { sleep });
    expect(tries).toBe(3);
    await receive(ledger, "a", 11);
  });
});

const untraced = noStrace === null ? "" : `: skipped, ${noStrace}`;
const unsynced = { calls: ["fsync", "fdatasync"], error: "EIO" };

describe.skipIf(untraced !== "" && process.env.CI !== "true")(`on a disk that fails${untraced}`, () => {
  test("what could not be synced is not believed: it is written anew, and saved once", async () => {
    const directory = await temporaryDirectory();
    const wal = join(directory, `${LEDGER_FILE}-wal`);
    const writer = startActor("write", directory);
    expect(await writer.line()).toBe("open");
    writer.tell("11");
    expect(await writer.line()).toBe("received");

    const mend = await failing({ ...unsynced, pid: writer.pid, paths: [wal], watched: ["pwrite64"] });
    for (let tries = 0; tries < 3; tries += 1) {
      writer.tell("12");
      expect(await writer.line()).toMatchObject({
        code: "ledger.failed",
        temporary: true,
        message: expect.stringContaining("disk I/O error"),
        advice: expect.stringContaining("dmesg"),
      });
    }
    expect(uidsIn(directory)).toEqual([11]);
    // After a sync that failed the next one may succeed though the bytes are lost: each try must write all of its own again.
    const tries = (await mend())
      .join("\n")
      .split(/^.*\(INJECTED\)$/m)
      .slice(0, -1);
    const offsets = tries.map((written) => [...written.matchAll(/pwrite64\(.*, (\d+)\) = \d+$/gm)].map(([, offset]) => Number(offset)));
    expect(offsets).toHaveLength(3);
    expect(offsets[0]?.length).toBeGreaterThan(2);
    expect(offsets).toEqual([offsets[0], offsets[0], offsets[0]]);

    writer.tell("12");
    expect(await writer.line()).toBe("received");
    await writer.kill();
    await expectSound(directory);
    expect(uidsIn(directory)).toEqual([11, 12]);
  });

  test("a checkpoint that cannot be synced loses nothing: it is repeated from the log", async () => {
    const directory = await temporaryDirectory();
    const writer = startActor("write", directory);
    expect(await writer.line()).toBe("open");
    const mend = await failing({ ...unsynced, pid: writer.pid, paths: [join(directory, LEDGER_FILE)] });
    // SQLite takes the log over into the file every 1000 pages.
    const uids = Array.from({ length: 150 }, (_, n) => n + 1);
    for (const uid of uids) {
      writer.tell(String(uid));
      expect(await writer.line()).toBe("received");
    }
    expect((await mend()).length).toBeGreaterThan(0);
    await writer.kill();
    await expectSound(directory);
    expect(uidsIn(directory)).toEqual(uids);
  });
});

function uidsIn(directory: string): readonly unknown[] {
  const ledger = new Database(join(directory, LEDGER_FILE));
  try {
    return ledger.prepare("SELECT uid FROM arrival ORDER BY uid").pluck().all();
  } finally {
    ledger.close();
  }
}

describe("a row that is no JSON", () => {
  const damage = async (directory: string, what: string) => {
    const database = new Database(join(directory, LEDGER_FILE));
    const { changes } = database.prepare(what).run();
    database.close();
    expect(changes).toBeGreaterThan(0);
  };
  const damaged = async (what: string) => {
    const directory = await temporaryDirectory();
    const ledger = await ledgerIn(directory);
    await tell(ledger);
    await damage(directory, what);
    return ledger;
  };
  const named = (table: string, row: string) => ({
    code: "ledger.record",
    temporary: false,
    message: `row ${row} of the table ${table} cannot be read`,
    advice: expect.stringContaining("backup"),
  });

  test.each(["facts", "faults", "route"])("in message.%s is named; the other messages are shown", async (column) => {
    const ledger = await damaged(`UPDATE message SET ${column} = '{"IBAN": "DE02' WHERE rowid = (SELECT min(rowid) FROM message)`);
    const [first, ...others] = await ledger.summaries(100);
    const fault = named("message", first?.message.id ?? "");
    expect(first?.message).toMatchObject({ facts: null, route: null, faults: [fault] });
    expect(JSON.stringify(first)).not.toContain("IBAN");
    expect(others.length).toBeGreaterThan(0);
    for (const { message } of others) expect(message.faults).not.toContainEqual(fault);
    // Who works with it is refused: half a message is none.
    await expect(ledger.message(first?.message.id ?? "")).rejects.toMatchObject(fault);
  });

  test("in arrival.fault is named, and the arrival still shown", async () => {
    const ledger = await damaged("UPDATE arrival SET fault = '{' WHERE message IS NULL");
    const [first] = await ledger.unreadable();
    expect(first?.fault).toMatchObject(named("arrival", first?.id ?? ""));
  });

  test("as a pulse is none, until the next; as a receipt it counts for nothing", async () => {
    const ledger = await damaged("UPDATE pulse SET body = '{'");
    expect(await ledger.pulse()).toBeNull();
    await ledger.beat({ at: at(1).toISOString(), alive: true, pid: 1, mailboxes: [] });
    expect(await ledger.pulse()).toMatchObject({ pid: 1 });
    const other = await damaged("UPDATE receipt SET receipt = '{'");
    expect(await other.sentTo("reply", "a@example.com", at(0))).toBe(0);
  });

  test("leaves a message on which nothing follows from anything, and what fails of it is saved all the same", async () => {
    const directory = await temporaryDirectory();
    const ledger = await ledgerIn(directory);
    await receive(ledger, "a", 11);
    await ledger.save(await taskOf(ledger, "a", "split"), splitDone("a"), at(12));
    await damage(directory, "UPDATE message SET route = '{'");
    await ledger.save(await taskOf(ledger, "a", "extract"), { is: "failed", fault: refused }, at(13));
    await receive(ledger, "a", 12);
    expect((await ledger.tasks(id("a"))).map(({ kind, status }) => `${kind} ${status}`)).toEqual(["split done", "extract failed"]);
    expect(await ledger.summaries(10, "stuck")).toMatchObject([{ standing: "failed" }]);
  });
});

describe("a clock that leaps", () => {
  const HOUR = 3_600;
  const DAY = 24 * HOUR;
  const busy = new Fault("sink.busy", "the receiver is busy");
  const beat = (ledger: Ledger, seconds: number) => ledger.beat({ at: at(seconds).toISOString(), alive: true, pid: 1, mailboxes: [] });
  const failingTask = async () => {
    const ledger = await ledgerIn(await temporaryDirectory());
    await receive(ledger, "a", 0);
    await beat(ledger, 0);
    await ledger.save(await taskOf(ledger, "a", "split"), { is: "retry", at: at(HOUR), fault: busy }, at(0));
    return { ledger, task: () => taskOf(ledger, "a", "split") };
  };

  test("back by a day: what was to be done in an hour is to be done in an hour", async () => {
    const { ledger, task } = await failingTask();
    await beat(ledger, 10 - DAY);
    expect(await task()).toMatchObject({
      dueAt: at(HOUR + 10 - DAY).toISOString(),
      failingSince: at(10 - DAY).toISOString(),
      updatedAt: at(10 - DAY).toISOString(),
    });
    await beat(ledger, 20 - DAY);
    expect(await ledger.nextDue([])).toEqual(at(HOUR + 10 - DAY));
  });

  test("ahead by a month: it is due, and has not failed for a month", async () => {
    const { ledger, task } = await failingTask();
    await beat(ledger, 30 * DAY);
    expect(await task()).toMatchObject({ dueAt: at(HOUR).toISOString(), failingSince: at(30 * DAY).toISOString() });
  });

  test("by no more than pulses are late on a busy machine: nothing", async () => {
    const { ledger, task } = await failingTask();
    const before = await task();
    for (const seconds of [60, 20, 75]) await beat(ledger, seconds);
    expect(await task()).toEqual(before);
  });
});
