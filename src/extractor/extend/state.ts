/** How far the extraction of one document at Extend has come: its memo. */
import { permanent } from "../../base/errors.ts";
import type { Memo, Progress } from "../extractor.ts";
import type { Phase } from "./run.ts";

export type Kept = Doubt & {
  /** Ids of the files uploaded so far, in the order of the plan. */
  readonly files: readonly string[];
  /** Ids of the parts that were not uploaded. */
  readonly skipped: readonly string[];
  /** Runs of this document that are over: they are not the one that is looked for. */
  readonly past: readonly string[];
  /** New runs after a failure of the service itself. */
  readonly reruns: number;
  readonly possiblyTwice: number;
  /** The last run that was bought. */
  readonly runId?: string;
};

/** The orders that may have been taken, though no run is known yet. */
export type Doubt = {
  readonly sent: number;
  /** Whether there is one; for who counts what was bought. */
  readonly perhapsBought: boolean;
  /** When the first of them was decided upon, and since when the last is in doubt, ISO 8601. */
  readonly sentFrom: string | null;
  readonly sentLast: string | null;
  /** Whether the last was answered with an error, rather than not at all or by something nobody can read. */
  readonly withError: boolean;
};

export type Uploading = Kept & { readonly step: "upload" };
/** The next call sends the order; `since` is when that was decided upon, ISO 8601. */
export type Ordering = Kept & { readonly step: "order"; readonly since: string };
export type InDoubt = { readonly sentFrom: string; readonly sentLast: string };
export type Looking = Kept & InDoubt & { readonly step: "look" };
export type Running = Kept & {
  readonly step: "running";
  readonly runId: string;
  readonly status: string;
  readonly phase: Phase;
  /** Since when it is in this phase, and when a question was answered last, ISO 8601. Time in which none was is not counted: `since` is moved. */
  readonly since: string;
  readonly answeredAt?: string;
  /** Questions so far; of a review, since it is waited for. */
  readonly polls: number;
};
export type State = Uploading | Ordering | Looking | Running;

const NO_DOUBT: Doubt = { sent: 0, perhapsBought: false, sentFrom: null, sentLast: null, withError: false };

export function stateOf(memo: Memo | null): State {
  if (memo === null) return { step: "upload", files: [], skipped: [], past: [], reruns: 0, possiblyTwice: 0, ...NO_DOUBT };
  const { step } = memo;
  if ((step === "order" || step === "look") && memo.perhapsBought === undefined) return earlier(memo);
  if (step === "upload" || step === "order" || step === "look" || step === "running") return { ...NO_DOUBT, ...memo } as unknown as State;
  throw permanent(
    "extend.memo",
    `a memo with the step ${JSON.stringify(step)} is not one of Extend`,
    "was the service of this document changed?",
  );
}

/** A memo from before intentions were saved: whatever was decided upon may have been sent. */
function earlier({ since, sent, ...kept }: Memo): Looking {
  const doubt = { sent: Math.max(1, Number(sent ?? 0)), perhapsBought: true, sentFrom: since, sentLast: since };
  return { ...NO_DOUBT, ...kept, ...doubt, step: "look" } as unknown as Looking;
}

export function keptOf(kept: Kept): Kept {
  const { files, skipped, past, reruns, possiblyTwice, runId, sent, perhapsBought, sentFrom, sentLast, withError } = kept;
  const doubt: Doubt = { sent, perhapsBought, sentFrom, sentLast, withError };
  return { files, skipped, past, reruns, possiblyTwice, ...doubt, ...(runId === undefined ? {} : { runId }) };
}

/** The answer to an order is missing: it may have been taken. */
export function inDoubt(state: Ordering, withError: boolean, now: Date): Looking {
  const sentFrom = state.sentFrom ?? state.since;
  return {
    ...keptOf(state),
    step: "look",
    sent: state.sent + 1,
    perhapsBought: true,
    sentFrom,
    sentLast: now.toISOString(),
    withError,
  };
}

export function begun(kept: Kept, runId: string, now: Date): Running {
  return {
    ...keptOf(kept),
    ...NO_DOUBT,
    step: "running",
    runId,
    status: "PENDING",
    phase: "pending",
    since: now.toISOString(),
    polls: 0,
  };
}

/** So that a memo stays small. */
export const MOST_PAST = 20;

/** An order in doubt was to be sent again and was not: it is looked for, and its sending is not counted. */
export function unsent(state: Ordering & InDoubt): Looking {
  const { sentFrom, sentLast } = state;
  return { ...keptOf(state), possiblyTwice: Math.max(0, state.possiblyTwice - 1), step: "look", sentFrom, sentLast };
}

/** Before the next order: this run is over. */
export function over(state: Running): Uploading {
  return { ...keptOf(state), step: "upload", past: [...state.past, state.runId].slice(-MOST_PAST) };
}

export type Going = Extract<Progress, { is: "going" }>;

export function going(state: State, now: Date, waitMs = 0): Going {
  return { is: "going", memo: state, nextAt: new Date(now.getTime() + waitMs) };
}

/** The decision to order is saved before the order is sent. */
export function ordering(kept: Kept, now: Date): Going {
  return going({ ...keptOf(kept), step: "order", since: now.toISOString() }, now);
}
