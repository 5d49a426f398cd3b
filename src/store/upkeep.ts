/** What the ledger forgets after its time, and how it says so: part of the store's role. */
import { type Fault, permanent } from "../base/errors.ts";

/** What has an age of its own. `events` is the audit trail, and with it what the receipts say. */
export type Kept = "raw" | "parts" | "results" | "events";

/** When it was removed from a message, ISO 8601; null: it was not. */
export type Gone = { readonly [kept in Kept]: string | null };

export type Pruned = {
  /** From which it has gone now. */
  readonly messages: readonly string[];
  /** The bytes that were theirs, to be discarded. */
  readonly blobs: readonly string[];
  /** How far it came: a step ends early when it has removed much. */
  readonly last: string | null;
};

/**
 * Nothing is removed from a message before it is over: before none of its tasks is open, held or failed. Its age counts from then. What makes
 * "once" true is never removed: ids, arrivals, tasks, documents, runs, and the keys of receipts. Facts and the list of parts go with the
 * last of raw, parts and results: until then something is left that they describe.
 */
export type Upkeep = {
  /** The next messages after this one, in the order they came, that came before then and have it still, over or not. */
  readonly prunable: (kept: Exclude<Kept, "events">, before: Date, after: string | null, limit: number) => Promise<readonly string[]>;
  /** Removes it from those of them that have been over since `before`. The record goes first, and keeps what is to be discarded: see `removals`. */
  readonly prune: (kept: Exclude<Kept, "events">, messages: readonly string[], before: Date, now: Date) => Promise<Pruned>;
  /** The same for the events of messages, and for events of none. `after` and `last` are places in the trail; null: from its beginning, and to its end. */
  readonly pruneEvents: (
    before: Date,
    after: number | null,
    limit: number,
    now: Date,
  ) => Promise<{ readonly messages: number; readonly last: number | null }>;
  /** Which of these bytes no message keeps. */
  readonly unwanted: (shelf: "raw" | "parts", sha256: readonly string[]) => Promise<readonly string[]>;
  /**
   * Has those of them removed that no message keeps. Until that is done nothing is saved that could want them, by no process. `remove`: false
   * when the file is still there.
   */
  readonly discard: (shelf: "raw" | "parts", sha256: readonly string[], remove: (sha256: string) => Promise<boolean>) => Promise<void>;
  /**
   * Some of the bytes that are in the spool and not in the record, in the order of their names, behind this one: a crash came between the two,
   * their file could not be removed, or the mail came once more after it was pruned. `discard` takes them from this list.
   */
  readonly removals: (shelf: "raw" | "parts", after: string, limit: number) => Promise<readonly string[]>;
  /**
   * Gives some of the room that was left back to the file system. `more`: there is more of it. `busy`: somebody reads, what was removed may be
   * in the log still. `done`: it is nowhere in the files any more.
   */
  readonly compact: () => Promise<"more" | "busy" | "done">;
};

const WORDS: { readonly [kept in Kept]: string } = {
  raw: "the mail itself was",
  parts: "the parts were",
  results: "the results were",
  events: "the events were",
};

/** The permanent fault `kept.gone` for what was removed from a message; null when it was not. */
export function goneFault({ id, gone }: { readonly id: string; readonly gone: Gone }, kept: Kept): Fault | null {
  const at = gone[kept];
  if (at === null) return null;
  return permanent(
    "kept.gone",
    `${WORDS[kept]} removed from message ${id.slice(0, 16)} on ${at} by keep.${kept}`,
    `nothing brings back what is gone; a longer keep.${kept} keeps what is to come`,
  );
}
