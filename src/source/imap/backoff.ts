/** When an account that failed is asked again: later and later, never at once with all others, and never before its server wants it. */
import type { Clock } from "../../base/clock.ts";
import type { Fault } from "../../base/errors.ts";

export type Backoff = {
  /** The last failure while its back-off lasts, null when the account may be asked. */
  readonly why: () => Fault | null;
  readonly fail: (fault: Fault) => void;
  /** The next failure is the first of its row. */
  readonly well: () => void;
  /** Resolves when no back-off is under way. */
  readonly over: (signal: AbortSignal) => Promise<void>;
  /** Ends the one under way, unless the server asked for it or refused the login. */
  readonly hurry: () => void;
};

/** Before jitter, which makes it up to half as long again. */
const WAIT_MS = { first: 2_000, longest: 40_000, growth: 1.5 };

/** From 2 s to a minute, growing with each failure in a row, and not the same for all who fail at once. */
export function backoffMs(failures: number, clock: Clock): number {
  return Math.min(WAIT_MS.longest, WAIT_MS.first * WAIT_MS.growth ** failures) * (1 + clock.random() / 2);
}

/** Asking again must not turn a wrong password into a locked account, nor a throttle into a ban. */
export function isFirm(fault: Fault): boolean {
  return fault.code === "imap.login" || fault.retryAt !== null;
}

type Failure = { readonly fault: Fault; readonly over: Promise<void>; readonly end: () => void };

export function createBackoff(clock: Clock, stop: AbortSignal): Backoff {
  let failure: Failure | null = null;
  let failures = 0;

  return {
    why: () => failure?.fault ?? null,
    fail: (fault) => {
      const asked = ((fault.retryAt?.getTime() ?? 0) - clock.now().getTime()) * (1 + clock.random() / 10);
      const early = new AbortController();
      const wait = clock.sleep(Math.max(backoffMs(failures++, clock), asked), AbortSignal.any([early.signal, stop]));
      const forget = () => {
        if (failure === mine) failure = null;
      };
      const mine: Failure = {
        fault,
        over: wait.then(forget),
        end: () => {
          forget();
          early.abort();
        },
      };
      failure = mine;
    },
    well: () => {
      failures = 0;
    },
    over: async (signal) => {
      const aborted = Promise.withResolvers<void>();
      const abort = () => aborted.resolve();
      signal.addEventListener("abort", abort, { once: true });
      while (failure !== null && !signal.aborted) await Promise.race([failure.over, aborted.promise]);
      signal.removeEventListener("abort", abort);
    },
    hurry: () => {
      if (failure !== null && !isFirm(failure.fault)) failure.end();
    },
  };
}
