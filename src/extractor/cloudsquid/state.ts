/** How far a document has come at Cloudsquid: the memo, read and written. */
import { permanent } from "../../base/errors.ts";
import type { Memo } from "../extractor.ts";

type Carried = {
  /** How often something was sent again that may have been done already, because its answer was lost. */
  readonly possiblyTwice: number;
  /** A purchase (the start of a run, or a blocking call) was sent, its answer was lost, and no later one has told a run. */
  readonly perhapsBought: boolean;
  /** Ids of the parts that were not sent. */
  readonly skipped: readonly string[];
  /** The last run that was bought; the row's id where the service gave the run none, `unnamed-<when>` where it gave neither. */
  readonly runId?: string;
};

/** `lost` counts the tries in a row of which nobody knows whether they took place: the answer was lost, or we died before it was saved. */
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
  /** Since when it is in this phase, and when a question was answered last, ISO 8601. Time in which none was is not counted: `since` is moved. */
  readonly since: string;
  readonly answeredAt?: string;
  readonly polls: number;
};
export type State = Unsent | Stored | Uploaded | Running;

export function carried({ possiblyTwice, perhapsBought, skipped, runId }: State): Carried {
  return { possiblyTwice, perhapsBought, skipped, ...(runId === undefined ? {} : { runId }) };
}

export function stateOf(memo: Memo | null): State {
  if (memo === null) return { step: "upload", lost: 0, possiblyTwice: 0, perhapsBought: false, skipped: [] };
  const { step } = memo;
  if (step === "upload" || step === "stored" || step === "uploaded" || step === "running") {
    // Memos of earlier versions do not have all of them.
    const whole: Memo = { possiblyTwice: 0, perhapsBought: false, skipped: [], ...memo };
    return whole as State;
  }
  throw permanent(
    "cloudsquid.memo",
    `a memo with the step ${JSON.stringify(step)} is not one of Cloudsquid`,
    "was the service of this document changed?",
  );
}
