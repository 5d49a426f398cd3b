/** The step that hands a document's result to one sink and keeps the receipt. */
import { permanent } from "../base/errors.ts";
import type { Delivered, Delivery } from "../sink/sink.ts";
import type { ResultRecord } from "../store/record.ts";
import { type Opened, openDocument } from "./document.ts";
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
  const invoices = (await works.services.get(result.service)?.mapping.apply(result.data)) ?? [];
  const delivery = deliveryOf(key, opened, { ...result, invoices }, arrivals[0]?.origin.mailbox ?? "");
  const receipt = await sink.deliver(delivery, key, signal);
  return { is: "done", growth: { receipt: { key, document, sink: name, receipt } } };
};

function deliveryOf(
  key: string,
  { record, message, parts, document }: Opened,
  result: ResultRecord & Pick<Delivered, "invoices">,
  mailbox: string,
): Delivery {
  const { messageId, from, to, subject, date } = document.facts;
  return {
    body: {
      format: "billhook.delivery/v1",
      id: key,
      message: { id: message.id, mailbox, messageId, from, to, subject, date },
      document: {
        id: record.id,
        position: record.position,
        parts: parts.map(({ id, filename, contentType, size, sha256 }) => ({ id, filename, contentType, size, sha256 })),
      },
      extraction: {
        service: result.service,
        runId: result.runId,
        credits: result.credits,
        reasoning: result.reasoning,
        review: result.review,
      },
      invoices: result.invoices,
      data: result.data,
    },
    attachments: document.parts.filter((_, index) => parts[index]?.role === "attachment"),
    raw: document.raw,
  };
}
