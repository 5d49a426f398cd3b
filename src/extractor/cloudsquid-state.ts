/** How far a document has come at Cloudsquid: the memo, read and written. */
import { permanent } from "../base/errors.ts";
import type { Memo } from "./extractor.ts";

type Carried = {
  /** How often something was sent again that may have been done already, because its answer was lost. */
  readonly possiblyTwice: number;
  /** Ids of the parts that were left out because of their type; the first hundred. */
  readonly skipped: readonly string[];
  /** The last run that was bought; the row's id where the service gave the run none. */
  readonly runId?: string;
};

/** `lost` counts the calls in a row whose answer was lost after they had been sent. */
export type Unsent = Carried & { readonly step: "upload"; readonly lost: number };
/** The mail is among the project's files, and nothing of it is in the table. */
export type Stored = Carried & { readonly step: "stored"; readonly lost: number };
export type Uploaded = Carried & { readonly step: "uploaded"; readonly rowId: string; readonly lost: number };
export type Running = Carried & {
  readonly step: "running";
  /** Null when a blocking call did not say it. */
  readonly rowId: string | null;
  readonly runId: string;
  /** As the service last gave it; null when it gave none. */
  readonly status: string | null;
  readonly phase: "pending" | "running";
  /** Since when it is in this phase, ISO 8601. */
  readonly since: string;
  readonly polls: number;
};
export type State = Unsent | Stored | Uploaded | Running;

const MOST_SKIPPED = 100;

export function carried({ possiblyTwice, skipped, runId }: State): Carried {
  return { possiblyTwice, skipped: skipped.slice(0, MOST_SKIPPED), ...(runId === undefined ? {} : { runId }) };
}

export function stateOf(memo: Memo | null): State {
  if (memo === null) return { step: "upload", lost: 0, possiblyTwice: 0, skipped: [] };
  const { step } = memo;
  if (step === "upload" || step === "stored" || step === "uploaded" || step === "running") {
    // Memos of the first version had neither.
    const whole: Memo = { possiblyTwice: 0, skipped: [], ...memo };
    return whole as State;
  }
  throw permanent(
    "cloudsquid.memo",
    `a memo with the step ${JSON.stringify(step)} is not one of Cloudsquid`,
    "was the service of this document changed?",
  );
}
