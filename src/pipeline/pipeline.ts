/** The pipeline: the table of steps, and advance(): one task, one effect, one save. */
import { asFault, type Fault, permanent } from "../base/errors.ts";
import { deliveryNameOf } from "../store/delivery.ts";
import { type Event, type Outcome, type Task, type TaskKind, UNREADABLE } from "../store/record.ts";
import { deliver } from "./deliver.ts";
import { extract } from "./extract.ts";
import { retryAsKnown } from "./retry.ts";
import { settle } from "./settle.ts";
import { split } from "./split.ts";
import type { Step, Works } from "./step.ts";

const steps = { split, extract, deliver, settle } satisfies Record<TaskKind, Step>;

/**
 * Takes one task through its next effect and saves what came of it. Resolves with the saved event, or with null when the signal
 * was aborted first: then nothing is saved and the same effect comes again with the same key.
 * Rejects only when the ledger cannot be written before the signal is aborted.
 */
export async function advance(task: Task, works: Works, signal: AbortSignal): Promise<Event | null> {
  if (signal.aborted) return null;
  try {
    works.passing?.(`${task.kind} taken`, task.subject);
    const outcome = await effect(task, works, signal);
    if (outcome === null) return null;
    works.passing?.(`${task.kind} done`, task.subject);
    const event = await save(task, outcome, works, signal);
    works.passing?.(`${task.kind} saved`, task.subject);
    return event;
  } finally {
    works.gate.left(task.subject);
    works.spool.left(task.subject);
  }
}

async function effect(task: Task, works: Works, signal: AbortSignal): Promise<Outcome | null> {
  const { fault } = task;
  if (fault?.code === UNREADABLE) return { is: "failed", fault: permanent(fault.code, fault.message, fault.advice ?? undefined) };
  try {
    return await steps[task.kind](task, works, signal);
  } catch (thrown) {
    if (signal.aborted) return null;
    const reason = asFault(thrown, `${task.kind}.failed`);
    const sink = task.kind === "deliver" ? deliveryNameOf(task.subject).sink : null;
    if (reason.halts && sink !== null) return { is: "halted", name: sink, fault: reason, memo: task.memo };
    const rule = sink === null ? works.retry : (works.sinks.get(sink)?.retry ?? works.retry);
    return retryAsKnown(task, reason, works, rule);
  }
}

const SAVE_AGAIN_MS = 2_000;

/** The effect has happened: only the save is repeated while the ledger cannot be written, never the effect. */
async function save(task: Task, reached: Outcome, works: Works, signal: AbortSignal): Promise<Event> {
  let outcome = reached;
  for (;;) {
    try {
      return await works.ledger.save(task, outcome, works.clock.now());
    } catch (thrown) {
      const fault = asFault(thrown);
      if (fault.code === "ledger.refused" && !isBare(outcome)) {
        outcome = refusedOf(outcome, fault);
        continue;
      }
      if (signal.aborted || !fault.temporary) throw fault;
      await works.clock.sleep(SAVE_AGAIN_MS, signal);
    }
  }
}

/**
 * One record the ledger will never take must not hold up the others: the task fails, and a person sees it. What is known of the run
 * is kept, or it would be bought again; unless that is what the ledger will not take.
 */
function refusedOf(outcome: Outcome, fault: Fault): Outcome {
  const memo = outcome.is === "failed" || !("memo" in outcome) ? undefined : outcome.memo;
  const run = outcome.is === "failed" ? undefined : outcome.run;
  return { is: "failed", fault, ...(memo === undefined ? {} : { memo }), ...(run === undefined ? {} : { run }) };
}

function isBare(outcome: Outcome): boolean {
  return outcome.is === "failed" && outcome.memo === undefined && outcome.run === undefined;
}
