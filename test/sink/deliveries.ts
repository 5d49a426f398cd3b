/** Deliveries made by hand. */
import { createHash } from "node:crypto";
import type { Invoice } from "../../src/invoice/invoice.ts";
import { NO_FACTS } from "../../src/message/facts.ts";
import type { Facts, Piece } from "../../src/message/message.ts";
import { type Delivered, entriesOf } from "../../src/sink/delivery.ts";
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
  readonly messageId?: string | null;
  /** What the invoices found are to say besides nothing. */
  readonly invoices?: readonly Partial<Invoice>[];
  /** Why it could not be read. */
  readonly fault?: { readonly code: string; readonly message: string };
  readonly facts?: Partial<Facts>;
  readonly raw?: string;
};

const BLANK: Invoice = {
  number: null,
  type: null,
  issueDate: null,
  dueDate: null,
  currency: null,
  seller: { name: null, vatId: null },
  buyer: { name: null, vatId: null },
  net: null,
  tax: null,
  gross: null,
  payable: null,
  iban: null,
  orderReference: null,
  lines: [],
};

/** The delivery with this key. */
export function delivery(key: string, wishes: Wishes = {}): Delivery {
  const {
    subject = "Rechnung",
    messageId = "<1@seilerei.example>",
    data = { total: "119.00" },
    attachments = [],
    from,
    invoices = [],
    fault,
    facts,
    raw = "raw",
  } = wishes;
  const body: Delivered = {
    format: "billhook.delivery/v1",
    id: key,
    per: "document",
    message: {
      id: MESSAGE,
      mailbox: "invoices",
      messageId,
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
      status: fault === undefined ? "read" : "failed",
      runId: "run",
      runs: ["run"],
      credits: null,
      reasoning: null,
      review: null,
      fault: fault ?? null,
    },
    invoices: invoices.map((said) => ({ invoice: { ...BLANK, ...said }, unmapped: [] })),
    data: fault === undefined ? data : null,
  };
  const { message } = body;
  const said = { messageId: message.messageId, subject: message.subject, from: message.from, date: message.date };
  return { body, facts: { ...NO_FACTS, ...said, ...facts }, attachments, raw: piece("raw", "raw.eml", raw) };
}

/** One delivery of a whole message, one document for each of the wishes; what is of the message is taken from the first. */
export function deliveryOfMessage(key: string, documents: readonly Wishes[]): Delivery {
  const each = documents.map((wishes) => delivery(key, wishes));
  const first = each[0] ?? delivery(key);
  const { format, id, message } = first.body;
  const entries = each
    .flatMap(({ body }) => entriesOf(body))
    .map(({ document, extraction, invoices, data }, at) => ({
      document: { ...document, id: `${MESSAGE}.${at + 1}`, position: at + 1 },
      extraction,
      invoices,
      data,
    }));
  return {
    ...first,
    body: { format, id, per: "message", message, documents: entries },
    attachments: each.flatMap(({ attachments }) => attachments),
  };
}
