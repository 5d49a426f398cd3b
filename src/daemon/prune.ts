/** Pruning: what has had its time is removed, a little at a time, while the work goes on. */
import { setImmediate as others } from "node:timers/promises";
import type { Clock } from "../base/clock.ts";
import { asFault } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { Ledger, Spool } from "../store/store.ts";
import type { Kept } from "../store/upkeep.ts";

/** How long each is kept once a message is over, in milliseconds; null is for ever. */
export type Ages = { readonly [kept in Kept]: number | null };

export type PruneOptions = {
  readonly ledger: Ledger;
  readonly spool: Spool;
  readonly keep: Ages;
  /** Has the services forget a message before its results are; false: it is not over. null: they are not asked to. */
  readonly forget: ((message: string, signal: AbortSignal) => Promise<boolean>) | null;
  readonly clock: Clock;
  readonly log: Logger;
};

/** None of these rejects: what fails is logged, and tried again the next time. */
export type Pruner = {
  /** Removes whatever is due. */
  readonly prune: () => Promise<void>;
  /** Looks through a 256th of the spool, the next each time, for bytes that no message keeps: a crash left them, or a mail that came again. */
  readonly tidy: () => Promise<void>;
  /** A message may be over: what is not kept at all is removed at once. */
  readonly over: (message: string) => void;
  /** Ends what is going on, after the step it is at. */
  readonly stop: () => Promise<void>;
};

const SHELVES = ["raw", "parts"] as const;
const KEPT = [...SHELVES, "results"] as const;
/** Messages or events, and files, at a time: between two of these steps the others go on. */
const STEP = 50;
const FILES = 10;
/** So many files that cannot be removed say that none can, for now. */
const MOST_STUCK = 10;
/** Bytes are kept a moment before the ledger knows of them. */
const UNKNOWN_MS = 3_600_000;

type Tally = { [counted in Kept | "files" | "bytes"]?: number };

export function createPruner({ ledger, spool, keep, forget, clock, log }: PruneOptions): Pruner {
  const stopped = new AbortController();
  const maybeOver = new Set<string>();
  let turn: Promise<void> = Promise.resolve();
  /** What is removed is still in the free pages and the log of the ledger; so it may be after a crash. */
  let isDirty = Object.values(keep).some((age) => age !== null);

  const complain = (thrown: unknown, message?: string) => {
    const fault = asFault(thrown, "prune.failed");
    log.event("warn", "prune.retry", { message: message?.slice(0, 16), fault: fault.code, why: fault.message });
  };

  /** One after the other. */
  const inTurn = (work: (tally: Tally) => Promise<void>): Promise<void> => {
    turn = turn.then(async () => {
      const tally: Tally = {};
      try {
        if (!stopped.signal.aborted) await work(tally);
      } catch (thrown) {
        complain(thrown);
      }
      if (Object.keys(tally).length === 0) return;
      isDirty = true;
      log.event("info", "pruned", tally);
    });
    return turn;
  };
  /** False: it is time to end. */
  const goesOn = async () => {
    await others();
    return !stopped.signal.aborted;
  };

  /** False: it is no use to go on. */
  const discard = async (shelf: (typeof SHELVES)[number], blobs: readonly string[], tally: Tally, before?: Date): Promise<boolean> => {
    let stuck = 0;
    for (let from = 0; from < blobs.length && stuck < MOST_STUCK; from += FILES) {
      await ledger.discard(shelf, blobs.slice(from, from + FILES), async (blob) => {
        try {
          const bytes = await spool.remove(shelf, blob, before);
          if (bytes === null) return before === undefined;
          tally.files = (tally.files ?? 0) + 1;
          tally.bytes = (tally.bytes ?? 0) + bytes;
          return true;
        } catch (thrown) {
          // It stays on the list, and those behind it have their turn; one of them is told of.
          if (stuck === 0) complain(thrown);
          stuck += 1;
          return false;
        }
      });
      if (!(await goesOn())) return false;
    }
    return stuck < MOST_STUCK;
  };
  /** Those that the services have forgotten: only our results say what there is to forget. */
  const forgotten = async (messages: readonly string[]) => {
    if (forget === null) return messages;
    const known: string[] = [];
    for (const message of messages) {
      try {
        if (await forget(message, stopped.signal)) known.push(message);
      } catch (thrown) {
        if (stopped.signal.aborted) break;
        complain(thrown, message);
      }
    }
    return known;
  };
  /** The last that was looked at. */
  const removeFrom = async (kept: (typeof KEPT)[number], messages: readonly string[], before: Date, now: Date, tally: Tally) => {
    const ready = kept === "results" ? await forgotten(messages) : messages;
    const { messages: gone, blobs, last } = await ledger.prune(kept, ready, before, now);
    if (gone.length > 0) tally[kept] = (tally[kept] ?? 0) + gone.length;
    if (kept !== "results") await discard(kept, blobs, tally);
    return last ?? messages.at(-1) ?? null;
  };

  const pruneMessages = async (kept: (typeof KEPT)[number], age: number, tally: Tally) => {
    const now = clock.now();
    const before = new Date(now.getTime() - age);
    let after: string | null = null;
    do {
      const messages: readonly string[] = await ledger.prunable(kept, before, after, STEP);
      if (messages.length === 0) return;
      after = await removeFrom(kept, messages, before, now, tally);
    } while (await goesOn());
  };
  const pruneEvents = async (age: number, tally: Tally) => {
    const now = clock.now();
    let after: number | null = null;
    do {
      const { messages, last } = await ledger.pruneEvents(new Date(now.getTime() - age), after, STEP, now);
      if (messages > 0) tally.events = (tally.events ?? 0) + messages;
      after = last;
    } while (after !== null && (await goesOn()));
  };
  const compact = async () => {
    let left = await ledger.compact();
    while (left === "more" && (await goesOn())) left = await ledger.compact();
    isDirty = left !== "done";
  };

  /** What a crash left, or a disk that did not take it, or a mail that came again. */
  const finish = async (tally: Tally) => {
    for (const shelf of SHELVES) {
      for (let after = ""; ; ) {
        const left = await ledger.removals(shelf, after, STEP);
        if (left.length === 0) break;
        if (!(await discard(shelf, left, tally))) break;
        after = left.at(-1) ?? "";
      }
    }
  };

  let shard = Math.floor(clock.random() * 256);
  return {
    prune: async () => {
      await inTurn(finish);
      await inTurn(async (tally) => {
        for (const kept of KEPT) if (keep[kept] !== null) await pruneMessages(kept, keep[kept], tally);
        if (keep.events !== null) await pruneEvents(keep.events, tally);
      });
      if (isDirty) await inTurn(compact);
    },
    tidy: () =>
      inTurn(async (tally) => {
        shard = (shard + 1) % 256;
        for (const shelf of SHELVES) {
          const age = keep[shelf];
          if (age === null) continue;
          // Nothing younger than what is kept: after a ledger was lost these may be the last copies.
          const before = new Date(clock.now().getTime() - Math.max(age, UNKNOWN_MS));
          const names = await spool.list(shelf, shard.toString(16).padStart(2, "0"));
          await discard(shelf, names, tally, before);
        }
      }),
    over: (message) => {
      if (!KEPT.some((kept) => keep[kept] === 0)) return;
      maybeOver.add(message);
      if (maybeOver.size > 1) return;
      void inTurn(async (tally) => {
        const messages = [...maybeOver];
        maybeOver.clear();
        const now = clock.now();
        for (const kept of KEPT) {
          for (let left = keep[kept] === 0 ? messages : []; left.length > 0; ) {
            const last = await removeFrom(kept, left, now, now, tally);
            left = left.slice(left.indexOf(last ?? "") + 1);
            if (!(await goesOn())) return;
          }
        }
      });
    },
    stop: () => {
      stopped.abort();
      return turn;
    },
  };
}
