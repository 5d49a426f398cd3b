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

/**
 * What the extractor must know to go on after a crash: upload ids, run ids, since when it waits. Plain JSON, at most a few KB.
 * Four keys are read by others: `runId` is the last run that was bought; `perhapsBought` is true once a purchase was sent, its
 * answer was lost, and no run id is known; `possiblyTwice` counts the times something may have been done a second time because of
 * that (at Cloudsquid also an upload, which is a second row in the table, not yet a second run); `skipped` names the parts the service was not given.
 */
export type Memo = { readonly [key: string]: string | number | boolean | null | readonly string[] };

/** `credits`: what the run `memo.runId` cost, in the service's own units, once it is known; left out or null until then. */
export type Progress =
  /** The effect took place. The memo is saved before the next effect; `nextAt` says when that is due. `fault`: what went wrong, to be told; it goes on all the same. */
  | { readonly is: "going"; readonly memo: Memo; readonly nextAt: Date; readonly credits?: number | null; readonly fault?: Fault }
  /** The run is over and this is its answer, as the service gave it. */
  | { readonly is: "answered"; readonly memo: Memo; readonly answer: Answer }
  /** The run is over without an answer, or never can begin. Trying again cannot help; a person may put it back with this memo. */
  | { readonly is: "refused"; readonly memo: Memo | null; readonly fault: Fault; readonly credits?: number | null }
  /** Nothing is wrong with the document: the account is out of credits or blocked. The whole service waits for a person; no attempt is counted. */
  | { readonly is: "halted"; readonly memo: Memo | null; readonly fault: Fault; readonly credits?: number | null };

export type Answer = {
  readonly runId: string | null;
  /** The fields found, as the service named them. */
  readonly data: unknown;
  /** What the run cost, in the service's own units; null where it does not say. */
  readonly credits: number | null;
  /** The service's own words on how it came to the answer. */
  readonly reasoning: string | null;
  /** What a person at the service said of the answer, as the service gave it; null when nobody looked. */
  readonly review: unknown;
  /** The whole response, for the record. */
  readonly raw: unknown;
};

/** How a message becomes documents for this service: one run for the whole mail, or one for each attachment. */
export type Grain = "message" | "attachment";

/**
 * Awaited right before something is sent that cannot be sent twice without harm, when its turn has come: here the intention is saved.
 * What it throws is thrown, and nothing is sent.
 */
export type Buying = () => Promise<void>;

/** What of a document goes to the service, and what does not. */
export type Submission = {
  /** Ids of parts, or `raw` for the message as it arrived; `as` is the type or name under which the service is given it. */
  readonly submitted: readonly { readonly part: string; readonly as: string }[];
  readonly left: readonly { readonly part: string; readonly why: string }[];
  /** Why nothing would be submitted at all; null when it would be. */
  readonly refusal: Fault | null;
};

export type Extractor = {
  readonly name: string;
  readonly grain: Grain;
  /** Whether a part of this type can be submitted on its own; asked only when `grain` is `attachment`. */
  readonly accepts: (contentType: string, filename: string | null) => boolean;
  /** What `advance` would submit of a document, without opening it. Pure. */
  readonly plan: (document: Document) => Submission;
  /**
   * At most ONE effect that costs or changes something a call. `key` is the same at every repetition for this document.
   * A thrown Fault means nothing is known to have happened: the same memo may be tried again later.
   */
  readonly advance: (document: Document, memo: Memo | null, key: string, signal: AbortSignal, buying?: Buying) => Promise<Progress>;
  /** Whether the next effect for this memo makes something at the service, rather than asking after a run that was bought. Pure. */
  readonly buys: (memo: Memo | null) => boolean;
  /**
   * The process that awaited `buying` with this memo is gone, and what it was about to send may have been acted upon: how to go on.
   * Pure. Without it no intention is saved, and such a memo is merely tried again.
   */
  readonly interrupted?: (memo: Memo | null) => Progress;
  /** Asks the service to stop a run that is under way; harmless when it is over. Only where the service can. */
  readonly cancel?: (memo: Memo, signal: AbortSignal) => Promise<void>;
  /**
   * Has the service remove what it was given for this memo and what it made of it; only for what is over. Harmless when repeated, and when it
   * is gone already. Only where the service can.
   */
  readonly forget?: (memo: Memo, signal: AbortSignal) => Promise<void>;
  /**
   * Whether a webhook comes from the service, and which run it speaks of (null: none of ours to know). The body is read once the
   * headers may be genuine; what the event points to is fetched unless it is a repeat. Throws a permanent Fault `*.webhook` when it is
   * not genuine. It only ever makes the next poll due: polling stays the truth.
   */
  readonly verifyWebhook?: (
    request: WebhookRequest,
    signal: AbortSignal,
  ) => Promise<{ readonly eventId: string; readonly runId: string | null }>;
  /** Knocks without cost: is the service there, is the key good. */
  readonly probe: (signal: AbortSignal) => Promise<{ readonly said: string }>;
};

export type WebhookRequest = {
  /** Names in lower case. */
  readonly headers: { readonly [name: string]: string | undefined };
  /** Reads the exact bytes: the signature is over them. What it throws is passed on. */
  readonly body: () => Promise<Uint8Array>;
  /** Whether this event has been heard before. */
  readonly isRepeat: (eventId: string) => Promise<boolean>;
};
