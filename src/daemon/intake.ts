/** The intake of one mailbox: what its source sees is received, one after the other, as long as the daemon lives. */
import type { Clock } from "../base/clock.ts";
import { asFault, type Fault } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { receive } from "../pipeline/receive.ts";
import type { Works } from "../pipeline/step.ts";
import type { Source } from "../source/source.ts";
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
};

/** Pause before the mailbox is read again after something of ours (disk, ledger) failed. */
const PAUSE_MS = 2_000;

/**
 * Ends when `stop` is aborted or, with `once`, after one sweep or when the mailbox cannot be read; never rejects: what fails is
 * logged and begun again at the cursor. Resolves with whether a sweep was complete.
 */
export async function intake({ source, works, tell, swept: told, log, clock, once }: IntakeOptions, stop: AbortSignal): Promise<boolean> {
  const leave = new AbortController();
  const signal = AbortSignal.any([stop, leave.signal]);
  if (once) void leaveAtTrouble(source, clock, leave, signal);
  let swept = false;
  while (!signal.aborted) {
    try {
      const known = await works.ledger.mailbox(source.name);
      for await (const sight of source.arrivals(known?.cursor ?? null, signal)) {
        try {
          const event = await receive(sight, source.name, works);
          if (event !== null) tell(event);
          if (sight.is === "swept") told?.(source.name);
          swept ||= sight.is === "swept";
          if (once && swept) {
            leave.abort();
            return true;
          }
        } catch (thrown) {
          const fault = asFault(thrown, "receive.failed");
          if (isOurs(fault)) throw fault;
          log.event("warn", "receive.retry", { mailbox: source.name, fault: fault.code, why: fault.message });
        }
      }
    } catch (thrown) {
      if (signal.aborted) return swept;
      const fault = asFault(thrown, "receive.failed");
      log.event("error", "receive.trouble", { mailbox: source.name, fault: fault.code, why: fault.message });
    }
    if (!signal.aborted) await clock.sleep(PAUSE_MS, signal);
  }
  return swept;
}

const LOOK_MS = 250;

/** A source reconnects for ever; who came for one sweep does not wait for that. */
async function leaveAtTrouble(source: Source, clock: Clock, leave: AbortController, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    if (source.freshness().trouble !== null) leave.abort();
    await clock.sleep(LOOK_MS, signal);
  }
}

/** The bytes failing on their way is the source's to repeat; a failing disk or ledger is ours, and the source begins again at the cursor. */
function isOurs(fault: Fault): boolean {
  return fault.code.startsWith("spool.") || fault.code.startsWith("ledger.") || fault.code === "receive.failed";
}
