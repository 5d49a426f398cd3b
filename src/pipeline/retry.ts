/** When to try again and when to give up: pure, from a task, a fault and the moment. */
import { type Fault, permanent } from "../base/errors.ts";
import type { Outcome, Task } from "../store/record.ts";

export type RetryRule = {
  /** Pause after the first failure in a row; doubled at each further one. Milliseconds. */
  readonly firstMs: number;
  readonly longestMs: number;
  /** How long a task may go on failing before a person has to look. Milliseconds. */
  readonly giveUpAfterMs: number;
};

/** Share by which a pause is stretched at random, so that what failed together does not return together. */
const JITTER = 0.25;

export function retry(task: Task, fault: Fault, now: Date, rule: RetryRule, random: number): Outcome {
  if (!fault.temporary) return { is: "failed", fault, memo: task.memo };
  if (fault.blameless && fault.retryAt !== null) return { is: "later", at: fault.retryAt, memo: task.memo, waiting: fault };
  const failingMs = task.failingSince === null ? 0 : now.getTime() - Date.parse(task.failingSince);
  if (failingMs >= rule.giveUpAfterMs) {
    const hours = Math.round(failingMs / 3_600_000);
    return {
      is: "failed",
      memo: task.memo,
      fault: permanent(
        fault.code,
        `${fault.message} (given up after ${hours} h and ${task.attempts + 1} tries)`,
        fault.advice ?? undefined,
      ),
    };
  }
  const pause = Math.min(rule.longestMs, rule.firstMs * 2 ** Math.min(task.attempts, 30));
  const jittered = now.getTime() + pause * (1 + JITTER * random);
  return { is: "retry", at: new Date(Math.max(jittered, fault.retryAt?.getTime() ?? 0)), fault, memo: task.memo };
}
