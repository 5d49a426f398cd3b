/** The step that hands a document's result to one sink and keeps the receipt. */
import { permanent } from "../base/errors.ts";
import type { Entry } from "../sink/delivery.ts";
import type { Delivery } from "../sink/sink.ts";
import type { ResultRecord } from "../store/record.ts";
import { type Opened, openDocument, skippedOf } from "./document.ts";
import type { Step } from "./step.ts";

/** The key of a delivery, the same at every repetition: `<message>.<position>.<sink>`. */
export function deliveryKey(document: string, sink: string): string {
  return `${document}.${sink}`;
}

function partsOfKey(key: string): { readonly document: string; readonly sink: string } {
  const dot = key.lastIndexOf(".");
  return { document: key.slice(0, dot), sink: key.slice(dot + 1) };
}

export const deliver: Step = async (task, works, signal) => {
  const key = task.subject;
  const { document, sink: name } = partsOfKey(key);
  const sink = works.sinks.get(name);
  if (sink === undefined)
    throw permanent("deliver.no-sink", `the sink ${name} is not in the configuration any more`, "put it back and run `billhook retry`");
  const result = await works.ledger.result(document);
  if (result === null)
    throw permanent("deliver.no-result", `the ledger has no result for document ${document}`, "restore the ledger from a backup");
  const opened = await openDocument(document, works);
  const arrivals = await works.ledger.arrivals(opened.message.id);
  const tasks = await works.ledger.tasks(opened.message.id);
  const extraction = tasks.find(({ kind, subject }) => kind === "extract" && subject === document);
  const invoices = (await works.services.get(result.service)?.mapping.apply(result.data)) ?? [];
  const skipped = new Set(skippedOf(extraction?.memo ?? null));
  const delivery = deliveryOf(key, opened, { ...result, invoices }, arrivals[0]?.origin.mailbox ?? "", skipped);
  const receipt = await sink.deliver(delivery, key, signal);
  return { is: "done", growth: { receipt: { key, document, sink: name, receipt } } };
};

function deliveryOf(
  key: string,
  { record, message, parts, document }: Opened,
  result: ResultRecord & Pick<Entry, "invoices">,
  mailbox: string,
  skipped: ReadonlySet<string>,
): Delivery {
  const { messageId, from, to, subject, date } = document.facts;
  return {
    body: {
      format: "billhook.delivery/v1",
      id: key,
      per: "document",
      message: { id: message.id, mailbox, messageId, from, to, subject, date, receivedAt: message.receivedAt },
      document: {
        id: record.id,
        position: record.position,
        parts: parts.map(({ id, filename, contentType, size, sha256 }) => ({
          id,
          filename,
          contentType,
          size,
          sha256,
          submitted: !skipped.has(id),
        })),
      },
      extraction: {
        service: result.service,
        status: "read",
        runId: result.runId,
        runs: result.runId === null ? [] : [result.runId],
        credits: result.credits,
        reasoning: result.reasoning,
        review: result.review,
        fault: null,
      },
      invoices: result.invoices,
      data: result.data,
    },
    facts: document.facts,
    attachments: document.parts.filter((_, index) => parts[index]?.role === "attachment"),
    raw: document.raw,
  };
}
