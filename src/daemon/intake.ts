/** The intake of one mailbox: what its source sees is received, a few at a time and in order, as long as the daemon lives. */
import type { Clock } from "../base/clock.ts";
import { asFault, Fault } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { isOurs, type Keeping, type Kept, keep, receive, receiveAll, receiveWanted } from "../pipeline/receive.ts";
import type { Works } from "../pipeline/step.ts";
import type { Sight, Source } from "../source/source.ts";
import type { Event } from "../store/record.ts";

export type IntakeOptions = {
  readonly source: Source;
  readonly works: Works;
  readonly tell: (event: Event) => void;
  /** A sweep of this mailbox is complete. */
  readonly swept?: (mailbox: string) => void;
  readonly log: Logger;
  readonly clock: Clock;
  /** True: end after the first complete sweep. */
  readonly once: boolean;
  /** While so many messages wait to be split no more are taken; 10,000 when left out. */
  readonly mostUnsplit?: number;
};

/** Pause before the mailbox is read again after something of ours (disk, ledger) failed, or is looked at again while it is full. */
const PAUSE_MS = 2_000;
const MOST_UNSPLIT = 10_000;
/** Arrivals that become durable together; more gain little. */
const MOST_TOGETHER = 16;
/** How long one waits for the next. */
const SOON_MS = 20;

/**
 * Ends when `stop` is aborted or, with `once`, after one sweep or when the mailbox cannot be read; never rejects: what fails is told
 * (`Source.stall`, and in the log) and begun again at the cursor. Resolves with whether a sweep was complete.
 */
export async function intake(options: IntakeOptions, stop: AbortSignal): Promise<boolean> {
  const { source, log, clock, once } = options;
  const leave = new AbortController();
  const signal = AbortSignal.any([stop, leave.signal]);
  if (once) void leaveAtTrouble(source, clock, leave, signal);
  const stall = stalling(source, log);
  let swept = false;
  while (!signal.aborted) {
    try {
      swept = (await readOn(options, stall, signal)) || swept;
      if (once && swept) leave.abort();
    } catch (thrown) {
      if (!signal.aborted) stall(asFault(thrown, "receive.failed"));
    }
    await clock.sleep(PAUSE_MS, signal);
  }
  return swept;
}

type Stall = (why: Fault | null) => void;

/** Tells why nothing is taken, and that it goes on again; the log only when that changes. */
function stalling(source: Source, log: Logger): Stall {
  let said: string | null = null;
  return (why) => {
    source.stall(why);
    const code = why?.code ?? null;
    if (code === said) return;
    said = code;
    const mailbox = source.name;
    if (why === null) log.event("info", "receive.resumed", { mailbox });
    else log.event(why.blameless ? "warn" : "error", "receive.trouble", { mailbox, fault: why.code, why: why.message, advice: why.advice });
  };
}

/** From the cursor until the signal is aborted or, with `once`, after one sweep. Resolves with whether a sweep was complete; throws what is ours. */
async function readOn(options: IntakeOptions, stall: Stall, signal: AbortSignal): Promise<boolean> {
  const { source, works, tell, swept: told, clock, once } = options;
  const known = await works.ledger.mailbox(source.name);
  const group = createGroup(options, stall);
  const ending = new AbortController();
  const sights = source.arrivals(known?.cursor ?? null, AbortSignal.any([signal, ending.signal]))[Symbol.asyncIterator]();
  let swept = false;

  /** False: told to stop before there was room. */
  async function room(bytes: number): Promise<boolean> {
    for (let waited = false; !signal.aborted; waited = true) {
      const why = await hindrance(options, bytes);
      if (why === null) {
        if (waited) stall(null);
        return true;
      }
      await group.save();
      stall(why);
      await clock.sleep(PAUSE_MS, signal);
    }
    return false;
  }

  try {
    for (;;) {
      const coming = sights.next();
      await group.saveUnlessSoon(coming);
      const next = await coming;
      if (!next.done && next.value.is === "arrival") {
        if (!(await room(next.value.arrival.size))) return swept;
        await group.add(next.value);
        continue;
      }
      await group.save();
      if (next.done) return swept;
      const event = await receive(next.value, source.name, works);
      if (event !== null) tell(event);
      stall(null);
      if (next.value.is !== "swept") continue;
      told?.(source.name);
      await receiveWanted(source, works, signal, tell);
      swept = true;
      if (once) return true;
    }
  } finally {
    // It may be waiting for new mail.
    ending.abort();
    await sights.return?.();
  }
}

/** Why a message of so many bytes is not begun now; null when nothing speaks against it. */
async function hindrance({ source, works, mostUnsplit = MOST_UNSPLIT }: IntakeOptions, bytes: number): Promise<Fault | null> {
  const full = await works.spool.room(bytes);
  if (full !== null) return full;
  const unsplit = await works.ledger.unsplit();
  if (unsplit < mostUnsplit) return null;
  return new Fault("receive.backlog", `Mailbox ${source.name} waits: ${unsplit} messages are not split yet.`, {
    blameless: true,
    advice: "it goes on by itself when there are fewer",
  });
}

/** Arrivals whose files are synced side by side; one transaction tells of them all, in the order they were seen. */
function createGroup({ source, works, tell, log, clock }: IntakeOptions, stall: Stall) {
  let members: Keeping[] = [];

  async function save(): Promise<void> {
    const settled = await Promise.allSettled(members.map(({ kept }) => kept));
    members = [];
    const safe: Kept[] = [];
    let ours: Fault | null = null;
    for (const kept of settled) {
      if (kept.status === "fulfilled") {
        safe.push(kept.value);
        continue;
      }
      const fault = asFault(kept.reason, "receive.failed");
      if (isOurs(fault)) {
        // The cursor of what came after it would be past it.
        ours = fault;
        break;
      }
      log.event("warn", "receive.retry", { mailbox: source.name, fault: fault.code, why: fault.message });
    }
    if (safe.length > 0) {
      for (const event of await receiveAll(safe, works)) tell(event);
      stall(null);
    }
    if (ours !== null) throw ours;
  }

  /** What is there is not kept waiting for what takes its time. */
  async function saveUnlessSoon(work: Promise<unknown>): Promise<void> {
    if (members.length > 0 && !(await isSoon(work, clock))) await save();
  }

  return {
    save,
    saveUnlessSoon,
    /** Resolves when the next sight may be asked for. */
    add: async (sight: Extract<Sight, { is: "arrival" }>): Promise<void> => {
      const keeping = keep(sight, works);
      await saveUnlessSoon(keeping.read);
      members.push(keeping);
      await keeping.read;
      if (members.length >= MOST_TOGETHER) await save();
    },
  };
}

/** Whether the work is over in a moment, however it ends. */
async function isSoon(work: Promise<unknown>, clock: Clock): Promise<boolean> {
  const over = new AbortController();
  const ended = work.then(
    () => true,
    () => true,
  );
  try {
    return await Promise.race([ended, clock.sleep(SOON_MS, over.signal).then(() => false)]);
  } finally {
    over.abort();
  }
}

const LOOK_MS = 250;

/** A source reconnects for ever; who came for one sweep does not wait for that, only for what billhook itself has to do first. */
async function leaveAtTrouble(source: Source, clock: Clock, leave: AbortController, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const { trouble } = source.freshness();
    if (trouble !== null && !trouble.blameless) leave.abort();
    await clock.sleep(LOOK_MS, signal);
  }
}
