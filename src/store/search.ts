/** What a person looks for in the ledger, and what they decide about a mail: part of the store's role. */

import type { ArrivalRecord, Summary } from "./mail.ts";
import type { Event, Standing, Task } from "./record.ts";

/** All of it has to hold; null or absent asks for nothing. */
export type Wanted = {
  readonly state?: Standing | null;
  readonly since?: Date | null;
  /** Part of a sender's name or address, in any case (of ASCII). */
  readonly from?: string | null;
  readonly mailbox?: string | null;
  /** Part of the subject, in any case (of ASCII). */
  readonly subject?: string | null;
  /** Only those that came before this message: the last one of the page before. */
  readonly before?: string | null;
  readonly limit: number;
};

export type Search = {
  /** The ids, at most ten, of messages whose id begins with this (4 characters at least), or whose Message-ID it is. */
  readonly find: (text: string) => Promise<readonly string[]>;
  readonly summary: (id: string) => Promise<Summary | null>;
  /** Newest first. */
  readonly list: (wanted: Wanted) => Promise<readonly Summary[]>;
  /** How many of the messages that came since then stand how. */
  readonly tally: (since: Date) => Promise<Readonly<Record<Standing, number>>>;
  /** Newest first, of all messages. */
  readonly lastEvents: (limit: number) => Promise<readonly Event[]>;

  /**
   * Nothing more is done for this message but to tell the mailbox that it is done with; `reopen` takes it back. What is in hand right now
   * is finished and recorded. Empty: there was nothing left to do.
   */
  readonly ignore: (message: string, why: string, now: Date) => Promise<readonly Task[]>;
  /** An arrival without bytes is nobody's trouble any more; null: there is none. */
  readonly ignoreArrival: (arrival: string, why: string, now: Date) => Promise<ArrivalRecord | null>;
  /**
   * The message is split again into new documents beside the old ones, and those are read, by this service or by the one it went to, and
   * delivered under keys of their own. What had failed of it or was held is given up. Null: something of it is still under way.
   */
  readonly reextract: (message: string, service: string | null, now: Date) => Promise<Task | null>;
};
