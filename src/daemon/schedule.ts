/** What happens by the clock: sweeps and the heartbeat, through node-cron. */
import { schedule as plan } from "node-cron";

export type Job = {
  readonly name: string;
  /** Cron expression with 5 or 6 fields, local time. */
  readonly when: string;
  /** Must not throw; a run that is still going when the next is due is not started again. */
  readonly run: () => void | Promise<void>;
};

/** Starts the jobs; the result stops them all. */
export function startSchedule(jobs: readonly Job[]): () => Promise<void> {
  const planned = jobs.map(({ name, when, run }) => plan(when, () => run(), { name, noOverlap: true, suppressMissedWarning: true }));
  return async () => {
    for (const job of planned) await job.destroy();
  };
}
