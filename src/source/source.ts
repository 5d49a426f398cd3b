/** The role of a source: it sees arrivals in one mailbox, hands over their bytes, and tells the mailbox the verdict. */
import type { Fault } from "../base/errors.ts";

/** Where a message was seen: mailbox + UIDVALIDITY + UID (RFC 9051 section 2.3.1.1). */
export type Origin = { readonly mailbox: string; readonly uidValidity: string; readonly uid: number };

/** How far a mailbox has been read. */
export type Cursor = {
  readonly uidValidity: string;
  /** Every UID up to and including this one has been dealt with. */
  readonly uid: number;
  /** Old mail that is not ours: what stood in the mailbox at UIDs <= `until` with an INTERNALDATE before `since` (ISO 8601). */
  readonly since: string | null;
  readonly until: number;
};

/** What an unknown mailbox's old mail means. */
export type Start = { readonly is: "now" } | { readonly is: "all" } | { readonly is: "since"; readonly date: string };

export type Arrival = {
  readonly origin: Origin;
  /** INTERNALDATE, ISO 8601; null when the server does not say. */
  readonly receivedAt: string | null;
  /** As the server tells it, which may be wrong; 0 when it does not. */
  readonly size: number;
  /**
   * Read once, before the next sight is asked for. Throws a Fault when the mailbox fails half-way: give this sight up and ask for
   * the next one; the same message is seen again, or never when it was expunged meanwhile.
   */
  readonly bytes: AsyncIterable<Uint8Array>;
};

/** What a source reports, in UID order. Each sight carries the cursor to save together with what was made of it. */
export type Sight =
  | { readonly is: "arrival"; readonly arrival: Arrival; readonly cursor: Cursor }
  /**
   * The server has it and will not give it, after several tries (`imap.unreadable`), or it is above the size limit (`imap.too-large`):
   * it becomes a visible record without bytes. It stays in the mailbox as it is; `read` gives what can be had of it, without limit.
   */
  | { readonly is: "unreadable"; readonly origin: Origin; readonly fault: Fault; readonly cursor: Cursor }
  /** Everything that was in the mailbox at `at` has been yielded. */
  | { readonly is: "swept"; readonly cursor: Cursor; readonly at: Date };

/** What the mailbox is told when every task of a message is over. `keyword` and `flag` are IMAP flags (RFC 9051 section 2.3.2). */
export type Afterwards =
  | { readonly is: "none" | "seen" | "flag" | "delete" }
  | { readonly is: "move"; readonly folder: string }
  | { readonly is: "keyword"; readonly keyword: string }
  /** A label of Gmail (X-GM-LABELS). */
  | { readonly is: "label"; readonly label: string };

export type Verdict = "done" | "failed";

/** What telling the mailbox came to. `gone`: no longer there under this origin (expunged, moved by a person, UIDVALIDITY changed). */
export type Settled = "told" | "gone" | "nothing-to-do";

/** The state of a source as a person is told it. */
export type Freshness = {
  /** End of the last complete sweep; null when there was none. */
  readonly sweptAt: Date | null;
  /** Why the mailbox is not being read right now; null while it is. */
  readonly trouble: Fault | null;
};

/** What knocking on a door said, as lines for people: `login ok`, `folder INBOX: 12 messages`. */
export type Probe = { readonly said: string };

/** `size` 0 and `receivedAt` null: the server does not say. */
export type Listed = { readonly uid: number; readonly size: number; readonly receivedAt: string | null };

/** Some of what is in a mailbox, in UID order. */
export type Listing = { readonly uidValidity: string; readonly messages: readonly Listed[] };

export type Source = {
  readonly name: string;
  /**
   * Waiting mail first, then new mail as it comes, until the signal is aborted (the iterator then ends without throwing).
   * Reconnects by itself, with a growing delay. Asking for the next sight says that the bytes of the last one were read, unless they
   * threw; a consumer that could not save them must end the iteration and begin again from the cursor it did save. Nothing more is
   * fetched while no sight is asked for, and the connection is kept. `since: null` means this mailbox was never read: the source's `start` setting decides.
   * What is not wanted is passed over and not fetched.
   */
  readonly arrivals: (since: Cursor | null, signal: AbortSignal, wants?: (uid: number) => boolean) => AsyncIterable<Sight>;
  /** Why the consumer takes no more for now, null when it does again: what `freshness` tells meanwhile. */
  readonly stall: (why: Fault | null) => void;
  /** Look now: the schedule's sweep. Harmless at any time. */
  readonly sweep: () => void;
  /** Does what `instead` says, or the source's own `afterwards` for this verdict. Harmless when repeated. Throws a Fault when the mailbox cannot be told now. */
  readonly settle: (origin: Origin, verdict: Verdict, signal: AbortSignal, instead?: Afterwards | null) => Promise<Settled>;
  /**
   * One message of the watched folder by its UID, null when it is not there. On a connection of its own that leaves no trace (EXAMINE,
   * BODY.PEEK[]) and stays open until the bytes are read, given up, or the signal is aborted. Throws a Fault, the bytes as well;
   * `imap.renumbered` when UIDs no longer mean what they meant under this UIDVALIDITY.
   */
  readonly read: (uid: number, signal: AbortSignal, uidValidity?: string) => Promise<AsyncIterable<Uint8Array> | null>;
  /**
   * Everything in the mailbox, in UID order and in parts. On a connection of its own, and without a trace in the mailbox. Throws a Fault.
   */
  readonly list: (signal: AbortSignal) => AsyncIterable<Listing>;
  /** Logs in, opens the folder and logs out, on a connection of its own. Throws a Fault saying which of them failed. */
  readonly probe: (signal: AbortSignal) => Promise<Probe>;
  readonly freshness: () => Freshness;
  /** Logs out. The source cannot be used afterwards. Never rejects. */
  readonly close: () => Promise<void>;
};
