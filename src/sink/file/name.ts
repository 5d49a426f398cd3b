/** File names from a template: whatever the values are, the result is a relative path that stays below its directory. */
import { safeSegment } from "../../base/files.ts";
import { type Delivered, type Entry, entriesOf } from "../delivery.ts";

/** `{{name}}`, `{{data.total}}`, `{{data.invoices.0.number}}`. */
const PLACEHOLDER = /\{\{\s*([A-Za-z]+(?:\.[A-Za-z0-9_-]+)*)\s*\}\}/g;

type Value = string | null | undefined;
type Found = Entry["invoices"][number]["invoice"];
/** The value of a word, and what stands where it has none. */
type Word<T> = readonly [valueOf: (told: T) => Value, empty: string];

const OF_MESSAGE: { readonly [word: string]: Word<{ readonly message: Delivered["message"]; readonly entry: Entry | undefined }> } = {
  message: [({ message }) => message.id.slice(0, 16), "unnamed"],
  document: [({ entry }) => entry?.document.id, "unnamed"],
  position: [({ entry }) => String(entry?.document.position ?? ""), "unnamed"],
  service: [({ entry }) => entry?.extraction.service, "unnamed"],
  mailbox: [({ message }) => message.mailbox, "unnamed"],
  date: [({ message }) => message.date?.slice(0, 10), "undated"],
  subject: [({ message }) => message.subject, "unnamed"],
  from: [({ message }) => message.from[0]?.address, "unnamed"],
  messageId: [({ message }) => message.messageId, "unnamed"],
};

/** Of the first invoice that was found. */
const OF_INVOICE: { readonly [word: string]: Word<Found> } = {
  issueDate: [({ issueDate }) => issueDate, "undated"],
  dueDate: [({ dueDate }) => dueDate, "undated"],
  number: [({ number }) => number, "unnumbered"],
  type: [({ type }) => type, "unknown"],
  currency: [({ currency }) => currency, "unknown"],
  seller: [({ seller }) => seller.name, "unknown"],
  buyer: [({ buyer }) => buyer.name, "unknown"],
  net: [({ net }) => net, "unknown"],
  tax: [({ tax }) => tax, "unknown"],
  gross: [({ gross }) => gross, "unknown"],
};

/** The path of a delivery, relative, with `/` between its segments. The same delivery always gets the same path. */
export function fileName(template: string, delivered: Delivered): string {
  return filled(template, (word) => segmentOf(word, delivered));
}

/** The same before the extraction: what only its answer will tell stays as it is in the template. */
export function expectedName(template: string, delivered: Delivered): string {
  const known = (word: string) => Object.hasOwn(OF_MESSAGE, word);
  const answered = entriesOf(delivered).some(({ data, invoices }) => data !== null || invoices.length > 0);
  return filled(template, (word) => (answered || known(word) ? segmentOf(word, delivered) : `{{${word}}}`));
}

function filled(template: string, segmentFor: (word: string) => string): string {
  return template
    .split("/")
    .filter((segment) => segment !== "")
    .map((segment) => safeSegment(segment.replace(PLACEHOLDER, (_, word: string) => segmentFor(word))))
    .join("/");
}

function segmentOf(word: string, delivered: Delivered): string {
  const { message } = delivered;
  const entries = entriesOf(delivered);
  const ofMessage = Object.hasOwn(OF_MESSAGE, word) ? OF_MESSAGE[word] : undefined;
  if (ofMessage) return safeSegment(ofMessage[0]({ message, entry: entries[0] }) ?? "", ofMessage[1]);
  const ofInvoice = Object.hasOwn(OF_INVOICE, word) ? OF_INVOICE[word] : undefined;
  const invoice = entries.flatMap(({ invoices }) => invoices)[0]?.invoice;
  if (ofInvoice) return safeSegment((invoice && ofInvoice[0](invoice)) ?? "", ofInvoice[1]);
  const data = entries.find((entry) => entry.data !== null)?.data;
  return safeSegment(textAt(data, word.split(".").slice(1)));
}

function textAt(data: unknown, path: readonly string[]): string {
  let value = data;
  for (const key of path) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, key)) return "";
    value = (value as Record<string, unknown>)[key];
  }
  return typeof value === "string" || typeof value === "number" ? String(value) : "";
}
