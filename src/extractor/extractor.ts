/** The role of an extractor: it takes one document through one run at a service, one remote effect a call. */
import type { Fault } from "../base/errors.ts";
import type { Facts, Piece } from "../message/message.ts";

/** What one run reads. */
export type Document = {
  readonly id: string;
  /** SHA-256 of the message it came from. */
  readonly message: string;
  readonly facts: Facts;
  /** The exact bytes of the message. */
  readonly raw: Piece;
  /** The parts this document is made of, bodies included, in message order. */
  readonly parts: readonly Piece[];
  /** True when the document is the whole message, false when it is some of its parts. */
  readonly whole: boolean;
};

/** What the extractor must know to go on after a crash: upload ids, run ids, since when it waits. Plain JSON, at most a few KB. */
export type Memo = { readonly [key: string]: string | number | boolean | null };

export type Progress =
  /** The effect took place. The memo is saved before the next effect; `nextAt` says when that is due. */
  | { readonly is: "going"; readonly memo: Memo; readonly nextAt: Date }
  /** The run is over and this is its answer, as the service gave it. */
  | { readonly is: "answered"; readonly memo: Memo; readonly answer: Answer }
  /** The run is over without an answer, or never can begin. Trying again cannot help. */
  | { readonly is: "refused"; readonly memo: Memo | null; readonly fault: Fault };

export type Answer = {
  readonly runId: string | null;
  /** The fields found, as the service named them. */
  readonly data: unknown;
  /** The whole response, for the record. */
  readonly raw: unknown;
};

/** How a message becomes documents for this service: one run for the whole mail, or one for each attachment. */
export type Grain = "message" | "attachment";

export type Extractor = {
  readonly name: string;
  readonly grain: Grain;
  /** Whether a part of this type can be submitted on its own; asked only when `grain` is `attachment`. */
  readonly accepts: (contentType: string, filename: string | null) => boolean;
  /**
   * At most ONE effect that costs or changes something a call. `key` is the same at every repetition for this document.
   * A thrown Fault means nothing is known to have happened: the same memo may be tried again later.
   */
  readonly advance: (document: Document, memo: Memo | null, key: string, signal: AbortSignal) => Promise<Progress>;
  /** Knocks without cost: is the service there, is the key good. */
  readonly probe: (signal: AbortSignal) => Promise<{ readonly said: string }>;
};
