/** The role of the store: a ledger that remembers and a spool that keeps bytes; nothing is true before it is in both. */
import type { Fault, FaultRecord } from "../base/errors.ts";
import type { Blob, Keep, Part } from "../message/message.ts";
import type { ArrivalRecord, CursorRecord, MessageRecord, OriginRecord, Summary } from "./mail.ts";
import type {
  DocumentRecord,
  Event,
  Outcome,
  Rank,
  ReceiptRecord,
  ResultRecord,
  RouteRecord,
  RunRecord,
  Task,
  TaskKind,
  TaskMemo,
  TaskStatus,
} from "./record.ts";
import type { Search } from "./search.ts";
import type { Upkeep } from "./upkeep.ts";

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
  /** Services that do not take our key, and since when; a pulse of an older version does not say. */
  readonly refusing?: readonly { readonly service: string; readonly since: string }[];
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

/** `name`: of the service or the sink it goes to; null for the kinds that have none. */
export type DueTask = Task & { readonly name: string | null };

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

/** Bytes that are safe in the spool, and where they were seen. */
export type Arriving = {
  readonly blob: Blob;
  readonly origin: OriginRecord;
  readonly receivedAt: string | null;
  /** null: out of turn, how far the mailbox has been read stays as it is. */
  readonly cursor: CursorRecord | null;
  /** Of the message, if it is new; 0 when left out. */
  readonly rank?: Rank;
  readonly now: Date;
};

export type Received = { readonly message: string; readonly isNew: boolean; readonly event: Event };

/** Every method is one transaction, durable when it resolves. A Fault (`ledger.*`) means nothing of it was saved; `ledger.refused`: this record never will be. */
export type Ledger = Search &
  Upkeep & {
    readonly mailbox: (name: string) => Promise<MailboxRecord | null>;
    /** The bytes are safe: the arrival, the cursor and, for bytes never seen before, the message and its first task. */
    readonly receive: (arriving: Arriving) => Promise<Received>;
    /** The same for several, in the order they were seen: all of them or none, for the price of one. */
    readonly receiveAll: (arriving: readonly Arriving[]) => Promise<readonly Received[]>;
    /** A message without bytes: a visible record, and the cursor moves on. One that is known gets the new fault, and is wanted no more. */
    readonly receiveUnreadable: (arrival: Pick<Arriving, "origin" | "cursor" | "now"> & { readonly fault: FaultRecord }) => Promise<Event>;
    /** A person wants an arrival without bytes to be fetched after all; null: there is none. */
    readonly fetchAgain: (arrival: string, now: Date) => Promise<ArrivalRecord | null>;
    /** What is to be fetched after all, and was not yet. */
    readonly wanted: (mailbox: string) => Promise<readonly ArrivalRecord[]>;
    /** The UIDs under which arrivals of a mailbox are known, with their bytes or without. */
    readonly uids: (mailbox: string, uidValidity: string) => Promise<readonly number[]>;
    /** How many messages wait to be split. */
    readonly unsplit: () => Promise<number>;
    readonly swept: (mailbox: string, cursor: CursorRecord, at: Date) => Promise<void>;

    /**
     * Open tasks that are due, longest waiting first, without those in `except`; of all kinds, or of one: then those of each rank behind those
     * of the rank before, `limit` of each at most. Not for the services and sinks in `exceptNames`. Of `extract`, with `asks`, only what asks
     * after a run that was bought, of all ranks alike, or with false only the others. In them `failingSince` of a delivery counts the time
     * others kept it waiting (`failingSinceOf` in sql/failing.ts).
     */
    readonly due: (
      now: Date,
      limit: number,
      except: readonly number[],
      kind?: TaskKind,
      exceptNames?: readonly string[],
      asks?: boolean,
    ) => Promise<readonly DueTask[]>;
    /** When the next open task is due, of the same; null when there is none. */
    readonly nextDue: (except: readonly number[], kind?: TaskKind, exceptNames?: readonly string[], asks?: boolean) => Promise<Date | null>;
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

    /**
     * Puts failed tasks back on the list: of the messages whose id begins with `message`, those a person gave up too, or all that failed for
     * null. The mailbox is then told anew.
     */
    readonly reopen: (message: string | null, now: Date) => Promise<readonly Task[]>;

    /** Lets held tasks go, of the messages whose id begins with `message`; the limit does not hold them again. */
    readonly release: (message: string, now: Date) => Promise<readonly Task[]>;

    /** Tells the results of the messages whose id begins with `message` once more, under new keys: to one sink, or to each that was told before. */
    readonly replay: (message: string, sink: string | null, now: Date) => Promise<readonly Task[]>;

    /** Messages an older version has split and not finished go this way. */
    readonly adopt: (route: RouteRecord) => Promise<void>;
    /** What waits for a limit of runs, or for a key to be taken, is due now: with this process either may be another one. */
    readonly hasten: (now: Date) => Promise<void>;

    /**
     * Nothing more is bought at this service until it is resumed; runs already bought are still asked after. Or nothing more is delivered
     * to this sink: the name of one is never the name of the other.
     */
    readonly pause: (name: string, why: string, now: Date) => Promise<void>;
    /** True when it had been paused. */
    readonly resume: (name: string, now: Date) => Promise<boolean>;
    readonly paused: () => Promise<readonly Paused[]>;
    /** Runs bought at a service since then, and documents on their way to one; with `rank` only those of such messages. */
    readonly bought: (
      service: string,
      since: Date,
      rank?: Rank,
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
    /** Arrivals without bytes: those nobody has decided about, or those that were given up. */
    readonly unreadable: (givenUp?: boolean) => Promise<readonly ArrivalRecord[]>;
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
    readonly counts: () => Promise<
      Readonly<Record<Exclude<TaskStatus, "replaced">, number>> & { readonly messages: number; readonly unreadable: number }
    >;

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
  /**
   * Durable when it resolves (file and directory synced). The same bytes again are one file, younger than before. They are not removed before
   * whoever keeps them (`by`) has left: their rows are still to be saved.
   */
  readonly keep: (shelf: Shelf, by?: string) => Keep;
  readonly left: (by: string) => void;
  /**
   * How many bytes were given back; null: nothing was removed, for it is not there, is kept by somebody, or is younger than `before`. For
   * the one who holds the lock; what another process keeps at this moment stays.
   */
  readonly remove: (shelf: Shelf, sha256: string, before?: Date) => Promise<number | null>;
  /** What is on a shelf, by the first two digits of its name: `00` to `ff`. */
  readonly list: (shelf: Shelf, digits: string) => Promise<readonly string[]>;
  /**
   * Throws `spool.missing` or `spool.damaged` (other size than remembered) before the first byte, and `spool.damaged` behind the last one
   * when they are not the bytes that were kept.
   */
  readonly open: (shelf: Shelf, blob: Blob) => AsyncIterable<Uint8Array>;
  /** Rejects as `open` does. */
  readonly check: (shelf: Shelf, blob: Blob) => Promise<void>;
  readonly path: (shelf: Shelf, sha256: string) => string;
  /** Why so many bytes more are not to be begun, for less would be left of the disk than is to be kept free; null: there is room. */
  readonly room: (bytes: number) => Promise<Fault | null>;
  /** Removes what an interrupted write left behind. Only for the one who holds the lock. */
  readonly clean: () => Promise<number>;
};
