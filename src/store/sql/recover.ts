/** Recovers a ledger: a new one is built beside the damaged one, and takes its place in a step that a crash cannot leave half done. */
import { constants, existsSync, rmSync, statSync } from "node:fs";
import { copyFile, mkdir, open, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import Database from "better-sqlite3";
import { Kysely } from "kysely";
import { Migrator } from "kysely/migration";
import { permanent } from "../../base/errors.ts";
import { syncDirectory } from "../../base/files.ts";
import { HOLDER, takeLock } from "../lock.ts";
import type { Recovery } from "../recovery.ts";
import { LEDGER_FILE, READY, RECOVERING } from "../sql.ts";
import { ledgerDialect } from "./dialect.ts";
import { mend } from "./mend.ts";
import { migrations } from "./migrations.ts";
import { recoveryOn } from "./restore.ts";
import { type Carried, carry, openDamaged, versionsOf } from "./salvage.ts";
import { CUT, inspect } from "./verify.ts";
import { isCut } from "./wal.ts";

const SIDES = ["-wal", "-shm"] as const;
const MOST_TOLD = 5;

export type RecoveryOptions = {
  readonly directory: string;
  readonly now: Date;
  /** The size of raw mail in the spool; null: it is not there. */
  readonly sizeOf: (sha256: string) => number | null;
};

/**
 * Takes the lock. Throws `ledger.locked` while a daemon has it, `ledger.newer` for the ledger of a newer version. What an earlier recovery
 * had begun to put in its place is finished first.
 */
export async function openRecovery({ directory, now, sizeOf }: RecoveryOptions): Promise<Recovery> {
  // Taking the lock writes it anew.
  const wasClosed = !existsSync(join(directory, HOLDER));
  const lock = takeLock(directory, now);
  const release = (inOrder: boolean) => {
    if (inOrder) rmSync(join(directory, HOLDER), { force: true });
    lock.release();
  };
  try {
    const aside = join(directory, `damaged-${now.toISOString().replaceAll(":", "-")}`);
    if (existsSync(join(directory, READY))) await swap(directory, aside);
    await rm(join(directory, RECOVERING), { recursive: true, force: true });
    const wrong = wrongWith(join(directory, LEDGER_FILE));
    const built = wrong.length === 0 ? null : await build(directory, { sizeOf, now }, wasClosed);
    const database = built?.database ?? new Database(join(directory, LEDGER_FILE));
    return {
      wrong,
      aside,
      carried: built?.carried ?? {},
      wentBack: built?.wentBack ?? false,
      pausesLost: built !== null && !built.carried.paused?.whole,
      ...recoveryOn(database, now),
      finish: async () => {
        if (built === null) {
          database.close();
          release(wasClosed);
          return null;
        }
        const strangers = database.pragma("foreign_key_check") as unknown[];
        if (strangers.length > 0)
          throw permanent(
            "recover.foreign",
            `${strangers.length} rows of the new ledger name rows that are not there`,
            "please report this",
          );
        database.pragma("wal_checkpoint(TRUNCATE)");
        database.close();
        const place = join(directory, RECOVERING, "new");
        await syncFile(join(place, LEDGER_FILE));
        await syncDirectory(place);
        await rename(place, join(directory, READY));
        await syncDirectory(join(directory, RECOVERING));
        const kept = await swap(directory, aside);
        release(true);
        return kept;
      },
      abandon: async () => {
        database.close();
        await rm(join(directory, RECOVERING), { recursive: true, force: true });
        release(wasClosed);
      },
    };
  } catch (thrown) {
    release(wasClosed);
    throw thrown;
  }
}

/** The first of what speaks against the ledger; empty when nothing does. */
function wrongWith(file: string): readonly string[] {
  if (!existsSync(file)) return [`there is no ledger at ${file}`];
  if (statSync(file).size === 0) return [`${file} is empty`];
  const cut = isCut(`${file}-wal`) ? [CUT] : [];
  let inspection: ReturnType<typeof inspect>;
  try {
    inspection = inspect(file);
  } catch (thrown) {
    const { code = "", message } = thrown as { code?: string; message: string };
    if (code === "ledger.newer") throw thrown;
    return [...cut, message];
  }
  try {
    const wrong: string[] = [...cut];
    for (const { code, message } of inspection.findings(false)) {
      // The mailbox mends these by itself.
      if (code === "verify.cursor") continue;
      wrong.push(message);
      if (wrong.length >= MOST_TOLD) break;
    }
    return wrong;
  } finally {
    inspection.close();
  }
}

type Built = { readonly database: Database.Database; readonly carried: Readonly<Record<string, Carried>>; readonly wentBack: boolean };

/** The damaged ledger is only copied: what SQLite would do to it while it is read happens to the copy. */
async function build(directory: string, { sizeOf, now }: Pick<RecoveryOptions, "sizeOf" | "now">, wasClosed: boolean): Promise<Built> {
  const file = join(directory, LEDGER_FILE);
  const copy = join(directory, RECOVERING, "copy");
  const place = join(directory, RECOVERING, "new");
  await mkdir(copy, { recursive: true, mode: 0o700 });
  await mkdir(place, { mode: 0o700 });
  for (const side of ["", "-wal"]) {
    if (existsSync(file + side)) await copyFile(file + side, join(copy, LEDGER_FILE + side), constants.COPYFILE_FICLONE);
  }
  const wal = join(copy, `${LEDGER_FILE}-wal`);
  const hasWal = existsSync(wal) && statSync(wal).size > 0;
  // Before SQLite has opened it.
  const isLogCut = isCut(wal);
  const well = join(directory, RECOVERING, "well.sqlite");
  const sound = new Database(well);
  await migrate(sound, null);
  sound.close();
  const damaged = existsSync(join(copy, LEDGER_FILE)) ? openDamaged(join(copy, LEDGER_FILE), well) : null;
  const database = new Database(join(place, LEDGER_FILE));
  database.pragma("secure_delete = ON");
  const versions = damaged === null ? null : versionsOf(damaged)?.filter((name) => Object.hasOwn(migrations, name));
  await migrate(database, versions?.at(-1) ?? null);
  let carried: Readonly<Record<string, Carried>> = {};
  try {
    const wentBack = damaged !== null && (isLogCut || (!hasWal && !wasClosed && !hasStopped(damaged)));
    if (damaged !== null) carried = carry(damaged, database);
    await migrate(database, null);
    database.exec("BEGIN");
    mend(database, { carried, wentBack, sizeOf }, now.toISOString());
    database.exec("COMMIT");
    database.pragma("foreign_keys = ON");
    return { database, carried, wentBack };
  } finally {
    damaged?.close();
  }
}

/** Up to this version, or the last one. */
async function migrate(database: Database.Database, version: string | null): Promise<void> {
  database.pragma("auto_vacuum = INCREMENTAL");
  database.pragma("journal_mode = WAL");
  database.pragma("synchronous = FULL");
  database.pragma("foreign_keys = OFF");
  const db = new Kysely<unknown>({ dialect: ledgerDialect(database) });
  const migrator = new Migrator({ db, provider: { getMigrations: async () => ({ ...migrations }) } });
  const { error } = version === null ? await migrator.migrateToLatest() : await migrator.migrateTo(version);
  if (error !== undefined) throw error;
}

/** Whether the last daemon said that it had stopped. */
function hasStopped(damaged: Database.Database): boolean {
  try {
    return damaged.prepare("SELECT json_extract(body, '$.alive') FROM pulse WHERE id = 1").pluck().get() === 0;
  } catch {
    return false;
  }
}

/**
 * From here on a start of the daemon is refused until it is done, and it may be done again: what stands ready has not been put in its place
 * as long as it is there. Resolves with where the damaged ledger is, null when there was none.
 */
async function swap(directory: string, aside: string): Promise<string | null> {
  const ready = join(directory, READY);
  const taken = join(directory, RECOVERING, "aside");
  await mkdir(taken, { recursive: true, mode: 0o700 });
  if (existsSync(join(ready, LEDGER_FILE))) {
    // The log last: without its file it is nobody's, and the other way round the file would be read without it.
    for (const side of ["", ...SIDES]) {
      const file = join(directory, LEDGER_FILE + side);
      if (existsSync(file)) await rename(file, join(taken, LEDGER_FILE + side));
    }
    await syncDirectory(taken);
    await syncDirectory(directory);
    await rename(join(ready, LEDGER_FILE), join(directory, LEDGER_FILE));
    await syncDirectory(directory);
  }
  const isEmpty = ![...SIDES, ""].some((side) => existsSync(join(taken, LEDGER_FILE + side)));
  if (!isEmpty) {
    await mkdir(aside, { recursive: true, mode: 0o700 });
    for (const side of ["", ...SIDES]) {
      if (existsSync(join(taken, LEDGER_FILE + side))) await rename(join(taken, LEDGER_FILE + side), join(aside, LEDGER_FILE + side));
    }
    await syncDirectory(aside);
  }
  await rm(join(directory, RECOVERING), { recursive: true, force: true });
  await syncDirectory(directory);
  return isEmpty ? null : aside;
}

async function syncFile(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Throws `ledger.lost` where there is no ledger, or an empty file, and raw mail in the spool: a daemon that began anew would take all of it for
 * new mail, and pay for it again.
 */
export async function refuseLost(directory: string, spool: string): Promise<void> {
  const file = join(directory, LEDGER_FILE);
  if (existsSync(file) && statSync(file).size > 0) return;
  const raw = join(spool, "raw");
  for (const shard of existsSync(raw) ? await readdir(raw) : []) {
    if (!/^[0-9a-f]{2}$/.test(shard) || !(await readdir(join(raw, shard))).some((name) => name.endsWith(".eml"))) continue;
    const advice = "restore it from a backup, or run `billhook recover`, which pays for nothing twice";
    throw permanent("ledger.lost", `there is no ledger at ${file}, and there is mail in ${spool}`, advice);
  }
}
