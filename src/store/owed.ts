/** What a memo says of money: a purchase that may have been made though nobody knows its run. Pure. */
import type { RunRecord, TaskMemo } from "./record.ts";

export type Bought = Pick<RunRecord, "runId" | "credits" | "possiblyTwice" | "onlyDoubt">;

/**
 * Kept by the pipeline in the memo, beside what is the extractor's own: a purchase was about to be sent. Who takes up a task with it knows
 * that whoever saved it never saved what came of it.
 */
export const BEGUN = "begun";

/**
 * What stays on the bill of a document that ends with this memo, failed or given up: a purchase whose run was never learnt may have
 * been made, so it counts, also one that was about to be sent when nobody saved what came of it (`begun`). Anything else that may have
 * been done twice is told, and counts as no run. Pure.
 */
export function owedFor(memo: TaskMemo | null, begun = memo?.[BEGUN] !== undefined): Bought | null {
  const possiblyTwice = numberOf(memo?.possiblyTwice);
  if (begun || memo?.perhapsBought === true) return { runId: null, credits: null, possiblyTwice };
  const runId = textOf(memo?.runId);
  if (possiblyTwice === 0) return null;
  return { runId, credits: null, possiblyTwice, ...(runId === null ? { onlyDoubt: true } : {}) };
}

export function textOf(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}

export function numberOf(value: unknown): number {
  return typeof value === "number" ? value : 0;
}
