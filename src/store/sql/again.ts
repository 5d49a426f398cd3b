/** What a person has done again: failed and held tasks opened, results told once more. */
import type { Transaction } from "kysely";
import { deliveryKey, deliveryNameOf, positionOf } from "../delivery.ts";
import { isGivenUp, reextractionOf, type Task } from "../record.ts";
import { addEvent, addTasks, close } from "./grow.ts";
import { taskOf } from "./rows.ts";
import type { Tables } from "./tables.ts";
import { tasksOf } from "./tasks.ts";

/** Opens failed or held tasks again, of one message those too that were given up; what was held is not held a second time. */
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
      .where("status", "in", from === "failed" && message !== null ? [from, "ignored"] : [from])
      .$if(message !== null, (query) =>
        query.where((e) => e(e.fn("substr", ["message", e.lit(1), e.val(message?.length ?? 0)]), "=", message)),
      )
      .orderBy("id")
      .execute()
  ).map(taskOf);
  for (const task of tasks) await reopen(trx, task, from === "held", now.toISOString());
  const resumed = from === "failed" && message !== null ? await takeBack(trx, message, now.toISOString()) : [];
  return [...tasks, ...resumed];
}

/** What was in hand when a person gave its message up may have been done since: what follows from it comes now. */
async function takeBack(trx: Transaction<Tables>, message: string, at: string): Promise<readonly Task[]> {
  const rows = await trx
    .updateTable("message")
    .set({ ignored: null })
    .where((e) => e(e.fn("substr", ["id", e.lit(1), e.val(message.length)]), "=", message))
    .where("ignored", "is not", null)
    .returning("id")
    .execute();
  const resumed: Task[] = [];
  for (const { id } of rows) {
    const known = new Set((await tasksOf(trx, id)).map((task) => task.id));
    await close(trx, id, at);
    const added = (await tasksOf(trx, id)).filter((task) => !known.has(task.id) && task.kind !== "settle");
    // The verdict may change, as above.
    if (added.length > 0) await trx.deleteFrom("task").where("message", "=", id).where("kind", "=", "settle").execute();
    resumed.push(...added);
  }
  return resumed;
}

async function reopen(trx: Transaction<Tables>, task: Task, wasHeld: boolean, at: string): Promise<void> {
  const { id, kind, subject, message, released } = task;
  await trx
    .updateTable("task")
    .set({
      status: "open",
      attempts: 0,
      failing_since: null,
      fault: null,
      due_at: at,
      updated_at: at,
      released: wasHeld || released ? 1 : 0,
    })
    .where("id", "=", id)
    .execute();
  if (kind !== "settle") {
    // The verdict may change: what was told, or is about to be, is forgotten, and told again when the list is over.
    await trx.deleteFrom("task").where("message", "=", message).where("kind", "=", "settle").execute();
  }
  const what = `${kind}.${wasHeld ? "released" : "reopened"}`;
  await addEvent(trx, { at, message, mailbox: null, what, subject, note: null, faultCode: null });
}

/**
 * What was delivered is delivered once more, under the next key. What could not be is tried again under its own, and what is on its way
 * is left alone: nobody was told of it yet. So is what a person gave up, and what a mail said before it was read anew.
 */
export async function replay(trx: Transaction<Tables>, message: string, sink: string | null, now: Date): Promise<readonly Task[]> {
  const at = now.toISOString();
  const rows = await trx
    .selectFrom("task")
    .selectAll()
    .where("kind", "=", "deliver")
    .where((e) => e(e.fn("substr", ["message", e.lit(1), e.val(message.length)]), "=", message))
    .$if(sink !== null, (query) => query.where("sink", "=", sink))
    .orderBy("id")
    .execute();
  const last = new Map(rows.map(taskOf).map((task) => [deliveryKey({ ...deliveryNameOf(task.subject), time: 1 }), task]));
  const subjects: string[] = [];
  for (const task of last.values()) {
    const name = deliveryNameOf(task.subject);
    if (isGivenUp(task.status) || (await isOfAnEarlierReading(trx, task.message, name.of))) continue;
    const again = task.status === "done" ? deliveryKey({ ...name, time: name.time + 1 }) : task.subject;
    subjects.push(again);
    if (task.status === "failed") await reopen(trx, task, false, at);
    if (task.status !== "done") continue;
    await addTasks(trx, task.message, [{ kind: "deliver", subject: again, ...(task.memo === null ? {} : { memo: task.memo }) }], at);
    const event = { at, message: task.message, mailbox: null, what: "deliver.replayed", subject: again, note: null, faultCode: null };
    await addEvent(trx, event);
  }
  if (subjects.length === 0) return [];
  const told = await trx
    .selectFrom("task")
    .selectAll()
    .where("kind", "=", "deliver")
    .where("subject", "in", subjects)
    .orderBy("id")
    .execute();
  return told.map(taskOf);
}

async function isOfAnEarlierReading(trx: Transaction<Tables>, message: string, of: string): Promise<boolean> {
  const split = await trx.selectFrom("task").selectAll().where("kind", "=", "split").where("subject", "=", message).executeTakeFirst();
  const from = reextractionOf(split === undefined ? null : taskOf(split).memo)?.from ?? 1;
  return positionOf(of) > 0 && positionOf(of) < from;
}
