/** Limits on what is bought: what is over one waits, for time to pass or for a person; nothing is dropped. */
import { Fault, permanent } from "../base/errors.ts";
import type { Outcome, Rank, Task } from "../store/record.ts";
import type { Ledger } from "../store/store.ts";

/** Of one service; null is no limit. */
export type Limits = {
  /** Days are UTC. */
  readonly runsPerDay: number | null;
  /** In any 60 minutes. */
  readonly runsPerHour: number | null;
  /** Of the message, before any encoding. */
  readonly maxBytes: number | null;
  readonly maxParts: number | null;
};

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** When a window is full only with documents on their way: nothing says when, or whether, they are bought. */
const LOOK_AGAIN_MS = 60_000;

/** Whether a document is of a message too big to be bought without a person's word. Pure. */
export function tooBig(
  task: Pick<Task, "message" | "released">,
  size: { readonly bytes: number; readonly parts: number },
  limits: Limits,
): Outcome | null {
  if (task.released) return null;
  const over =
    limits.maxBytes !== null && size.bytes > limits.maxBytes
      ? `the message has ${size.bytes} bytes, limits.maxBytes is ${limits.maxBytes}`
      : limits.maxParts !== null && size.parts > limits.maxParts
        ? `the message has ${size.parts} parts, limits.maxParts is ${limits.maxParts}`
        : null;
  if (over === null) return null;
  return { is: "held", fault: permanent("limit.size", over, `\`billhook release ${task.message.slice(0, 16)}\` lets it go`) };
}

/** What a backfill brings may use half of what may be bought in a time: the other half is for what comes by itself. */
export function forBackfill(most: number): number {
  return Math.ceil(most / 2);
}

/**
 * Lets documents through to their first purchase, one after the other, so that eight at once cannot pass a limit of one together.
 * A document that was let through counts until the ledger knows what became of it: `left` is called when its effect is saved.
 */
export type Gate = {
  readonly pass: (document: string, service: string, limits: Limits, ledger: Ledger, now: Date, rank?: Rank) => Promise<Outcome | null>;
  readonly left: (document: string) => void;
};

export function createGate(): Gate {
  const inside = new Map<string, { readonly service: string; readonly rank: Rank }>();
  let turn: Promise<unknown> = Promise.resolve();

  /** `of`: only what has this rank counts. Why it is not let through; null when it is. */
  async function full(window: Window, document: string, service: string, ledger: Ledger, now: Date, of?: Rank): Promise<Outcome | null> {
    // Before the ledger is asked: what leaves in between is in its answer.
    const others = [...inside].flatMap(([other, its]) =>
      its.service === service && other !== document && (of === undefined || its.rank === of) ? [other] : [],
    );
    const { runs, oldest, coming } = await ledger.bought(service, window.since, of);
    const onTheirWay = new Set([...coming, ...others]);
    onTheirWay.delete(document);
    if (runs + onTheirWay.size < window.most) return null;
    // Only what was bought says when the window empties.
    const freeAt = runs < window.most || oldest === null ? new Date(now.getTime() + LOOK_AGAIN_MS) : window.freeAt(oldest);
    const since = window.since.toISOString();
    const fault = new Fault(
      "limit.runs",
      `${service}: ${window.said} is reached: ${runs} runs bought since ${since}, ${onTheirWay.size} on their way`,
      { advice: "raise the limit, or wait", retryAt: freeAt },
    );
    return { is: "later", at: freeAt, memo: null, waiting: fault };
  }

  async function decide(document: string, service: string, limits: Limits, ledger: Ledger, now: Date, rank: Rank): Promise<Outcome | null> {
    for (const window of windowsOf(limits, now)) {
      const half = { ...window, most: forBackfill(window.most), said: `a backfill's half of ${window.said}` };
      const held =
        (rank === 0 ? null : await full(half, document, service, ledger, now, rank)) ??
        (await full(window, document, service, ledger, now));
      if (held !== null) return held;
    }
    inside.set(document, { service, rank });
    return null;
  }

  return {
    pass: (document, service, limits, ledger, now, rank = 0) => {
      if (limits.runsPerDay === null && limits.runsPerHour === null) return Promise.resolve(null);
      const decided = turn.then(() => decide(document, service, limits, ledger, now, rank));
      turn = decided.catch(() => {});
      return decided;
    },
    left: (document) => void inside.delete(document),
  };
}

type Window = { readonly said: string; readonly most: number; readonly since: Date; readonly freeAt: (oldest: Date) => Date };

function windowsOf({ runsPerDay, runsPerHour }: Limits, now: Date): readonly Window[] {
  const midnight = Math.floor(now.getTime() / DAY_MS) * DAY_MS;
  const windows: Window[] = [];
  if (runsPerHour !== null) {
    const since = new Date(now.getTime() - HOUR_MS);
    const freeAt = (oldest: Date) => new Date(oldest.getTime() + HOUR_MS + 1);
    windows.push({ said: `limits.runsPerHour of ${runsPerHour}`, most: runsPerHour, since, freeAt });
  }
  if (runsPerDay !== null) {
    const freeAt = () => new Date(midnight + DAY_MS);
    windows.push({ said: `limits.runsPerDay of ${runsPerDay}`, most: runsPerDay, since: new Date(midnight), freeAt });
  }
  return windows;
}
