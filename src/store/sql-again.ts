/** What a person has done again: failed and held tasks opened, results told once more. */
import type { Transaction } from "kysely";
import { deliveryKey, deliveryNameOf, type Task } from "./record.ts";
import { addEvent, addTasks } from "./sql-grow.ts";
import { type Tables, taskOf } from "./sql-tables.ts";

/** Opens failed or held tasks again; what was held is not held a second time. */
export async function putBack(
  trx: Transaction<Tables>,
  from: "failed" | "held",
  message: string | null,
  now: Date,
): Promise<readonly Task[]> {
  const tasks = (
    await trx
      .selectFrom("task")
      .selectAll()
      .where("status", "=", from)
      .$if(message !== null, (query) =>
        query.where((e) => e(e.fn("substr", ["message", e.lit(1), e.val(message?.length ?? 0)]), "=", message)),
      )
      .orderBy("id")
      .execute()
  ).map(taskOf);
  const at = now.toISOString();
  for (const { id, kind, subject, message, released } of tasks) {
    await trx
      .updateTable("task")
      .set({
        status: "open",
        attempts: 0,
        failing_since: null,
        fault: null,
        due_at: at,
        updated_at: at,
        released: from === "held" || released ? 1 : 0,
      })
      .where("id", "=", id)
      .execute();
    if (kind !== "settle") {
      // The verdict may change: what was told, or is about to be, is forgotten, and told again when the list is over.
      await trx.deleteFrom("task").where("message", "=", message).where("kind", "=", "settle").execute();
    }
    const what = `${kind}.${from === "held" ? "released" : "reopened"}`;
    await addEvent(trx, { at, message, mailbox: null, what, subject, note: null, faultCode: null });
  }
  return tasks;
}

/** Each thing that was told of so far is told once more, under the next key. */
export async function replay(trx: Transaction<Tables>, message: string, sink: string | null, now: Date): Promise<readonly Task[]> {
  const at = now.toISOString();
  const told = await trx
    .selectFrom("task")
    .selectAll()
    .where("kind", "=", "deliver")
    .where((e) => e(e.fn("substr", ["message", e.lit(1), e.val(message.length)]), "=", message))
    .$if(sink !== null, (query) => query.where("sink", "=", sink))
    .orderBy("id")
    .execute();
  const last = new Map(told.map(taskOf).map((task) => [deliveryKey({ ...deliveryNameOf(task.subject), time: 1 }), task]));
  const subjects: string[] = [];
  for (const { subject, message: whole, memo } of last.values()) {
    const name = deliveryNameOf(subject);
    const again = deliveryKey({ ...name, time: name.time + 1 });
    subjects.push(again);
    await addTasks(trx, whole, [{ kind: "deliver", subject: again, ...(memo === null ? {} : { memo }) }], at);
    await addEvent(trx, { at, message: whole, mailbox: null, what: "deliver.replayed", subject: again, note: null, faultCode: null });
  }
  if (subjects.length === 0) return [];
  const rows = await trx.selectFrom("task").selectAll().where("kind", "=", "deliver").where("subject", "in", subjects).execute();
  return rows.map(taskOf);
}
