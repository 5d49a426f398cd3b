/** Makes a ledger that lost rows agree with itself again: what became of a message and is not known any more waits for a person. */
import type { Database, Statement } from "better-sqlite3";
import type { FaultRecord } from "../../base/errors.ts";
import { deliveryNameOf, positionOf } from "../delivery.ts";
import { following, type Known } from "../following.ts";
import { type RouteRecord, reextractionOf, type TaskMemo } from "../record.ts";
import type { Carried } from "./salvage.ts";
import { JSON_COLUMNS } from "./verify.ts";

export type Damage = {
  readonly carried: Readonly<Record<string, Carried>>;
  /** The newest records are lost. */
  readonly wentBack: boolean;
  /** The size of raw mail in the spool; null: it is not there. */
  readonly sizeOf: (sha256: string) => number | null;
};

export const UNKNOWN = "recover.unknown";
/** Messages whose facts, parts or way are to be had again. */
export const UNSPLIT = "CREATE TABLE IF NOT EXISTS temp.unsplit (message TEXT PRIMARY KEY, way_lost INTEGER NOT NULL)";

export function unknownFault(message: string, what: string): FaultRecord {
  const id = message.slice(0, 16);
  return {
    code: UNKNOWN,
    message: `${what}: it may have been read and delivered before the ledger was damaged`,
    advice: `look in your system, then \`billhook release ${id}\`, which may pay for it, or \`billhook ignore ${id} --why …\``,
    temporary: false,
  };
}

/** A statement is made once: the memory of a hundred thousand is not JavaScript's, which would not notice. */
const made = new WeakMap<Database, Map<string, Statement>>();

export function statement(database: Database, text: string): Statement {
  const its = made.get(database) ?? new Map<string, Statement>();
  made.set(database, its);
  const known = its.get(text) ?? database.prepare(text);
  its.set(text, known);
  return known;
}

/** All in one transaction, without foreign keys; afterwards they hold. */
export function mend(database: Database, { carried, wentBack, sizeOf }: Damage, at: string): void {
  const lost = (...tables: readonly string[]) => tables.some((table) => carried[table]?.whole === false);
  database.exec(UNSPLIT);
  mendRecords(database);
  mendMessages(database, sizeOf, at);
  mendDocuments(database);
  if (lost("part")) wantParts(database);
  mendProofs(database, at);
  const isAnyTaskLost = lost("task", "message", "document") || wayLost(database).length > 0;
  mendTasks(database, isAnyTaskLost ? "1 = 1" : "NOT EXISTS (SELECT 1 FROM task WHERE task.message = message.id)", at);
  if (wentBack) holdOpen(database, null, "its newest records are lost", at);
  database.exec("DELETE FROM task WHERE kind = 'settle' AND subject NOT IN (SELECT CAST(id AS TEXT) FROM arrival)");
}

/** What is no JSON is forgotten: it is had again from the mail, or known to be lost. */
function mendRecords(database: Database): void {
  const broken = (column: string) => `${column} IS NOT NULL AND NOT json_valid(${column})`;
  for (const column of ["facts", "route"] as const) {
    const wayLost = column === "route" ? 1 : 0;
    database.exec(`INSERT INTO temp.unsplit SELECT id, ${wayLost} FROM message WHERE ${broken(column)}
      ON CONFLICT (message) DO UPDATE SET way_lost = max(way_lost, excluded.way_lost)`);
    database.exec(`UPDATE message SET ${column} = NULL WHERE ${broken(column)}`);
  }
  database.exec(`UPDATE message SET faults = '[]' WHERE faults IS NULL OR NOT json_valid(faults)`);
  database.exec(`UPDATE document SET parts = 'null' WHERE NOT json_valid(parts)`);
  const isBroken = JSON_COLUMNS.result.map((column) => `(${broken(column)})`).join(" OR ");
  database.exec(`DELETE FROM result WHERE ${isBroken}`);
  database.exec(`UPDATE receipt SET receipt = '{"lost":true}' WHERE NOT json_valid(receipt)`);
  const fault = { code: UNKNOWN, message: "why it has no bytes was lost with a damaged ledger", advice: null, temporary: false };
  const isUnread = "message IS NULL AND fault IS NULL";
  database.exec(`UPDATE arrival SET fault = NULL WHERE ${broken("fault")}`);
  statement(database, `UPDATE arrival SET fault = ? WHERE ${isUnread}`).run(JSON.stringify(fault));
}

/** A message is known as long as anything speaks of it: the same mail is never bought as a new one. */
function mendMessages(database: Database, sizeOf: Damage["sizeOf"], at: string): void {
  const isHash = (column: string) => `length(${column}) = 64 AND ${column} NOT GLOB '*[^0-9a-f]*'`;
  const named = ["arrival", "part", "document", "receipt", "task", "event"].map(
    (table) => `SELECT message AS id, ${{ arrival: "seen_at", task: "created_at", event: "at" }[table] ?? "NULL"} AS at FROM ${table}`,
  );
  for (const table of ["result", "run"]) named.push(`SELECT substr(document, 1, 64) AS id, at FROM ${table}`);
  const missing = statement(
    database,
    `SELECT id, min(at) AS at FROM (${named.join(" UNION ALL ")})
       WHERE id IS NOT NULL AND ${isHash("id")} AND NOT EXISTS (SELECT 1 FROM message WHERE message.id = id) AND id NOT IN (SELECT id FROM message)
       GROUP BY id ORDER BY min(at)`,
  ).all() as { id: string; at: string | null }[];
  const insert = statement(database, "INSERT INTO message (id, size, received_at, faults) VALUES (?, ?, ?, '[]')");
  const want = statement(database, "INSERT OR REPLACE INTO temp.unsplit VALUES (?, 1)");
  for (const { id, at: first } of missing) {
    insert.run(id, sizeOf(id) ?? 0, first ?? at);
    want.run(id);
  }
  for (const table of ["arrival", "part", "document", "receipt", "task"])
    database.exec(`DELETE FROM ${table} WHERE message IS NOT NULL AND message NOT IN (SELECT id FROM message)`);
}

/** Of a document that is lost so much is known: it was read as the whole mail, or as a piece of it that nobody can name any more. */
function mendDocuments(database: Database): void {
  const named = ["result", "run", "receipt"].map(
    (table) => `SELECT document AS id, ${table === "receipt" ? "NULL" : "service"} AS service FROM ${table}`,
  );
  named.push("SELECT subject, NULL FROM task WHERE kind = 'extract'");
  const missing = statement(
    database,
    `SELECT id, max(service) AS service FROM (${named.join(" UNION ALL ")}) WHERE id IS NOT NULL AND id NOT IN (SELECT id FROM document)
       AND substr(id, 1, 64) IN (SELECT id FROM message) GROUP BY id`,
  ).all() as { id: string; service: string | null }[];
  const insert = statement(
    database,
    `INSERT INTO document (id, message, position, service, whole, parts) VALUES (?, ?, ?, coalesce(?,
       (SELECT json_extract(route, '$.service') FROM message WHERE message.id = ?), ''), 1, 'null')`,
  );
  for (const { id, service } of missing) insert.run(id, id.slice(0, 64), positionOf(id), service, id.slice(0, 64));
  for (const table of ["result", "run"]) database.exec(`DELETE FROM ${table} WHERE document NOT IN (SELECT id FROM document)`);
  database.exec("UPDATE receipt SET document = NULL WHERE document NOT IN (SELECT id FROM document)");
  namePartsOf(database);
}

/** `null` stands for parts that are not known: they are those of the mail. */
export function namePartsOf(database: Database, message: string | null = null): void {
  const named = `UPDATE document SET parts = (SELECT json_group_array(id) FROM
    (SELECT id FROM part WHERE part.message = document.message ORDER BY position)) WHERE parts = 'null'
    AND EXISTS (SELECT 1 FROM part WHERE part.message = document.message)`;
  if (message === null) database.exec(named);
  else statement(database, `${named} AND message = ?`).run(message);
}

function wantParts(database: Database): void {
  database.exec(`INSERT OR IGNORE INTO temp.unsplit
    SELECT message.id, 0 FROM message JOIN task ON task.message = message.id AND task.kind = 'split' AND task.status = 'done'
    WHERE facts IS NOT NULL AND (
      (SELECT coalesce(max(position) + 1, 0) != count(*) OR count(*) = 0 FROM part WHERE part.message = message.id)
      OR EXISTS (SELECT 1 FROM document, json_each(document.parts) AS named WHERE document.message = message.id
        AND named.value NOT IN (SELECT id FROM part WHERE part.message = message.id)))`);
}

/** Receipts, runs and results against the tasks they belong to. */
function mendProofs(database: Database, at: string): void {
  database.exec(`UPDATE task SET status = 'done', fault = NULL WHERE kind = 'deliver' AND status IN ('open', 'held', 'failed')
    AND subject IN (SELECT key FROM receipt)`);
  statement(
    database,
    `INSERT INTO receipt (key, message, document, sink, receipt, at)
       SELECT subject, message, CASE WHEN position > 0 THEN message || '.' || position END, sink, '{"lost":true}', updated_at FROM task
       WHERE kind = 'deliver' AND status = 'done' AND subject NOT IN (SELECT key FROM receipt)`,
  ).run();
  database.exec("UPDATE receipt SET document = NULL WHERE document NOT IN (SELECT id FROM document)");
  const runId = "coalesce(task.run_id, json_extract(task.memo, '$.runId'))";
  database.exec(`INSERT OR IGNORE INTO run (key, document, service, mailbox, run_id, credits, possibly_twice, only_doubt, at)
    SELECT subject || '/' || ${runId}, subject, document.service,
      coalesce((SELECT mailbox FROM arrival WHERE arrival.message = task.message ORDER BY id LIMIT 1), ''), ${runId},
      (SELECT credits FROM result WHERE result.document = subject), 0, 0, task.updated_at
    FROM task JOIN document ON document.id = subject
    WHERE kind = 'extract' AND ${runId} IS NOT NULL AND subject NOT IN (SELECT document FROM run)`);
  const gone = `kind = 'extract' AND status = 'done' AND subject NOT IN (SELECT document FROM result)
    AND message IN (SELECT id FROM message WHERE results_gone_at IS NULL)`;
  const without = statement(database, `SELECT DISTINCT message FROM task WHERE ${gone}`).pluck().all() as string[];
  for (const message of without) {
    // What is known of the run stays: released, it is asked after, and not bought again.
    hold(database, gone, message, "what was read is lost", at);
    hold(database, "kind = 'deliver' AND status = 'open'", message, "what was read is lost", at);
  }
  database.exec(`UPDATE task SET run_id = coalesce(run_id, json_extract(memo, '$.runId')) WHERE kind = 'extract' AND status = 'held'`);
}

function wayLost(database: Database): readonly string[] {
  return statement(database, "SELECT message FROM temp.unsplit WHERE way_lost = 1").pluck().all() as string[];
}

/** What a message must have had to do, and is not there: done where there is proof of it, and otherwise for a person. */
function mendTasks(database: Database, where: string, at: string): void {
  for (const id of statement(database, `SELECT id FROM message WHERE ${where} ORDER BY rowid`).pluck().all() as string[])
    mendTasksOf(database, id, at);
}

export function mendTasksOf(database: Database, message: string, at: string): void {
  const all = (query: string) => statement(database, query).all(message) as Record<string, string | null>[];
  const tasks = all("SELECT kind, status, subject, memo, fault FROM task WHERE message = ?").map(
    ({ kind, status, subject, memo }): Known => ({
      kind: kind as Known["kind"],
      status: status as Known["status"],
      subject: subject ?? "",
      memo: memo === null ? null : (JSON.parse(memo ?? "null") as TaskMemo),
      fault: null,
    }),
  );
  const known = new Set(tasks.map(({ kind, subject }) => `${kind} ${subject}`));
  const add = (kind: Known["kind"], subject: string, status: Known["status"], memo: TaskMemo | null, what: string) => {
    if (known.has(`${kind} ${subject}`)) return;
    known.add(`${kind} ${subject}`);
    tasks.push({ kind, subject, status, memo, fault: null });
    addTask(database, { kind, subject, message, status, memo, what }, at);
  };
  const documents = all("SELECT id FROM document WHERE message = ? ORDER BY position").map(({ id }) => id ?? "");
  const receipts = all("SELECT key FROM receipt WHERE message = ?").map(({ key }) => key ?? "");
  const results = new Set(
    all("SELECT document FROM result JOIN document ON document.id = document WHERE message = ?").map(({ document }) => document),
  );
  const isSplit = documents.length > 0 || receipts.length > 0;
  add("split", message, isSplit ? "done" : "held", null, "what was done with it is lost");
  const from = reextractionOf(tasks.find(({ kind }) => kind === "split")?.memo ?? null)?.from ?? 1;
  for (const id of documents) {
    if (positionOf(id) >= from) add("extract", id, results.has(id) ? "done" : "held", null, "whether it was read is not known");
  }
  for (const key of receipts) add("deliver", key, "done", null, "");
  const way = statement(database, "SELECT route FROM message WHERE id = ? AND ignored IS NULL").pluck().get(message) as
    | string
    | null
    | undefined;
  const arrivals = all("SELECT CAST(id AS TEXT) AS id FROM arrival WHERE message = ? ORDER BY id").map(({ id }) => id ?? "");
  for (const { kind, subject, memo } of following(message, tasks, arrivals, way == null ? null : (JSON.parse(way) as RouteRecord))) {
    const status = kind === "settle" ? "open" : "held";
    add(kind, subject, status, memo ?? null, "whether it was delivered is not known");
  }
}

type Lost = Pick<Known, "kind" | "subject" | "status" | "memo"> & { readonly message: string; readonly what: string };

export function addTask(database: Database, { kind, subject, message, status, memo, what }: Lost, at: string): void {
  const name = kind === "deliver" ? deliveryNameOf(subject) : null;
  const fault = status === "held" ? JSON.stringify(unknownFault(message, what)) : null;
  const position = name === null ? null : positionOf(name.of);
  statement(
    database,
    `INSERT OR IGNORE INTO task (kind, subject, message, status, attempts, due_at, memo, fault, sink, position, released, created_at, updated_at)
       VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?, ?, 0, ?, ?)`,
  ).run(kind, subject, message, status, at, memo === null ? null : JSON.stringify(memo), fault, name?.sink ?? null, position, at, at);
  if (status === "held") addEvent(database, message, `${kind}.held`, subject, what, at);
}

const OPEN = "status = 'open' AND kind != 'settle'";

/** Holds what is open of this message, or of all; telling a mailbox may be repeated. */
export function holdOpen(database: Database, message: string | null, what: string, at: string): void {
  const all = () => statement(database, `SELECT DISTINCT message FROM task WHERE ${OPEN}`).pluck().all() as string[];
  for (const one of message === null ? all() : [message]) hold(database, OPEN, one, what, at);
}

function hold(database: Database, where: string, message: string, what: string, at: string): void {
  const set = "UPDATE task SET status = 'held', attempts = 0, failing_since = NULL, fault = ?, updated_at = ?";
  const { changes } = statement(database, `${set} WHERE message = ? AND ${where}`).run(
    JSON.stringify(unknownFault(message, what)),
    at,
    message,
  );
  if (changes > 0) addEvent(database, message, "recover.held", null, what, at);
}

export function addEvent(database: Database, message: string | null, what: string, subject: string | null, note: string, at: string): void {
  const code = what.endsWith(".held") ? UNKNOWN : null;
  statement(database, "INSERT INTO event (at, message, what, subject, note, fault_code) VALUES (?, ?, ?, ?, ?, ?)").run(
    at,
    message,
    what,
    subject,
    note,
    code,
  );
}
