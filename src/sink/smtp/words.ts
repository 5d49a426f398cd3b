/** What the mail says, as text and as HTML: for each document a table of what was found, or honestly that there was nothing. */
import { type Entry, entriesOf } from "../delivery.ts";
import type { Delivery } from "../sink.ts";

export type Words = { readonly text: string; readonly html: string };

type Table = readonly (readonly [label: string, value: string])[];
type Section = { readonly title: string; readonly tables: readonly Table[]; readonly notes: readonly string[] };
type Letter = { readonly opening: string; readonly sections: readonly Section[]; readonly closing: readonly string[] };

/** More than a person reads in one mail; all of them are in the attached data. */
const MOST_DOCUMENTS = 50;
const MOST_INVOICES = 100;
const MOST_NAMES = 20;
const LONGEST_VALUE = 300;

/** One line without control and format characters: it cannot begin another one, nor turn the direction of what follows. */
export function plain(text: string, most = LONGEST_VALUE): string {
  const line = text
    .slice(0, most + 1)
    .replace(/[\s\p{Cc}]+/gu, " ")
    .replace(/[\p{Cf}\p{Cs}]/gu, "")
    .trim();
  return text.length > most ? `${line.slice(0, most).trimEnd()}…` : line;
}

/** "2 invoices", "nothing that looks like an invoice", "1 invoice; 1 document could not be read". */
export function summaryOf(entries: readonly Entry[]): string {
  const found = entries.reduce((sum, { invoices }) => sum + invoices.length, 0);
  const failed = entries.filter(({ extraction }) => extraction.status === "failed").length;
  const unread = `${counted(failed, "document")} could not be read`;
  if (found === 0) return failed === 0 ? "nothing that looks like an invoice" : unread;
  return failed === 0 ? counted(found, "invoice") : `${counted(found, "invoice")}; ${unread}`;
}

/** `attached`: what comes with the mail; `leftOut`: what was too large for it. */
export function wordsOf(delivery: Delivery, isAnswer: boolean, attached: readonly string[], leftOut: readonly string[]): Words {
  const { message } = delivery.body;
  const entries = entriesOf(delivery.body);
  const subject = plain(message.subject ?? "");
  const named = subject === "" ? "without a subject" : `“${subject}”`;
  const sender = plain(message.from[0]?.address ?? "");
  const letter: Letter = {
    opening: `${isAnswer ? "Your mail" : `A mail${sender === "" ? "" : ` from ${sender}`}`} ${named}: ${summaryOf(entries)}.`,
    sections: sectionsOf(entries),
    closing: [
      ...(attached.length === 0 ? [] : [`Attached: ${attached.join(", ")}.`]),
      ...(leftOut.length === 0 ? [] : [`Too large to be attached: ${leftOut.join(", ")}.`]),
      "This mail was written by a program, billhook.",
    ],
  };
  return { text: textOf(letter), html: htmlOf(letter) };
}

function sectionsOf(entries: readonly Entry[]): readonly Section[] {
  let room = MOST_INVOICES;
  const sections = entries.slice(0, MOST_DOCUMENTS).map((entry) => {
    const shown = entry.invoices.slice(0, room);
    room -= shown.length;
    return sectionOf(entry, shown);
  });
  const more = entries.length - sections.length;
  return more === 0
    ? sections
    : [...sections, { title: `${counted(more, "more document")}`, tables: [], notes: ["See the attached data."] }];
}

function sectionOf({ document, extraction, invoices }: Entry, shown: Entry["invoices"]): Section {
  const read = document.parts.filter(({ submitted }) => submitted);
  // Where nothing was submitted the title names all; what was opened was looked at piece by piece.
  const unread = document.parts.filter((part) => !part.submitted && part.filename !== null && read.length > 0 && !isOpened(part, document));
  const hidden = invoices.length - shown.length;
  const notes = [
    ...(extraction.status === "failed" ? [`Could not be read, because ${reasonOf(extraction.fault)}.`] : []),
    ...(extraction.status === "read" && invoices.length === 0 ? ["Nothing that looks like an invoice."] : []),
    ...(hidden > 0 ? [`And ${counted(hidden, "more invoice")}: see the attached data.`] : []),
    ...(unread.length > 0 ? [`Not looked at: ${namesOf(unread)}.`] : []),
  ];
  return { title: `${document.position}. ${namesOf(read.length > 0 ? read : document.parts)}`, tables: shown.map(tableOf), notes };
}

function isOpened({ id }: Entry["document"]["parts"][number], { parts }: Entry["document"]): boolean {
  return parts.some((other) => other.id.startsWith(`${id}.`));
}

function reasonOf(fault: Entry["extraction"]["fault"]): string {
  return plain(fault?.message ?? "").replace(/\.$/, "") || "the service gave no answer";
}

function namesOf(parts: Entry["document"]["parts"]): string {
  const names = [...new Set(parts.map(({ filename }) => plain(filename ?? "", 120) || "the text of the mail"))];
  const more = names.length - MOST_NAMES;
  return more > 0 ? `${names.slice(0, MOST_NAMES).join(", ")} and ${more} more` : names.join(", ") || "the mail";
}

function tableOf({ invoice }: Entry["invoices"][number]): Table {
  const money = (amount: string | null) => (amount === null ? null : `${amount} ${invoice.currency ?? ""}`);
  const rows: readonly (readonly [string, string | null])[] = [
    ["Seller", invoice.seller.name],
    ["Number", invoice.number],
    ["Date", invoice.issueDate],
    ["Net", money(invoice.net)],
    ["Tax", money(invoice.tax)],
    ["Gross", money(invoice.gross)],
    ["IBAN", invoice.iban?.replace(/(.{4})(?=.)/g, "$1 ") ?? null],
  ];
  return rows.map(([label, value]) => [label, plain(value ?? "") || "not found"]);
}

function counted(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? "" : "s"}`;
}

function textOf({ opening, sections, closing }: Letter): string {
  const blocks = sections.map(({ title, tables, notes }) => {
    const rows = tables.map((table) => table.map(([label, value]) => `   ${label.padEnd(8)}${value}`).join("\n"));
    return [title, ...(rows.length > 0 ? [rows.join("\n\n")] : []), ...notes.map((note) => `   ${note}`)].join("\n");
  });
  // RFC 3676 section 4.3: what stands below this line is not the letter itself.
  return `${[opening, ...blocks, ...closing.slice(0, -1)].join("\n\n")}\n\n-- \n${closing.at(-1) ?? ""}\n`;
}

const ENTITIES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (sign) => ENTITIES[sign] ?? "");
}

/** No colours of its own but a grey that is readable on both: the mail program's light or dark scheme decides. Nothing is loaded. */
function htmlOf({ opening, sections, closing }: Letter): string {
  const cell = 'style="text-align:left;vertical-align:top;padding:4px 16px 4px 0;border-bottom:1px solid #888888"';
  const table = (rows: Table) =>
    `<table cellspacing="0" style="border-collapse:collapse;margin:0 0 16px">${rows
      .map(([label, value]) => `<tr><th scope="row" ${cell}>${label}</th><td ${cell}><bdi>${escaped(value)}</bdi></td></tr>`)
      .join("")}</table>`;
  const paragraph = (text: string) => `<p style="margin:0 0 16px">${escaped(text)}</p>`;
  const section = ({ title, tables, notes }: Section) =>
    `<h2 style="font-size:16px;margin:24px 0 8px">${escaped(title)}</h2>\n${[...tables.map(table), ...notes.map(paragraph)].join("\n")}`;
  return [
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">',
    '<meta name="supported-color-schemes" content="light dark"><title></title></head>',
    '<body style="font-family:system-ui,sans-serif;font-size:15px;line-height:1.4">',
    paragraph(opening),
    ...sections.map(section),
    ...closing.slice(0, -1).map(paragraph),
    `<p style="margin:24px 0 0;font-size:13px;opacity:0.75">${escaped(closing.at(-1) ?? "")}</p>`,
    "</body></html>\n",
  ].join("\n");
}
