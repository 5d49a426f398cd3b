/** The desk: what a person sees of the mails and decides about them, the same for the command line and the page; safe while the daemon runs. */

import type { FaultRecord } from "../base/errors.ts";
import type { Mapped } from "../mapping/mapping.ts";
import type { Facts, Part } from "../message/message.ts";
import type { ArrivalRecord } from "../store/mail.ts";
import type {
  DocumentRecord,
  Event,
  ReceiptRecord,
  ResultRecord,
  RouteRecord,
  RunRecord,
  Standing,
  Task,
  TaskKind,
} from "../store/record.ts";
import type { Wanted } from "../store/search.ts";
import type { Gone } from "../store/upkeep.ts";

/** What keeps a mail from being done, in a sentence, and what to do about it. */
export type Trouble = {
  /** Of the message, a document (its id) or a delivery (its key). */
  readonly of: string;
  readonly kind: TaskKind;
  readonly standing: "failed" | "held" | "retrying" | "waiting";
  readonly fault: FaultRecord;
  /** When it is tried again by itself; null when it is not. */
  readonly again: string | null;
};

/** What trying a reading again costs; only its service knows which of the two it is. */
export const BUYS_AGAIN = "where the service had refused it, that buys one more run";

/** One line of a list. */
export type Row = {
  readonly id: string;
  readonly receivedAt: string;
  readonly standing: Standing;
  /** null until it is split, and when it has been removed (`keep`). */
  readonly facts: Facts | null;
  readonly mailboxes: readonly string[];
  readonly route: RouteRecord | null;
  readonly troubles: readonly Trouble[];
  /** What was read, as the bookkeeper knows it; empty before that. */
  readonly invoices: readonly Mapped[];
};

/** An arrival without bytes: `u12` is its id for people. */
export type Unread = { readonly id: string; readonly arrival: ArrivalRecord };

/** A document with everything that became of it. */
export type DocumentLife = {
  readonly record: DocumentRecord;
  readonly task: Task | null;
  readonly runs: readonly RunRecord[];
  readonly result: Omit<ResultRecord, "raw"> | null;
  readonly invoices: readonly Mapped[];
  /** Why what was read cannot be shown: it was removed (`kept.gone`), cannot be read any more, or its service is not in the configuration. */
  readonly fault: FaultRecord | null;
  /** The parts that the service was not given. */
  readonly skipped: readonly string[];
};

export type DeliveryLife = {
  readonly key: string;
  readonly sink: string;
  readonly task: Task;
  readonly receipt: ReceiptRecord["receipt"] | null;
};

/** The whole life of a mail. */
export type Life = Row & {
  readonly size: number;
  /** Whether its bytes are still there. */
  readonly rawKept: boolean;
  readonly gone: Gone;
  /** What could not be read while splitting. */
  readonly faults: readonly FaultRecord[];
  readonly arrivals: readonly ArrivalRecord[];
  readonly parts: readonly (Part & { readonly kept: boolean })[];
  readonly documents: readonly DocumentLife[];
  readonly deliveries: readonly DeliveryLife[];
  readonly tasks: readonly Task[];
  readonly events: readonly Event[];
};

/** Decisions about one message, by its whole id; each resolves with sentences about what was done, none when there was nothing to do. */
export type Acts = {
  readonly retry: (id: string) => Promise<readonly string[]>;
  readonly release: (id: string) => Promise<readonly string[]>;
  /** `sink` null: each that was told before. Throws `desk.sink` for one that is not in the configuration, `kept.gone` when the results are. */
  readonly replay: (id: string, sink: string | null) => Promise<readonly string[]>;
  /** Throws `desk.busy` while something of it is under way, `kept.gone` when its bytes are, `desk.service` for an unknown service. */
  readonly reextract: (id: string, service: string | null) => Promise<readonly string[]>;
  readonly ignore: (id: string, why: string) => Promise<readonly string[]>;
};

export type Desk = Acts & {
  /** The whole id of what a person names: the beginning of an id, a Message-ID, `u12`. Throws `desk.unknown` or `desk.ambiguous` (which lists them). */
  readonly find: (text: string) => Promise<string>;
  readonly list: (wanted: Wanted) => Promise<readonly Row[]>;
  /** Arrivals without bytes: those nobody has decided about, or those that were given up. */
  readonly unread: (givenUp?: boolean) => Promise<readonly Unread[]>;
  /** Throws `desk.unknown`. */
  readonly show: (id: string) => Promise<Life>;
  /** How many runs `reextract` would buy, at least, and where. Throws `kept.gone` and `desk.service` as it does. */
  readonly price: (id: string, service: string | null) => Promise<{ readonly service: string; readonly runs: number }>;
  /** Throws `kept.gone` and `spool.missing` before the first byte. */
  readonly raw: (id: string) => Promise<AsyncIterable<Uint8Array>>;
  readonly part: (id: string, part: string) => Promise<{ readonly part: Part; readonly bytes: AsyncIterable<Uint8Array> }>;
};
