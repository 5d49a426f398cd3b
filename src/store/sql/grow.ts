/** What a save adds to the ledger: what a step found, the tasks that follow, and a line of the audit trail. */
import type { Transaction } from "kysely";
import { deliveryNameOf, positionOf } from "../delivery.ts";
import { following } from "../following.ts";
import { type Event, type Growth, type NewTask, type RouteRecord, type TaskStatus, UNREADABLE } from "../record.ts";
import { json, partRow } from "./rows.ts";
import type { Tables } from "./tables.ts";
import { tasksOf } from "./tasks.ts";

export async function grow(trx: Transaction<Tables>, message: string, growth: Growth, at: string): Promise<void> {
  const { tasks = [] } = growth;
  if (growth.split !== undefined) {
    const { facts, parts, faults, route } = growth.split;
    await trx
      .updateTable("message")
      .set({ facts: JSON.stringify(facts), faults: JSON.stringify(faults), route: JSON.stringify(route), parts_gone_at: null })
      .where("id", "=", message)
      .execute();
    await trx.deleteFrom("part").where("message", "=", message).execute();
    for (const [position, part] of parts.entries())
      await trx
        .insertInto("part")
        .values(partRow(message, position, part))
        .execute();
  }
  for (const document of growth.documents ?? []) {
    await trx
      .insertInto("document")
      .values({ ...document, whole: document.whole ? 1 : 0, parts: JSON.stringify(document.parts) })
      .onConflict((c) => c.column("id").doNothing())
      .execute();
  }
  if (growth.result !== undefined) {
    const { document, service, runId, data, credits, reasoning, review, raw } = growth.result;
    const json = { data: JSON.stringify(data ?? null), review: JSON.stringify(review ?? null), raw: JSON.stringify(raw ?? null) };
    const found = { service, run_id: runId, credits, reasoning, ...json, at };
    await trx
      .insertInto("result")
      .values({ document, ...found })
      .onConflict((c) => c.column("document").doUpdateSet(found))
      .execute();
    await trx
      .updateTable("message")
      .set({ results_gone_at: null })
      .where("id", "=", message)
      .where("results_gone_at", "is not", null)
      .execute();
  }
  if (growth.receipt !== undefined) {
    const { key, document, sink, receipt } = growth.receipt;
    await trx
      .insertInto("receipt")
      .values({ key, message, document, sink, receipt: JSON.stringify(receipt), at })
      .onConflict((c) => c.column("key").doUpdateSet({ receipt: JSON.stringify(receipt), at }))
      .execute();
  }
  // What a person has given up while a step was at work on it goes on when they take it back.
  if (tasks.length > 0) await addTasks(trx, message, tasks, at, (await ignoredOf(trx, message)) === null ? "open" : "ignored");
}

async function ignoredOf(trx: Transaction<Tables>, message: string): Promise<string | null> {
  return (await trx.selectFrom("message").select("ignored").where("id", "=", message).executeTakeFirst())?.ignored ?? null;
}

export async function addTasks(
  trx: Transaction<Tables>,
  message: string,
  tasks: readonly NewTask[],
  at: string,
  status: TaskStatus = "open",
): Promise<void> {
  for (const { kind, subject, memo } of tasks) {
    const name = kind === "deliver" ? deliveryNameOf(subject) : null;
    await trx
      .insertInto("task")
      .values({
        kind,
        subject,
        message,
        status,
        attempts: 0,
        failing_since: null,
        due_at: at,
        memo: memo === undefined ? null : JSON.stringify(memo),
        fault: null,
        run_id: null,
        sink: name?.sink ?? null,
        position: name === null ? null : positionOf(name.of),
        released: 0,
        rank: (e) => e.fn.coalesce(e.selectFrom("message").select("rank").where("id", "=", message), e.lit(0)),
        created_at: at,
        updated_at: at,
      })
      .onConflict((c) => c.columns(["kind", "subject"]).doNothing())
      .execute();
  }
}

/** Adds the tasks that follow from those there are. */
export async function close(trx: Transaction<Tables>, message: string, at: string): Promise<void> {
  const tasks = await tasksOf(trx, message);
  const arrivals = await trx.selectFrom("arrival").select("id").where("message", "=", message).orderBy("id").execute();
  const way = await trx.selectFrom("message").select(["route", "ignored"]).where("id", "=", message).executeTakeFirst();
  const route = routeIn(way?.route ?? null, message);
  if (route === UNREADABLE) return;
  const missing = following(
    message,
    tasks,
    arrivals.map((arrival) => String(arrival.id)),
    way === undefined || way.ignored !== null ? null : route,
  );
  await addTasks(trx, message, missing, at);
}

/** Nobody knows what follows where the route cannot be read: no step works on such a message, and the save that says so must not fail. */
function routeIn(text: string | null, message: string): RouteRecord | null | typeof UNREADABLE {
  try {
    return json(text, "message", message) as RouteRecord | null;
  } catch {
    return UNREADABLE;
  }
}

export async function addEvent(trx: Transaction<Tables>, event: Event): Promise<void> {
  const { faultCode, ...rest } = event;
  await trx
    .insertInto("event")
    .values({ ...rest, fault_code: faultCode })
    .execute();
}
