/** The ledger in SQL: SQLite in one file (WAL, synchronous=FULL) through Kysely. */
import { join } from "node:path";
import Database from "better-sqlite3";
import { Kysely, SqliteDialect } from "kysely";
import { Migrator } from "kysely/migration";
import { asFault, Fault, permanent, reasonOf } from "../base/errors.ts";
import { makeDirectory } from "../base/files.ts";
import { takeLock } from "./lock.ts";
import { migrations } from "./sql-migrations.ts";
import { readsOn } from "./sql-read.ts";
import type { Tables } from "./sql-tables.ts";
import { writesOn } from "./sql-write.ts";
import type { Ledger } from "./store.ts";

export type LedgerOptions = {
  readonly directory: string;
  /** True for the daemon: takes the lock and migrates. False for those who only look: the ledger must be there already. */
  readonly own: boolean;
  readonly now: Date;
};

export const LEDGER_FILE = "ledger.sqlite";

export async function openLedger(options: LedgerOptions): Promise<Ledger> {
  const { directory, own, now } = options;
  const file = join(directory, LEDGER_FILE);
  if (own) await makeDirectory(directory, 0o700);
  const lock = own ? takeLock(directory, now) : null;
  let db: Kysely<Tables> | null = null;
  try {
    const database = connect(file, own);
    db = new Kysely<Tables>({ dialect: new SqliteDialect({ database }) });
    if (own) await migrate(db, file);
    return ledgerOn(db, file, () => lock?.release());
  } catch (thrown) {
    await db?.destroy();
    lock?.release();
    throw asLedgerFault(thrown, file);
  }
}

function connect(file: string, own: boolean): Database.Database {
  const database = new Database(file, { timeout: 5_000, fileMustExist: !own });
  database.pragma("journal_mode = WAL");
  database.pragma("synchronous = FULL");
  database.pragma("foreign_keys = ON");
  return database;
}

async function migrate(db: Kysely<Tables>, file: string): Promise<void> {
  const { error } = await new Migrator({ db, provider: { getMigrations: async () => ({ ...migrations }) } }).migrateToLatest();
  if (error === undefined) return;
  if (/previously executed migration .* is missing/.test(reasonOf(error))) {
    throw permanent(
      "ledger.newer",
      `${file} was written by a newer billhook`,
      "run that version or a newer one; this one changes nothing in it",
      error,
    );
  }
  throw asLedgerFault(error, file);
}

function asLedgerFault(thrown: unknown, file: string): Fault {
  if (thrown instanceof Fault) return thrown;
  const code = (thrown as { code?: string } | null)?.code ?? "";
  if (code === "SQLITE_CANTOPEN" || code === "ENOENT") {
    return permanent("ledger.missing", `there is no ledger at ${file}`, "check state.directory, or start `billhook run` once", thrown);
  }
  if (code === "SQLITE_FULL") {
    return new Fault("ledger.full", `no space left for ${file}`, { advice: "free disk space; billhook goes on by itself", cause: thrown });
  }
  if (code.startsWith("SQLITE_CORRUPT") || code === "SQLITE_NOTADB") {
    return permanent("ledger.corrupt", `${file} is damaged: ${reasonOf(thrown)}`, "stop billhook and restore it from a backup", thrown);
  }
  return asFault(thrown, "ledger.failed");
}

function ledgerOn(db: Kysely<Tables>, file: string, release: () => void): Ledger {
  const guard = <T>(work: Promise<T>): Promise<T> =>
    work.catch((thrown: unknown) => {
      throw asLedgerFault(thrown, file);
    });
  return {
    ...readsOn(db),
    ...writesOn(db, guard),
    close: async () => {
      await db.destroy();
      release();
    },
  };
}
