/** What the ledger says is to be done next: open tasks by their time, but not what is paused or comes after something else. */
import { type ExpressionBuilder, type Kysely, sql } from "kysely";
import { RANKS, type Rank, type TaskKind } from "../record.ts";
import type { DueTask, Ledger } from "../store.ts";
import { failingSinceOf, failureBefore } from "./failing.ts";
import { taskOf } from "./rows.ts";
import type { Tables } from "./tables.ts";

type OfTask = ExpressionBuilder<Tables, "task">;

/**
 * Not what would buy at a paused service; what was bought there is still asked after. Not what would be delivered to a paused sink, nor
 * before another delivery of the same message to the same sink that comes first.
 */
export function mayGoOn(e: OfTask) {
  return e.or([
    e("task.kind", "in", ["split", "settle"]),
    e.and([e("task.kind", "=", "extract"), e.or([e("task.run_id", "is not", null), mayBuy(e)])]),
    e.and([e("task.kind", "=", "deliver"), mayBeDelivered(e)]),
  ]);
}

function mayBuy(e: OfTask) {
  const pausedService = e
    .selectFrom("document")
    .innerJoin("paused", "paused.name", "document.service")
    .select("document.id")
    .whereRef("document.id", "=", "task.subject");
  return e.not(e.exists(pausedService));
}

function mayBeDelivered(e: OfTask) {
  const pausedSink = e.selectFrom("paused").select("paused.name").whereRef("paused.name", "=", "task.sink");
  const before = e
    .selectFrom("task as other")
    .select("other.id")
    .whereRef("other.message", "=", "task.message")
    .whereRef("other.sink", "=", "task.sink")
    .where("other.status", "=", "open")
    .where((o) =>
      o.or([
        o("other.position", "<", o.ref("task.position")),
        o.and([o("other.position", "=", o.ref("task.position")), o("other.id", "<", o.ref("task.id"))]),
      ]),
    );
  return e.and([e.not(e.exists(pausedSink)), e.not(e.exists(before))]);
}

export function dueOn(db: Kysely<Tables>): Pick<Ledger, "due" | "nextDue"> {
  /** Asked many times a second: no more is looked at than the kind needs, and a status that is no parameter finds its index at once. */
  function open(except: readonly number[], kind?: TaskKind, exceptNames: readonly string[] = [], asks?: boolean, rank: Rank | null = null) {
    const any = db.selectFrom("task").where("status", "=", sql.lit("open"));
    const all = rank === null ? any : any.where("rank", "=", sql.lit(rank));
    const some = except.length === 0 ? all : all.where("id", "not in", [...except]);
    const named = exceptNames.length === 0 ? some : some.where((e) => isForNoneOf(e, exceptNames));
    // Found by their runs: behind fifty thousand that are to be ordered they would be found late by their time. No other kind has any.
    if (kind === "extract" && asks) return named.where("run_id", ">", "").orderBy(sql`+due_at`);
    const timely = named.orderBy("due_at");
    switch (kind) {
      case undefined:
        return timely.where(mayGoOn);
      case "split":
      case "settle":
        return timely.where("kind", "=", kind);
      case "deliver":
        return timely.where("kind", "=", kind).where(mayBeDelivered);
      case "extract": {
        const extracts = timely.where("kind", "=", kind);
        if (asks === false) return extracts.where("run_id", "is", null).where(mayBuy);
        return extracts.where((e) => e.or([e("task.run_id", "is not", null), mayBuy(e)]));
      }
    }
  }

  return {
    due: async (now, limit, except, kind, exceptNames, asks) => {
      const before = kind === undefined || kind === "deliver";
      const found: DueTask[] = [];
      for (const rank of isRanked(kind, asks) ? RANKS : [null]) {
        const rows = await open(except, kind, exceptNames, asks, rank)
          .selectAll()
          .select((e) => [nameOf(e).as("name"), before ? failureBefore(e).as("before") : e.lit(null).as("before")])
          .where("due_at", "<=", now.toISOString())
          .orderBy("id")
          .limit(limit)
          .execute();
        for (const { before, name, ...row } of rows) {
          const task = taskOf(row);
          found.push({ ...task, name, failingSince: failingSinceOf(task, before) });
        }
      }
      return found;
    },

    nextDue: async (except, kind, exceptNames, asks) => {
      const next: string[] = [];
      for (const rank of isRanked(kind, asks) ? RANKS : [null]) {
        const row = await open(except, kind, exceptNames, asks, rank).select("due_at").limit(1).executeTakeFirst();
        if (row !== undefined) next.push(row.due_at);
      }
      const [first] = next.toSorted();
      return first === undefined ? null : new Date(first);
    },
  };
}

/** Whoever asks after runs asks after all of them. */
function isRanked(kind: TaskKind | undefined, asks: boolean | undefined): boolean {
  return kind !== undefined && !(kind === "extract" && asks === true);
}

/** Of the sink, or the service. */
function nameOf(e: OfTask) {
  return e.fn.coalesce("task.sink", e.selectFrom("document").select("document.service").whereRef("document.id", "=", "task.subject"));
}

function isForNoneOf(e: OfTask, names: readonly string[]) {
  const itsService = e
    .selectFrom("document")
    .select("document.id")
    .whereRef("document.id", "=", "task.subject")
    .where("document.service", "in", [...names]);
  return e.and([e.or([e("task.sink", "is", null), e("task.sink", "not in", [...names])]), e.not(e.exists(itsService))]);
}
