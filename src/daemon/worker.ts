/** The worker: takes the tasks that are due, a few at a time, and takes each one effect further. */
import type { Clock } from "../base/clock.ts";
import { asFault } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { advance } from "../pipeline/pipeline.ts";
import type { Works } from "../pipeline/step.ts";
import type { Event, Task } from "../store/record.ts";

export type WorkerOptions = {
  readonly works: Works;
  /** Tasks in hand at once. */
  readonly concurrency: number;
  readonly tell: (event: Event) => void;
  readonly log: Logger;
  readonly clock: Clock;
};

export type Worker = {
  /**
   * Works until `stop` is aborted, then finishes what is in hand; `abandon` cuts even that short. With `untilDrained` it also ends
   * when that is true and no task is left that is going well or will be tried again soon. Rejects only when the ledger is beyond use.
   */
  readonly run: (stop: AbortSignal, abandon: AbortSignal, untilDrained?: () => boolean) => Promise<void>;
  /** There is something new to do. */
  readonly wake: () => void;
};

/** A try this near is waited for before the work counts as drained. */
const SOON_MS = 30_000;
/** Longest nap: what another process put back (`billhook retry`) is seen within this. */
const NAP_MS = 2_000;

export function createWorker({ works, concurrency, tell, log, clock }: WorkerOptions): Worker {
  let wake = () => {};
  const inHand = new Map<number, Promise<void>>();
  let broken: unknown;

  const take = (task: Task, abandon: AbortSignal) => {
    const work = advance(task, works, abandon)
      .then((event) => {
        if (event !== null) tell(event);
      })
      .catch((thrown: unknown) => {
        if (!abandon.aborted) broken ??= thrown;
      })
      .finally(() => {
        inHand.delete(task.id);
        wake();
      });
    inHand.set(task.id, work);
  };

  const nap = async (stop: AbortSignal) => {
    const alarm = new AbortController();
    const ring = () => alarm.abort();
    wake = ring;
    stop.addEventListener("abort", ring, { once: true });
    if (stop.aborted) ring();
    const next = inHand.size < concurrency ? await works.ledger.nextDue([...inHand.keys()]) : null;
    const dueMs = next === null ? NAP_MS : next.getTime() - clock.now().getTime();
    await clock.sleep(Math.min(NAP_MS, Math.max(0, dueMs)), alarm.signal);
    stop.removeEventListener("abort", ring);
  };

  const isDrained = async () => {
    const next = await works.ledger.nextDue([]);
    const isSoon = next !== null && next.getTime() - clock.now().getTime() < SOON_MS;
    return !isSoon && (await works.ledger.backlog()).open === 0;
  };

  const run: Worker["run"] = async (stop, abandon, untilDrained) => {
    while (!stop.aborted && broken === undefined) {
      try {
        const free = concurrency - inHand.size;
        const due = free > 0 ? await works.ledger.due(clock.now(), free, [...inHand.keys()]) : [];
        for (const task of due) take(task, abandon);
        if (due.length === 0 && inHand.size === 0 && untilDrained?.() && (await isDrained())) return;
        if (due.length < free || free === 0) await nap(stop);
      } catch (thrown) {
        const fault = asFault(thrown);
        if (!fault.temporary) throw fault;
        log.event("error", "ledger.trouble", { fault: fault.code, why: fault.message });
        await clock.sleep(NAP_MS, stop);
      }
    }
    await Promise.all(inHand.values());
    if (broken !== undefined) throw broken;
  };

  return { run, wake: () => wake() };
}
