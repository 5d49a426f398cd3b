/** The worker: takes the tasks that are due, a few of each kind and for each sink at a time, and takes each one effect further. */
import type { Clock } from "../base/clock.ts";
import { asFault } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { advance } from "../pipeline/pipeline.ts";
import type { Works } from "../pipeline/step.ts";
import { deliveryNameOf, type Event, TASK_KINDS, type Task, type TaskKind } from "../store/record.ts";

export type WorkerOptions = {
  readonly works: Works;
  /**
   * Tasks of one kind, and deliveries to one sink, in hand at once: a service that hangs must not hold up splitting and delivering, nor a
   * sink the service or the other sinks.
   */
  readonly concurrency: number;
  /** A saved change, and how long the effect and its save took. */
  readonly tell: (event: Event, tookMs: number) => void;
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
  const inHand = new Map<number, { readonly kind: TaskKind; readonly sink: string | null; readonly work: Promise<void> }>();
  let broken: unknown;

  const take = (task: Task, abandon: AbortSignal) => {
    const began = performance.now();
    const work = advance(task, works, abandon)
      .then((event) => {
        if (event !== null) tell(event, performance.now() - began);
      })
      .catch((thrown: unknown) => {
        if (!abandon.aborted) broken ??= thrown;
      })
      .finally(() => {
        inHand.delete(task.id);
        wake();
      });
    inHand.set(task.id, { kind: task.kind, sink: sinkOf(task), work });
  };

  /** What is in hand of a kind, and what has no hand free: the whole kind, or some sinks. */
  const handsOn = (kind: TaskKind) => {
    const ofKind = [...inHand].filter(([, held]) => held.kind === kind);
    const bySink = Map.groupBy(ofKind, ([, { sink }]) => sink);
    const full = [...bySink].flatMap(([sink, its]) => (its.length >= concurrency ? [sink] : []));
    return { held: ofKind.map(([id]) => id), isFull: full.includes(null), fullSinks: full.filter((sink) => sink !== null) };
  };

  /** True when some were taken: there may be more, for other sinks. */
  const takeDue = async (kind: TaskKind, abandon: AbortSignal): Promise<boolean> => {
    const { held, isFull, fullSinks } = handsOn(kind);
    if (isFull) return false;
    let took = false;
    for (const task of await works.ledger.due(clock.now(), concurrency, held, kind, fullSinks)) {
      const now = handsOn(kind);
      if (now.isFull || now.fullSinks.includes(sinkOf(task) ?? "")) continue;
      take(task, abandon);
      took = true;
    }
    return took;
  };

  /** When there is something to do of a kind, or for a sink, that has a hand free. */
  const nextDue = async (): Promise<number> => {
    const moments = TASK_KINDS.map(async (kind) => {
      const { held, isFull, fullSinks } = handsOn(kind);
      const next = isFull ? null : await works.ledger.nextDue(held, kind, fullSinks);
      return next?.getTime() ?? Number.POSITIVE_INFINITY;
    });
    return Math.min(...(await Promise.all(moments)));
  };

  const nap = async (stop: AbortSignal) => {
    const alarm = new AbortController();
    const ring = () => alarm.abort();
    wake = ring;
    stop.addEventListener("abort", ring, { once: true });
    if (stop.aborted) ring();
    const dueMs = (await nextDue()) - clock.now().getTime();
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
        let took = false;
        for (const kind of TASK_KINDS) if (await takeDue(kind, abandon)) took = true;
        if (!took && inHand.size === 0 && untilDrained?.() && (await isDrained())) return;
        if (!took) await nap(stop);
      } catch (thrown) {
        const fault = asFault(thrown);
        if (!fault.temporary) throw fault;
        log.event("error", "ledger.trouble", { fault: fault.code, why: fault.message });
        await clock.sleep(NAP_MS, stop);
      }
    }
    await Promise.all([...inHand.values()].map(({ work }) => work));
    if (broken !== undefined) throw broken;
  };

  return { run, wake: () => wake() };
}

/** Null for what is no delivery. */
function sinkOf({ kind, subject }: Task): string | null {
  return kind === "deliver" ? deliveryNameOf(subject).sink : null;
}
