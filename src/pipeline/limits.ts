/** Limits on what is bought: what is over one waits, for time to pass or for a person; nothing is dropped. */
import { Fault, permanent } from "../base/errors.ts";
import type { Outcome, Task } from "../store/record.ts";
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
/** When a window is full of documents on their way, and nothing in it says when it empties. */
const LOOK_AGAIN_MS = 60_000;

/** Whether a document is too big to be bought without a person's word. Pure. */
export function tooBig(task: Task, size: { readonly bytes: number; readonly parts: number }, limits: Limits): Outcome | null {
  if (task.released) return null;
  const over =
    limits.maxBytes !== null && size.bytes > limits.maxBytes
      ? `the message has ${size.bytes} bytes, limits.maxBytes is ${limits.maxBytes}`
      : limits.maxParts !== null && size.parts > limits.maxParts
        ? `the document has ${size.parts} parts, limits.maxParts is ${limits.maxParts}`
        : null;
  if (over === null) return null;
  return { is: "held", fault: permanent("limit.size", over, `\`billhook release ${task.message.slice(0, 16)}\` lets it go`) };
}

/**
 * Lets documents through to their first purchase, one after the other, so that eight at once cannot pass a limit of one together.
 * A document that was let through counts until the ledger knows what became of it: `left` is called when its effect is saved.
 */
export type Gate = {
  readonly pass: (document: string, service: string, limits: Limits, ledger: Ledger, now: Date) => Promise<Outcome | null>;
  readonly left: (document: string) => void;
};

export function createGate(): Gate {
  const inside = new Map<string, string>();
  let turn: Promise<unknown> = Promise.resolve();

  async function decide(document: string, service: string, limits: Limits, ledger: Ledger, now: Date): Promise<Outcome | null> {
    for (const window of windowsOf(limits, now)) {
      const { runs, oldest, coming } = await ledger.bought(service, window.since);
      const others = [...inside].filter(([other, at]) => at === service && other !== document && !coming.includes(other)).length;
      if (runs + coming.filter((other) => other !== document).length + others < window.most) continue;
      const freeAt = window.freeAt(oldest);
      const fault = new Fault(
        "limit.runs",
        `${service}: ${window.said} is reached; ${runs} runs were bought since ${window.since.toISOString()}`,
        {
          advice: "raise the limit, or wait",
          retryAt: freeAt,
        },
      );
      return { is: "later", at: freeAt, memo: null, waiting: fault };
    }
    inside.set(document, service);
    return null;
  }

  return {
    pass: (document, service, limits, ledger, now) => {
      if (limits.runsPerDay === null && limits.runsPerHour === null) return Promise.resolve(null);
      const decided = turn.then(() => decide(document, service, limits, ledger, now));
      turn = decided.catch(() => {});
      return decided;
    },
    left: (document) => void inside.delete(document),
  };
}

type Window = { readonly said: string; readonly most: number; readonly since: Date; readonly freeAt: (oldest: Date | null) => Date };

function windowsOf({ runsPerDay, runsPerHour }: Limits, now: Date): readonly Window[] {
  const midnight = Math.floor(now.getTime() / DAY_MS) * DAY_MS;
  const soon = new Date(now.getTime() + LOOK_AGAIN_MS);
  const windows: Window[] = [];
  if (runsPerHour !== null) {
    const since = new Date(now.getTime() - HOUR_MS);
    const freeAt = (oldest: Date | null) => (oldest === null ? soon : new Date(oldest.getTime() + HOUR_MS + 1));
    windows.push({ said: `limits.runsPerHour of ${runsPerHour}`, most: runsPerHour, since, freeAt });
  }
  if (runsPerDay !== null) {
    const freeAt = (oldest: Date | null) => (oldest === null ? soon : new Date(midnight + DAY_MS));
    windows.push({ said: `limits.runsPerDay of ${runsPerDay}`, most: runsPerDay, since: new Date(midnight), freeAt });
  }
  return windows;
}
