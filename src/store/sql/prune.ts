/** How the ledger forgets: messages that are over lose what has had its time, a few in each transaction. */
import type { Database } from "better-sqlite3";
import { type Kysely, sql, type Transaction } from "kysely";
import type { Upkeep } from "../upkeep.ts";
import type { Tables } from "./tables.ts";
import { atomicallyOn } from "./tasks.ts";

/** What is removed in one transaction at most, and the one message more: others wait to write. */
const MOST_BYTES = 4 * 1024 * 1024;
/** Of one statement: SQLite takes 32,766 values in it, and fifty mails may have more parts than that. */
const MOST_ROWS = 1_000;
/** Pages of 4 KB given back at a time. */
const MOST_PAGES = 500;

const GONE = { raw: "raw_gone_at", parts: "parts_gone_at", results: "results_gone_at" } as const;

export function pruningOn(db: Kysely<Tables>, database: Database): Upkeep {
  const atomically = atomicallyOn(db);

  return {
    prunable: async (kept, before, after, limit) => {
      const rows = await db
        .selectFrom("message")
        .select(["id", "received_at"])
        .where(GONE[kept], "is", null)
        .where(sql<boolean>`rowid > coalesce((SELECT last.rowid FROM message AS last WHERE last.id = ${after}), 0)`)
        .orderBy(sql`rowid`)
        .limit(limit)
        .execute();
      // They stand in the order they came: behind the first that is too young there is nothing to look for.
      const young = rows.findIndex(({ received_at }) => received_at > before.toISOString());
      return rows.slice(0, young === -1 ? undefined : young).map(({ id }) => id);
    },

    prune: (kept, messages, before, now) =>
      atomically(async (trx) => {
        const over = new Set(await overSince(trx, messages, before));
        const gone: string[] = [];
        let last: string | null = null;
        let bytes = 0;
        for (const id of messages) {
          last = id;
          if (!over.has(id)) continue;
          if (kept === "results") bytes += await dropResults(trx, id);
          gone.push(id);
          if (bytes >= MOST_BYTES) break;
        }
        if (gone.length === 0) return { messages: [], blobs: [], last };
        const parts =
          kept === "parts" ? await trx.selectFrom("part").select("sha256").distinct().where("message", "in", gone).execute() : [];
        await trx
          .updateTable("message")
          .set({ [GONE[kept]]: now.toISOString() })
          .where("id", "in", gone)
          .execute();
        const blobs = kept === "raw" ? gone : parts.map(({ sha256 }) => sha256);
        if (kept !== "results") await addRemovals(trx, kept, blobs);
        await dropFacts(trx, gone);
        return { messages: gone, blobs, last };
      }),

    pruneEvents: (before, after, limit, now) =>
      atomically(async (trx) => {
        const rows = await trx
          .selectFrom("event")
          .select(["id", "at", "message"])
          .where("id", ">", after ?? 0)
          .orderBy("id")
          .limit(limit)
          .execute();
        const young = rows.findIndex(({ at }) => at > before.toISOString());
        const old = rows.slice(0, young === -1 ? undefined : young);
        const named = [...new Set(old.flatMap(({ message }) => (message === null ? [] : [message])))];
        const over = await overSince(trx, named, before);
        await trx
          .deleteFrom("event")
          .where(
            "id",
            "in",
            old.flatMap(({ id, message }) => (message === null ? [id] : [])),
          )
          .execute();
        await trx.deleteFrom("event").where("message", "in", over).execute();
        await trx.updateTable("receipt").set({ receipt: "{}" }).where("message", "in", over).execute();
        await trx.updateTable("message").set({ faults: "[]", events_gone_at: now.toISOString() }).where("id", "in", over).execute();
        return { messages: over.length, last: old.length < limit ? null : (old.at(-1)?.id ?? null) };
      }),

    unwanted: (shelf, sha256) => unwanted(db, shelf, sha256),

    discard: (shelf, sha256, remove) =>
      atomically(async (trx) => {
        const left = new Set<string>();
        for (const one of await unwanted(trx, shelf, sha256)) if (!(await remove(one))) left.add(one);
        await trx
          .deleteFrom("removal")
          .where("shelf", "=", shelf)
          .where(
            "sha256",
            "in",
            sha256.filter((one) => !left.has(one)),
          )
          .execute();
      }),

    removals: async (shelf, after, limit) => {
      const listed = db.selectFrom("removal").select("sha256").where("shelf", "=", shelf).where("sha256", ">", after);
      return (await listed.orderBy("sha256").limit(limit).execute()).map(({ sha256 }) => sha256);
    },

    compact: async () => {
      const free = () => Number(database.pragma("freelist_count", { simple: true }));
      const before = free();
      // Run as a script: as a statement it would stop after the first page.
      database.exec(`PRAGMA incremental_vacuum(${MOST_PAGES})`);
      const left = free();
      if (left > 0 && left < before) return "more";
      return database.pragma("wal_checkpoint(TRUNCATE)", { simple: true }) === 0 ? "done" : "busy";
    },
  };
}

/** These bytes have to go from the spool, unless a message keeps them: said before they do. */
export async function addRemovals(trx: Transaction<Tables>, shelf: "raw" | "parts", blobs: readonly string[]): Promise<void> {
  for (let from = 0; from < blobs.length; from += MOST_ROWS) {
    const rows = blobs.slice(from, from + MOST_ROWS).map((sha256) => ({ shelf, sha256 }));
    await trx
      .insertInto("removal")
      .values(rows)
      .onConflict((e) => e.doNothing())
      .execute();
  }
}

/** Of these messages those of which nothing is left to do, neither for us nor for a person, since then. */
async function overSince(trx: Transaction<Tables>, messages: readonly string[], before: Date): Promise<readonly string[]> {
  const rows = await trx
    .selectFrom("task")
    .select("message")
    .where("message", "in", [...messages])
    .groupBy("message")
    .having((e) => e.fn.max("updated_at"), "<=", before.toISOString())
    .having((e) => e.fn.sum(e.case().when("status", "in", ["open", "held", "failed"]).then(1).else(0).end()), "=", 0)
    .execute();
  return rows.map(({ message }) => message);
}

/** How many bytes they were. */
async function dropResults(trx: Transaction<Tables>, message: string): Promise<number> {
  const rows = await trx
    .deleteFrom("result")
    .where("document", "in", (e) => e.selectFrom("document").select("document.id").where("document.message", "=", message))
    .returning(sql<number>`octet_length(data) + octet_length(raw)`.as("bytes"))
    .execute();
  return rows.reduce((sum, { bytes }) => sum + bytes, 0);
}

/** Who sent it, what it is about, and the names of its files: of those of which nothing is left that these describe. */
async function dropFacts(trx: Transaction<Tables>, messages: readonly string[]): Promise<void> {
  const rows = await trx
    .updateTable("message")
    .set({ facts: null })
    .where("id", "in", [...messages])
    .where("raw_gone_at", "is not", null)
    .where("parts_gone_at", "is not", null)
    .where("results_gone_at", "is not", null)
    .returning("id")
    .execute();
  await trx
    .deleteFrom("part")
    .where(
      "message",
      "in",
      rows.map(({ id }) => id),
    )
    .execute();
}

async function unwanted(db: Kysely<Tables>, shelf: "raw" | "parts", sha256: readonly string[]): Promise<readonly string[]> {
  const found: string[] = [];
  for (const one of sha256) {
    const keeping =
      shelf === "raw"
        ? db.selectFrom("message").select("id").where("id", "=", one).where("raw_gone_at", "is", null)
        : // The newest first: a logo is in ten thousand mails, and the last of them has it most likely.
          db
            .selectFrom("part")
            .innerJoin("message", "message.id", "part.message")
            .select("message.id")
            .where("part.sha256", "=", one)
            .where("message.parts_gone_at", "is", null)
            .orderBy(sql`part.rowid`, "desc");
    if ((await keeping.limit(1).executeTakeFirst()) === undefined) found.push(one);
  }
  return found;
}
