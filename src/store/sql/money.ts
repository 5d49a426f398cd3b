/** The ledger's part on money: runs bought, services paused, and webhooks heard. */
import { type ExpressionBuilder, type Kysely, sql, type Transaction } from "kysely";
import type { Rank, RunRecord, TaskMemo } from "../record.ts";
import type { Ledger } from "../store.ts";
import { json, runOf } from "./rows.ts";
import type { Tables } from "./tables.ts";
import { atomicallyOn } from "./tasks.ts";

export type Money = Pick<Ledger, "pause" | "resume" | "paused" | "bought" | "spending" | "runs" | "underWay" | "hear" | "heard">;

/** How long an event id is remembered; a service does not repeat one for longer. */
const EVENTS_MS = 7 * 86_400_000;

export function moneyOn(db: Kysely<Tables>): Money {
  const atomically = atomicallyOn(db);

  return {
    pause: async (name, why, now) => pause(db, name, why, now.toISOString()),

    resume: async (name) => {
      const { numDeletedRows } = await db.deleteFrom("paused").where("name", "=", name).executeTakeFirst();
      return numDeletedRows > 0n;
    },

    paused: async () => {
      const rows = await db.selectFrom("paused").selectAll().orderBy("name").execute();
      return rows.map(({ name, paused_at, why }) => ({ name, since: paused_at, why }));
    },

    // In one transaction: a document on its way that becomes a run must not be missed between two questions.
    bought: (service, since, rank) =>
      atomically(async (trx) => {
        const runsSince = trx
          .selectFrom("run")
          .select((e) => [e.fn.countAll<number>().as("runs"), e.fn.min<string | null>("at").as("oldest")])
          .where("service", "=", service)
          .where("at", ">=", since.toISOString())
          .where("only_doubt", "=", 0);
        const onTheirWay = trx
          .selectFrom("task")
          .innerJoin("document", "document.id", "task.subject")
          .select("task.subject")
          .where("task.kind", "=", "extract")
          .where("task.status", "=", "open")
          .where("task.run_id", "is", null)
          .where("task.memo", "like", '%"place":true%')
          .where("document.service", "=", service);
        const { runs, oldest } = await (rank === undefined
          ? runsSince
          : runsSince.where((e) => isOfRank(e, rank))
        ).executeTakeFirstOrThrow();
        const coming = await (rank === undefined ? onTheirWay : onTheirWay.where("task.rank", "=", rank)).execute();
        return { runs: Number(runs), oldest: oldest === null ? null : new Date(oldest), coming: coming.map(({ subject }) => subject) };
      }),

    spending: async (since) => {
      const day = sql<string>`substr(at, 1, 10)`;
      // A document's doubts are told with each of its runs.
      const documents = db
        .selectFrom("run")
        .select((e) => [
          day.as("day"),
          "service",
          "mailbox",
          sql<number>`sum(1 - only_doubt)`.as("runs"),
          e.fn.sum<number | null>("credits").as("credits"),
          e.fn.max<number>("possibly_twice").as("doubts"),
        ])
        .where("at", ">=", since.toISOString())
        .groupBy([day, "service", "mailbox", "document"]);
      const rows = await db
        .selectFrom(documents.as("bill"))
        .select((e) => [
          "day",
          "service",
          "mailbox",
          e.fn.sum<number>("runs").as("runs"),
          e.fn.sum<number | null>("credits").as("credits"),
          e.fn.sum<number>("doubts").as("possiblyTwice"),
        ])
        .groupBy(["day", "service", "mailbox"])
        .orderBy("day", "desc")
        .orderBy("service")
        .orderBy("mailbox")
        .execute();
      return rows.map((row) => ({ ...row, runs: Number(row.runs), possiblyTwice: Number(row.possiblyTwice) }));
    },

    runs: async (message) =>
      (
        await db
          .selectFrom("run")
          .innerJoin("document", "document.id", "run.document")
          .selectAll("run")
          .where("document.message", "=", message)
          .orderBy("run.at")
          .orderBy("run.key")
          .execute()
      ).map(runOf),

    underWay: async (message) => {
      if (message === "") return [];
      const tasks = await db
        .selectFrom("task")
        .innerJoin("document", "document.id", "task.subject")
        .select(["task.id", "task.subject", "document.service", "task.run_id", "task.memo"])
        .where("task.kind", "=", "extract")
        .where("task.status", "=", "open")
        .where((e) => e(e.fn("substr", ["task.message", e.lit(1), e.val(message.length)]), "=", message))
        .orderBy("task.id")
        .execute();
      return tasks.flatMap(({ id, subject, service, run_id, memo }) =>
        run_id === null || memo === null ? [] : [{ document: subject, service, runId: run_id, memo: json(memo, "task", id) as TaskMemo }],
      );
    },

    heard: async (service, eventId) => {
      const found = await db
        .selectFrom("webhook")
        .select("event_id")
        .where("service", "=", service)
        .where("event_id", "=", eventId)
        .executeTakeFirst();
      return found !== undefined;
    },

    hear: ({ service, eventId, runId, now }) =>
      atomically(async (trx) => {
        const at = now.toISOString();
        await trx
          .deleteFrom("webhook")
          .where("at", "<", new Date(now.getTime() - EVENTS_MS).toISOString())
          .execute();
        const { numInsertedOrUpdatedRows: isNew } = await trx
          .insertInto("webhook")
          .values({ service, event_id: eventId, at })
          .onConflict((c) => c.doNothing())
          .executeTakeFirst();
        if (isNew === 0n) return "repeat";
        if (runId === null) return "unknown";
        const { numUpdatedRows } = await trx
          .updateTable("task")
          .set({ due_at: at })
          .where("kind", "=", "extract")
          .where("status", "=", "open")
          .where("run_id", "=", runId)
          .where("subject", "in", (e) => e.selectFrom("document").select("document.id").where("document.service", "=", service))
          .executeTakeFirst();
        return numUpdatedRows > 0n ? "due" : "unknown";
      }),
  };
}

function isOfRank(e: ExpressionBuilder<Tables, "run">, rank: Rank) {
  const its = e.selectFrom("document").innerJoin("message", "message.id", "document.message").select("document.id");
  return e.exists(its.whereRef("document.id", "=", "run.document").where("message.rank", "=", rank));
}

/** Paused already: the first reason stands. */
export async function pause(db: Kysely<Tables> | Transaction<Tables>, name: string, why: string, at: string): Promise<void> {
  await db
    .insertInto("paused")
    .values({ name, paused_at: at, why })
    .onConflict((c) => c.column("name").doNothing())
    .execute();
}

/**
 * One row a run: told again, only what was not known is added. A run that gets to be known is the one nobody knew the id of, if there is
 * one. A limit must not miss what a person's retry bought, or may have bought, on a row that was there: it counts from then.
 */
export async function recordRun(trx: Transaction<Tables>, run: RunRecord, at: string): Promise<void> {
  const { document, service, mailbox, runId, credits, possiblyTwice, onlyDoubt } = run;
  const unknown = `${document}/`;
  const key = `${unknown}${runId ?? ""}`;
  if (runId !== null) {
    await trx
      .updateTable("run")
      .set({ key, run_id: runId, only_doubt: 0, at })
      .where("key", "=", unknown)
      .where((e) => e.not(e.exists(e.selectFrom("run as known").select("known.key").where("known.key", "=", key))))
      .execute();
  }
  await trx
    .insertInto("run")
    .values({ key, document, service, mailbox, run_id: runId, credits, possibly_twice: possiblyTwice, only_doubt: onlyDoubt ? 1 : 0, at })
    .onConflict((c) =>
      c.column("key").doUpdateSet((e) => ({
        credits: e.fn.coalesce("excluded.credits", "run.credits"),
        possibly_twice: sql<number>`max(excluded.possibly_twice, run.possibly_twice)`,
        only_doubt: sql<number>`min(excluded.only_doubt, run.only_doubt)`,
        at: sql<string>`CASE WHEN run.run_id IS NULL AND excluded.only_doubt = 0 AND (run.only_doubt = 1 OR excluded.possibly_twice > run.possibly_twice) THEN excluded.at ELSE run.at END`,
      })),
    )
    .execute();
}
