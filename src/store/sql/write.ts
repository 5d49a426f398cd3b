/** What changes the ledger: each of these is one transaction. */
import { type Kysely, sql, type Transaction } from "kysely";
import { after, type Event, eventOf, type Outcome, type Task, UNREADABLE } from "../record.ts";
import type { Ledger } from "../store.ts";
import { putBack, replay } from "./again.ts";
import { addEvent, close, grow } from "./grow.ts";
import { leap } from "./leap.ts";
import { pause, recordRun } from "./money.ts";
import { taskOf } from "./rows.ts";
import type { Tables } from "./tables.ts";
import { atomicallyOn } from "./tasks.ts";

export type Writes = Pick<Ledger, "save" | "reopen" | "release" | "replay" | "adopt" | "hasten" | "beat" | "tryWrite">;

/** The row beside the pulse that means nothing. */
const TRIED = 2;

export function writesOn(db: Kysely<Tables>): Writes {
  const atomically = atomicallyOn(db);

  return {
    save: (task, outcome, now) => atomically((trx) => save(trx, task, outcome, now)),

    reopen: (message, now) => atomically((trx) => putBack(trx, "failed", message, now)),

    release: (message, now) => atomically((trx) => putBack(trx, "held", message, now)),

    replay: (message, sink, now) => atomically((trx) => replay(trx, message, sink, now)),

    adopt: (route) =>
      atomically(async (trx) => {
        const unfinished = trx.selectFrom("task").select("message").where("status", "!=", "done");
        await trx
          .updateTable("message")
          .set({ route: JSON.stringify(route) })
          .where("route", "is", null)
          .where("facts", "is not", null)
          .where("id", "in", unfinished)
          .execute();
      }),

    hasten: async (now) => {
      const at = now.toISOString();
      const code = sql<string>`json_extract(fault, '$.code')`;
      await db
        .updateTable("task")
        .set({ due_at: at })
        .where("kind", "=", "extract")
        .where("status", "=", "open")
        .where("due_at", ">", at)
        .where(sql<boolean>`json_valid(fault)`)
        .where((e) =>
          e.or([e(code, "in", ["limit.runs", "http.unauthorized"]), e.and([e(code, "like", "%.unauthorized"), e("attempts", "=", 0)])]),
        )
        .execute();
    },

    beat: (pulse) =>
      atomically(async (trx) => {
        await leap(trx, pulse.at);
        const body = JSON.stringify(pulse);
        await trx
          .insertInto("pulse")
          .values({ id: 1, body })
          .onConflict((c) => c.column("id").doUpdateSet({ body }))
          .execute();
      }),

    tryWrite: async (now) => {
      // Other bytes than last time: SQLite does not write what is there already.
      const body = JSON.stringify({ tried: now.toISOString() });
      await db
        .insertInto("pulse")
        .values({ id: TRIED, body })
        .onConflict((c) => c.column("id").doUpdateSet({ body }))
        .execute();
    },
  };
}

async function save(trx: Transaction<Tables>, task: Task, outcome: Outcome, now: Date): Promise<Event> {
  if (await isToBeReadAnew(trx, task)) {
    const event = eventOf(task, { is: "later", at: now, memo: null, note: "what was found is dropped: it is to be read anew" }, now);
    await addEvent(trx, event);
    return event;
  }
  const next = after(task, outcome, now);
  await trx
    .updateTable("task")
    .set({
      // What a person has given up meanwhile stays given up, unless there was nothing left to do.
      status: sql<string>`CASE WHEN status IN ('ignored', 'replaced') AND ${next.status} != 'done' THEN status ELSE ${next.status} END`,
      attempts: next.attempts,
      // Moved while it was in hand: with a clock that leapt (`leap`).
      failing_since:
        next.failingSince === null || next.failingSince !== task.failingSince
          ? next.failingSince
          : sql<string>`coalesce(failing_since, ${next.failingSince})`,
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
  if (outcome.is === "halted") await pause(trx, outcome.name, outcome.fault.message, next.updatedAt);
  if ((outcome.is === "done" || outcome.is === "held") && outcome.growth !== undefined)
    await grow(trx, task.message, outcome.growth, next.updatedAt);
  const event = eventOf(task, outcome, now);
  if (outcome.is !== "later" || outcome.quiet !== true) await addEvent(trx, event);
  // Nothing follows from a task that stays as it is, as most do at a poll.
  if (next.status !== task.status) await close(trx, task.message, next.updatedAt);
  return event;
}

/** Given up and put back for another reading while it was in hand: that one is still to come. */
async function isToBeReadAnew(trx: Transaction<Tables>, { id, kind, memo, fault }: Task): Promise<boolean> {
  if (kind !== "split" || fault?.code === UNREADABLE) return false;
  const row = await trx.selectFrom("task").selectAll().where("id", "=", id).executeTakeFirst();
  return row !== undefined && JSON.stringify(taskOf(row).memo) !== JSON.stringify(memo);
}
