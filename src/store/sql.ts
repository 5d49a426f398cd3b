/** The ledger in SQL: SQLite in one file (WAL, synchronous=FULL) through Kysely. */
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { Kysely } from "kysely";
import { Migrator } from "kysely/migration";
import { type Clock, systemClock } from "../base/clock.ts";
import { permanent } from "../base/errors.ts";
import { makeDirectory, syncDirectory } from "../base/files.ts";
import { HOLDER, isHeld, type Lock, takeLock } from "./lock.ts";
import { whenFree } from "./sql/busy.ts";
import { decidingOn } from "./sql/decide.ts";
import { ledgerDialect } from "./sql/dialect.ts";
import { ledgerFault, openingFault } from "./sql/faults.ts";
import { migrations } from "./sql/migrations.ts";
import { moneyOn } from "./sql/money.ts";
import { pruningOn } from "./sql/prune.ts";
import { readsOn } from "./sql/read.ts";
import { receivingOn } from "./sql/receive.ts";
import { fold, searchOn } from "./sql/search.ts";
import type { Tables } from "./sql/tables.ts";
import { writesOn } from "./sql/write.ts";
import type { Ledger } from "./store.ts";

export type LedgerOptions = {
  readonly directory: string;
  /** True for the daemon: takes the lock and migrates. False for those who only look, or put something back: the ledger must be there already. */
  readonly own: boolean;
  readonly now: Date;
  /** Waits while another process has the ledger locked: five seconds at most, then it is a fault. */
  readonly sleep?: Clock["sleep"];
};

export const LEDGER_FILE = "ledger.sqlite";
/** Where `billhook recover` builds a new ledger, and where that stands while it takes the place of the damaged one. */
export const RECOVERING = "recovering";
export const READY = join(RECOVERING, "ready");

/** 64 MB in pages of 4 KB. */
const MOST_PAGES = 16_384;

export async function openLedger(options: LedgerOptions): Promise<Ledger> {
  const { directory, sleep = systemClock.sleep } = options;
  const file = join(directory, LEDGER_FILE);
  const patiently = <T>(work: () => Promise<T>) => whenFree(work, sleep);
  try {
    const { methods, close } = await patiently(() => open(options, file));
    return { ...guarded(methods, patiently, file), close };
  } catch (thrown) {
    throw openingFault(thrown, file);
  }
}

/** All of it or nothing: what was opened is closed again when it rejects. */
async function open({ directory, own, now }: LedgerOptions, file: string) {
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
    if (existsSync(join(directory, READY)))
      throw permanent("ledger.recovering", `the recovery of ${file} was not finished`, "run `billhook recover` once more");
    database = new Database(file, { timeout: 0, fileMustExist: !own });
    checkVersion(database, file, own);
    database.function("fold", { deterministic: true }, fold);
    // Takes effect in a file that is new, or made anew.
    database.pragma("auto_vacuum = INCREMENTAL");
    database.pragma("journal_mode = WAL");
    // What is deleted is written over with zeros.
    database.pragma("secure_delete = ON");
    database.pragma("synchronous = FULL");
    database.pragma("foreign_keys = ON");
    const db = new Kysely<Tables>({ dialect: ledgerDialect(database) });
    if (own) {
      await migrate(db);
      makeAnew(database);
      // SQLite itself passes over a directory that could not be synced.
      await syncDirectory(directory);
    }
    return {
      methods: {
        ...readsOn(db),
        ...receivingOn(db),
        ...writesOn(db),
        ...moneyOn(db),
        ...searchOn(db),
        ...decidingOn(db),
        ...pruningOn(db, database),
        held: async () => isHeld(directory),
      },
      close: async () => {
        await db.destroy();
        if (own) rmSync(join(directory, HOLDER), { force: true });
        close();
      },
    };
  } catch (thrown) {
    close();
    throw thrown;
  }
}

/** The file of an older version cannot give room back, only use it again: it is made anew, where that takes no more than a moment. */
function makeAnew(database: Database.Database): void {
  const pages = Number(database.pragma("page_count", { simple: true }));
  if (database.pragma("auto_vacuum", { simple: true }) !== 0 || pages > MOST_PAGES) return;
  try {
    database.exec("VACUUM");
  } catch {
    // For want of room, or because somebody reads: the next start tries again.
  }
}

/** Refuses a ledger of another version before anything is written to it; an older one is brought up to date by its owner. */
export function checkVersion(database: Database.Database, file: string, own: boolean): void {
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

/** The same methods: they wait for their turn, and what the driver throws becomes faults for people. */
function guarded<T extends { readonly [name: string]: (...args: never[]) => Promise<unknown> }>(
  methods: T,
  patiently: (work: () => Promise<unknown>) => Promise<unknown>,
  file: string,
): T {
  const entries = Object.entries(methods).map(([name, method]) => [
    name,
    (...args: never[]) =>
      patiently(() => method(...args)).catch((thrown: unknown) => {
        throw ledgerFault(thrown, file);
      }),
  ]);
  return Object.fromEntries(entries) as T;
}
