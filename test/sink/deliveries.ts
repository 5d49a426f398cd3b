/** Deliveries made by hand. */
import { createHash } from "node:crypto";
import { NO_FACTS } from "../../src/message/facts.ts";
import type { Piece } from "../../src/message/message.ts";
import type { Delivered } from "../../src/sink/delivery.ts";
import type { Delivery } from "../../src/sink/sink.ts";

export const MESSAGE = "5d41402abc4b2a76b9719d911017c592ae3b0c44298fc1c149afbf4c8996fb92";

export function piece(id: string, filename: string, content: string | Uint8Array): Piece {
  const bytes = Buffer.from(content);
  return {
    id,
    filename,
    contentType: "application/pdf",
    sha256: createHash("sha256").update(bytes).digest("hex"),
    size: bytes.length,
    open: async function* () {
      for (let at = 0; at < bytes.length; at += 64 * 1024) yield bytes.subarray(at, at + 64 * 1024);
    },
  };
}

type Wishes = {
  readonly subject?: string | null | undefined;
  readonly data?: unknown;
  readonly attachments?: readonly Piece[];
  readonly from?: string;
};

/** The delivery with this key. */
export function delivery(key: string, { subject = "Rechnung", data = { total: "119.00" }, attachments = [], from }: Wishes = {}): Delivery {
  const body: Delivered = {
    format: "billhook.delivery/v1",
    id: key,
    per: "document",
    message: {
      id: MESSAGE,
      mailbox: "invoices",
      messageId: "<1@seilerei.example>",
      from: from === undefined ? [] : [{ name: "", address: from }],
      to: [],
      subject,
      date: "2026-03-02T10:00:00.000Z",
      receivedAt: "2026-03-02T10:00:05.000Z",
    },
    document: {
      id: `${MESSAGE}.1`,
      position: 1,
      parts: attachments.map(({ id, filename, contentType, size, sha256 }) => ({
        id,
        filename,
        contentType,
        size,
        sha256,
        submitted: true,
      })),
    },
    extraction: {
      service: "cloudsquid",
      status: "read",
      runId: "run",
      runs: ["run"],
      credits: null,
      reasoning: null,
      review: null,
      fault: null,
    },
    invoices: [],
    data,
  };
  return { body, facts: NO_FACTS, attachments, raw: piece("raw", "raw.eml", "raw") };
}
