/** The step that takes a document one effect further at its service; the memo is saved in between, and what was bought. */
import { asFault, Fault, permanent } from "../base/errors.ts";
import type { Progress } from "../extractor/extractor.ts";
import { BEGUN, type Bought, numberOf, owedFor, textOf } from "../store/owed.ts";
import type { Outcome, TaskMemo } from "../store/record.ts";
import { openDocument, skippedOf } from "./document.ts";
import { tooBig } from "./limits.ts";
import { retryAsKnown } from "./retry.ts";
import type { Step } from "./step.ts";

export const extract: Step = async (task, works, signal) => {
  const { record, message, partsInMessage, document } = await openDocument(task.subject, works);
  const { begun, place, memo } = opened(task.memo);
  // Read before the effect: once something is bought, nothing but the save may fail.
  const [first] = await works.ledger.arrivals(message.id);
  const billed = (outcome: Outcome, run: Bought | null): Outcome => {
    if (run === null) return outcome;
    return { ...outcome, run: { document: record.id, service: record.service, mailbox: first?.origin.mailbox ?? "", ...run } };
  };
  const service = works.services.get(record.service);
  if (service === undefined) {
    const what = `the service ${record.service} is not in the configuration any more`;
    const fault = permanent("extract.no-service", what, "put it back and run `billhook retry`");
    return billed({ is: "failed", fault, memo: task.memo }, owedFor(memo, begun));
  }
  const { extractor, limits } = service;
  const now = works.clock.now();
  const buys = extractor.buys(memo);
  if (buys && !place) {
    const size = { bytes: message.size, parts: partsInMessage };
    const held = tooBig(task, size, limits) ?? (await works.gate.pass(record.id, record.service, limits, works.ledger, now, task.rank));
    if (held !== null) return held.is === "later" ? { ...held, memo: task.memo } : held;
  }
  // It had its place, or was let through just now.
  const holds = place || buys;
  const { interrupted } = extractor;
  const intention = { ...memo, [PLACE]: true, [BEGUN]: true };
  let isSaved = false;
  const buying = async () => {
    const at = works.clock.now();
    works.passing?.("extract buying", record.id);
    await works.ledger.save(task, { is: "later", at, memo: intention, quiet: true }, at);
    isSaved = true;
    works.passing?.("extract begun", record.id);
  };
  let progress: Progress;
  if (interrupted !== undefined && begun) progress = interrupted(memo);
  else {
    try {
      progress = await extractor.advance(document, memo, record.id, signal, interrupted && buying);
    } catch (thrown) {
      // A thrown fault says that nothing was bought: the intention is taken back with it, also while we are being stopped. Anything else says nothing.
      const isUnsent = thrown instanceof Fault;
      if (signal.aborted && !(isSaved && isUnsent)) throw thrown;
      const isOpen = isSaved && !isUnsent;
      const failing = { ...task, memo: isOpen ? intention : memo };
      const outcome = await retryAsKnown(failing, asFault(thrown, "extract.failed"), works, works.retry);
      const run = outcome.is === "failed" ? owedFor(memo, isOpen) : null;
      return billed(placed({ ...outcome, underWay: buys ? null : textOf(memo?.runId) }, holds), run);
    }
  }
  const outcome = outcomeOf(progress, memo, record, task.fault?.code);
  const underWay = progress.memo === null || extractor.buys(progress.memo) ? null : textOf(progress.memo.runId);
  return billed(placed({ ...outcome, underWay }, holds), runOf(progress, memo));
};

/** Kept by the pipeline in the memo, beside what is the extractor's own: the document was let through the limits to its next purchase; the ledger counts these (`bought`). */
const PLACE = "place";

type Opened = { readonly begun: boolean; readonly place: boolean; readonly memo: TaskMemo | null };

function opened(saved: TaskMemo | null): Opened {
  if (saved === null) return { begun: false, place: false, memo: null };
  const { [BEGUN]: begun, [PLACE]: place, ...memo } = saved;
  return { begun: begun !== undefined, place: place === true, memo: Object.keys(memo).length === 0 ? null : memo };
}

/** On its way to a purchase a document keeps its place, from its first effect on; once it has bought, failed or halted it needs another for the next. */
function placed(outcome: Outcome, holds: boolean): Outcome {
  if (!holds || (outcome.is !== "later" && outcome.is !== "retry") || !outcome.memo || typeof outcome.underWay === "string") return outcome;
  return { ...outcome, memo: { ...outcome.memo, [PLACE]: true } };
}

function outcomeOf(
  progress: Progress,
  before: TaskMemo | null,
  { id, service }: { readonly id: string; readonly service: string },
  toldBefore: string | undefined,
): Outcome {
  switch (progress.is) {
    case "going": {
      // A poll without news is not told, nor is the same trouble twice.
      const { fault, nextAt: at, memo } = progress;
      const news = [...newsOf(memo, before), ...skippedNews(memo, before)];
      const isQuiet = news.length === 0 && (fault === undefined || fault.code === toldBefore);
      return { is: "later", at, memo, ...(fault && { waiting: fault }), ...(isQuiet ? { quiet: true } : noteOf(news)) };
    }
    case "refused":
      return { is: "failed", fault: progress.fault, memo: progress.memo };
    case "halted":
      return { is: "halted", name: service, fault: progress.fault, memo: progress.memo };
    case "answered":
      return {
        is: "done",
        memo: progress.memo,
        ...noteOf(skippedNews(progress.memo, before)),
        growth: { result: { document: id, service, ...progress.answer } },
      };
  }
}

/** What there is to tell of an effect on the way, for who looks for the mail at the service. */
function newsOf(memo: TaskMemo, before: TaskMemo | null): readonly string[] {
  const news = ["step", "rowId", "runId", "status"].filter((key) => typeof memo[key] === "string" && memo[key] !== before?.[key]);
  return news.map((key) => `${key} ${String(memo[key])}`);
}

const MOST_TOLD = 20;

/** Which parts the service was not given, told once. */
function skippedNews(memo: TaskMemo, before: TaskMemo | null): readonly string[] {
  const skipped = skippedOf(memo);
  if (skipped.length === 0 || skipped.join() === skippedOf(before).join()) return [];
  const more = skipped.length > MOST_TOLD ? `, and ${skipped.length - MOST_TOLD} more` : "";
  return [`not submitted: part ${skipped.slice(0, MOST_TOLD).join(", part ")}${more}`];
}

function noteOf(news: readonly string[]): { readonly note?: string } {
  return news.length === 0 ? {} : { note: news.join(", ") };
}

/** What the effect bought, or what is known now of what was bought before; null when there is nothing to tell. Pure. */
export function runOf(progress: Progress, before: TaskMemo | null): Bought | null {
  const { memo } = progress;
  const runId = textOf(memo?.runId);
  const possiblyTwice = numberOf(memo?.possiblyTwice);
  if (progress.is === "answered") return { runId: runId ?? progress.answer.runId, credits: progress.answer.credits, possiblyTwice };
  const owed = progress.is === "refused" ? owedFor(memo) : null;
  if (memo?.perhapsBought === true && owed !== null) return owed;
  const credits = progress.credits ?? null;
  const isNew = runId !== textOf(before?.runId);
  const isDoubtful = possiblyTwice > numberOf(before?.possiblyTwice);
  return runId !== null && (isNew || isDoubtful || credits !== null) ? { runId, credits, possiblyTwice } : owed;
}
