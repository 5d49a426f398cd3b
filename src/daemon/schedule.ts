/** What happens by the clock: sweeps and the heartbeat. node-cron knows the calendar; the waiting is our own. */
import { createTask } from "node-cron";
import { systemClock } from "../base/clock.ts";

export type Job = {
  readonly name: string;
  /** Cron expression with 5 or 6 fields, local time. */
  readonly when: string;
  /** Must not throw; a run that is still going when the next is due is not started again. */
  readonly run: () => void | Promise<void>;
};

/** A clock that was set is noticed within this. */
const LOOK_MS = 1_000;

/**
 * Starts the jobs; the result stops them all. Not by node-cron's timers: when the clock is set back by a day they sleep for a day, and
 * when it is set ahead by a month, or the machine was asleep, they work off each moment that was missed, for minutes, before anything else.
 */
export function startSchedule(jobs: readonly Job[]): () => Promise<void> {
  const over = new AbortController();
  const going = jobs.map((job) => keep(job, over.signal));
  return async () => {
    over.abort();
    await Promise.all(going);
  };
}

async function keep({ when, run }: Job, stop: AbortSignal): Promise<void> {
  const calendar = createTask(when, () => {});
  const following = () => calendar.getNextRuns(1)[0]?.getTime() ?? Number.POSITIVE_INFINITY;
  let isRunning = false;
  let seen = systemClock.now().getTime();
  let next = following();
  while (!stop.aborted) {
    await systemClock.sleep(Math.min(LOOK_MS, next - seen), stop);
    const now = systemClock.now().getTime();
    const isDue = now >= next;
    if (isDue || now < seen) next = following();
    seen = now;
    if (!isDue || isRunning || stop.aborted) continue;
    isRunning = true;
    void Promise.resolve(run()).finally(() => {
      isRunning = false;
    });
  }
  await calendar.destroy();
}
