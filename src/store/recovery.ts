/** What is wrong with a ledger and its spool, and how it is put right: part of the store's role. */
import type { FaultRecord } from "../base/errors.ts";
import type { Blob, Facts, Part } from "../message/message.ts";
import type { CursorRecord, OriginRecord } from "./mail.ts";
import type { RouteRecord } from "./record.ts";

/** Something that is wrong with the ledger or the spool: a sentence with its id, and what to do about it. */
export type Finding = { readonly code: string; readonly message: string; readonly advice: string };

/** A look at a ledger, in steps and without changing anything; what arrives meanwhile is no finding. Throws a Fault where the ledger cannot be read. */
export type Inspection = {
  /** SQLite's own checks, every record, and the tables against each other; `beside` a daemon nothing takes long at once. Never throws. */
  readonly findings: (beside: boolean) => Iterable<Finding>;
  /** What the ledger says is in the spool, each once. */
  readonly blobs: (shelf: "raw" | "parts") => Iterable<Blob & { readonly message: string }>;
  /** How many of them. */
  readonly total: (shelf: "raw" | "parts") => number;
  /** `gone`: it was kept, and was removed after its time. */
  readonly wants: (shelf: "raw" | "parts", sha256: string) => "kept" | "gone" | "unknown";
  readonly close: () => void;
};

/** A message whose parts and facts are to be had again from its raw mail. */
export type Unsplit = {
  readonly message: string;
  readonly size: number;
  /** Where it was seen first. */
  readonly mailbox: string;
  /** Which way it goes is not known any more. */
  readonly wayLost: boolean;
};

/** The ledger a recovery works on, owned: a new one beside the damaged one, or the one there is when nothing is wrong with it. */
export type Recovery = {
  /** What was wrong with the ledger, the first of it; empty: it is used as it is. */
  readonly wrong: readonly string[];
  /** By table: how many rows were carried into the new ledger, and whether that was all there was to read. */
  readonly carried: Readonly<Record<string, { readonly rows: number; readonly whole: boolean }>>;
  /** Where what is taken away is kept: a directory that may not be there yet. */
  readonly aside: string;
  /** Its newest records are lost, and what is open may have been done. */
  readonly wentBack: boolean;
  readonly inspection: Inspection;
  /** How many messages wait for a person because what became of them is not known. */
  readonly held: () => number;
  readonly unsplit: () => readonly Unsplit[];
  /** Raw mail that nothing is known of becomes a message that waits for a person. */
  readonly adopt: (blob: Blob, receivedAt: Date) => void;
  /** What splitting a message gives; `route` null: it stays as it is. */
  readonly restore: (
    message: string,
    found: {
      readonly size: number;
      readonly facts: Facts;
      readonly parts: readonly Part[];
      readonly faults: readonly FaultRecord[];
      readonly route: RouteRecord | null;
    },
  ) => void;
  /** Bytes that nobody has any more. */
  readonly giveUp: (shelf: "raw" | "parts", sha256: string) => void;
  readonly arrivals: (message: string) => readonly OriginRecord[];
  readonly cursor: (mailbox: string) => CursorRecord | null;
  readonly uids: (mailbox: string, uidValidity: string) => ReadonlySet<number>;
  readonly startAt: (mailbox: string, cursor: CursorRecord) => void;
  /** Whether a service or a sink was paused is not known: it is now. */
  readonly pause: (name: string) => void;
  readonly pausesLost: boolean;
  /** Puts the new ledger in the place of the damaged one, which is kept; resolves with where, null when there was nothing to keep. */
  readonly finish: () => Promise<string | null>;
  /** Leaves everything as it was found. */
  readonly abandon: () => Promise<void>;
};
