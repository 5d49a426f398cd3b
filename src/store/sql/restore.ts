/** What a recovery asks of the ledger it works on, and writes to it. */
import type { Database } from "better-sqlite3";
import { permanent, recordOf } from "../../base/errors.ts";
import type { OriginRecord } from "../mail.ts";
import type { Recovery } from "../recovery.ts";
import { addEvent, addTask, holdOpen, mendTasksOf, namePartsOf, statement, UNKNOWN, UNSPLIT } from "./mend.ts";
import { partRow } from "./rows.ts";
import { inspecting } from "./verify.ts";

type Asked = Omit<Recovery, "aside" | "wrong" | "carried" | "wentBack" | "pausesLost" | "finish" | "abandon">;

const PAUSED = "whether it was paused was lost with a damaged ledger (billhook recover)";

export function recoveryOn(database: Database, now: Date): Asked {
  const at = now.toISOString();
  database.pragma("foreign_keys = ON");
  database.pragma("synchronous = FULL");
  database.exec(UNSPLIT);

  return {
    inspection: { ...inspecting(database, database.name), close: () => {} },

    held: () =>
      Number(
        statement(
          database,
          `SELECT count(DISTINCT message) FROM task WHERE status = 'held' AND json_valid(fault) AND json_extract(fault, '$.code') = ?`,
        )
          .pluck()
          .get(UNKNOWN),
      ),

    unsplit: () =>
      (
        statement(
          database,
          `SELECT message.id AS message, size, way_lost AS wayLost,
               coalesce((SELECT mailbox FROM arrival WHERE arrival.message = message.id ORDER BY arrival.id LIMIT 1), '') AS mailbox
             FROM temp.unsplit JOIN message ON message.id = unsplit.message ORDER BY message.rowid`,
        ).all() as { message: string; size: number; wayLost: number; mailbox: string }[]
      ).map((row) => ({ ...row, wayLost: row.wayLost === 1 })),

    adopt: database.transaction(({ sha256, size }, receivedAt) => {
      statement(database, "INSERT OR IGNORE INTO message (id, size, received_at, faults) VALUES (?, ?, ?, '[]')").run(
        sha256,
        size,
        receivedAt.toISOString(),
      );
      const what = "its raw mail was in the spool, and the ledger did not know it";
      addTask(database, { kind: "split", subject: sha256, message: sha256, status: "held", memo: null, what }, at);
    }),

    restore: database.transaction((message, { size, facts, parts, faults, route }) => {
      statement(database, "UPDATE message SET size = ?, facts = ?, faults = ?, parts_gone_at = NULL WHERE id = ?").run(
        size,
        JSON.stringify(facts),
        JSON.stringify(faults),
        message,
      );
      statement(database, "DELETE FROM part WHERE message = ?").run(message);
      for (const [position, part] of parts.entries()) {
        const row = partRow(message, position, part);
        const columns = Object.keys(row);
        statement(database, `INSERT INTO part (${columns.join(", ")}) VALUES (${columns.map(() => "?").join(", ")})`).run(
          Object.values(row),
        );
      }
      namePartsOf(database, message);
      if (route !== null) {
        statement(database, "UPDATE message SET route = ? WHERE id = ?").run(JSON.stringify(route), message);
        // It may have gone another way then.
        holdOpen(database, message, "which way it went is lost", at);
        mendTasksOf(database, message, at);
      }
      statement(database, "DELETE FROM temp.unsplit WHERE message = ?").run(message);
    }),

    giveUp: database.transaction((shelf, sha256) => {
      const of = shelf === "raw" ? "id = ?" : "id IN (SELECT message FROM part WHERE sha256 = ?)";
      const column = shelf === "raw" ? "raw_gone_at" : "parts_gone_at";
      const what =
        shelf === "raw" ? "the mail itself was lost" : "a part was lost, and so were the others that stood beside it in the record";
      for (const id of statement(database, `SELECT id FROM message WHERE ${of} AND ${column} IS NULL`).pluck().all(sha256) as string[]) {
        const fault = recordOf(permanent("recover.gone", `${what}; no mailbox has the mail any more`, "nothing brings it back"));
        statement(database, `UPDATE message SET ${column} = ?, faults = json_insert(faults, '$[#]', json(?)) WHERE id = ?`).run(
          at,
          JSON.stringify(fault),
          id,
        );
        addEvent(database, id, `recover.gone`, shelf, what, at);
      }
    }),

    arrivals: (message) =>
      statement(database, "SELECT mailbox, uid_validity AS uidValidity, uid FROM arrival WHERE message = ? ORDER BY id DESC").all(
        message,
      ) as OriginRecord[],

    cursor: (mailbox) => {
      const row = statement(database, "SELECT uid_validity AS uidValidity, uid, since, until FROM mailbox WHERE name = ?").get(mailbox);
      return (row as ReturnType<Recovery["cursor"]> | undefined) ?? null;
    },

    uids: (mailbox, uidValidity) =>
      new Set(
        statement(database, "SELECT uid FROM arrival WHERE mailbox = ? AND uid_validity = ?").pluck().all(mailbox, uidValidity) as number[],
      ),

    startAt: (mailbox, { uidValidity, uid, since, until }) => {
      statement(
        database,
        "INSERT OR IGNORE INTO mailbox (name, uid_validity, uid, since, until, swept_at) VALUES (?, ?, ?, ?, ?, NULL)",
      ).run(mailbox, uidValidity, uid, since, until);
    },

    pause: (name) => void statement(database, "INSERT OR IGNORE INTO paused (name, paused_at, why) VALUES (?, ?, ?)").run(name, at, PAUSED),
  };
}
