/** What the ledger answers: the queries, none of which changes anything. */
import { type Kysely, sql } from "kysely";
import type { TaskKind } from "../record.ts";
import type { Search } from "../search.ts";
import type { Ledger, Pulse, TaskState } from "../store.ts";
import type { Upkeep } from "../upkeep.ts";
import { dueOn, mayGoOn } from "./due.ts";
import type { Money } from "./money.ts";
import type { Receiving } from "./receive.ts";
import { arrivalOf, documentOf, eventRecordOf, json, mailboxOf, partOf, readMessage, receiptOf, resultOf } from "./rows.ts";
import { isLeft } from "./search.ts";
import type { Tables } from "./tables.ts";
import { summariesOf, tasksOf } from "./tasks.ts";
import type { Writes } from "./write.ts";

export type Reads = Omit<Ledger, keyof Writes | keyof Money | keyof Search | keyof Receiving | keyof Upkeep | "held" | "close">;

export function readsOn(db: Kysely<Tables>): Reads {
  return {
    mailbox: async (name) => {
      const row = await db.selectFrom("mailbox").selectAll().where("name", "=", name).executeTakeFirst();
      return row === undefined ? null : mailboxOf(row);
    },

    uids: async (mailbox, uidValidity) => {
      const rows = await db
        .selectFrom("arrival")
        .select("uid")
        .where("mailbox", "=", mailbox)
        .where("uid_validity", "=", uidValidity)
        .execute();
      return rows.map(({ uid }) => uid);
    },

    ...dueOn(db),

    backlog: async () => {
      const row = await db
        .selectFrom("task")
        .select((e) => [
          e.fn.countAll<number>().as("all"),
          e.fn
            .sum<number | null>(
              e
                .case()
                .when(e.and([e("attempts", "=", 0), e("fault", "is", null), mayGoOn(e)]))
                .then(1)
                .else(0)
                .end(),
            )
            .as("open"),
        ])
        .where("status", "=", "open")
        .executeTakeFirstOrThrow();
      const open = Number(row.open ?? 0);
      return { open, waiting: Number(row.all) - open };
    },

    queues: async (now) => {
      const rows = await db
        // Materialized, or SQLite works each column out anew wherever it is named below.
        .with(
          (cte) => cte("one").materialized(),
          () =>
            db
              .selectFrom("task")
              .select((e) => {
                const isDue = e.and([e("status", "=", "open"), e("due_at", "<=", now.toISOString()), mayGoOn(e)]);
                const service = e.selectFrom("document").select("service").whereRef("document.id", "=", "task.subject");
                return [
                  "kind",
                  e.fn.coalesce("sink", service).as("name"),
                  e.case().when("status", "!=", "open").then(e.ref("status")).when("attempts", ">", 0).then("failing").end().as("stands"),
                  e.case().when(isDue).then(e.ref("due_at")).end().as("due"),
                ];
              })
              .where("status", "not in", ["done", "ignored", "replaced"]),
        )
        .selectFrom("one")
        .select((e) => {
          const open = e.case().when("due", "is not", null).then("due").else("waiting").end();
          return [
            "kind",
            "name",
            e.fn.coalesce("stands", open).as("state"),
            e.fn.countAll<number>().as("tasks"),
            e.fn.min("due").as("dueSince"),
          ];
        })
        .groupBy(["kind", "name", "state"])
        .orderBy("kind")
        .orderBy("name")
        .orderBy("state")
        .execute();
      return rows.map((row) => ({ ...row, kind: row.kind as TaskKind, state: row.state as TaskState }));
    },

    moved: async (kind, since, sink = null) => {
      const row = await db
        .selectFrom("task")
        .select("id")
        .where("kind", "=", kind)
        .where("updated_at", ">=", since.toISOString())
        // One that was only made has not moved.
        .whereRef("updated_at", ">", "created_at")
        .$if(sink !== null, (query) => query.where("sink", "=", sink))
        .limit(1)
        .executeTakeFirst();
      return row !== undefined;
    },

    message: async (id) => {
      const row = await db.selectFrom("message").selectAll().where("id", "=", id).executeTakeFirst();
      return row === undefined ? null : readMessage(row);
    },
    arrivals: async (message) =>
      (await db.selectFrom("arrival").selectAll().where("message", "=", message).orderBy("id").execute()).map(arrivalOf),
    arrival: async (id) => {
      const row = await db.selectFrom("arrival").selectAll().where("id", "=", Number(id)).executeTakeFirst();
      return row === undefined ? null : arrivalOf(row);
    },
    unreadable: async (givenUp = false) => {
      const without = db.selectFrom("arrival").selectAll().where("message", "is", null);
      return (
        await without
          .where("ignored", givenUp ? "is not" : "is", null)
          .orderBy("id")
          .execute()
      ).map(arrivalOf);
    },
    parts: async (message) =>
      (await db.selectFrom("part").selectAll().where("message", "=", message).orderBy("position").execute()).map(partOf),
    documents: async (message) =>
      (await db.selectFrom("document").selectAll().where("message", "=", message).orderBy("position").execute()).map(documentOf),
    document: async (id) => {
      const row = await db.selectFrom("document").selectAll().where("id", "=", id).executeTakeFirst();
      return row === undefined ? null : documentOf(row);
    },
    result: async (document) => {
      const row = await db
        .selectFrom("result")
        .select(["document", "service", "run_id", "data", "credits", "reasoning", "review"])
        .where("document", "=", document)
        .executeTakeFirst();
      return row === undefined ? null : resultOf(row);
    },
    raw: async (document) => {
      const row = await db.selectFrom("result").select("raw").where("document", "=", document).executeTakeFirst();
      return row === undefined ? null : json(row.raw, "result", document);
    },
    receipts: async (message) =>
      (await db.selectFrom("receipt").selectAll().where("message", "=", message).orderBy("key").execute()).map(receiptOf),
    sentTo: async (sink, to, since) => {
      const { n } = await db
        .selectFrom("receipt")
        .select((e) => e.fn.countAll<number>().as("n"))
        .where("sink", "=", sink)
        .where("at", ">=", since.toISOString())
        // Of a row that is no JSON nothing is known, and the others count.
        .where(sql`CASE WHEN json_valid(receipt) THEN json_extract(receipt, '$.to') END`, "=", to)
        .executeTakeFirstOrThrow();
      return Number(n);
    },
    tasks: (message) => tasksOf(db, message),
    events: async (message) =>
      (await db.selectFrom("event").selectAll().where("message", "=", message).orderBy("id").execute()).map(eventRecordOf),

    summaries: async (limit, which = "all") => {
      const messages = await db
        .selectFrom("message")
        .selectAll()
        .$if(which === "stuck", (query) =>
          query.where((e) =>
            e.and([
              isLeft(e, "open", "failed", "held"),
              e.exists(
                e
                  .selectFrom("task")
                  .select("task.id")
                  .whereRef("task.message", "=", "message.id")
                  .where("status", "not in", ["done", "ignored", "replaced"])
                  .where((t) => t.or([t("status", "!=", "open"), t("fault", "is not", null)])),
              ),
            ]),
          ),
        )
        .orderBy("received_at")
        .orderBy(sql`rowid`)
        .limit(limit)
        .execute();
      return summariesOf(db, messages);
    },

    counts: async () => {
      const rows = await db
        .selectFrom("task")
        .select(["status", (e) => e.fn.countAll<number>().as("n")])
        .groupBy("status")
        .execute();
      const of = (status: string) => Number(rows.find((row) => row.status === status)?.n ?? 0);
      const messages = await db
        .selectFrom("message")
        .select((e) => e.fn.countAll<number>().as("n"))
        .executeTakeFirstOrThrow();
      const unreadable = await db
        .selectFrom("arrival")
        .select((e) => e.fn.countAll<number>().as("n"))
        .where("message", "is", null)
        .where("ignored", "is", null)
        .executeTakeFirstOrThrow();
      return {
        open: of("open"),
        done: of("done"),
        failed: of("failed"),
        held: of("held"),
        ignored: of("ignored"),
        messages: Number(messages.n),
        unreadable: Number(unreadable.n),
      };
    },

    pulse: async () => {
      const row = await db.selectFrom("pulse").select("body").where("id", "=", 1).executeTakeFirst();
      try {
        return row === undefined ? null : ({ alive: true, ...(json(row.body, "pulse", 1) as object) } as Pulse);
      } catch {
        // The next one is seconds away.
        return null;
      }
    },
  };
}
