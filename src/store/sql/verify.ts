/** Looks through a ledger for what is wrong with it: by SQLite's own checks, then row by row and table against table. */
import { existsSync } from "node:fs";
import Database from "better-sqlite3";
import { permanent } from "../../base/errors.ts";
import type { Finding, Inspection } from "../recovery.ts";
import { checkVersion } from "../sql.ts";
import { ledgerFault, openingFault } from "./faults.ts";
import { TABLES } from "./tables.ts";
import { isCut } from "./wal.ts";

/** Rows that one statement looks at: between two of them the daemon's log can be written back. */
const STEP = 2_000;
const RECOVER = "stop the daemon and run `billhook recover`";
export const CUT = "the log of the ledger is damaged: what was saved last is lost";

export const JSON_COLUMNS = {
  message: ["facts", "faults", "route"],
  arrival: ["fault"],
  document: ["parts"],
  result: ["data", "review", "raw"],
  receipt: ["receipt"],
  task: ["memo", "fault"],
  pulse: ["body"],
} as const;

/** How a row is named to a person. */
const NAMES: Readonly<Record<string, string>> = {
  result: "one.document",
  receipt: "one.key",
  run: "one.key",
  part: "one.message || ' part ' || one.id",
};

/** What had come of it may have had its time before the mail was read anew. */
const BEFORE_READ_ANEW = `EXISTS (SELECT 1 FROM task AS split JOIN document ON document.id = one.subject
  WHERE split.kind = 'split' AND split.subject = one.message AND json_valid(split.memo) AND document.position < json_extract(split.memo, '$.from'))`;

type Check = {
  readonly table: string;
  readonly wrong: string;
  readonly code: string;
  readonly says: (id: string) => string;
  readonly advice: string;
};

const LEFT_BEHIND = "if `billhook run` was never started on this mailbox, start it; otherwise stop the daemon and run `billhook recover`";

const CHECKS: readonly Check[] = [
  {
    table: "message",
    wrong: "NOT EXISTS (SELECT 1 FROM task WHERE task.message = one.id)",
    code: "verify.tasks",
    says: (id) => `message ${id} has no task: nothing would ever be done for it`,
    advice: RECOVER,
  },
  {
    table: "task",
    wrong:
      "one.kind NOT IN ('split', 'extract', 'deliver', 'settle') OR one.status NOT IN ('open', 'done', 'failed', 'held', 'ignored', 'replaced')",
    code: "verify.task",
    says: (id) => `task ${id} is of a kind or in a state that is not known`,
    advice: RECOVER,
  },
  {
    table: "task",
    wrong: "one.kind = 'deliver' AND one.status = 'done' AND NOT EXISTS (SELECT 1 FROM receipt WHERE receipt.key = one.subject)",
    code: "verify.receipt",
    says: (id) => `task ${id} has delivered, and there is no receipt for it`,
    advice: RECOVER,
  },
  {
    table: "task",
    wrong: `one.kind = 'extract' AND one.status = 'done' AND NOT EXISTS (SELECT 1 FROM result WHERE result.document = one.subject)
      AND EXISTS (SELECT 1 FROM message WHERE message.id = one.message AND message.results_gone_at IS NULL)
      AND NOT (${BEFORE_READ_ANEW})`,
    code: "verify.result",
    says: (id) => `task ${id} has read a document, and its result is not there and was never removed`,
    advice: RECOVER,
  },
  {
    table: "task",
    wrong: "one.kind = 'extract' AND NOT EXISTS (SELECT 1 FROM document WHERE document.id = one.subject)",
    code: "verify.document",
    says: (id) => `task ${id} reads a document that is not there`,
    advice: RECOVER,
  },
  {
    table: "task",
    wrong: `one.kind = 'settle' AND one.status = 'open'
      AND NOT EXISTS (SELECT 1 FROM arrival WHERE arrival.id = CAST(one.subject AS INTEGER))`,
    code: "verify.arrival",
    says: (id) => `task ${id} is to tell a mailbox of an arrival that is not there`,
    advice: RECOVER,
  },
  {
    table: "arrival",
    // 0: UIDs are given anew, and the mailbox is read from its beginning.
    wrong: `EXISTS (SELECT 1 FROM mailbox WHERE mailbox.name = one.mailbox AND mailbox.uid_validity = one.uid_validity
      AND mailbox.uid < one.uid AND mailbox.uid > 0)`,
    code: "verify.cursor",
    says: (id) => `arrival u${id} lies beyond what its mailbox is said to have been read to`,
    advice: "nothing is lost: it is known by its bytes when it is seen again; start `billhook run`",
  },
  {
    table: "arrival",
    wrong: `NOT EXISTS (SELECT 1 FROM mailbox WHERE mailbox.name = one.mailbox)
      AND NOT EXISTS (SELECT 1 FROM arrival AS other WHERE other.mailbox = one.mailbox AND other.id < one.id)`,
    code: "verify.mailbox",
    says: (id) => `how far the mailbox of arrival u${id} has been read is not known`,
    advice: LEFT_BEHIND,
  },
];

/** Only reads; beside a daemon or without one. Throws a Fault where the file cannot be opened, or is of another version. */
export function inspect(file: string): Inspection {
  if (!existsSync(file))
    throw permanent("ledger.missing", `there is no ledger at ${file}`, `start \`billhook run\` once; if there was one, ${RECOVER}`);
  let database: Database.Database | null = null;
  try {
    database = new Database(file, { readonly: true, timeout: 5_000 });
    database.pragma("cell_size_check = ON");
    checkVersion(database, file, false);
    return inspecting(database, file);
  } catch (thrown) {
    database?.close();
    throw openingFault(thrown, file);
  }
}

export function inspecting(database: Database.Database, file: string): Inspection {
  const known = database.prepare("SELECT raw_gone_at AS gone FROM message WHERE id = ?");
  const partKept = database.prepare(
    "SELECT 1 FROM part JOIN message ON message.id = part.message WHERE part.sha256 = ? AND message.parts_gone_at IS NULL LIMIT 1",
  );
  const partKnown = database.prepare("SELECT 1 FROM part WHERE sha256 = ? LIMIT 1");

  const told =
    <A extends readonly unknown[], T>(ask: (shelf: "raw" | "parts", ...rest: A) => T) =>
    (shelf: "raw" | "parts", ...rest: A): T => {
      try {
        return ask(shelf, ...rest);
      } catch (thrown) {
        throw ledgerFault(thrown, file);
      }
    };

  return {
    findings: function* (beside) {
      // Whole, where nobody is kept waiting.
      if (!beside && isCut(`${file}-wal`)) yield { code: "ledger.cut", message: CUT, advice: RECOVER };
      if (beside) for (const table of TABLES) yield* sqliteSays(database, file, table);
      else yield* sqliteSays(database, file, null);
      for (const table of TABLES) yield* strangers(database, table);
      for (const [table, columns] of Object.entries(JSON_COLUMNS)) {
        for (const column of columns) {
          const wrong = `one.${column} IS NOT NULL AND NOT json_valid(one.${column})`;
          const says = (id: string) => `row ${id} of the table ${table} cannot be read: its ${column} is no JSON`;
          yield* rowsThat(database, { table, wrong, code: "verify.record", says, advice: RECOVER });
        }
      }
      for (const check of CHECKS) yield* rowsThat(database, check);
    },

    blobs: function* (shelf) {
      const raw = "SELECT id AS message, id AS sha256, size FROM message AS one WHERE raw_gone_at IS NULL";
      // Of bytes that several messages share only the first row is asked.
      const parts = `SELECT one.message, one.sha256, one.size FROM part AS one
        JOIN message ON message.id = one.message AND message.parts_gone_at IS NULL
        WHERE NOT EXISTS (SELECT 1 FROM part AS other JOIN message AS its ON its.id = other.message AND its.parts_gone_at IS NULL
          WHERE other.sha256 = one.sha256 AND other.rowid < one.rowid)`;
      const query = shelf === "raw" ? raw : parts;
      type Row = { readonly message: string; readonly sha256: string; readonly size: number };
      try {
        const select = database.prepare(`${query} AND one.rowid > ? AND one.rowid <= ?`);
        for (const range of ranges(database, shelf === "raw" ? "message" : "part")) yield* select.all(...range) as Row[];
      } catch (thrown) {
        throw ledgerFault(thrown, file);
      }
    },

    total: told((shelf) => {
      const query =
        shelf === "raw"
          ? "SELECT count(*) FROM message WHERE raw_gone_at IS NULL"
          : "SELECT count(DISTINCT sha256) FROM part JOIN message ON message.id = part.message WHERE parts_gone_at IS NULL";
      return Number(database.prepare(query).pluck().get());
    }),

    wants: told((shelf, sha256: string) => {
      if (shelf === "parts") return partKept.get(sha256) ? "kept" : partKnown.get(sha256) ? "gone" : "unknown";
      const row = known.get(sha256) as { gone: string | null } | undefined;
      return row === undefined ? "unknown" : row.gone === null ? "kept" : "gone";
    }),

    close: () => void database.close(),
  };
}

function* sqliteSays(database: Database.Database, file: string, table: string | null): Generator<Finding> {
  const damaged = (what: string): Finding => ({ code: "ledger.corrupt", message: `${file} is damaged: ${what}`, advice: RECOVER });
  try {
    for (const line of database
      .prepare(`PRAGMA integrity_check${table === null ? "" : `(${table})`}`)
      .pluck()
      .iterate()) {
      // Some lines are several; a foreign row in one may hold what a mail says.
      if (line !== "ok") yield damaged(String(line).split("\n")[0]?.slice(0, 200) ?? "");
    }
  } catch (thrown) {
    yield damaged(`${table ?? "SQLite"} cannot be checked: ${(thrown as Error).message}`);
  }
}

/** Rows that name one that is not there. */
function* strangers(database: Database.Database, table: string): Generator<Finding> {
  try {
    for (const row of database.prepare(`PRAGMA foreign_key_check(${table})`).iterate() as Iterable<{ rowid: number; parent: string }>) {
      const message = `row ${row.rowid} of the table ${table} names a ${row.parent} that is not there`;
      yield { code: "verify.foreign", message, advice: RECOVER };
    }
  } catch (thrown) {
    yield unread(table, thrown);
  }
}

function* rowsThat(database: Database.Database, { table, wrong, code, says, advice }: Check): Generator<Finding> {
  const name = NAMES[table] ?? "one.id";
  try {
    const select = database.prepare(`SELECT ${name} FROM ${table} AS one WHERE one.rowid > ? AND one.rowid <= ? AND (${wrong})`).pluck();
    for (const range of ranges(database, table)) {
      for (const id of select.all(...range)) yield { code, message: says(String(id)), advice };
    }
  } catch (thrown) {
    yield unread(table, thrown);
  }
}

function unread(table: string, thrown: unknown): Finding {
  return { code: "ledger.corrupt", message: `the table ${table} cannot be read whole: ${(thrown as Error).message}`, advice: RECOVER };
}

function* ranges(database: Database.Database, table: string): Generator<readonly [number, number]> {
  const last = Number(database.prepare(`SELECT max(rowid) FROM ${table}`).pluck().get() ?? 0);
  for (let from = 0; from < last; ) {
    yield [from, from + STEP];
    // Where many rows are gone nothing is looked for one range after the other.
    const next = database
      .prepare(`SELECT min(rowid) FROM ${table} WHERE rowid > ?`)
      .pluck()
      .get(from + STEP);
    if (next === null || next === undefined) return;
    from = Number(next) - 1;
  }
}
