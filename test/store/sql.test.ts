/** The ledger's file: who may open it, what it survives, and that what it says is saved is on the disk. */
import { createHash } from "node:crypto";
import { copyFile, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { LEDGER_FILE, openLedger } from "../../src/store/sql.ts";
import type { Ledger } from "../../src/store/store.ts";
import { noDisk, smallDisk, temporaryDirectory } from "./disk.ts";
import { at, everything, id, receive, refused, route, taskOf, tell } from "./ledgers/story.ts";
import { noStrace, startChild, traced } from "./process.ts";

const own = (directory: string) => openLedger({ directory, own: true, now: at(0) });
const look = (directory: string) => openLedger({ directory, own: false, now: at(0) });

/** A new ledger, closed; for tests that open it themselves. */
async function madeLedger(): Promise<string> {
  const directory = await temporaryDirectory();
  await (await own(directory)).close();
  return directory;
}

describe("the lock", () => {
  test("a second daemon is told who holds the ledger: in this process", async () => {
    const directory = await temporaryDirectory();
    const ledger = await own(directory);
    const refusal = { code: "ledger.locked", temporary: false, message: expect.stringContaining(`(process ${process.pid} on `) };
    await expect(own(directory)).rejects.toMatchObject(refusal);
    // Closing a second descriptor of a file drops a process's fcntl locks on it: the refusal must not have opened the door.
    await expect(own(directory)).rejects.toMatchObject(refusal);
    expect(await startChild("own", directory).line()).toMatchObject(refusal);
    await ledger.close();
    await (await own(directory)).close();
  });

  test("a second daemon is told who holds the ledger: in another process; a killed holder holds nothing", async () => {
    const directory = await temporaryDirectory();
    const holder = startChild("hold", directory);
    expect(await holder.line()).toBe("held");
    await expect(own(directory)).rejects.toMatchObject({
      code: "ledger.locked",
      message: expect.stringMatching(
        new RegExp(`^another billhook already works on ${directory} \\(process ${holder.pid} on .+, since 2026-03-02T10:00:00.000Z\\)$`),
      ),
      advice: expect.stringContaining("stop it first"),
    });
    await holder.kill();
    await (await own(directory)).close();
  });

  test("a ledger that could not be opened leaves the lock free", async () => {
    const directory = await madeLedger();
    await writeFile(join(directory, LEDGER_FILE), "not a database, but long enough to look like something".repeat(100));
    await expect(own(directory)).rejects.toMatchObject({ code: "ledger.corrupt" });
    await rm(join(directory, LEDGER_FILE));
    await (await own(directory)).close();
  });
});

describe("two at a time", () => {
  test("one who looks sees what the owner writes, and needs no lock", async () => {
    const directory = await temporaryDirectory();
    const ledger = await own(directory);
    const reader = await look(directory);
    expect(await reader.counts()).toMatchObject({ messages: 0 });
    await receive(ledger, "a", 11);
    expect(await reader.message(id("a"))).toMatchObject({ id: id("a") });
    await reader.close();
    await receive(ledger, "b", 12);
    await ledger.close();
  });

  test("another process puts tasks back while the daemon writes: both wait their turn, neither fails", async () => {
    const directory = await temporaryDirectory();
    const ledger = await own(directory);
    const child = startChild("reopen", directory);
    let ended = false;
    const reopened = child.line().finally(() => {
      ended = true;
    });
    let failed = 0;
    for (let uid = 11; !ended; uid += 1) {
      await receive(ledger, `m${uid}`, uid);
      await ledger.save(await taskOf(ledger, `m${uid}`, "split"), { is: "failed", fault: refused }, at(uid));
      failed += 1;
      // The ledger itself never lets the event loop go: without this the child would not be heard.
      await setImmediate();
    }
    const left = await ledger.reopen(null, at(0));
    expect(Number(await reopened) + left.length).toBe(failed);
    expect(Number(await reopened)).toBeGreaterThan(0);
    await ledger.close();
  });
});

describe("versions", () => {
  const place = new URL("ledgers/", import.meta.url).pathname;

  test.each(["v1", "v2", "v4", "v5", "v8", "v10"])(
    "a ledger written by %s is read whole, by its owner and by one who looks",
    async (version) => {
      const directory = await temporaryDirectory();
      await copyFile(join(place, `${version}.sqlite`), join(directory, LEDGER_FILE));
      const told = JSON.parse(await readFile(join(place, `${version}.json`), "utf8"));
      for (const open of [own, look]) {
        const ledger = await open(directory);
        expect(await everything(ledger)).toMatchObject(told);
        await ledger.close();
      }
    },
  );

  test("what an older version has split and not finished goes on, to where it is told to go", async () => {
    const directory = await temporaryDirectory();
    await copyFile(join(place, "v2.sqlite"), join(directory, LEDGER_FILE));
    const ledger = await own(directory);
    const open = (await ledger.reopen(null, at(99_999))).find(({ kind }) => kind === "extract");
    if (open === undefined) throw new Error("the kept ledger has no failed extraction");
    await ledger.adopt(route);
    expect(await ledger.message(open.message)).toMatchObject({ route });
    await ledger.save(open, { is: "done" }, at(99_999));
    expect(await ledger.due(at(99_999), 100, [], "deliver")).toMatchObject([{ subject: `${open.subject}.files` }]);
    const finished = (await ledger.summaries(100)).filter(({ standing }) => standing === "done");
    expect(finished.map(({ message }) => message.route)).toEqual(finished.map(() => null));
    await ledger.close();
  });

  test("this version tells the same story as the kept one", async () => {
    const ledger = await own(await temporaryDirectory());
    await tell(ledger);
    const kept = JSON.parse(await readFile(join(place, "v10.json"), "utf8"));
    expect(await everything(ledger)).toMatchObject(kept);
    await ledger.close();
  });

  test("a newer ledger is refused and left as it is", async () => {
    const directory = await madeLedger();
    const file = join(directory, LEDGER_FILE);
    const database = new Database(file);
    database.exec("INSERT INTO kysely_migration (name, timestamp) VALUES ('9999-later', '2030-01-01T00:00:00.000Z')");
    database.close();
    const before = await digest(file);
    for (const open of [own, look]) {
      await expect(open(directory)).rejects.toMatchObject({
        code: "ledger.newer",
        temporary: false,
        message: `${file} was written by a newer billhook`,
      });
    }
    expect(await digest(file)).toBe(before);
  });

  test("an older ledger is not for one who only looks", async () => {
    const directory = await temporaryDirectory();
    new Database(join(directory, LEDGER_FILE)).exec("CREATE TABLE something (a)").close();
    await expect(look(directory)).rejects.toMatchObject({ code: "ledger.older", temporary: false });
  });

  test("a migration that fails leaves nothing behind", async () => {
    const directory = await temporaryDirectory();
    const file = join(directory, LEDGER_FILE);
    const database = new Database(file);
    database.exec("CREATE TABLE pulse (a)");
    await expect(own(directory)).rejects.toMatchObject({ message: expect.stringContaining("pulse") });
    expect(tables(database)).not.toContain("mailbox");
    database.exec("DROP TABLE pulse");
    await (await own(directory)).close();
    expect(tables(database)).toContain("mailbox");
    database.close();
  });
});

describe("the file", () => {
  test("is in WAL mode, enforces foreign keys for its owner, and is nobody else's to read", async () => {
    const directory = join(await temporaryDirectory(), "state");
    const ledger = await own(directory);
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
    const other = new Database(join(directory, LEDGER_FILE));
    expect(other.pragma("journal_mode", { simple: true })).toBe("wal");
    other.close();
    await receive(ledger, "a", 11);
    const task = await taskOf(ledger, "a", "split");
    const receipt = { key: "k", document: "not there", sink: "files", receipt: {} };
    await expect(ledger.save(task, { is: "done", growth: { receipt } }, at(12))).rejects.toMatchObject({
      code: "ledger.refused",
      message: expect.stringContaining("FOREIGN KEY"),
    });
    await ledger.close();
  });

  test.skipIf(noStrace !== null && process.env.CI !== "true")(
    `is synced before a save resolves (synchronous=FULL)${noStrace === null ? "" : `: skipped, ${noStrace}`}`,
    async () => {
      expect(noStrace).toBeNull();
      const calls = await traced(["fsync", "fdatasync", "write"], "receive", await temporaryDirectory());
      // In WAL mode with synchronous=NORMAL only the first frame of a new log is synced: the second save tells.
      const before = calls.findIndex(({ text }) => text.includes("before 2"));
      const after = calls.findIndex(({ text }) => text.includes("after 2"));
      expect(before).toBeGreaterThan(0);
      const synced = calls.slice(before, after).filter(({ name, text }) => name !== "write" && text.includes(`${LEDGER_FILE}-wal>`));
      expect(synced.length).toBeGreaterThan(0);
    },
  );

  test.each([
    ["is not a database", "a text that somebody saved here by mistake, long enough for a header of SQLite".repeat(10)],
    ["has lost its beginning", Buffer.alloc(8_192, 7)],
  ])("that %s is told as damaged", async (_what, content) => {
    const directory = await temporaryDirectory();
    await writeFile(join(directory, LEDGER_FILE), content);
    for (const open of [own, look]) {
      await expect(open(directory)).rejects.toMatchObject({
        code: "ledger.corrupt",
        temporary: false,
        message: expect.stringContaining(LEDGER_FILE),
        advice: expect.stringContaining("backup"),
      });
    }
  });

  test("with a record that is no JSON is damaged, and the fault does not quote it", async () => {
    const directory = await temporaryDirectory();
    const ledger = await own(directory);
    await receive(ledger, "a", 11);
    new Database(join(directory, LEDGER_FILE)).exec(`UPDATE message SET facts = 'IBAN DE00'`).close();
    const fault = await ledger.message(id("a")).catch((thrown: unknown) => thrown);
    expect(fault).toMatchObject({
      code: "ledger.record",
      temporary: false,
      message: expect.stringContaining(`row ${id("a")} of the table message`),
    });
    expect(String(fault)).not.toContain("IBAN");
    await ledger.close();
  });

  test("that is missing, or that cannot be opened, is told as that", async () => {
    const directory = await temporaryDirectory();
    await expect(look(directory)).rejects.toMatchObject({ code: "ledger.missing", temporary: false });
    await expect(look(join(directory, "nowhere"))).rejects.toMatchObject({ code: "ledger.missing" });
    await writeFile(join(directory, "file"), "");
    await expect(own(join(directory, "file"))).rejects.toMatchObject({ code: expect.stringMatching(/^ledger\./) });
    await own(join(directory, LEDGER_FILE)).then((ledger) => ledger.close());
    await expect(look(directory)).rejects.toMatchObject({ code: "ledger.unreadable", temporary: false });
  });

  test.skipIf(noDisk !== null)(`on a full disk waits for room${noDisk === null ? "" : `: skipped, ${noDisk}`}`, async () => {
    const directory = await smallDisk("1m");
    const ledger = await own(directory);
    const fault = await fill(ledger);
    expect(fault).toMatchObject({ code: "ledger.full", temporary: true, advice: expect.stringContaining("free disk space") });
    const { messages } = await ledger.counts();
    await rm(join(directory, "ballast"));
    await receive(ledger, "after", 1);
    expect(await ledger.counts()).toMatchObject({ messages: messages + 1 });
    await ledger.close();

    async function fill(full: Ledger): Promise<unknown> {
      await writeFile(join(directory, "ballast"), Buffer.alloc(256 * 1024));
      for (let uid = 11; uid < 10_000; uid += 1) {
        const thrown = await receive(full, `m${uid}`, uid).catch((refusal: unknown) => ({ refusal }));
        if ("refusal" in thrown) return thrown.refusal;
      }
      return null;
    }
  });
});

function tables(database: Database.Database): unknown[] {
  return database.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").pluck().all();
}

async function digest(file: string): Promise<string> {
  return createHash("sha256")
    .update(await readFile(file))
    .digest("hex");
}
