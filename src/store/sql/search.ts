/** What a person looks for in the ledger; changes nothing. */
import { type ExpressionBuilder, type Kysely, sql } from "kysely";
import { STANDINGS, type Standing, type TaskStatus } from "../record.ts";
import type { Search } from "../search.ts";
import type { Deciding } from "./decide.ts";
import { eventRecordOf } from "./rows.ts";
import type { Tables } from "./tables.ts";
import { summariesOf } from "./tasks.ts";

type Seeking = Omit<Search, keyof Deciding>;

/** Shorter beginnings of an id are typing errors. */
const SHORTEST = 4;
const MOST_FOUND = 10;

/** The standing of a message is that of its heaviest task: the order of `standingOf`. */
const WEIGHTS: Readonly<Record<Standing, number>> = { held: 6, retrying: 5, waiting: 4, working: 3, failed: 2, ignored: 1, done: 0 };

function weight(e: ExpressionBuilder<Tables, "task">) {
  const open = e("status", "=", "open");
  return e
    .case()
    .when("status", "=", "held")
    .then(WEIGHTS.held)
    .when(e.and([open, e("attempts", ">", 0)]))
    .then(WEIGHTS.retrying)
    .when(e.and([open, e("fault", "is not", null)]))
    .then(WEIGHTS.waiting)
    .when(open)
    .then(WEIGHTS.working)
    .when("status", "=", "failed")
    .then(WEIGHTS.failed)
    .when("status", "=", "ignored")
    .then(WEIGHTS.ignored)
    .else(WEIGHTS.done)
    .end();
}

/** How much the heaviest task of a message weighs, by the index of tasks by message. */
function heaviest(e: ExpressionBuilder<Tables, "message">) {
  const tasks = e.selectFrom("task").whereRef("task.message", "=", "message.id");
  return e.fn.coalesce(
    tasks.select((t) => t.fn.max(weight(t)).as("weight")),
    e.lit(WEIGHTS.done),
  );
}

/** Messages with a task that is not done: few of many, and found by an index of their own (`task_left`), which no parameter may stand in the way of. */
export function isLeft(e: ExpressionBuilder<Tables, "message">, ...statuses: readonly TaskStatus[]) {
  const left = e.selectFrom("task").select("task.message").where("status", "!=", sql.lit("done"));
  return e("message.id", "in", left.where("status", "in", statuses));
}

const STATUS: Readonly<Record<Exclude<Standing, "done">, TaskStatus>> = {
  held: "held",
  retrying: "open",
  waiting: "open",
  working: "open",
  failed: "failed",
  ignored: "ignored",
};

/** The SQL function `fold`: SQLite's own `lower` leaves the letters that ASCII does not have as they are. */
export function fold(text: unknown): string | null {
  return typeof text === "string" ? text.normalize("NFC").toLowerCase() : null;
}

/** Of a row that is no JSON nothing is found, and the others are. */
function fact(path: string) {
  return sql<string | null>`CASE WHEN json_valid(message.facts) THEN json_extract(message.facts, ${path}) END`;
}

function holds(path: string, text: string) {
  return sql<boolean>`instr(fold(${fact(path)}), ${fold(text)}) > 0`;
}

/** In a name or an address, not in the JSON around them; only looked for there in what could have it. */
function isFrom(text: string) {
  const senders = sql`json_each(CASE WHEN json_valid(message.facts) THEN message.facts ELSE '{}' END, '$.from') AS sender`;
  const has = (path: string) => sql`instr(fold(json_extract(sender.value, ${path})), ${fold(text)}) > 0`;
  return sql<boolean>`EXISTS (SELECT 1 FROM ${senders} WHERE sender.type = 'object' AND (${has("$.name")} OR ${has("$.address")}))`;
}

export function searchOn(db: Kysely<Tables>): Seeking {
  return {
    find: async (text) => {
      const begins = /^[0-9a-f]+$/.test(text) && text.length >= SHORTEST;
      const messageId = text.replace(/^<|>$/g, "");
      const rows = await db
        .selectFrom("message")
        .select("id")
        .where((e) =>
          begins ? e.and([e("id", ">=", text), e("id", "<", `${text}g`)]) : e(fact("$.messageId"), "in", [messageId, `<${messageId}>`]),
        )
        .orderBy("id")
        .limit(MOST_FOUND)
        .execute();
      return rows.map(({ id }) => id);
    },

    summary: async (id) => {
      const row = await db.selectFrom("message").selectAll().where("id", "=", id).executeTakeFirst();
      return row === undefined ? null : ((await summariesOf(db, [row]))[0] ?? null);
    },

    list: async ({ state = null, since = null, from = null, mailbox = null, subject = null, before = null, limit }) => {
      const seenIn = (e: ExpressionBuilder<Tables, "message">) =>
        e.exists(
          e
            .selectFrom("arrival")
            .select("arrival.id")
            .whereRef("arrival.message", "=", "message.id")
            .where("mailbox", "=", mailbox ?? ""),
        );
      const rows = await db
        .selectFrom("message")
        .selectAll()
        .$if(state !== null && state !== "done", (query) => query.where((e) => isLeft(e, STATUS[state as Exclude<Standing, "done">])))
        .$if(state !== null, (query) => query.where((e) => e(heaviest(e), "=", WEIGHTS[state ?? "done"])))
        .$if(since !== null, (query) => query.where("received_at", ">=", since?.toISOString() ?? ""))
        .$if(from !== null, (query) => query.where(isFrom(from ?? "")))
        .$if(subject !== null, (query) => query.where(holds("$.subject", subject ?? "")))
        .$if(mailbox !== null, (query) => query.where(seenIn))
        .$if(before !== null, (query) =>
          query.where(sql<boolean>`message.rowid < (SELECT other.rowid FROM message AS other WHERE other.id = ${before})`),
        )
        .orderBy(sql`message.rowid`, "desc")
        .limit(limit)
        .execute();
      return summariesOf(db, rows);
    },

    tally: async (since) => {
      const came = db.selectFrom("message").select((e) => e.fn.countAll<number>().as("n"));
      const all = Number((await came.where("received_at", ">=", since.toISOString()).executeTakeFirstOrThrow()).n);
      // What is not done is few of many, and found by `task_left`; each task is looked at once.
      const rows = await db
        .with("one", (cte) =>
          cte
            .selectFrom("task")
            .select((e) => ["message", e.fn.max(weight(e)).as("weight")])
            .where("status", "!=", sql.lit("done"))
            .where((e) => {
              const message = e.selectFrom("message").select("message.id").whereRef("message.id", "=", "task.message");
              return e.exists(message.where("received_at", ">=", since.toISOString()));
            })
            .groupBy("message"),
        )
        .selectFrom("one")
        .select((e) => ["weight", e.fn.countAll<number>().as("n")])
        .groupBy("weight")
        .execute();
      const count = (one: Standing) => Number(rows.find(({ weight }) => weight === WEIGHTS[one])?.n ?? 0);
      // What was read anew has tasks that are replaced, and may be done.
      const left = rows.reduce((sum, { weight, n }) => (weight === WEIGHTS.done ? sum : sum + Number(n)), 0);
      return Object.fromEntries(STANDINGS.map((one) => [one, one === "done" ? all - left : count(one)])) as Record<Standing, number>;
    },

    lastEvents: async (limit) => (await db.selectFrom("event").selectAll().orderBy("id", "desc").limit(limit).execute()).map(eventRecordOf),
  };
}
