/** When to try again and when to give up: from a task, a fault and the moment. */
import type { Clock } from "../base/clock.ts";
import { type Fault, permanent } from "../base/errors.ts";
import type { Outcome, Task } from "../store/record.ts";
import type { Ledger } from "../store/store.ts";

export type RetryRule = {
  /** Pause after the first failure in a row; doubled at each further one. Milliseconds. */
  readonly firstMs: number;
  readonly longestMs: number;
  /** How long a task may go on failing before a person has to look. Milliseconds. */
  readonly giveUpAfterMs: number;
};

/** Share by which a pause is stretched at random, so that what failed together does not return together. */
const JITTER = 0.25;

/**
 * Temporary faults are tried again until the task has failed for `giveUpAfterMs`. A blameless wait is not counted as a try. For a service
 * it goes on as long as need be: the mail is safe, and a person sees the service. A delivery is given up all the same when its time is
 * over, though nothing was sent: else at a sink that is always busy only those that get a turn would ever be. Time after `until` does
 * not count. Pure.
 */
export function retry(task: Task, fault: Fault, now: Date, rule: RetryRule, random: number, until = now): Outcome {
  if (!fault.temporary) return { is: "failed", fault, memo: task.memo };
  const waitUntil = fault.blameless ? fault.retryAt : null;
  const failingMs = task.failingSince === null ? 0 : Math.min(now.getTime(), until.getTime()) - Date.parse(task.failingSince);
  if (failingMs >= rule.giveUpAfterMs && (waitUntil === null || task.kind === "deliver")) {
    const hours = Math.round(failingMs / 3_600_000);
    const tries = task.attempts + (waitUntil === null ? 1 : 0);
    return {
      is: "failed",
      memo: task.memo,
      fault: permanent(fault.code, `${fault.message} (given up after ${hours} h and ${tries} tries)`, fault.advice ?? undefined),
    };
  }
  if (waitUntil !== null) {
    // The same wait is told once.
    const isTold = task.fault?.code === fault.code;
    return { is: "later", at: waitUntil, memo: task.memo, waiting: fault, ...(isTold && { quiet: true }) };
  }
  const pause = Math.min(rule.longestMs, rule.firstMs * 2 ** Math.min(task.attempts, 30));
  const jittered = now.getTime() + pause * (1 + JITTER * random);
  return { is: "retry", at: new Date(Math.max(jittered, fault.retryAt?.getTime() ?? 0)), fault, memo: task.memo };
}

/** Longer than this nobody lived between two pulses: the clock leapt, or the machine slept. */
const LEAP_MS = 60_000;

/**
 * As `retry`, and before anything is given up the ledger is asked: it may have moved the task along with a clock that leapt while it was in
 * hand, or is to do so with the next pulse.
 */
export async function retryAsKnown(
  task: Task,
  fault: Fault,
  { ledger, clock }: { readonly ledger: Pick<Ledger, "tasks" | "pulse">; readonly clock: Clock },
  rule: RetryRule,
): Promise<Outcome> {
  const [now, random] = [clock.now(), clock.random()];
  const outcome = retry(task, fault, now, rule, random);
  if (outcome.is !== "failed" || !fault.temporary) return outcome;
  const tasks = await ledger.tasks(task.message).catch(() => []);
  const pulse = await ledger.pulse().catch(() => null);
  const failingSince = tasks.find(({ id }) => id === task.id)?.failingSince ?? task.failingSince;
  const until = pulse === null ? now : new Date(Date.parse(pulse.at) + LEAP_MS);
  return retry({ ...task, failingSince }, fault, now, rule, random, until);
}
