/** What several parts of the ledger ask for alike: one transaction for a piece of work, and the tasks of messages. */
import type { Kysely, Transaction } from "kysely";
import type { Summary } from "../mail.ts";
import { standingOf, type Task } from "../record.ts";
import { messageOf, taskOf } from "./rows.ts";
import type { Tables } from "./tables.ts";

/** Runs each piece of work in a transaction of its own. */
export function atomicallyOn(db: Kysely<Tables>): <T>(work: (trx: Transaction<Tables>) => Promise<T>) => Promise<T> {
  return (work) => db.transaction().execute(work);
}

/** In the order they were made. */
export async function tasksOf(db: Kysely<Tables>, message: string): Promise<readonly Task[]> {
  return (await db.selectFrom("task").selectAll().where("message", "=", message).orderBy("id").execute()).map(taskOf);
}

/** In the order of the rows; one query for all of them. */
export async function summariesOf(db: Kysely<Tables>, rows: readonly Parameters<typeof messageOf>[0][]): Promise<readonly Summary[]> {
  if (rows.length === 0) return [];
  const ids = rows.map(({ id }) => id);
  const found = await db.selectFrom("task").selectAll().where("message", "in", ids).orderBy("id").execute();
  const byMessage = Map.groupBy(found.map(taskOf), ({ message }) => message);
  return rows.map((row) => {
    const tasks = byMessage.get(row.id) ?? [];
    return { message: messageOf(row), standing: standingOf(tasks), tasks };
  });
}
