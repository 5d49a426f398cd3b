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
  readonly log: Logger;
  readonly clock: Clock;
  /** True: end after the first complete sweep. */
  readonly once: boolean;
};

/** Pause before the mailbox is read again after something of ours (disk, ledger) failed. */
const PAUSE_MS = 2_000;

/** Ends when `stop` is aborted, or after one sweep; never rejects: what fails is logged and begun again at the cursor. */
export async function intake({ source, works, tell, log, clock, once }: IntakeOptions, stop: AbortSignal): Promise<void> {
  while (!stop.aborted) {
    try {
      const known = await works.ledger.mailbox(source.name);
      for await (const sight of source.arrivals(known?.cursor ?? null, stop)) {
        try {
          const event = await receive(sight, source.name, works);
          if (event !== null) tell(event);
          if (once && sight.is === "swept") return;
        } catch (thrown) {
          const fault = asFault(thrown, "receive.failed");
          if (isOurs(fault)) throw fault;
          log.event("warn", "receive.retry", { mailbox: source.name, fault: fault.code, why: fault.message });
        }
      }
      if (stop.aborted) return;
    } catch (thrown) {
      if (stop.aborted) return;
      const fault = asFault(thrown, "receive.failed");
      log.event("error", "receive.trouble", { mailbox: source.name, fault: fault.code, why: fault.message });
    }
    await clock.sleep(PAUSE_MS, stop);
  }
}

/** The bytes failing on their way is the source's to repeat; a failing disk or ledger is ours, and the source begins again at the cursor. */
function isOurs(fault: Fault): boolean {
  return fault.code.startsWith("spool.") || fault.code.startsWith("ledger.") || fault.code === "receive.failed";
}
