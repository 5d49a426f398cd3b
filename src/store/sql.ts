/** The ledger in SQL: SQLite in one file (WAL, synchronous=FULL) through Kysely. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { Kysely } from "kysely";
import { Migrator } from "kysely/migration";
import { Fault, permanent, reasonOf } from "../base/errors.ts";
import { makeDirectory } from "../base/files.ts";
import { isHeld, type Lock, takeLock } from "./lock.ts";
import { decidingOn } from "./sql/decide.ts";
import { ledgerDialect } from "./sql/dialect.ts";
import { migrations } from "./sql/migrations.ts";
import { moneyOn } from "./sql/money.ts";
import { readsOn } from "./sql/read.ts";
import { receivingOn } from "./sql/receive.ts";
import { searchOn } from "./sql/search.ts";
import type { Tables } from "./sql/tables.ts";
import { writesOn } from "./sql/write.ts";
import type { Ledger } from "./store.ts";

export type LedgerOptions = {
  readonly directory: string;
  /** True for the daemon: takes the lock and migrates. False for those who only look, or put something back: the ledger must be there already. */
  readonly own: boolean;
  readonly now: Date;
};

export const LEDGER_FILE = "ledger.sqlite";

export async function openLedger(options: LedgerOptions): Promise<Ledger> {
  const { directory, own, now } = options;
  const file = join(directory, LEDGER_FILE);
  let lock: Lock | null = null;
  let database: Database.Database | null = null;
  const close = () => {
    database?.close();
    lock?.release();
  };
  try {
    if (own) {
      await makeDirectory(directory, 0o700);
      lock = takeLock(directory, now);
    } else if (!existsSync(file)) {
      throw permanent("ledger.missing", `there is no ledger at ${file}`, "check state.directory, or start `billhook run` once");
    }
    database = new Database(file, { timeout: 5_000, fileMustExist: !own });
    checkVersion(database, file, own);
    database.pragma("journal_mode = WAL");
    database.pragma("synchronous = FULL");
    database.pragma("foreign_keys = ON");
    const db = new Kysely<Tables>({ dialect: ledgerDialect(database) });
    if (own) await migrate(db);
    return {
      ...guarded(
        { ...readsOn(db), ...receivingOn(db), ...writesOn(db), ...moneyOn(db), ...searchOn(db), ...decidingOn(db), held: async () => isHeld(directory) },
        file,
      ),
      close: async () => {
        await db.destroy();
        close();
      },
    };
  } catch (thrown) {
    close();
    throw asLedgerFault(thrown, file);
  }
}

/** Refuses a ledger of another version before anything is written to it; an older one is brought up to date by its owner. */
function checkVersion(database: Database.Database, file: string, own: boolean): void {
  const versioned = database.prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'kysely_migration'").get();
  const rows = versioned === undefined ? [] : database.prepare("SELECT name FROM kysely_migration").pluck().all();
  if (rows.some((name) => !Object.hasOwn(migrations, String(name)))) {
    throw permanent(
      "ledger.newer",
      `${file} was written by a newer billhook`,
      "run that version or a newer one; this one changes nothing in it",
    );
  }
  if (!own && rows.length < Object.keys(migrations).length) {
    throw permanent("ledger.older", `${file} was written by an older billhook`, "start `billhook run` of this version once");
  }
}

async function migrate(db: Kysely<Tables>): Promise<void> {
  const { error } = await new Migrator({ db, provider: { getMigrations: async () => ({ ...migrations }) } }).migrateToLatest();
  if (error !== undefined) throw error;
}

/** The same methods; what the driver throws becomes faults for people. */
function guarded<T extends { readonly [name: string]: (...args: never[]) => Promise<unknown> }>(methods: T, file: string): T {
  const entries = Object.entries(methods).map(([name, method]) => [
    name,
    (...args: never[]) =>
      method(...args).catch((thrown: unknown) => {
        throw asLedgerFault(thrown, file);
      }),
  ]);
  return Object.fromEntries(entries) as T;
}

function asLedgerFault(thrown: unknown, file: string): Fault {
  if (thrown instanceof Fault) return thrown;
  const code = (thrown as { code?: string } | null)?.code ?? "";
  if (code === "SQLITE_CANTOPEN") {
    return permanent("ledger.unreadable", `cannot open ${file}`, "check who owns it and its directory, and their permissions", thrown);
  }
  if (code === "SQLITE_FULL" || code === "ENOSPC") {
    return new Fault("ledger.full", `no space left for ${file}`, { advice: "free disk space; billhook goes on by itself", cause: thrown });
  }
  if (code.startsWith("SQLITE_CORRUPT") || code === "SQLITE_NOTADB" || thrown instanceof SyntaxError) {
    // A SyntaxError is a row that is no JSON; its message would quote the row.
    const why = thrown instanceof SyntaxError ? "a record cannot be read" : reasonOf(thrown);
    return permanent("ledger.corrupt", `${file} is damaged: ${why}`, "stop billhook and restore it from a backup", thrown);
  }
  if (code === "" || /^SQLITE_(CONSTRAINT|TOOBIG|MISMATCH)/.test(code)) {
    return permanent("ledger.refused", `the ledger does not take this record: ${reasonOf(thrown)}`, "please report this", thrown);
  }
  return new Fault("ledger.failed", `${file}: ${reasonOf(thrown)}`, { cause: thrown });
}
