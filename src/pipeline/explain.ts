/** What would become of a mail: which rule decides, what would be submitted, paid, delivered and told. Pure: nothing is opened, asked or kept. */
import { type FaultRecord, recordOf } from "../base/errors.ts";
import type { Document, Submission } from "../extractor/extractor.ts";
import { type Part, type Split, typeOf } from "../message/message.ts";
import type { Delivered, Entry } from "../sink/delivery.ts";
import type { Delivery } from "../sink/sink.ts";
import type { Afterwards, Verdict } from "../source/source.ts";
import { deliveryKey } from "../store/delivery.ts";
import type { DocumentRecord } from "../store/record.ts";
import { documentOf, documentsOf } from "./document.ts";
import { type Limits, tooBig } from "./limits.ts";
import { type Judged, judge, type Route, type RouteSink, routeOf } from "./route.ts";
import type { Service, Works } from "./step.ts";

/** A mail as somebody shows it to us. */
export type Shown = {
  /** SHA-256 of its bytes. */
  readonly id: string;
  readonly size: number;
  readonly mailbox: string;
  readonly split: Split;
};

export type Explained = {
  readonly rules: readonly Judged[];
  readonly route: Route;
  readonly documents: readonly ExplainedDocument[];
  /** Parts that no document is made of. */
  readonly left: Submission["left"];
  readonly paid: {
    readonly service: string;
    readonly runs: number;
    readonly limits: Limits | null;
    /** Why a person has to let it go first; null when it goes by itself. */
    readonly held: FaultRecord | null;
  };
  readonly deliveries: readonly ExplainedDelivery[];
  /** What the mailbox is told at the end; null while the mail is held by a rule. */
  readonly afterwards: Readonly<Record<Verdict, Afterwards>> | null;
};

export type ExplainedDocument = Pick<DocumentRecord, "id" | "position" | "whole"> &
  Pick<Submission, "submitted" | "left"> & {
    /** Why the service would not be asked; null when it would be. */
    readonly refusal: FaultRecord | null;
  };

/** `document`: its position; null for one delivery of the whole message. */
export type ExplainedDelivery = { readonly sink: string; readonly document: number | null; readonly destination: string };

type Doors = Pick<Works, "services" | "sinks" | "routing">;

/** `own`: what the mailbox is told where no rule says otherwise. `now` stands for the moment it would be received. */
export function explainMail(shown: Shown, doors: Doors, own: Readonly<Record<Verdict, Afterwards>>, now: Date): Explained {
  const { id, size, mailbox, split } = shown;
  const { rules, fallback } = doors.routing;
  const mail = { mailbox, facts: split.facts, parts: split.parts, size, released: false };
  const route = routeOf(rules, mail, fallback);
  const service = doors.services.get(route.service);
  const planned = route.is === "take" && service !== undefined ? plan(shown, route.service, service) : [];
  const used = new Set(planned.flatMap(({ record }) => record.parts));
  const task = { message: id, released: false };
  const held = service === undefined ? null : tooBig(task, { bytes: size, parts: split.parts.length }, service.limits);
  const taken = planned.length > 0;
  return {
    rules: judge(rules, mail),
    route,
    documents: planned.map(({ record: { id, position, whole }, plan: { submitted, left, refusal } }) => ({
      id,
      position,
      whole,
      submitted,
      left,
      refusal: refusal === null ? null : recordOf(refusal),
    })),
    left: taken ? split.parts.filter((part) => !used.has(part.id)).map((part) => ({ part: part.id, why: whyNoDocument(part) })) : [],
    paid: {
      service: route.service,
      runs: planned.filter(({ plan }) => plan.refusal === null).length,
      limits: service?.limits ?? null,
      held: taken && held?.is === "held" ? recordOf(held.fault) : null,
    },
    deliveries: taken ? route.sinks.flatMap((sink) => deliveriesTo(sink, planned, shown, doors, now)) : [],
    afterwards: route.is === "hold" ? null : { done: route.afterwards?.done ?? own.done, failed: route.afterwards?.failed ?? own.failed },
  };
}

type Planned = { readonly record: DocumentRecord; readonly parts: readonly Part[]; readonly document: Document; readonly plan: Submission };

function plan({ id, size, split }: Shown, name: string, { extractor }: Service): readonly Planned[] {
  return documentsOf(id, split.parts, name, extractor).map((record) => {
    const parts = split.parts.filter((part) => record.parts.includes(part.id));
    const document = documentOf(record, { sha256: id, size, facts: split.facts }, parts, notOpened);
    return { record, parts, document, plan: extractor.plan(document) };
  });
}

/** What only looks has no bytes to give. */
function notOpened(): never {
  throw new Error("a mail that is only explained was opened");
}

function whyNoDocument(part: Part): string {
  return part.role === "body" ? "every attachment is read by itself" : `the service does not take ${typeOf(part)} by itself`;
}

/** As far as it is known before the extraction: whatever the service would not refuse is taken for read. */
function deliveriesTo(
  { name, per, failures }: RouteSink,
  planned: readonly Planned[],
  shown: Shown,
  { sinks }: Doors,
  now: Date,
): readonly ExplainedDelivery[] {
  const sink = sinks.get(name)?.sink;
  const told = planned.filter(({ plan }) => failures || plan.refusal === null);
  if (sink === undefined || told.length === 0) return [];
  const { messageId, from, to, subject, date } = shown.split.facts;
  const message = { id: shown.id, mailbox: shown.mailbox, messageId, from, to, subject, date, receivedAt: now.toISOString() };
  const head = { format: "billhook.delivery/v1", message } as const;
  const destination = (body: Delivered, of: readonly Planned[]) => sink.destination(deliveryOf(body, of, shown));
  if (per === "message") {
    const body = { ...head, id: deliveryKey({ of: shown.id, sink: name, time: 1 }), per, documents: planned.map(entryOf) } as const;
    return [{ sink: name, document: null, destination: destination(body, planned) }];
  }
  return told.map((one) => {
    const body = { ...head, id: deliveryKey({ of: one.record.id, sink: name, time: 1 }), per, ...entryOf(one) } as const;
    return { sink: name, document: one.record.position, destination: destination(body, [one]) };
  });
}

function deliveryOf(body: Delivered, planned: readonly Planned[], { split }: Shown): Delivery {
  const pieces = new Map(planned.flatMap(({ document }) => document.parts.map((piece) => [piece.id, piece])));
  const attachments = split.parts.flatMap((part) => (part.role === "attachment" ? (pieces.get(part.id) ?? []) : []));
  const raw = planned[0]?.document.raw;
  if (raw === undefined) throw new Error("a delivery without a document");
  return { body, facts: split.facts, attachments, raw };
}

function entryOf({ record, parts, plan: { left, refusal } }: Planned): Entry {
  const behind = new Set(left.map(({ part }) => part));
  return {
    document: {
      id: record.id,
      position: record.position,
      parts: parts.map(({ id, filename, contentType, size, sha256 }) => ({
        ...{ id, filename, contentType, size, sha256 },
        submitted: !behind.has(id),
      })),
    },
    extraction: {
      service: record.service,
      status: refusal === null ? "read" : "failed",
      ...{ runId: null, runs: [], credits: null, reasoning: null, review: null },
      fault: refusal === null ? null : { code: refusal.code, message: refusal.message },
    },
    invoices: [],
    data: null,
  };
}
