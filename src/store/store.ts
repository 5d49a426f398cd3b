/** The role of the store: a ledger that remembers and a spool that keeps bytes; nothing is true before it is in both. */
import type { FaultRecord } from "../base/errors.ts";
import type { Blob, Facts, Keep, Part } from "../message/message.ts";
import type {
  DocumentRecord,
  Event,
  Outcome,
  ReceiptRecord,
  ResultRecord,
  RouteRecord,
  RunRecord,
  Standing,
  Task,
  TaskKind,
  TaskMemo,
  TaskStatus,
} from "./record.ts";

/** Where a message was seen. The same fields as a source's origin; the roles do not know each other. */
export type OriginRecord = { readonly mailbox: string; readonly uidValidity: string; readonly uid: number };

/** How far a mailbox has been read. The same fields as a source's cursor. */
export type CursorRecord = { readonly uidValidity: string; readonly uid: number; readonly since: string | null; readonly until: number };

export type ArrivalRecord = {
  readonly id: string;
  readonly origin: OriginRecord;
  /** null: the server never gave its bytes; `fault` says why. */
  readonly message: string | null;
  readonly receivedAt: string | null;
  readonly seenAt: string;
  readonly fault: FaultRecord | null;
};

export type MessageRecord = Blob & {
  /** SHA-256 of the raw bytes. */
  readonly id: string;
  readonly receivedAt: string;
  /** null until it is split. */
  readonly facts: Facts | null;
  /** What could not be read while splitting; the rest was good. */
  readonly faults: readonly FaultRecord[];
  /** null until it is split. */
  readonly route: RouteRecord | null;
};

export type MailboxRecord = {
  readonly mailbox: string;
  readonly cursor: CursorRecord;
  readonly sweptAt: string | null;
};

/** The daemon's pulse, for those who look from outside. */
export type Pulse = {
  readonly at: string;
  /** False: the daemon has stopped, in good order. */
  readonly alive: boolean;
  readonly pid: number;
  /** When this daemon began; a pulse of an older version does not say. */
  readonly startedAt?: string;
  readonly mailboxes: readonly {
    readonly mailbox: string;
    /** End of the last complete sweep. */
    readonly sweptAt: string | null;
    /** Sweeps that were due since then. */
    readonly missedSweeps: number;
    readonly trouble: FaultRecord | null;
    /** Since when there was always some trouble; a pulse of an older version does not say. */
    readonly troubleSince?: string | null;
  }[];
};

/** `name`: of a service or a sink. */
export type Paused = { readonly name: string; readonly since: string; readonly why: string };

/**
 * How tasks stand that are not done. `due`: nothing keeps it, a hand takes it as soon as one is free. `waiting`: for its time, a limit,
 * what is paused, or another that comes first. `failing`: after a failure, tried again.
 */
export type TaskState = "due" | "waiting" | "failing" | "failed" | "held";

/** The tasks of one kind that stand like this; of `extract` for one service, of `deliver` for one sink. */
export type Queue = {
  readonly kind: TaskKind;
  /** Of the service or the sink; null for the kinds that have none. */
  readonly name: string | null;
  readonly state: TaskState;
  readonly tasks: number;
  /** Since when the one waiting longest could have been taken by a hand, failing ones too; null when none can. */
  readonly dueSince: string | null;
};

export type UnderWay = { readonly document: string; readonly service: string; readonly runId: string; readonly memo: TaskMemo };

export type Spending = {
  /** `2026-03-31`, UTC. */
  readonly day: string;
  readonly service: string;
  readonly mailbox: string;
  readonly runs: number;
  /** Sum of what the service told; null when it told nothing. */
  readonly credits: number | null;
  readonly possiblyTwice: number;
};

export type Summary = { readonly message: MessageRecord; readonly standing: Standing; readonly tasks: readonly Task[] };

export type Received = { readonly message: string; readonly isNew: boolean; readonly event: Event };

/** Every method is one transaction, durable when it resolves. A Fault (`ledger.*`) means nothing of it was saved; `ledger.refused`: this record never will be. */
export type Ledger = {
  readonly mailbox: (name: string) => Promise<MailboxRecord | null>;
  /** The bytes are safe: the arrival, the cursor and, for bytes never seen before, the message and its first task. */
  readonly receive: (arrival: {
    readonly blob: Blob;
    readonly origin: OriginRecord;
    readonly receivedAt: string | null;
    readonly cursor: CursorRecord;
    readonly now: Date;
  }) => Promise<Received>;
  /** A message the server will not give: a visible record without bytes, and the cursor moves on. */
  readonly receiveUnreadable: (arrival: {
    readonly origin: OriginRecord;
    readonly fault: FaultRecord;
    readonly cursor: CursorRecord;
    readonly now: Date;
  }) => Promise<Event>;
  readonly swept: (mailbox: string, cursor: CursorRecord, at: Date) => Promise<void>;

  /**
   * Open tasks that are due, longest waiting first, without those in `except` and those for `exceptSinks`; of one kind, or of all. In
   * them `failingSince` of a delivery counts the time others kept it waiting (`failingSinceOf` in sql-failing.ts).
   */
  readonly due: (
    now: Date,
    limit: number,
    except: readonly number[],
    kind?: TaskKind,
    exceptSinks?: readonly string[],
  ) => Promise<readonly Task[]>;
  /** When the next open task is due, of one kind or of all, without the same; null when there is none. */
  readonly nextDue: (except: readonly number[], kind?: TaskKind, exceptSinks?: readonly string[]) => Promise<Date | null>;
  /** How many open tasks are going well, and how many wait: after a failure, for a limit, or for a paused service. */
  readonly backlog: () => Promise<{ readonly open: number; readonly waiting: number }>;
  /** Every task that is not done, counted once. */
  readonly queues: (now: Date) => Promise<readonly Queue[]>;
  /** Whether any task of this kind, of `deliver` for this sink if one is named, has been taken a step further since then. */
  readonly moved: (kind: TaskKind, since: Date, sink?: string | null) => Promise<boolean>;
  /**
   * Applies an outcome: the task, what grew, the event, and the settle tasks when the list of the message is over. A task that a
   * webhook made due while it was in hand stays due then.
   */
  readonly save: (task: Task, outcome: Outcome, now: Date) => Promise<Event>;

  /** Puts failed tasks back on the list: of the messages whose id begins with `message`, or all of them for null. The mailbox is then told anew. */
  readonly reopen: (message: string | null, now: Date) => Promise<readonly Task[]>;

  /** Lets held tasks go, of the messages whose id begins with `message`; the limit does not hold them again. */
  readonly release: (message: string, now: Date) => Promise<readonly Task[]>;

  /** Tells the results of the messages whose id begins with `message` once more, under new keys: to one sink, or to each that was told before. */
  readonly replay: (message: string, sink: string | null, now: Date) => Promise<readonly Task[]>;

  /** Messages an older version has split and not finished go this way. */
  readonly adopt: (route: RouteRecord) => Promise<void>;

  /**
   * Nothing more is bought at this service until it is resumed; runs already bought are still asked after. Or nothing more is delivered
   * to this sink: the name of one is never the name of the other.
   */
  readonly pause: (name: string, why: string, now: Date) => Promise<void>;
  /** True when it had been paused. */
  readonly resume: (name: string, now: Date) => Promise<boolean>;
  readonly paused: () => Promise<readonly Paused[]>;
  /** Runs bought at a service since then, and documents on their way to one. */
  readonly bought: (
    service: string,
    since: Date,
  ) => Promise<{ readonly runs: number; readonly oldest: Date | null; readonly coming: readonly string[] }>;
  /** What was paid for, by day (UTC), service and mailbox, newest day first. */
  readonly spending: (since: Date) => Promise<readonly Spending[]>;
  readonly runs: (message: string) => Promise<readonly RunRecord[]>;
  /** Runs that are asked after, of the messages whose id begins with `message`. */
  readonly underWay: (message: string) => Promise<readonly UnderWay[]>;
  /** A webhook spoke of a run: its next poll is due now. A repeated event changes nothing. */
  readonly hear: (heard: {
    readonly service: string;
    readonly eventId: string;
    readonly runId: string | null;
    readonly now: Date;
  }) => Promise<"due" | "repeat" | "unknown">;

  /** Whether this event was heard. */
  readonly heard: (service: string, eventId: string) => Promise<boolean>;

  readonly message: (id: string) => Promise<MessageRecord | null>;
  readonly arrivals: (message: string) => Promise<readonly ArrivalRecord[]>;
  readonly arrival: (id: string) => Promise<ArrivalRecord | null>;
  readonly unreadable: () => Promise<readonly ArrivalRecord[]>;
  readonly parts: (message: string) => Promise<readonly Part[]>;
  readonly documents: (message: string) => Promise<readonly DocumentRecord[]>;
  readonly document: (id: string) => Promise<DocumentRecord | null>;
  /** Without `raw`, which nothing that goes on needs. */
  readonly result: (document: string) => Promise<Omit<ResultRecord, "raw"> | null>;
  /** The service's whole answer, for the record. */
  readonly raw: (document: string) => Promise<unknown>;
  readonly receipts: (message: string) => Promise<readonly ReceiptRecord[]>;
  /** How many receipts of this sink since then say that it was sent `to` this address. */
  readonly sentTo: (sink: string, to: string, since: Date) => Promise<number>;
  readonly tasks: (message: string) => Promise<readonly Task[]>;
  readonly events: (message: string) => Promise<readonly Event[]>;
  /** Messages in order of arrival; with `stuck` only those that wait, are held, or failed. */
  readonly summaries: (limit: number, which?: "all" | "stuck") => Promise<readonly Summary[]>;
  readonly counts: () => Promise<Readonly<Record<TaskStatus, number>> & { readonly messages: number; readonly unreadable: number }>;

  readonly beat: (pulse: Pulse) => Promise<void>;
  readonly pulse: () => Promise<Pulse | null>;
  /** Writes a few bytes that mean nothing, durably: rejects where a record would be refused too. */
  readonly tryWrite: (now: Date) => Promise<void>;
  /** Whether a daemon, this process or another, owns the ledger right now. */
  readonly held: () => Promise<boolean>;
  readonly close: () => Promise<void>;
};

/** `raw`: messages as they arrived. `parts`: what was found in them. */
export type Shelf = "raw" | "parts";

/** Bytes on disk, named by their SHA-256; whole or not there. */
export type Spool = {
  /** Durable when it resolves (file and directory synced). The same bytes again are recognised and kept once. */
  readonly keep: (shelf: Shelf) => Keep;
  /** Throws `spool.missing` or `spool.damaged` (other size than remembered) before the first byte. */
  readonly open: (shelf: Shelf, blob: Blob) => AsyncIterable<Uint8Array>;
  readonly path: (shelf: Shelf, sha256: string) => string;
  /** Removes what an interrupted write left behind. Only for the one who holds the lock. */
  readonly clean: () => Promise<number>;
};
