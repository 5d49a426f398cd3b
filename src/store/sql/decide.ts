/** What a person decides about a mail: it is given up, or read anew. */
import type { Kysely, Transaction } from "kysely";
import { owedFor } from "../owed.ts";
import { isGivenUp, reextractionMemo, type Task } from "../record.ts";
import type { Search } from "../search.ts";
import { addEvent, close } from "./grow.ts";
import { recordRun } from "./money.ts";
import { arrivalOf, taskOf } from "./rows.ts";
import type { Tables } from "./tables.ts";
import { atomicallyOn, tasksOf } from "./tasks.ts";

export type Deciding = Pick<Search, "ignore" | "ignoreArrival" | "reextract">;

export function decidingOn(db: Kysely<Tables>): Deciding {
  const atomically = atomicallyOn(db);

  return {
    ignore: (message, why, now) =>
      atomically(async (trx) => {
        const at = now.toISOString();
        const left = (await tasksOf(trx, message)).filter(({ status }) => status !== "done" && !isGivenUp(status));
        if (left.length === 0) return [];
        await trx
          .updateTable("task")
          .set({ status: "ignored", updated_at: at })
          .where(
            "id",
            "in",
            left.map(({ id }) => id),
          )
          .execute();
        for (const task of left) await bill(trx, task, at);
        await trx.updateTable("message").set({ ignored: why }).where("id", "=", message).execute();
        // The verdict may change. Where only the telling was left, nothing more is told.
        if (left.some(({ kind }) => kind !== "settle")) await forgetTold(trx, message);
        await addEvent(trx, { at, message, mailbox: null, what: "ignored", subject: null, note: why, faultCode: null });
        await close(trx, message, at);
        return left.map((task) => ({ ...task, status: "ignored" as const, updatedAt: at }));
      }),

    ignoreArrival: (arrival, why, now) =>
      atomically(async (trx) => {
        const row = await trx
          .updateTable("arrival")
          .set({ ignored: why, again: null })
          .where("id", "=", Number(arrival))
          .where("message", "is", null)
          .where("ignored", "is", null)
          .returningAll()
          .executeTakeFirst();
        if (row === undefined) return null;
        const where = { mailbox: row.mailbox, subject: `UID ${row.uid}` };
        await addEvent(trx, { at: now.toISOString(), message: null, ...where, what: "unreadable.ignored", note: why, faultCode: null });
        return arrivalOf(row);
      }),

    reextract: (message, service, now) =>
      atomically(async (trx) => {
        const at = now.toISOString();
        const tasks = await tasksOf(trx, message);
        const split = tasks.find(({ kind }) => kind === "split");
        if (split === undefined || tasks.some(({ kind, status }) => kind !== "settle" && status === "open")) return null;
        const { last } = await trx
          .selectFrom("document")
          .select((e) => e.fn.max<number | null>("position").as("last"))
          .where("message", "=", message)
          .executeTakeFirstOrThrow();
        // Not forgotten: their keys were used, and their memos say what the services were given.
        const givenUp = tasks.filter(
          ({ kind, status }) => (kind === "extract" || kind === "deliver") && status !== "done" && status !== "replaced",
        );
        for (const { id } of givenUp)
          await trx.updateTable("task").set({ status: "replaced", updated_at: at }).where("id", "=", id).execute();
        await forgetTold(trx, message);
        const memo = reextractionMemo({ service, from: (last ?? 0) + 1 });
        const open = { status: "open", attempts: 0, failing_since: null, fault: null, due_at: at, updated_at: at, released: 1 };
        const row = await trx
          .updateTable("task")
          .set({ ...open, memo: JSON.stringify(memo) })
          .where("id", "=", split.id)
          .returningAll()
          .executeTakeFirstOrThrow();
        await trx.updateTable("message").set({ ignored: null }).where("id", "=", message).execute();
        const dropped = givenUp.length === 0 ? "" : `; given up: ${givenUp.map(({ kind, subject }) => `${kind} ${subject}`).join(", ")}`;
        const note = `${service === null ? "by the service of its route" : `by ${service}`}${dropped}`;
        await addEvent(trx, { at, message, mailbox: null, what: "reextract", subject: message, note, faultCode: null });
        return taskOf(row);
      }),
  };
}

async function forgetTold(trx: Transaction<Tables>, message: string): Promise<void> {
  await trx.deleteFrom("task").where("message", "=", message).where("kind", "=", "settle").execute();
}

/** Nobody asks any more what became of a purchase whose answer was lost, or is on its way: it may have been made, so it counts. */
async function bill(trx: Transaction<Tables>, { kind, status, subject, message, memo }: Task, at: string): Promise<void> {
  const owed = kind === "extract" && status === "open" ? owedFor(memo) : null;
  if (owed === null) return;
  const document = await trx.selectFrom("document").select("service").where("id", "=", subject).executeTakeFirst();
  const arrival = await trx.selectFrom("arrival").select("mailbox").where("message", "=", message).orderBy("id").executeTakeFirst();
  if (document === undefined) return;
  await recordRun(trx, { document: subject, service: document.service, mailbox: arrival?.mailbox ?? "", ...owed }, at);
}
