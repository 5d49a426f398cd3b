/** The role of a sink: it takes a delivery to where its owner wants it and gives back a receipt. */
import type { Invoice } from "../invoice/invoice.ts";
import type { Address, Piece } from "../message/message.ts";

/** What arrives: one JSON shape for every sink, versioned. */
export type Delivered = {
  readonly format: "billhook.delivery/v1";
  /** The delivery's key: the same at every repetition. */
  readonly id: string;
  readonly message: {
    /** SHA-256 of the raw bytes. */
    readonly id: string;
    readonly mailbox: string;
    readonly messageId: string | null;
    readonly from: readonly Address[];
    readonly to: readonly Address[];
    readonly subject: string | null;
    /** Date field of the message, ISO 8601 UTC. */
    readonly date: string | null;
  };
  readonly document: {
    readonly id: string;
    /** 1 for the first document of the message. */
    readonly position: number;
    readonly parts: readonly {
      readonly id: string;
      readonly filename: string | null;
      readonly contentType: string;
      readonly size: number;
      readonly sha256: string;
    }[];
  };
  readonly extraction: {
    readonly service: string;
    readonly runId: string | null;
    /** What the run cost, in the service's own units; null where it does not say. */
    readonly credits: number | null;
    /** The service's own words on how it came to the answer. */
    readonly reasoning: string | null;
    /** What a person at the service said of the answer; null when nobody looked. */
    readonly review: unknown;
  };
  /**
   * The invoices in the answer, in the terms of EN 16931; mostly one. `unmapped` names the terms the answer has something for that
   * could not be read.
   */
  readonly invoices: readonly { readonly invoice: Invoice; readonly unmapped: readonly string[] }[];
  /** The fields as the service gave them. */
  readonly data: unknown;
};

export type Delivery = {
  readonly body: Delivered;
  /** The attachments of the document, openable. */
  readonly attachments: readonly Piece[];
  /** The message as it arrived. */
  readonly raw: Piece;
};

/** What a sink gave back as proof, as JSON: a path, a status, an id. */
export type Receipt = { readonly [key: string]: string | number | boolean | null };

export type Sink = {
  readonly name: string;
  /** Resolves when the other side has it. Repeated with the same key it must be harmless. Throws a Fault; permanent when trying again cannot help. */
  readonly deliver: (delivery: Delivery, key: string, signal: AbortSignal) => Promise<Receipt>;
  /** Whether the door opens, without leaving anything behind. */
  readonly probe: (signal: AbortSignal) => Promise<{ readonly said: string }>;
};
