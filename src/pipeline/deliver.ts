/** The step that hands results to one sink, of one document or of all of a message, and keeps the receipt. */
import { permanent } from "../base/errors.ts";
import type { Delivered, Entry } from "../sink/delivery.ts";
import type { Delivery, Receipt } from "../sink/sink.ts";
import { deliveryNameOf, positionOf, type Telling, tellingOf } from "../store/delivery.ts";
import type { Task } from "../store/record.ts";
import { goneFault } from "../store/upkeep.ts";
import { type Opened, openDocument, skippedOf } from "./document.ts";
import type { Step, Works } from "./step.ts";

export const deliver: Step = async (task, works, signal) => {
  const key = task.subject;
  const { of, sink: name } = deliveryNameOf(key);
  const outlet = works.sinks.get(name);
  if (outlet === undefined)
    throw permanent("deliver.no-sink", `the sink ${name} is not in the configuration any more`, "put it back and run `billhook retry`");
  const delivery = await deliveryOf(task, of, works);
  const receipt = await outlet.sink.deliver(delivery, key, signal);
  const document = positionOf(of) === 0 ? null : of;
  const note = noteOf(receipt);
  return { is: "done", growth: { receipt: { key, document, sink: name, receipt } }, ...note };
};

/** What went otherwise than its owner may think; the rest is in the receipt. */
function noteOf({ skipped, refused }: Receipt): { readonly note?: string } {
  if (typeof skipped === "string") return { note: `nothing sent: ${skipped}` };
  return typeof refused === "string" ? { note: "refused for some of the recipients: see the receipt" } : {};
}

async function deliveryOf({ subject: key, message, memo }: Task, of: string, works: Works): Promise<Delivery> {
  const whole = positionOf(of) === 0;
  const telling = tellingOf(memo);
  const isTold = (position: number) => telling === null || telling.read.includes(position) || Object.hasOwn(telling.faults, position);
  const ids = whole ? (await works.ledger.documents(message)).flatMap(({ id, position }) => (isTold(position) ? [id] : [])) : [of];
  const tasks = await works.ledger.tasks(message);
  const told: Told[] = [];
  for (const id of ids) {
    const opened = await openDocument(id, works);
    told.push({ opened, entry: await entryOf(opened, telling, tasks, works) });
  }
  const [first] = told;
  if (first === undefined) throw permanent("deliver.nothing", `message ${message} has no documents`, "restore the ledger from a backup");
  const { raw, facts } = first.opened.document;
  const head = { format: "billhook.delivery/v1", id: key, message: await headOf(first.opened, works) } as const;
  const body: Delivered = whole
    ? { ...head, per: "message", documents: told.map(({ entry }) => entry) }
    : { ...head, per: "document", ...first.entry };
  return { body, facts, attachments: attachmentsOf(told), raw };
}

type Told = { readonly opened: Opened; readonly entry: Entry };

async function headOf({ message, document }: Opened, works: Works): Promise<Delivered["message"]> {
  const { messageId, from, to, subject, date } = document.facts;
  const [first] = await works.ledger.arrivals(message.id);
  return { id: message.id, mailbox: first?.origin.mailbox ?? "", messageId, from, to, subject, date, receivedAt: message.receivedAt };
}

/** Each once, though two documents may share a part. */
function attachmentsOf(told: readonly Told[]): Delivery["attachments"] {
  const found = told.flatMap(({ opened: { parts, document } }) => document.parts.filter((_, index) => parts[index]?.role === "attachment"));
  return [...new Map(found.map((piece) => [piece.id, piece])).values()];
}

async function entryOf({ record, message, parts }: Opened, telling: Telling | null, tasks: readonly Task[], works: Works): Promise<Entry> {
  const { id, service, position } = record;
  const extracting = tasks.find(({ kind, subject }) => kind === "extract" && subject === id);
  const skipped = new Set(skippedOf(extracting?.memo ?? null));
  const result = telling === null || telling.read.includes(position) ? await works.ledger.result(id) : null;
  if (result === null && telling?.read.includes(position)) {
    const lost = permanent("deliver.missing", `the ledger has no result of document ${id}`, "restore the ledger from a backup");
    throw goneFault(message, "results") ?? lost;
  }
  const runs = (await works.ledger.runs(message.id)).flatMap(({ document, runId }) => (document === id && runId !== null ? [runId] : []));
  const document = {
    id,
    position,
    parts: parts.map((part) => ({
      id: part.id,
      filename: part.filename,
      contentType: part.contentType,
      size: part.size,
      sha256: part.sha256,
      submitted: !skipped.has(part.id),
    })),
  };
  if (result !== null) {
    const { runId, credits, reasoning, review, data } = result;
    const mapping = works.services.get(result.service)?.mapping;
    if (mapping === undefined)
      throw permanent(
        "deliver.no-service",
        `the service ${result.service} is not in the configuration any more, so its data cannot be understood`,
        "put it back and run `billhook retry`",
      );
    const invoices = await mapping.apply(data);
    const extraction = { service: result.service, status: "read", runId, runs, credits, reasoning, review, fault: null } as const;
    return { document, extraction, invoices, data };
  }
  const { code, message: said } = telling?.faults[position] ??
    extracting?.fault ?? { code: "deliver.no-result", message: "there is no result" };
  const fault = { code, message: said };
  const extraction = { service, status: "failed", runId: null, runs: [], credits: null, reasoning: null, review: null, fault } as const;
  return { document, extraction, invoices: [], data: null };
}
