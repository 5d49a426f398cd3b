/** The step that takes a document one effect further at its service; the memo is saved in between, and what was bought. */
import { permanent } from "../base/errors.ts";
import type { Progress } from "../extractor/extractor.ts";
import type { Outcome, RunRecord, TaskMemo } from "../store/record.ts";
import { deliveryKey } from "./deliver.ts";
import { openDocument } from "./document.ts";
import { tooBig } from "./limits.ts";
import type { Step } from "./step.ts";

export const extract: Step = async (task, works, signal) => {
  const { record, message, document } = await openDocument(task.subject, works);
  const service = works.services.get(record.service);
  if (service === undefined) {
    throw permanent(
      "extract.no-service",
      `the service ${record.service} is not in the configuration any more`,
      "put it back and run `billhook retry`",
    );
  }
  if (task.memo === null) {
    const held =
      tooBig(task, { bytes: message.size, parts: document.parts.length }, service.limits) ??
      (await works.gate.pass(record.id, record.service, service.limits, works.ledger, works.clock.now()));
    if (held !== null) return held;
  }
  const progress = await service.extractor.advance(document, task.memo, record.id, signal);
  const outcome = outcomeOf(progress, record, works.route.sinks);
  const run = runOf(progress, task.memo);
  if (run === null) return outcome;
  const [first] = await works.ledger.arrivals(message.id);
  return { ...outcome, run: { document: record.id, service: record.service, mailbox: first?.origin.mailbox ?? "", ...run } };
};

function outcomeOf(
  progress: Progress,
  { id, service }: { readonly id: string; readonly service: string },
  sinks: readonly string[],
): Outcome {
  switch (progress.is) {
    case "going":
      return { is: "later", at: progress.nextAt, memo: progress.memo };
    case "refused":
      return { is: "failed", fault: progress.fault, memo: progress.memo };
    case "halted":
      return { is: "halted", service, fault: progress.fault, memo: progress.memo };
    case "answered":
      return {
        is: "done",
        memo: progress.memo,
        growth: {
          result: { document: id, service, ...progress.answer },
          tasks: sinks.map((sink) => ({ kind: "deliver", subject: deliveryKey(id, sink) })),
        },
      };
  }
}

/** What the effect bought, or what is known now of what was bought before; null when there is nothing to tell. Pure. */
export function runOf(progress: Progress, before: TaskMemo | null): Pick<RunRecord, "runId" | "credits" | "possiblyTwice"> | null {
  const { memo } = progress;
  const runId = textOf(memo?.runId);
  const possiblyTwice = numberOf(memo?.possiblyTwice);
  const told = { runId, credits: null, possiblyTwice };
  if (progress.is === "answered") return { ...told, runId: runId ?? progress.answer.runId, credits: progress.answer.credits };
  const isNew = runId !== null && runId !== textOf(before?.runId);
  const isDoubtful = possiblyTwice > numberOf(before?.possiblyTwice) && runId !== null;
  // Given up without ever learning an id: it may have been bought all the same, so it counts.
  const isUnknown = progress.is === "refused" && runId === null && possiblyTwice > 0;
  return isNew || isDoubtful || isUnknown ? told : null;
}

function textOf(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}

function numberOf(value: unknown): number {
  return typeof value === "number" ? value : 0;
}
