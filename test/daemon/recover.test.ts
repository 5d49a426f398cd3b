/** A damaged ledger and spool: what is wrong is named, recovery mends it, and nothing is bought or delivered a second time. */
import { copyFileSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { isCut } from "../../src/store/sql/wal.ts";
import { LEDGER_FILE, openLedger } from "../../src/store/sql.ts";
import { temporaryDirectory } from "../store/disk.ts";
import {
  findingsIn,
  idOf,
  MAILBOX,
  type Outside,
  openTasks,
  overwrite,
  pagesOf,
  recoverIn,
  seed,
  sourceIn,
  startDaemon,
} from "./recovery.ts";

const PAGE = 4_096;
const GARBAGE = Buffer.alloc(PAGE, 0xa5);

let model: string;
let outside: Outside;
beforeAll(async () => {
  model = await mkdtemp(join(tmpdir(), "billhook-recover-"));
  outside = await seed(model);
});
afterAll(() => rm(model, { recursive: true, force: true }));

/** A copy of the seeded state, and of what the world outside remembers of it. */
async function copied() {
  const directory = await temporaryDirectory();
  await cp(model, directory, { recursive: true });
  const own: Outside = { box: new Map(outside.box), bought: [...outside.bought], delivered: [...outside.delivered] };
  return { directory, file: join(directory, LEDGER_FILE), own };
}

const sql = (file: string, text: string) => new Database(file).exec(text).close();

/** A daemon that is well runs to the end: nothing that was bought or delivered before is bought or delivered again. */
async function runsOn(directory: string, own: Outside) {
  const daemon = await startDaemon(directory, own, true);
  for (const uid of own.box.keys()) {
    const cursor = (await daemon.works.ledger.mailbox(MAILBOX))?.cursor;
    // As a source would: what the cursor is past is not seen again.
    if (cursor === undefined || uid > cursor.uid) await daemon.take(uid);
  }
  await daemon.drain();
  await daemon.stop();
  expect(own.bought.filter((document, at) => own.bought.indexOf(document) !== at)).toEqual([]);
  expect(own.delivered.filter((key, at) => own.delivered.indexOf(key) !== at)).toEqual([]);
}

test("the seeded state is sound, and a recovery of it changes nothing", async () => {
  const { directory, own } = await copied();
  expect(await findingsIn(directory)).toEqual([]);
  const before = openTasks(directory);
  expect(before.map(({ kind }) => kind).sort()).toEqual(["extract", "split", "split", "split"]);
  expect(await recoverIn(directory, own)).toMatchObject({ wrong: [], kept: null, held: 0, plan: { odd: [], unread: [] } });
  expect(openTasks(directory)).toEqual(before);
});

const TABLES = ["message", "arrival", "part", "document", "result", "run", "receipt", "task", "event", "mailbox", "pulse", "paused"];

describe.each(TABLES)("the table %s, every page of it overwritten but the first", (table) => {
  test("is named, refused or survived, mended, and sound again", async () => {
    const { directory, file, own } = await copied();
    const before = openTasks(directory);
    const pages = pagesOf(directory, table);
    for (const page of pages.length > 1 ? pages.slice(1) : pages) overwrite(file, (page - 1) * PAGE, GARBAGE);
    expect((await findingsIn(directory)).length).toBeGreaterThan(0);
    const { wrong, kept } = await recoverIn(directory, own);
    expect(wrong.length).toBeGreaterThan(0);
    expect(existsSync(join(kept ?? "", LEDGER_FILE))).toBe(true);
    expect(await findingsIn(directory)).toEqual([]);
    for (const open of openTasks(directory)) expect(before).toContainEqual(open);
    await runsOn(directory, own);
    expect(await findingsIn(directory)).toEqual([]);
  });
});

test.each(["message", "task", "receipt"])(
  "the first page of %s half zero: what SQLite passes over in silence is not taken for whole",
  async (table) => {
    const { directory, file, own } = await copied();
    const before = openTasks(directory);
    const [first = 0] = pagesOf(directory, table);
    overwrite(file, (first - 1) * PAGE + 512, Buffer.alloc(PAGE - 512));
    expect((await recoverIn(directory, own)).carried[table]?.whole).toBe(false);
    for (const open of openTasks(directory)) expect(before).toContainEqual(open);
    expect(await findingsIn(directory)).toEqual([]);
    await runsOn(directory, own);
  },
);

test("what was open is done after a recovery of what does not concern it", async () => {
  const { directory, file, own } = await copied();
  const before = openTasks(directory);
  for (const page of pagesOf(directory, "event").slice(1)) overwrite(file, (page - 1) * PAGE, GARBAGE);
  await recoverIn(directory, own);
  expect(openTasks(directory)).toEqual(before);
  await runsOn(directory, own);
  expect(own.bought.length).toBe(outside.bought.length + 3);
  expect(own.delivered.length).toBe(outside.delivered.length + 4);
});

describe("the file", () => {
  test.each([
    ["its header overwritten", (file: string) => overwrite(file, 0, Buffer.alloc(100, 7))],
    ["its first page overwritten", (file: string) => overwrite(file, 0, GARBAGE)],
    ["its half cut off", (file: string) => truncateSync(file, (Math.floor(statSync(file).size / 2 / PAGE) + 8) * PAGE + 100)],
    ["its end cut off", (file: string) => truncateSync(file, statSync(file).size - 4 * PAGE + 100)],
  ])("with %s is refused with the way back, and mended", async (_what, damage) => {
    const { directory, file, own } = await copied();
    const before = openTasks(directory);
    damage(file);
    const refusal = await openLedger({ directory, own: true, now: new Date() }).then(
      (ledger) => ledger.close(),
      (thrown: unknown) => thrown,
    );
    if (refusal !== undefined)
      expect(refusal).toMatchObject({ code: "ledger.corrupt", advice: expect.stringContaining("billhook recover") });
    const { carried } = await recoverIn(directory, own);
    expect(carried.mailbox?.rows ?? 0).toBeGreaterThan(0);
    expect(await findingsIn(directory)).toEqual([]);
    for (const open of openTasks(directory)) expect(before).toContainEqual(open);
    await runsOn(directory, own);
  });

  test.each([
    ["is empty", (file: string) => truncateSync(file, 0)],
    ["is not there", (file: string) => rmSync(file)],
    ["is a text", (file: string) => writeFileSync(file, "somebody's notes ".repeat(1_000))],
    ["is garbage", (file: string) => overwrite(file, 0, Buffer.alloc(statSync(file).size, 0xa5))],
  ])("that %s: every mail of the spool is known and held, and the mailbox is read from its end", async (_what, damage) => {
    const { directory, file, own } = await copied();
    damage(file);
    const { plan, held, done } = await recoverIn(directory, own);
    expect(plan.unread).toEqual([
      {
        mailbox: MAILBOX,
        cursor: { uidValidity: "1", uid: own.box.size, since: null, until: 0 },
        unknown: own.box.size,
        since: "2026-03-01T00:00:00.000Z",
      },
    ]);
    expect(held).toBe(own.box.size);
    expect(done.adopted).toBe(own.box.size);
    expect(openTasks(directory)).toEqual([]);
    expect(await findingsIn(directory)).toEqual([]);
    await runsOn(directory, own);
    expect(own).toEqual(outside);

    // Held mails say what they are, and one that is let go is read and delivered.
    const daemon = await startDaemon(directory, own, true);
    const id = idOf(own.box.get(own.box.size) ?? Buffer.alloc(0));
    expect((await daemon.works.ledger.message(id))?.facts?.subject).toContain("open 3");
    expect((await daemon.works.ledger.tasks(id)).map(({ fault }) => fault?.code)).toEqual(["recover.unknown"]);
    expect((await daemon.works.ledger.paused()).map(({ name }) => name)).toEqual(["files", "service"]);
    for (const name of ["files", "service"]) await daemon.works.ledger.resume(name, new Date());
    await daemon.works.ledger.release(id, new Date());
    await daemon.drain();
    expect(own.delivered.at(-1)).toBe(`${id}.1.files`);
    await daemon.stop();
  });
});

test("the newest records lost with the log: what is open may have been done, and waits", async () => {
  const { directory, file, own } = await copied();
  const daemon = await startDaemon(directory, own, true);
  // What a killed daemon leaves, without its log.
  await cp(directory, `${directory}-killed`, { recursive: true });
  await daemon.drain();
  await cp(join(directory, "spool"), join(`${directory}-killed`, "spool"), { recursive: true });
  await daemon.stop();
  await rm(directory, { recursive: true });
  await cp(`${directory}-killed`, directory, { recursive: true });
  await rm(`${directory}-killed`, { recursive: true });
  for (const side of ["-wal", "-shm"]) rmSync(file + side, { force: true });
  sql(file, "UPDATE pulse SET body = '{\"alive\":true}' WHERE id = 1; UPDATE message SET facts = 'no JSON' WHERE rowid = 1");
  const { wentBack } = await recoverIn(directory, own);
  expect(wentBack).toBe(true);
  expect(openTasks(directory)).toEqual([]);
  await runsOn(directory, own);
});

test("a log that is damaged in its middle: SQLite says nothing of what it lost, and we do", async () => {
  const { directory, own } = await copied();
  const daemon = await startDaemon(directory, own, true);
  await daemon.drain();
  const killed = await temporaryDirectory();
  await cp(directory, killed, { recursive: true });
  await daemon.stop();
  const whole = join(killed, `${LEDGER_FILE}-wal`);
  expect(isCut(whole)).toBe(false);
  expect(await findingsIn(killed)).toEqual([]);
  overwrite(whole, Math.floor(statSync(whole).size / 2), Buffer.alloc(100, 3));
  expect(await findingsIn(killed)).toContainEqual(expect.stringMatching(/^ledger.cut: /));
  expect(await recoverIn(killed, own)).toMatchObject({ wentBack: true });
  expect(openTasks(killed)).toEqual([]);
  await runsOn(killed, own);
});

test.each([
  ["message", "facts"],
  ["message", "route"],
  ["message", "faults"],
  ["document", "parts"],
  ["result", "data"],
  ["result", "raw"],
  ["receipt", "receipt"],
  ["task", "memo"],
  ["task", "fault"],
])("rows of %s whose %s is no JSON are named, and mended", async (table, column) => {
  const { directory, file, own } = await copied();
  sql(file, `UPDATE ${table} SET ${column} = '{"IBAN DE00' WHERE ${column} IS NOT NULL`);
  const found = await findingsIn(directory);
  expect(
    found.filter((line) => line.startsWith(`verify.record: row `) && line.includes(`its ${column} is no JSON`)).length,
  ).toBeGreaterThan(0);
  expect(found.join()).not.toContain("IBAN");
  await recoverIn(directory, own);
  expect(await findingsIn(directory)).toEqual([]);
  await runsOn(directory, own);
});

test.each([
  ["a delivery without its receipt", "DELETE FROM receipt", "verify.receipt"],
  ["a document without its result", "DELETE FROM result", "verify.result"],
  ["a message without tasks", "DELETE FROM task WHERE message = (SELECT id FROM message LIMIT 1)", "verify.tasks"],
  ["a task without its message", "PRAGMA foreign_keys = OFF; DELETE FROM message WHERE rowid = 1", "verify.foreign"],
  ["a mailbox whose place is lost", "DELETE FROM mailbox", "verify.mailbox"],
  ["an arrival beyond the cursor", "UPDATE mailbox SET uid = 2", "verify.cursor"],
])("%s is named", async (_what, text, code) => {
  const { directory, file, own } = await copied();
  sql(file, text);
  expect((await findingsIn(directory)).map((line) => line.split(":")[0])).toContain(code);
  await recoverIn(directory, own);
  if (code !== "verify.cursor") expect(await findingsIn(directory)).toEqual([]);
  await runsOn(directory, own);
});

describe("the spool", () => {
  const rawFiles = (directory: string) => filesIn(join(directory, "spool/raw"));
  const filesIn = (place: string) =>
    readdirSync(place, { recursive: true, withFileTypes: true }).flatMap((entry) =>
      entry.isFile() ? [join(entry.parentPath, entry.name)] : [],
    );

  test("missing, cut and altered mails are fetched again, and parts made again", async () => {
    const { directory, own } = await copied();
    const [missing = "", cut = "", altered = ""] = rawFiles(directory);
    const parts = filesIn(join(directory, "spool/parts"));
    const wasThere = filesIn(join(directory, "spool")).length;
    rmSync(missing);
    truncateSync(cut, 5);
    overwrite(altered, 3, Buffer.from("?"));
    for (const part of parts) rmSync(part);
    const codes = (await findingsIn(directory)).map((line) => line.split(":")[0]);
    expect(codes.filter((code) => code === "verify.missing")).toHaveLength(1 + parts.length);
    expect(codes.filter((code) => code === "verify.damaged")).toHaveLength(2);
    expect((await recoverIn(directory, own)).done).toMatchObject({ fetched: 3, missing: [] });
    expect(await findingsIn(directory)).toEqual([]);
    expect(filesIn(join(directory, "spool"))).toHaveLength(wasThere);
    await runsOn(directory, own);
  });

  test("what no mailbox has any more is said, on record, and no finding any more", async () => {
    const { directory, own } = await copied();
    const [missing = "", ...rest] = rawFiles(directory);
    rmSync(missing);
    rmSync(rest[0] ?? "");
    const { done } = await recoverIn(
      directory,
      own,
      sourceIn(own, () => false),
    );
    expect(done.missing).toHaveLength(2);
    expect(await findingsIn(directory)).toEqual([]);
  });

  test("other bytes under the same UID are not taken for it", async () => {
    const { directory, own } = await copied();
    const [missing = ""] = rawFiles(directory);
    const before = rawFiles(directory).length;
    rmSync(missing);
    for (const uid of own.box.keys()) own.box.set(uid, Buffer.from(`Subject: another\r\n\r\n${uid}`));
    expect((await recoverIn(directory, own)).done.missing).toHaveLength(1);
    expect(rawFiles(directory)).toHaveLength(before - 1);
  });

  test("files that nobody wants are moved aside, and interrupted writes removed", async () => {
    const { directory, own } = await copied();
    writeFileSync(join(directory, "spool/raw/.billhook-x.tmp"), "half");
    const stranger = "ab".repeat(32);
    const place = join(directory, "spool/parts/ab");
    mkdirSync(place, { recursive: true });
    writeFileSync(join(place, stranger), "what");
    expect((await findingsIn(directory)).map((line) => line.split(":")[0])).toEqual(["verify.temporary", "verify.leftover"]);
    expect((await recoverIn(directory, own)).done.movedAside).toBe(1);
    expect(await findingsIn(directory)).toEqual([]);
    expect(filesIn(directory).filter((path) => path.includes("damaged-") && path.endsWith(stranger))).toHaveLength(1);
  });
});

test("a recovery that was killed while it put the new ledger in its place is finished by the next, and no daemon starts before", async () => {
  const made = await copied();
  sql(made.file, "UPDATE message SET facts = 'no JSON'");
  await cp(made.directory, `${made.directory}-new`, { recursive: true });
  await recoverIn(`${made.directory}-new`, made.own);
  const mended = join(`${made.directory}-new`, LEDGER_FILE);
  const before = openTasks(`${made.directory}-new`);

  const stages: readonly ((directory: string) => void)[] = [
    // Ready, and nothing moved yet; with what an unclean end leaves beside the ledger.
    (directory) => writeFileSync(`${join(directory, LEDGER_FILE)}-wal`, "left"),
    // The damaged one moved away.
    (directory) => {
      mkdirSync(join(directory, "recovering/aside"));
      renameSync(join(directory, LEDGER_FILE), join(directory, "recovering/aside", LEDGER_FILE));
    },
    // The new one in its place.
    (directory) => {
      mkdirSync(join(directory, "recovering/aside"));
      renameSync(join(directory, LEDGER_FILE), join(directory, "recovering/aside", LEDGER_FILE));
      renameSync(join(directory, "recovering/ready", LEDGER_FILE), join(directory, LEDGER_FILE));
    },
  ];
  for (const stage of stages) {
    const { directory, own } = await copied();
    await cp(made.directory, directory, { recursive: true });
    mkdirSync(join(directory, "recovering/ready"), { recursive: true });
    copyFileSync(mended, join(directory, "recovering/ready", LEDGER_FILE));
    stage(directory);
    await expect(openLedger({ directory, own: true, now: new Date() })).rejects.toMatchObject({ code: "ledger.recovering" });
    expect(await recoverIn(directory, own)).toMatchObject({ wrong: [] });
    expect(readdirSync(directory)).not.toContain("recovering");
    const [aside = ""] = readdirSync(directory).filter((name) => name.startsWith("damaged-"));
    expect(readdirSync(join(directory, aside))).toContain(LEDGER_FILE);
    expect(openTasks(directory)).toEqual(before);
    expect(await findingsIn(directory)).toEqual([]);
  }
  await rm(`${made.directory}-new`, { recursive: true });
});

test.each(["v1", "v2", "v4", "v5", "v8", "v10"])(
  "a damaged ledger of an older version (%s) is carried over and brought up to date",
  async (version) => {
    const directory = await temporaryDirectory();
    const file = join(directory, LEDGER_FILE);
    copyFileSync(new URL(`../store/ledgers/${version}.sqlite`, import.meta.url), file);
    const count = (table: string) => Number(new Database(file).prepare(`SELECT count(*) FROM ${table}`).pluck().get());
    const tables = ["message", "arrival", "part", "document", "result", "task"];
    const before = tables.map(count);
    for (const page of pagesOf(directory, "event")) overwrite(file, (page - 1) * PAGE, GARBAGE);
    const { carried } = await recoverIn(directory, { box: new Map(), bought: [], delivered: [] });
    expect(carried.event?.whole).toBe(false);
    expect(tables.map(count)).toEqual(before);
    expect(await findingsIn(directory)).toEqual([]);
    await (await openLedger({ directory, own: true, now: new Date() })).close();
  },
);

test("a daemon that holds the ledger keeps a recovery away, and a ledger of a newer version is left as it is", async () => {
  const { directory, file, own } = await copied();
  const daemon = await openLedger({ directory, own: true, now: new Date() });
  await expect(recoverIn(directory, own)).rejects.toMatchObject({ code: "ledger.locked" });
  await daemon.close();
  sql(file, "INSERT INTO kysely_migration (name, timestamp) VALUES ('9999-later', '2030-01-01T00:00:00.000Z')");
  await expect(recoverIn(directory, own)).rejects.toMatchObject({ code: "ledger.newer" });
  expect(readdirSync(directory).filter((name) => /damaged|recovering/.test(name))).toEqual([]);
});

test("pages overwritten at random, again and again: recovery never crashes, and nothing of unknown state is open or done again", async () => {
  const seedOf = Number(process.env.SEED ?? 7);
  let state = seedOf;
  const random = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
  for (let round = 0; round < Number(process.env.ROUNDS ?? 15); round += 1) {
    const { directory, file, own } = await copied();
    const before = openTasks(directory);
    const pages = Math.floor(statSync(file).size / PAGE);
    const hits = Array.from({ length: 1 + Math.floor(random() * 4) }, () => Math.floor(random() * pages));
    for (const page of hits) {
      const bytes = random() < 0.5 ? Buffer.from(Array.from({ length: PAGE }, () => Math.floor(random() * 256))) : Buffer.alloc(PAGE);
      const from = random() < 0.5 ? 0 : Math.floor((random() * PAGE) / 512) * 512;
      overwrite(file, page * PAGE + from, bytes.subarray(0, from === 0 ? PAGE : 512));
    }
    const where = `seed ${seedOf}, round ${round}, pages ${hits.map((page) => page + 1).join(", ")}`;
    await recoverIn(directory, own);
    for (const open of openTasks(directory)) expect(before, where).toContainEqual(open);
    expect(await findingsIn(directory), where).toEqual([]);
    await runsOn(directory, own);
    await rm(directory, { recursive: true });
  }
}, 300_000);
