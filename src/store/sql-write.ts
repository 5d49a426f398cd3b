/** What changes the ledger: each of these is one transaction. */
import { type Kysely, sql, type Transaction } from "kysely";
import { after, closing, type Event, eventOf, type Growth, type Outcome, type Task, UNREADABLE } from "./record.ts";
import { pause, recordRun } from "./sql-money.ts";
import { partRow, type Tables, taskOf } from "./sql-tables.ts";
import type { CursorRecord, Ledger } from "./store.ts";

export type Writes = Pick<Ledger, "receive" | "receiveUnreadable" | "swept" | "save" | "reopen" | "release" | "beat">;

export function writesOn(db: Kysely<Tables>): Writes {
  const atomically = <T>(work: (trx: Transaction<Tables>) => Promise<T>): Promise<T> => db.transaction().execute(work);

  return {
    receive: ({ blob, origin, receivedAt, cursor, now }) =>
      atomically(async (trx) => {
        const at = now.toISOString();
        const known = await trx.selectFrom("message").select("id").where("id", "=", blob.sha256).executeTakeFirst();
        if (known === undefined) {
          await trx
            .insertInto("message")
            .values({ id: blob.sha256, size: blob.size, received_at: at, facts: null, faults: "[]" })
            .execute();
          await addTasks(trx, blob.sha256, [{ kind: "split", subject: blob.sha256 }], at);
        }
        const arrived = { message: blob.sha256, received_at: receivedAt, fault: null };
        const arrival = await trx
          .insertInto("arrival")
          .values({ mailbox: origin.mailbox, uid_validity: origin.uidValidity, uid: origin.uid, seen_at: at, ...arrived })
          .onConflict((c) => c.columns(["mailbox", "uid_validity", "uid"]).doUpdateSet(arrived))
          .returning("id")
          .executeTakeFirstOrThrow();
        // A server that gives another message under a known UID: what it was told then was about the other one.
        await trx
          .deleteFrom("task")
          .where("kind", "=", "settle")
          .where("subject", "=", String(arrival.id))
          .where("message", "!=", blob.sha256)
          .execute();
        await moveCursor(trx, origin.mailbox, cursor, null);
        await close(trx, blob.sha256, at);
        const event: Event = {
          at,
          message: blob.sha256,
          mailbox: origin.mailbox,
          what: known === undefined ? "received" : "seen-again",
          subject: null,
          note: `UID ${origin.uid}, ${blob.size} bytes`,
          faultCode: null,
        };
        await addEvent(trx, event);
        return { message: blob.sha256, isNew: known === undefined, event };
      }),

    receiveUnreadable: ({ origin, fault, cursor, now }) =>
      atomically(async (trx) => {
        const at = now.toISOString();
        await trx
          .insertInto("arrival")
          .values({
            mailbox: origin.mailbox,
            uid_validity: origin.uidValidity,
            uid: origin.uid,
            message: null,
            received_at: null,
            seen_at: at,
            fault: JSON.stringify(fault),
          })
          .onConflict((c) => c.columns(["mailbox", "uid_validity", "uid"]).doNothing())
          .execute();
        await moveCursor(trx, origin.mailbox, cursor, null);
        const event: Event = {
          at,
          message: null,
          mailbox: origin.mailbox,
          what: "unreadable",
          subject: `UID ${origin.uid}`,
          note: fault.message,
          faultCode: fault.code,
        };
        await addEvent(trx, event);
        return event;
      }),

    swept: (mailbox, cursor, at) => atomically((trx) => moveCursor(trx, mailbox, cursor, at.toISOString())),

    save: (task, outcome, now) => atomically((trx) => save(trx, task, outcome, now)),

    reopen: (message, now) => atomically((trx) => putBack(trx, "failed", message, now)),

    release: (message, now) => atomically((trx) => putBack(trx, "held", message, now)),

    beat: (pulse) =>
      atomically(async (trx) => {
        const body = JSON.stringify(pulse);
        await trx
          .insertInto("pulse")
          .values({ id: 1, body })
          .onConflict((c) => c.column("id").doUpdateSet({ body }))
          .execute();
      }),
  };
}

async function save(trx: Transaction<Tables>, task: Task, outcome: Outcome, now: Date): Promise<Event> {
  const next = after(task, outcome, now);
  await trx
    .updateTable("task")
    .set({
      status: next.status,
      attempts: next.attempts,
      failing_since: next.failingSince,
      // Under way and moved while it was in hand: a webhook (`hear`) told of something the question came too early for.
      due_at: sql<string>`CASE WHEN run_id IS NULL OR due_at = ${task.dueAt} THEN ${next.dueAt} ELSE min(due_at, ${next.dueAt}) END`,
      // What cannot be read is kept as it is.
      ...(task.fault?.code === UNREADABLE ? {} : { memo: next.memo === null ? null : JSON.stringify(next.memo) }),
      fault: next.fault === null ? null : JSON.stringify(next.fault),
      run_id: outcome.underWay ?? null,
      updated_at: next.updatedAt,
    })
    .where("id", "=", task.id)
    .execute();
  if (outcome.run !== undefined) await recordRun(trx, outcome.run, next.updatedAt);
  if (outcome.is === "halted") await pause(trx, outcome.service, outcome.fault.message, next.updatedAt);
  if (outcome.is === "done" && outcome.growth !== undefined) await grow(trx, task.message, outcome.growth, next.updatedAt);
  const event = eventOf(task, outcome, now);
  if (outcome.is !== "later" || outcome.quiet !== true) await addEvent(trx, event);
  await close(trx, task.message, next.updatedAt);
  return event;
}

/** Opens failed or held tasks again; what was held is not held a second time. */
async function putBack(trx: Transaction<Tables>, from: "failed" | "held", message: string | null, now: Date): Promise<readonly Task[]> {
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

async function grow(trx: Transaction<Tables>, message: string, growth: Growth, at: string): Promise<void> {
  if (growth.split !== undefined) {
    const { facts, parts, faults } = growth.split;
    await trx
      .updateTable("message")
      .set({ facts: JSON.stringify(facts), faults: JSON.stringify(faults) })
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
  }
  if (growth.receipt !== undefined) {
    const { key, document, sink, receipt } = growth.receipt;
    await trx
      .insertInto("receipt")
      .values({ key, document, sink, receipt: JSON.stringify(receipt), at })
      .onConflict((c) => c.column("key").doUpdateSet({ receipt: JSON.stringify(receipt), at }))
      .execute();
  }
  await addTasks(trx, message, growth.tasks ?? [], at);
}

async function addTasks(trx: Transaction<Tables>, message: string, tasks: Growth["tasks"] & object, at: string): Promise<void> {
  for (const { kind, subject } of tasks) {
    await trx
      .insertInto("task")
      .values({
        kind,
        subject,
        message,
        status: "open",
        attempts: 0,
        failing_since: null,
        due_at: at,
        memo: null,
        fault: null,
        run_id: null,
        released: 0,
        created_at: at,
        updated_at: at,
      })
      .onConflict((c) => c.columns(["kind", "subject"]).doNothing())
      .execute();
  }
}

/** Adds the settle tasks when nothing else of the message is open. */
async function close(trx: Transaction<Tables>, message: string, at: string): Promise<void> {
  const tasks = (await trx.selectFrom("task").selectAll().where("message", "=", message).execute()).map(taskOf);
  const arrivals = await trx.selectFrom("arrival").select("id").where("message", "=", message).orderBy("id").execute();
  const settling = closing(
    tasks,
    arrivals.map((arrival) => String(arrival.id)),
  );
  await addTasks(trx, message, settling, at);
}

async function moveCursor(trx: Transaction<Tables>, mailbox: string, cursor: CursorRecord, sweptAt: string | null): Promise<void> {
  const moved = { uid_validity: cursor.uidValidity, uid: cursor.uid, since: cursor.since, until: cursor.until };
  const stamped = sweptAt === null ? moved : { ...moved, swept_at: sweptAt };
  await trx
    .insertInto("mailbox")
    .values({ name: mailbox, ...moved, swept_at: sweptAt })
    .onConflict((c) => c.column("name").doUpdateSet(stamped))
    .execute();
}

async function addEvent(trx: Transaction<Tables>, event: Event): Promise<void> {
  const { faultCode, ...rest } = event;
  await trx
    .insertInto("event")
    .values({ ...rest, fault_code: faultCode })
    .execute();
}
