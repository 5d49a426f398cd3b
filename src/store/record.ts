/** What is remembered of a message's way, and the only way it changes: pure functions from a task and an outcome to the next record. */
import { type Fault, type FaultRecord, recordOf } from "../base/errors.ts";
import type { Facts, Part } from "../message/message.ts";

export const TASK_KINDS = ["split", "extract", "deliver", "settle"] as const;
export type TaskKind = (typeof TASK_KINDS)[number];
/** `held`: nothing is wrong, a person has to let it go (`billhook release`). `ignored`: a person gave it up (`billhook ignore`). `replaced`: it was given up for the mail to be read anew, and stays so. */
export type TaskStatus = "open" | "done" | "failed" | "held" | "ignored" | "replaced";

/** Plain JSON a task carries from one effect to the next. */
export type TaskMemo = { readonly [key: string]: string | number | boolean | null | readonly string[] };

/** What comes by itself goes before what a backfill brings: 0 before 1. */
export type Rank = 0 | 1;
export const RANKS: readonly Rank[] = [0, 1];

export type Task = {
  readonly id: number;
  readonly kind: TaskKind;
  /** split: message id · extract: document id · deliver: delivery key · settle: arrival id. */
  readonly subject: string;
  readonly message: string;
  readonly status: TaskStatus;
  /** Failures in a row since the last effect that worked. */
  readonly attempts: number;
  /** When the first of those failures happened; ISO 8601. */
  readonly failingSince: string | null;
  readonly dueAt: string;
  readonly memo: TaskMemo | null;
  /** Why it failed last, or what it waits for. */
  readonly fault: FaultRecord | null;
  /** True when a person let it go although a limit would hold it. */
  readonly released: boolean;
  readonly rank: Rank;
  readonly createdAt: string;
  readonly updatedAt: string;
};

/** The code of the fault in a task whose row cannot be read: it is never worked on, only set aside. */
export const UNREADABLE = "ledger.record";

export type NewTask = Pick<Task, "kind" | "subject"> & { readonly memo?: TaskMemo };

/** Where the results of a message go, decided when it was split. The same fields as a route of the pipeline; the rooms do not know each other. */
export type RouteRecord = {
  /** The name of the rule; null when none matched. */
  readonly rule: string | null;
  readonly is: "take" | "hold" | "ignore";
  /** As the owner wrote it. */
  readonly why: string | null;
  readonly service: string;
  readonly sinks: readonly RouteSinkRecord[];
  /** What the mailbox is told instead of what its own settings say. */
  readonly afterwards: { readonly done: TellingRecord | null; readonly failed: TellingRecord | null } | null;
};

export type RouteSinkRecord = {
  readonly name: string;
  /** What one delivery tells of. */
  readonly per: "document" | "message";
  /** Whether what could not be read is told too. */
  readonly failures: boolean;
};

/** The same fields as a source's `Afterwards`. */
export type TellingRecord =
  | { readonly is: "none" | "seen" | "flag" | "delete" }
  | { readonly is: "move"; readonly folder: string }
  | { readonly is: "keyword"; readonly keyword: string }
  | { readonly is: "label"; readonly label: string };

/** In the memo of a split task: the message is read anew, by this service or the one of its route, into documents from this position on. */
export type Reextraction = { readonly service: string | null; readonly from: number };

export function reextractionMemo({ service, from }: Reextraction): TaskMemo {
  return { service, from };
}

export function reextractionOf(memo: TaskMemo | null): Reextraction | null {
  const from = memo?.from;
  return typeof from === "number" ? { service: typeof memo?.service === "string" ? memo.service : null, from } : null;
}

/** What one run reads: `<message>.<position>`, and the ids of the parts it is made of. */
export type DocumentRecord = {
  readonly id: string;
  readonly message: string;
  /** 1 for the first. */
  readonly position: number;
  readonly service: string;
  readonly whole: boolean;
  readonly parts: readonly string[];
};

export type ResultRecord = {
  readonly document: string;
  readonly service: string;
  readonly runId: string | null;
  readonly data: unknown;
  readonly credits: number | null;
  readonly reasoning: string | null;
  readonly review: unknown;
  readonly raw: unknown;
};

/** What was paid for: one run, as far as we know. */
export type RunRecord = {
  readonly document: string;
  readonly service: string;
  /** Where the message was seen first. */
  readonly mailbox: string;
  /** null: the service gave none, or its answer was lost. */
  readonly runId: string | null;
  /** In the service's own units; null where it does not say, or not yet. */
  readonly credits: number | null;
  /** How often something for this document may have been bought a second time because an answer was lost. */
  readonly possiblyTwice: number;
  /** True: no run, as far as anybody knows; it only keeps `possiblyTwice` on the bill and counts for no limit. */
  readonly onlyDoubt?: true;
};

export type ReceiptRecord = {
  readonly key: string;
  /** null: it told of the whole message. */
  readonly document: string | null;
  readonly sink: string;
  readonly receipt: { readonly [key: string]: string | number | boolean | null };
};

/** What a step adds to the record when it is done. */
export type Growth = {
  readonly split?: {
    readonly facts: Facts;
    readonly parts: readonly Part[];
    readonly faults: readonly FaultRecord[];
    readonly route: RouteRecord;
  };
  readonly documents?: readonly DocumentRecord[];
  readonly result?: ResultRecord;
  readonly receipt?: ReceiptRecord;
  readonly tasks?: readonly NewTask[];
};

/**
 * What became of one effect. `later` is not a failure; `waiting` says what it waits for, and `quiet` that there is nothing to tell. `held` waits for a person. `halted`: the
 * whole service or sink waits for a person, and this task with it. `run` is what the effect bought, or what is now known about it.
 */
export type Outcome = (
  | { readonly is: "done"; readonly memo?: TaskMemo; readonly growth?: Growth; readonly note?: string }
  | {
      readonly is: "later";
      readonly at: Date;
      readonly memo: TaskMemo | null;
      readonly note?: string;
      readonly waiting?: Fault;
      readonly quiet?: true;
    }
  | { readonly is: "retry"; readonly at: Date; readonly fault: Fault; readonly memo?: TaskMemo | null }
  | { readonly is: "failed"; readonly fault: Fault; readonly memo?: TaskMemo | null }
  | { readonly is: "held"; readonly fault: Fault; readonly growth?: Growth }
  /** `name`: of the service or the sink. */
  | { readonly is: "halted"; readonly name: string; readonly fault: Fault; readonly memo: TaskMemo | null }
) & {
  readonly run?: RunRecord;
  /** The run that is asked after from now on; such a task goes on at a paused service, and webhooks find it. */
  readonly underWay?: string | null;
};

/** One line of the audit trail. */
export type Event = {
  readonly at: string;
  readonly message: string | null;
  readonly mailbox: string | null;
  /** `received`, `seen-again`, `unreadable`, or `<kind>.<outcome>`: `extract.later`, `deliver.done`. */
  readonly what: string;
  readonly subject: string | null;
  /** A sentence or an id for people; never mail content. */
  readonly note: string | null;
  readonly faultCode: string | null;
};

/** Between two questions after a run while the account is halted. */
const ASK_AGAIN_MS = 600_000;

/** The task after an outcome. */
export function after(task: Task, outcome: Outcome, now: Date): Task {
  const at = now.toISOString();
  const calm = { attempts: 0, failingSince: null, fault: null, updatedAt: at };
  switch (outcome.is) {
    case "done":
      return { ...task, ...calm, status: "done", memo: outcome.memo ?? task.memo };
    case "later": {
      const next = { ...task, status: "open" as const, memo: outcome.memo, dueAt: outcome.at.toISOString(), updatedAt: at };
      // Waiting is no failure, and no success either: what was failing before goes on failing.
      return outcome.waiting === undefined ? { ...next, ...calm } : { ...next, fault: recordOf(outcome.waiting) };
    }
    case "retry":
      return { ...failing(task, outcome.fault, at), status: "open", dueAt: outcome.at.toISOString(), memo: memoOf(task, outcome.memo) };
    case "failed":
      return { ...failing(task, outcome.fault, at), status: "failed", memo: memoOf(task, outcome.memo) };
    case "held":
      return { ...task, ...calm, fault: recordOf(outcome.fault), status: "held" };
    case "halted": {
      // What would buy waits for the service to be resumed; what only asks is not kept from asking, now and then.
      const dueAt = new Date(now.getTime() + (typeof outcome.underWay === "string" ? ASK_AGAIN_MS : 0)).toISOString();
      return { ...task, ...calm, fault: recordOf(outcome.fault), status: "open", memo: outcome.memo, dueAt };
    }
  }
}

/** `null` is a memo too: from the beginning. */
function memoOf(task: Task, memo: TaskMemo | null | undefined): TaskMemo | null {
  return memo === undefined ? task.memo : memo;
}

function failing(task: Task, fault: Fault, at: string): Task {
  return { ...task, attempts: task.attempts + 1, failingSince: task.failingSince ?? at, fault: recordOf(fault), updatedAt: at };
}

/** The line an outcome leaves in the audit trail. */
export function eventOf(task: Task, outcome: Outcome, now: Date): Event {
  const fault = outcome.is === "done" ? undefined : outcome.is === "later" ? outcome.waiting : outcome.fault;
  const told = [fault?.message, "note" in outcome ? outcome.note : undefined].filter((text) => text !== undefined);
  return {
    at: now.toISOString(),
    message: task.message,
    mailbox: null,
    what: `${task.kind}.${outcome.is}`,
    subject: task.subject,
    note: told.length === 0 ? null : told.join("; "),
    faultCode: fault?.code ?? null,
  };
}

/** By a person: nobody's trouble any more. */
export function isGivenUp(status: TaskStatus): status is "ignored" | "replaced" {
  return status === "ignored" || status === "replaced";
}

/** What the mailbox is told: `done` only when every task before settling is done, or was given up by a person. */
export function verdictOf(tasks: readonly Pick<Task, "kind" | "status">[]): "done" | "failed" {
  return tasks.some(({ kind, status }) => kind !== "settle" && status !== "done" && !isGivenUp(status)) ? "failed" : "done";
}

/** The state of a message as a person is told it. `held` and `failed` wait for a person, `waiting` for a limit or a paused service. */
export const STANDINGS = ["held", "retrying", "waiting", "working", "failed", "ignored", "done"] as const;
export type Standing = (typeof STANDINGS)[number];

export function standingOf(tasks: readonly Pick<Task, "status" | "attempts" | "fault">[]): Standing {
  if (tasks.some((task) => task.status === "held")) return "held";
  const open = tasks.filter((task) => task.status === "open");
  if (open.some((task) => task.attempts > 0)) return "retrying";
  if (open.some((task) => task.fault !== null)) return "waiting";
  if (open.length > 0) return "working";
  if (tasks.some((task) => task.status === "failed")) return "failed";
  return tasks.some((task) => task.status === "ignored") ? "ignored" : "done";
}
