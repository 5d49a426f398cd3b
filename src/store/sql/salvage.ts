/** Carries what can still be read of a damaged ledger into a new one: table by table, row by row, past what cannot be read. */
import Database from "better-sqlite3";
import { RANKS, TASK_KINDS } from "../record.ts";
import { graftHeader, graftSchema } from "./graft.ts";
import { TABLES } from "./tables.ts";

export type Row = { readonly [column: string]: unknown };
export type Carried = { readonly rows: number; readonly whole: boolean };

/** Their id is the row's number. */
const NUMBERED = ["arrival", "task", "event", "pulse"];
const STEP = 200;
/** So many numbers without a row are tried behind the last that was read; where the number of the last row is known, more. */
const BEYOND = 5_000;
const FAR_BEYOND = 2_000_000;

/** Without these there is nothing to carry over. */
const CORE = ["mailbox", "message", "arrival", "receipt", "task"];

/**
 * Opens a copy of a damaged ledger; null when SQLite finds no table in it. Where its beginning is damaged it gets the one of a ledger that is
 * well.
 */
export function openDamaged(file: string, well: string): Database.Database | null {
  for (const mend of [() => {}, graftHeader, graftSchema]) {
    mend(file, well);
    let database: Database.Database | null = null;
    try {
      database = new Database(file);
      database.unsafeMode();
      // What is wrong with one table must not keep us from the others, nor a file that is too short from what is there.
      database.pragma("writable_schema = ON");
      database.pragma("cell_size_check = ON");
      const tables = tablesOf(database);
      if (CORE.every((table) => tables.includes(table)) || (mend === graftSchema && tables.length > 0)) return database;
    } catch {
      // Not readable as it is.
    }
    database?.close();
  }
  return null;
}

function tablesOf(database: Database.Database): readonly string[] {
  const names: string[] = [];
  try {
    for (const name of database.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").pluck().iterate()) names.push(String(name));
  } catch {
    // Those before the damage.
  }
  return names;
}

/** The names of the versions it says it is of; null when that cannot be read. */
export function versionsOf(database: Database.Database): readonly string[] | null {
  try {
    return database.prepare("SELECT name FROM kysely_migration ORDER BY name").pluck().all().map(String);
  } catch {
    return null;
  }
}

/** The new ledger has the tables of the same version, and asks nothing of what it is given. */
export function carry(damaged: Database.Database, into: Database.Database): Readonly<Record<string, Carried>> {
  const there = tablesOf(into);
  const readable = new Set(tablesOf(damaged));
  const carried: Record<string, Carried> = {};
  // What an older version calls `paused`.
  for (const table of [...TABLES, "service"]) {
    if (!there.includes(table)) continue;
    carried[table] = readable.has(table) ? carryTable(damaged, into, table) : { rows: 0, whole: false };
  }
  keepNumbering(damaged, into);
  return carried;
}

function carryTable(damaged: Database.Database, into: Database.Database, table: string): Carried {
  const columns = columnsOf(into, table);
  const had = new Set(columnsOf(damaged, table));
  const shared = columns.filter((column) => had.has(column));
  if (shared.length === 0) return { rows: 0, whole: false };
  const numbered = NUMBERED.includes(table);
  const names = numbered ? shared : ["rowid", ...shared];
  const insert = into.prepare(`INSERT OR IGNORE INTO ${table} (${names.join(", ")}) VALUES (${names.map(() => "?").join(", ")})`);
  const sound = SOUND[table] ?? (() => true);
  let rows = 0;
  let whole = true;
  into.exec("BEGIN");
  for (const row of rowsOf(damaged, table, shared)) {
    const isCarried = row !== null && sound(row) && insert.run(names.map((name) => row[name === "rowid" ? "#" : name])).changes === 1;
    if (isCarried) rows += 1;
    else whole = false;
  }
  into.exec("COMMIT");
  return { rows, whole: whole && agrees(damaged, table) };
}

/** A damaged page may well look like one without rows; the indexes know better. */
function agrees(database: Database.Database, table: string): boolean {
  try {
    return database.prepare(`PRAGMA integrity_check(${table})`).pluck().get() === "ok";
  } catch {
    return false;
  }
}

function columnsOf(database: Database.Database, table: string): readonly string[] {
  try {
    return (database.pragma(`table_info(${table})`) as { name: string }[]).map(({ name }) => name);
  } catch {
    return [];
  }
}

/** In order of their numbers; null for a place where one may have been. */
function* rowsOf(database: Database.Database, table: string, columns: readonly string[]): Generator<Row | null> {
  if (columns.length === 0) return yield null;
  const select = `SELECT rowid AS "#", ${columns.join(", ")} FROM ${table}`;
  let next: Database.Statement;
  let one: Database.Statement;
  try {
    next = database.prepare(`${select} NOT INDEXED WHERE rowid > ? ORDER BY rowid LIMIT ${STEP}`);
    one = database.prepare(`${select} NOT INDEXED WHERE rowid = ?`);
  } catch {
    return yield null;
  }
  const end = lastOf(database, table);
  let last = 0;
  let beyond = 0;
  for (;;) {
    let reached = last;
    let isWhole = false;
    try {
      for (const row of next.iterate(last) as Iterable<Row>) {
        const number = Number(row["#"]);
        // What a damaged page says of its numbers leads nowhere.
        if (!(number > reached) || (end !== null && number > end)) break;
        reached = number;
        yield row;
        if (number === end) return;
      }
      isWhole = next.all(reached).length === 0;
    } catch {
      // From here on one at a time.
    }
    if (isWhole && (end === null || reached >= end)) return;
    if (reached > last) {
      last = reached;
      beyond = 0;
      continue;
    }
    last += 1;
    beyond += 1;
    if (end === null ? beyond > BEYOND : last > end || beyond > FAR_BEYOND) return;
    try {
      const row = one.get(last) as Row | undefined;
      if (row !== undefined) {
        beyond = 0;
        yield row;
      }
    } catch {
      yield null;
    }
  }
}

/** The number of the last row; null when nobody can tell. */
function lastOf(database: Database.Database, table: string): number | null {
  const queries = [`SELECT max(rowid) FROM ${table} NOT INDEXED`];
  if (NUMBERED.includes(table)) queries.unshift(`SELECT seq FROM sqlite_sequence WHERE name = '${table}'`);
  for (const query of queries) {
    try {
      const last = database.prepare(query).pluck().get();
      if (last !== undefined && Number.isSafeInteger(last ?? 0)) return Number(last ?? 0);
    } catch {
      // The next may be told.
    }
  }
  return null;
}

/** Numbers are never given twice: what a mailbox was told of an arrival is known by its number. */
function keepNumbering(damaged: Database.Database, into: Database.Database): void {
  for (const table of ["arrival", "task", "event"]) {
    const numbers = [Number(into.prepare(`SELECT max(id) FROM ${table}`).pluck().get() ?? 0)];
    if (table === "arrival") {
      numbers.push(Number(into.prepare("SELECT max(CAST(subject AS INTEGER)) FROM task WHERE kind = 'settle'").pluck().get() ?? 0));
    }
    try {
      numbers.push(Number(damaged.prepare("SELECT seq FROM sqlite_sequence WHERE name = ?").pluck().get(table) ?? 0));
    } catch {
      numbers.push(Math.max(...numbers) + BEYOND);
    }
    const last = Math.max(...numbers.filter(Number.isSafeInteger));
    into.prepare("DELETE FROM sqlite_sequence WHERE name = ?").run(table);
    into.prepare("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)").run(table, last);
  }
}

const SHA256 = /^[0-9a-f]{64}$/;
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/;
const STATUSES = ["open", "done", "failed", "held", "ignored", "replaced"];

const isText = (value: unknown): value is string => typeof value === "string" && value !== "";
const isTextOrNull = (value: unknown) => value === null || value === undefined || typeof value === "string";
const isHash = (value: unknown): value is string => typeof value === "string" && SHA256.test(value);
const isTime = (value: unknown) => typeof value === "string" && TIME.test(value) && !Number.isNaN(Date.parse(value));
const isTimeOrNull = (value: unknown) => value === null || value === undefined || isTime(value);
const isCount = (value: unknown) => Number.isSafeInteger(value) && Number(value) >= 0;
/** Older versions know none. */
const isRank = (value: unknown) => value === undefined || (RANKS as readonly unknown[]).includes(value);
const isDocument = (value: unknown): value is string => typeof value === "string" && /^[0-9a-f]{64}\.\d+$/.test(value);
const isJson = (value: unknown) => {
  if (value === null || value === undefined) return true;
  try {
    return typeof value === "string" && JSON.parse(value) !== undefined;
  } catch {
    return false;
  }
};
/** Bytes that were no text became this. */
const isUntouched = (row: Row) => !Object.values(row).some((value) => typeof value === "string" && /[\ufffd\0]/.test(value));

/** Whether a row can have been written by us. Of a task all of it must be beyond doubt: it decides what is bought and delivered. */
const SOUND: Readonly<Record<string, (row: Row) => boolean>> = {
  mailbox: (row) =>
    isUntouched(row) && isText(row.name) && isText(row.uid_validity) && isCount(row.uid) && isCount(row.until) && isTimeOrNull(row.since),
  message: (row) => isHash(row.id) && isCount(row.size) && isTime(row.received_at) && isRank(row.rank),
  arrival: (row) => isText(row.mailbox) && isCount(row.uid) && isTime(row.seen_at) && (row.message === null || isHash(row.message)),
  part: (row) =>
    isHash(row.message) && isHash(row.sha256) && isText(row.id) && isCount(row.size) && /^(body|attachment)$/.test(String(row.role)),
  document: (row) => isDocument(row.id) && isHash(row.message) && row.id.startsWith(`${row.message}.`) && isText(row.service),
  result: (row) => isDocument(row.document) && isText(row.service) && isText(row.data) && isTime(row.at),
  run: (row) =>
    isDocument(row.document) && isText(row.key) && row.key.startsWith(`${row.document}/`) && isText(row.service) && isTime(row.at),
  paused: (row) => isText(row.name) && isTime(row.paused_at),
  webhook: (row) => isText(row.service) && isText(row.event_id) && isTime(row.at),
  service: (row) => isText(row.name) && isTime(row.paused_at),
  receipt: (row) => isText(row.key) && /^[0-9a-f]{64}\./.test(row.key) && isText(row.sink) && isTime(row.at),
  task: isSoundTask,
  event: (row) => isTime(row.at) && isText(row.what),
  pulse: (row) => isJson(row.body),
  removal: (row) => /^(raw|parts)$/.test(String(row.shelf)) && isHash(row.sha256),
};

function isSoundTask(row: Row): boolean {
  const { kind, subject, message, status } = row;
  if (!isUntouched(row) || !isHash(message) || !isText(subject)) return false;
  const named = { split: subject === message, settle: /^\d+$/.test(subject) }[String(kind)] ?? subject.startsWith(`${message}.`);
  return (
    named &&
    (TASK_KINDS as readonly unknown[]).includes(kind) &&
    STATUSES.includes(String(status)) &&
    isCount(row.attempts) &&
    isRank(row.rank) &&
    [row.due_at, row.created_at, row.updated_at].every(isTime) &&
    isTimeOrNull(row.failing_since) &&
    isTextOrNull(row.run_id) &&
    isJson(row.memo) &&
    isJson(row.fault)
  );
}
