/** What is carried out of a damaged ledger: rows that can have been written by us, and no others. */
import { join } from "node:path";
import Database from "better-sqlite3";
import { expect, onTestFinished, test } from "vitest";
import { carry } from "../../src/store/sql/salvage.ts";
import { LEDGER_FILE, openLedger } from "../../src/store/sql.ts";
import { temporaryDirectory } from "./disk.ts";
import { id, receive } from "./ledgers/story.ts";

async function made(...names: readonly string[]): Promise<Database.Database> {
  const directory = await temporaryDirectory();
  const ledger = await openLedger({ directory, own: true, now: new Date("2026-03-02T10:00:00.000Z") });
  for (const [index, name] of names.entries()) await receive(ledger, name, index + 1);
  await ledger.close();
  const database = new Database(join(directory, LEDGER_FILE));
  onTestFinished(() => void database.close());
  database.pragma("foreign_keys = OFF");
  return database;
}

test("ranks there are none of, and removals of nothing, are not carried over", async () => {
  const [damaged, into] = [await made("a", "b", "c"), await made()];
  damaged.prepare("UPDATE task SET rank = 7 WHERE message = ?").run(id("a"));
  damaged.prepare("UPDATE message SET rank = 'x' WHERE id = ?").run(id("b"));
  const remove = damaged.prepare("INSERT INTO removal (shelf, sha256) VALUES (?, ?)");
  for (const [shelf, sha256] of [
    ["raw", id("gone")],
    ["attic", id("gone")],
    ["parts", "../../etc"],
  ])
    remove.run(shelf, sha256);
  const carried = carry(damaged, into);
  const all = (what: string) => into.prepare(what).pluck().all();
  expect(all("SELECT message FROM task ORDER BY id")).toEqual([id("b"), id("c")]);
  expect(all("SELECT id FROM message ORDER BY rowid")).toEqual([id("a"), id("c")]);
  expect(into.prepare("SELECT shelf, sha256 FROM removal").all()).toEqual([{ shelf: "raw", sha256: id("gone") }]);
  for (const table of ["task", "message", "removal"]) expect(carried[table]?.whole, table).toBe(false);
});
