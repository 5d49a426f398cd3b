/** The role of a sink: it takes a delivery to where its owner wants it and gives back a receipt. */
import type { Facts, Piece } from "../message/message.ts";
import type { Delivered } from "./delivery.ts";

export type Delivery = {
  readonly body: Delivered;
  /** What the header of the message says. */
  readonly facts: Facts;
  /** The attachments of its documents, openable, in message order. */
  readonly attachments: readonly Piece[];
  /** The message as it arrived. */
  readonly raw: Piece;
};

/** What a sink gave back as proof, as JSON: a path, a status, an id. `skipped` says why nothing was to be sent. */
export type Receipt = { readonly [key: string]: string | number | boolean | null };

export type Sink = {
  readonly name: string;
  /**
   * Resolves when the other side has it. Repeated with the same key it must be harmless. Throws a Fault; permanent when trying again
   * cannot help, and with `halts` when nothing else can be delivered there either until a person has looked.
   */
  readonly deliver: (delivery: Delivery, key: string, signal: AbortSignal) => Promise<Receipt>;
  /** Where the delivery would go, or why it would not, as a sentence for people; what is not known before the extraction is left open. Pure. */
  readonly destination: (delivery: Delivery) => string;
  /** Whether the door opens, without leaving anything behind. */
  readonly probe: (signal: AbortSignal) => Promise<{ readonly said: string }>;
};
