/** What arrives at every sink: one JSON shape, versioned, the same at every try; its JSON Schema is config/delivery.schema.json. */
import { z } from "zod";
import { invoice } from "../invoice/invoice.ts";

const address = z.object({ name: z.string(), address: z.string() });

const message = z.object({
  id: z.string().meta({ description: "SHA-256 of the message's bytes as they arrived, lower-case hex." }),
  mailbox: z.string().meta({ description: "The mailbox it was first seen in, by its name in the configuration." }),
  messageId: z.string().nullable().meta({ description: "Message-ID with its angle brackets." }),
  from: z.array(address),
  to: z.array(address),
  subject: z.string().nullable(),
  date: z.string().nullable().meta({ description: "The Date field, ISO 8601, UTC." }),
  receivedAt: z.string().meta({ description: "When billhook had it safe, ISO 8601, UTC." }),
});

const part = z.object({
  id: z.string().meta({ description: "IMAP part number; text and html for the bodies." }),
  filename: z.string().nullable().meta({ description: "As the sender wrote it. Not safe as a path." }),
  contentType: z.string(),
  size: z.int().nonnegative().meta({ description: "In bytes, decoded." }),
  sha256: z.string(),
  submitted: z.boolean().meta({ description: "False: the service was not given it, so it was not read." }),
});

const entry = z.object({
  document: z.object({
    id: z.string(),
    position: z.int().positive().meta({ description: "1 for the first document of the message." }),
    parts: z.array(part),
  }),
  extraction: z.object({
    service: z.string().meta({ description: "By its name in the configuration." }),
    status: z.enum(["read", "failed"]),
    runId: z.string().nullable().meta({ description: "The run this answer is of." }),
    runs: z
      .array(z.string())
      .meta({ description: "Every run bought for this document, oldest first; of a document that failed none is told." }),
    credits: z.number().nullable().meta({ description: "What the run cost, in the service's own units; null where it does not say." }),
    reasoning: z.string().nullable().meta({ description: "The service's own words on how it came to the answer." }),
    review: z.unknown().meta({ description: "What a person at the service said of the answer; null when nobody looked." }),
    fault: z
      .object({ code: z.string(), message: z.string() })
      .nullable()
      .meta({ description: "Why it could not be read; null when it was." }),
  }),
  invoices: z.array(z.object({ invoice, unmapped: z.array(z.string()) })).meta({
    description: "The invoices in the answer, in the terms of EN 16931; `unmapped` names what was there and could not be understood.",
  }),
  data: z.unknown().meta({ description: "The fields as the service gave them; null when it could not be read." }),
});

const head = {
  format: z.literal("billhook.delivery/v1"),
  id: z.string().meta({ description: "The delivery's key: the same at every try, another for a replay." }),
  message,
};

export const delivered = z
  .discriminatedUnion("per", [
    z.object({ ...head, per: z.literal("document"), ...entry.shape }),
    z.object({ ...head, per: z.literal("message"), documents: z.array(entry) }),
  ])
  .meta({
    title: "billhook.delivery/v1",
    description: "What billhook delivers: the result of one document, or of all documents of one message.",
  });

type DeepReadonly<T> = T extends readonly (infer Each)[]
  ? readonly DeepReadonly<Each>[]
  : T extends object
    ? { readonly [K in keyof T]: DeepReadonly<T[K]> }
    : T;

export type Delivered = DeepReadonly<z.infer<typeof delivered>>;
/** What is said of one document. */
export type Entry = DeepReadonly<z.infer<typeof entry>>;

export function entriesOf(body: Delivered): readonly Entry[] {
  return body.per === "document" ? [body] : body.documents;
}

/** As JSON Schema (2020-12), for those who receive: what is not listed may be added within v1. */
export function deliverySchema(): string {
  return `${JSON.stringify(z.toJSONSchema(delivered, { io: "input" }), null, 2)}\n`;
}
