/** What is remembered of a mail as it came: where it was seen, and what it is. */
import type { FaultRecord } from "../base/errors.ts";
import type { Blob, Facts } from "../message/message.ts";
import type { RouteRecord, Standing, Task } from "./record.ts";
import type { Gone } from "./upkeep.ts";

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
  /** Why a person gave it up without its bytes; null: nobody did. */
  readonly ignored: string | null;
};

export type MessageRecord = Blob & {
  /** SHA-256 of the raw bytes. */
  readonly id: string;
  readonly receivedAt: string;
  /** null until it is split, and once they are gone. */
  readonly facts: Facts | null;
  /** What could not be read while splitting; the rest was good. */
  readonly faults: readonly FaultRecord[];
  /** null until it is split. */
  readonly route: RouteRecord | null;
  readonly gone: Gone;
};

export type Summary = { readonly message: MessageRecord; readonly standing: Standing; readonly tasks: readonly Task[] };
