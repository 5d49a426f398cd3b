/** How far the extraction of one document at Extend has come: its memo. */
import { permanent } from "../base/errors.ts";
import type { Memo } from "./extractor.ts";

export type Kept = {
  /** Ids of the files uploaded so far, in the order of the plan. */
  readonly files: readonly string[];
  /** Part numbers of the attachments left out, because the service cannot read them. */
  readonly skipped: readonly string[];
  /** Runs of this document that are over: they are not the one that is looked for. */
  readonly past: readonly string[];
  /** New runs after a failure of the service itself. */
  readonly reruns: number;
  readonly possiblyTwice: number;
  /** The last run that was bought. */
  readonly runId?: string;
};
export type Uploading = Kept & { readonly step: "upload" };
/** `since` is when the order was decided upon, ISO 8601. */
export type Ordering = Kept & { readonly step: "order"; readonly since: string };
/** `sent` counts orders whose answer was lost; `looks`, how often no run was found in the list. */
export type Looking = Kept & { readonly step: "look"; readonly since: string; readonly sent: number; readonly looks: number };
export type Running = Kept & {
  readonly step: "running";
  readonly runId: string;
  readonly status: string;
  readonly phase: "pending" | "running";
  /** Since when it is in this phase, ISO 8601. */
  readonly since: string;
  readonly polls: number;
};
export type State = Uploading | Ordering | Looking | Running;

export function stateOf(memo: Memo | null): State {
  if (memo === null) return { step: "upload", files: [], skipped: [], past: [], reruns: 0, possiblyTwice: 0 };
  const { step } = memo;
  if (step === "upload" || step === "order" || step === "look" || step === "running") return memo as unknown as State;
  throw permanent(
    "extend.memo",
    `a memo with the step ${JSON.stringify(step)} is not one of Extend`,
    "was the service of this document changed?",
  );
}

export function keptOf({ files, skipped, past, reruns, possiblyTwice, runId }: Kept): Kept {
  return { files, skipped, past, reruns, possiblyTwice, ...(runId === undefined ? {} : { runId }) };
}

export function begun(kept: Kept, runId: string, now: Date): Running {
  return { ...keptOf(kept), step: "running", runId, status: "PENDING", phase: "pending", since: now.toISOString(), polls: 0 };
}

/** Before the next order: this run is over. */
export function over(state: Running): Uploading {
  return { ...keptOf(state), step: "upload", past: [...state.past, state.runId].slice(-20) };
}
