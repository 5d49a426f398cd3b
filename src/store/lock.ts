/** One daemon a ledger: a lock the operating system gives back when the process dies, however it dies. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { permanent, reasonOf } from "../base/errors.ts";

const LOCK_FILE = "ledger.lock";
/** Says who holds the lock, or held it and did not close the ledger in good order. */
export const HOLDER = "daemon.json";
/** Somebody may be asking whether the lock is held; that takes no longer than this. */
const PEEK_MS = 500;

export type Lock = { readonly release: () => void };

/**
 * Takes the lock of a state directory, or throws `ledger.locked` naming who holds it. An exclusive SQLite transaction on a file
 * of its own is the lock: fcntl(2) locks end with the process, so a crash never leaves a stale one.
 */
export function takeLock(directory: string, now: Date): Lock {
  const holder = join(directory, HOLDER);
  let database: Database.Database | null = null;
  try {
    database = new Database(join(directory, LOCK_FILE), { timeout: PEEK_MS });
    database.pragma("journal_mode = DELETE");
    database.exec("BEGIN EXCLUSIVE");
    writeFileSync(holder, `${JSON.stringify({ pid: process.pid, host: hostname(), since: now.toISOString() })}\n`);
    return { release: () => database?.close() };
  } catch (thrown) {
    database?.close();
    const code = (thrown as { code?: string }).code ?? "";
    if (code.startsWith("SQLITE_BUSY")) {
      throw permanent(
        "ledger.locked",
        `another billhook already works on ${directory}${heldBy(holder)}`,
        "stop it first, or give this one a state.directory of its own",
        thrown,
      );
    }
    // A full disk is no matter of the lock.
    if (code === "SQLITE_FULL" || code === "ENOSPC") throw thrown;
    throw permanent("ledger.lock", `cannot lock ${directory}: ${reasonOf(thrown)}`, "check that the directory can be written", thrown);
  }
}

/** Whether the lock of a state directory is taken at this moment, by whomever. */
export function isHeld(directory: string): boolean {
  const file = join(directory, LOCK_FILE);
  if (!existsSync(file)) return false;
  const database = new Database(file, { readonly: true, timeout: 0 });
  try {
    database.prepare("SELECT count(*) FROM sqlite_master").get();
    return false;
  } catch (thrown) {
    if ((thrown as { code?: string }).code?.startsWith("SQLITE_BUSY")) return true;
    throw thrown;
  } finally {
    database.close();
  }
}

function heldBy(path: string): string {
  try {
    const { pid, host, since } = JSON.parse(readFileSync(path, "utf8")) as { pid: number; host: string; since: string };
    return ` (process ${pid} on ${host}, since ${since})`;
  } catch {
    return "";
  }
}
