/** What the intake of a mailbox writes and asks: arrivals with their bytes safe, arrivals without, and how far it has been read. */
import type { Kysely, Transaction } from "kysely";
import type { CursorRecord } from "../mail.ts";
import type { Event, Rank } from "../record.ts";
import type { Arriving, Ledger, Received } from "../store.ts";
import { addEvent, addTasks, close } from "./grow.ts";
import { addRemovals } from "./prune.ts";
import { arrivalOf } from "./rows.ts";
import type { Tables } from "./tables.ts";
import { atomicallyOn } from "./tasks.ts";

export type Receiving = Pick<Ledger, "receive" | "receiveAll" | "receiveUnreadable" | "swept" | "fetchAgain" | "wanted" | "unsplit">;

export function receivingOn(db: Kysely<Tables>): Receiving {
  const atomically = atomicallyOn(db);

  return {
    receive: (arriving) => atomically((trx) => receive(trx, arriving)),

    receiveAll: (arriving) =>
      atomically(async (trx) => {
        const received: Received[] = [];
        for (const one of arriving) received.push(await receive(trx, one));
        return received;
      }),

    receiveUnreadable: ({ origin, fault, cursor, now }) =>
      atomically(async (trx) => {
        const at = now.toISOString();
        const known = { fault: JSON.stringify(fault), again: null };
        await trx
          .insertInto("arrival")
          .values({ ...keyOf(origin), message: null, received_at: null, seen_at: at, ignored: null, ...known })
          .onConflict((c) => c.columns(KEY).doUpdateSet(known).where("arrival.message", "is", null))
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

    fetchAgain: (arrival, now) =>
      atomically(async (trx) => {
        const at = now.toISOString();
        const row = await trx
          .updateTable("arrival")
          .set({ again: at, ignored: null })
          .where("id", "=", Number(arrival))
          .where("message", "is", null)
          .returningAll()
          .executeTakeFirst();
        if (row === undefined) return null;
        const where = { mailbox: row.mailbox, subject: `UID ${row.uid}` };
        await addEvent(trx, { at, message: null, ...where, what: "unreadable.wanted", note: null, faultCode: null });
        return arrivalOf(row);
      }),

    wanted: async (mailbox) => {
      const rows = await db
        .selectFrom("arrival")
        .selectAll()
        .where("mailbox", "=", mailbox)
        .where("again", "is not", null)
        .where("message", "is", null)
        .orderBy("id")
        .execute();
      return rows.map(arrivalOf);
    },

    unsplit: async () => {
      const { n } = await db
        .selectFrom("task")
        .select((e) => e.fn.countAll<number>().as("n"))
        .where("kind", "=", "split")
        .where("status", "=", "open")
        .executeTakeFirstOrThrow();
      return Number(n);
    },
  };
}

const KEY = ["mailbox", "uid_validity", "uid"] as const;

function keyOf({ mailbox, uidValidity, uid }: Arriving["origin"]) {
  return { mailbox, uid_validity: uidValidity, uid };
}

async function receive(trx: Transaction<Tables>, { blob, origin, receivedAt, cursor, rank = 0, now }: Arriving): Promise<Received> {
  const at = now.toISOString();
  const known = await trx.selectFrom("message").select(["raw_gone_at", "rank"]).where("id", "=", blob.sha256).executeTakeFirst();
  // A backfill was there first; what comes by itself does not wait for the rest of it.
  if (known !== undefined && rank < known.rank) await setRank(trx, blob.sha256, rank);
  // It was pruned before, and its bytes came once more.
  if (known !== undefined && known.raw_gone_at !== null) await addRemovals(trx, "raw", [blob.sha256]);
  if (known === undefined) {
    await trx
      .insertInto("message")
      .values({ id: blob.sha256, size: blob.size, received_at: at, facts: null, faults: "[]", ignored: null, rank })
      .execute();
    await addTasks(trx, blob.sha256, [{ kind: "split", subject: blob.sha256 }], at);
  }
  const arrived = { message: blob.sha256, received_at: receivedAt, fault: null, ignored: null, again: null };
  const arrival = await trx
    .insertInto("arrival")
    .values({ ...keyOf(origin), seen_at: at, ...arrived })
    .onConflict((c) => c.columns(KEY).doUpdateSet(arrived))
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
}

async function setRank(trx: Transaction<Tables>, message: string, rank: Rank): Promise<void> {
  await trx.updateTable("message").set({ rank }).where("id", "=", message).execute();
  await trx.updateTable("task").set({ rank }).where("message", "=", message).execute();
}

async function moveCursor(trx: Transaction<Tables>, mailbox: string, cursor: CursorRecord | null, sweptAt: string | null): Promise<void> {
  if (cursor === null) return;
  const moved = { uid_validity: cursor.uidValidity, uid: cursor.uid, since: cursor.since, until: cursor.until };
  const stamped = sweptAt === null ? moved : { ...moved, swept_at: sweptAt };
  await trx
    .insertInto("mailbox")
    .values({ name: mailbox, ...moved, swept_at: sweptAt })
    .onConflict((c) => c.column("name").doUpdateSet(stamped))
    .execute();
}
