/** The worker: takes the tasks that are due, a few from each line and for each service and sink at a time, and takes each one effect further. */
import type { Clock } from "../base/clock.ts";
import { asFault } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { advance } from "../pipeline/pipeline.ts";
import type { Works } from "../pipeline/step.ts";
import type { Event, TaskKind } from "../store/record.ts";
import type { DueTask } from "../store/store.ts";

export type WorkerOptions = {
  readonly works: Works;
  /** Tasks in hand at once of each line, in those that have names for each name. */
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
  /** There is something new to do, and not by the worker itself: what it is told it did (`tell`) it knows. */
  readonly wake: () => void;
};

/**
 * Tasks that share hands: a service or a sink that hangs must not hold up splitting, telling the mailbox, or another one; nor a thousand
 * runs that are asked after what is to be ordered, nor orders the questions.
 */
type Line = {
  readonly kind: TaskKind;
  /** Of `extract`: whether it asks after a run, or is on its way to one. */
  readonly asks?: boolean;
  /** The services or sinks there are, each with hands of its own; null where there are none. */
  readonly names: readonly (string | null)[];
  /** Milliseconds since 1970: nothing is known to be due in it before. */
  lookAt: number;
  /** Nor before that for what the worker did itself. */
  restUntil: number;
};

type Held = { readonly line: Line; readonly name: string | null; readonly work: Promise<void> };

/** A try this near is waited for before the work counts as drained. */
const SOON_MS = 30_000;
/** Longest time without a look: what another process put back (`billhook retry`) is seen within this. */
const NAP_MS = 2_000;
/** Runs are asked after no more often than every so many milliseconds: those that are due by then are taken together. */
const ASKING_REST_MS = 100;
/** Of all time that looking may take. */
const LOOKING_SHARE = 0.1;
/** Asked as of then, one question tells what is due and when the next one will be. */
const EVER = new Date("9999-12-31T23:59:59.999Z");

export function createWorker({ works, concurrency, tell, log, clock }: WorkerOptions): Worker {
  let ring = () => {};
  const inHand = new Map<number, Held>();
  let broken: unknown;
  const [services, sinks] = [[...works.services.keys()], [...works.sinks.keys()]];
  const lines: readonly Line[] = [
    { kind: "split", names: [null], lookAt: 0, restUntil: 0 },
    { kind: "extract", asks: false, names: services, lookAt: 0, restUntil: 0 },
    { kind: "extract", asks: true, names: services, lookAt: 0, restUntil: 0 },
    { kind: "deliver", names: sinks, lookAt: 0, restUntil: 0 },
    { kind: "settle", names: [null], lookAt: 0, restUntil: 0 },
  ];

  /** There may be something new to do in these lines. */
  const stir = (stirred: readonly Line[]) => {
    for (const line of stirred) line.lookAt = line.restUntil;
    ring();
  };

  const wake = () => {
    for (const line of lines) line.restUntil = 0;
    stir(lines);
  };

  const take = (task: DueTask, line: Line, abandon: AbortSignal) => {
    const began = performance.now();
    let stirred = lines;
    const work = advance(task, works, abandon)
      .then((event) => {
        if (event === null) return;
        // Nothing follows from a question without an answer, as most are; a purchase begins to be asked after.
        if (line.asks !== false && /\.(later|retry)$/.test(event.what)) stirred = [line];
        tell(event, performance.now() - began);
      })
      .catch((thrown: unknown) => {
        if (!abandon.aborted) broken ??= thrown;
      })
      .finally(() => {
        inHand.delete(task.id);
        stir(stirred);
      });
    inHand.set(task.id, { line, name: task.name, work });
  };

  const inHandFor = (line: Line, name: string | null) =>
    [...inHand.values()].filter((held) => held.line === line && held.name === name).length;

  /** Also when the moment is further off than any look sets it: the clock has been set back since. */
  const isTime = ({ lookAt }: Line, now: number) => lookAt <= now || lookAt > now + NAP_MS;

  /** True when some were taken. */
  const takeDue = async (line: Line, abandon: AbortSignal): Promise<boolean> => {
    const [now, began] = [clock.now().getTime(), performance.now()];
    // Stirred while it looks it is 0 again, and looks once more.
    [line.lookAt, line.restUntil] = [now + NAP_MS, 0];
    const names = new Set([...line.names, ...[...inHand.values()].map(({ name }) => name)]);
    const full = [...names].filter((name) => inHandFor(line, name) >= concurrency);
    if (full.length > 0 && line.names.every((name) => full.includes(name))) return false;
    const held = [...inHand].flatMap(([id, { line: its }]) => (its.kind === line.kind ? [id] : []));
    const busy = full.filter((name) => name !== null);
    const next = await works.ledger.due(EVER, concurrency, held, line.kind, busy, line.asks);
    const due = next.filter(({ dueAt }) => !(Date.parse(dueAt) > now));
    let took = false;
    for (const task of due) {
      if (inHandFor(line, task.name) >= concurrency) continue;
      take(task, line, abandon);
      took = true;
    }
    // There may be more of the same, for other services or sinks.
    if (took && due.length >= concurrency) line.lookAt = 0;
    else if (line.lookAt > 0) {
      const restMs = Math.max(line.asks ? ASKING_REST_MS : 0, (performance.now() - began) / LOOKING_SHARE);
      line.restUntil = now + Math.min(NAP_MS, restMs);
      const later = next.map(({ dueAt }) => Date.parse(dueAt)).filter((at) => at > now);
      const nextAt = Math.min(line.lookAt, ...later);
      line.lookAt = Math.max(line.restUntil, nextAt);
    }
    return took;
  };

  const nap = async (stop: AbortSignal) => {
    const alarm = new AbortController();
    ring = () => alarm.abort();
    stop.addEventListener("abort", ring, { once: true });
    if (stop.aborted) ring();
    const lookAt = Math.min(...lines.map((line) => line.lookAt));
    await clock.sleep(Math.min(NAP_MS, Math.max(0, lookAt - clock.now().getTime())), alarm.signal);
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
        for (const line of lines) if (isTime(line, clock.now().getTime()) && (await takeDue(line, abandon))) took = true;
        if (!took && inHand.size === 0 && untilDrained?.() && (await isDrained())) return;
        if (!took) await nap(stop);
      } catch (thrown) {
        const fault = asFault(thrown);
        if (!fault.temporary) throw fault;
        log.event("error", "ledger.trouble", { fault: fault.code, why: fault.message });
        await clock.sleep(NAP_MS, stop);
        wake();
      }
    }
    await Promise.all([...inHand.values()].map(({ work }) => work));
    if (broken !== undefined) throw broken;
  };

  return { run, wake };
}
