/** The life of one mail as lines for a person: what it is, what became of it, and what to do now; each line safe to show. */
import type { DeliveryLife, DocumentLife, Life, Unread } from "../desk/desk.ts";
import { typeOf } from "../message/message.ts";
import { sizeText } from "../pipeline/health.ts";
import type { Event, RunRecord, Task } from "../store/record.ts";
import { invoiceRows } from "./invoice.ts";
import { visible } from "./visible.ts";
import { addressText, faultText, placeOf, timeOf, todoText, troubleText, unreadText } from "./words.ts";

/** Indented below the line before it where the label is empty. */
type Row = readonly [label: string, text: string];

export function linesOf(life: Life): readonly string[] {
  const rows: readonly Row[] = [
    ["message", life.id],
    ...headRows(life),
    ["stands", life.standing],
    ...life.troubles.map((trouble): Row => {
      const again = trouble.again === null ? "" : `; again at ${timeOf(trouble.again)}`;
      return ["", `${troubleText(trouble, life.id)} [${trouble.fault.code}]${again}`];
    }),
    ["to do", life.standing === "done" && life.documents.every(({ result }) => result === null) ? "nothing" : todoText(life)],
    ...life.faults.map((fault): Row => ["damaged", `${faultText(fault)} [${fault.code}]`]),
    ...labelled(
      "seen",
      life.arrivals.map(({ origin, seenAt }) => `${timeOf(seenAt)}  ${originText(origin)}`),
    ),
    ...labelled("parts", partLines(life, null, "")),
    ...life.documents.flatMap((document) => documentRows(document)),
    ...labelled(
      "deliveries",
      life.deliveries.flatMap((delivery) => deliveryLines(delivery, life)),
    ),
    ...labelled(
      "tasks",
      life.tasks.map((task) => taskLine(task, life)),
    ),
    ...labelled(
      "events",
      life.events.map((event) => eventLine(event, life.id)),
    ),
  ];
  return rows.map(([label, text]) => visible(`${label.padEnd(11)} ${text}`.trimEnd()));
}

export function unreadLines({ id, arrival }: Unread): readonly string[] {
  const { origin, seenAt, fault, ignored } = arrival;
  const again = `\`billhook retry ${id}\` asks for it again`;
  const rows: readonly Row[] = [
    ["unread", `${id}, ${originText(origin)}: its bytes were never given`],
    ["seen", timeOf(seenAt)],
    ...(fault === null ? [] : [["why", `${unreadText(arrival)} [${fault.code}]`] as const]),
    ...(ignored === null ? [] : [["given up", ignored] as const]),
    ["to do", ignored === null ? `${again}, \`billhook ignore ${id} --why …\` gives it up` : `nothing; ${again} after all`],
  ];
  return rows.map(([label, text]) => visible(`${label.padEnd(11)} ${text}`));
}

function labelled(label: string, texts: readonly string[]): readonly Row[] {
  return texts.map((text, at) => [at === 0 ? label : "", text]);
}

function headRows({ facts, size, rawKept, receivedAt, route }: Life): readonly Row[] {
  const kept = `${sizeText(size)}, ${rawKept ? "as it arrived, is kept" : "not kept any more"}`;
  const head: readonly Row[] =
    facts === null
      ? []
      : [
          ["from", facts.from.map(addressText).join(", ") || "(none)"],
          ["to", facts.to.map(addressText).join(", ") || "(none)"],
          ["subject", facts.subject ?? "(none)"],
          ["date", facts.date === null ? "(none)" : timeOf(facts.date)],
          ["message-id", facts.messageId ?? "(none)"],
        ];
  return [...head, ["received", timeOf(receivedAt)], ["size", kept], ...(route === null ? [] : [["route", routeText(route)] as const])];
}

function routeText({ rule, is, why, service, sinks }: NonNullable<Life["route"]>): string {
  const by = rule ?? "no rule matches";
  switch (is) {
    case "take":
      return `${by}: read by ${service}, delivered to ${sinks.map(({ name }) => name).join(", ") || "nobody"}`;
    case "hold":
      return `${by}: held, ${why}`;
    case "ignore":
      return `${by}: ignored, ${why}`;
  }
}

function originText({ mailbox, uid, uidValidity }: Unread["arrival"]["origin"]): string {
  return `${mailbox} UID ${uid} (UIDVALIDITY ${uidValidity})`;
}

function partLines(life: Life, parent: string | null, indent: string): readonly string[] {
  const own = life.parts.filter((part) => part.parent === parent);
  return own.flatMap((part, at) => {
    const last = at === own.length - 1;
    const type = typeOf(part) === part.contentType ? part.contentType : `${part.contentType} (looks like ${part.sniffedType})`;
    const name = part.filename === null ? "" : `  ${part.filename}`;
    const kept = part.kept ? "" : "  (not kept any more)";
    const line = `${indent}${last ? "└─" : "├─"} ${part.id}  ${part.role}  ${type}  ${sizeText(part.size)}${name}${useOf(part.id, life)}${kept}`;
    return [line, ...partLines(life, part.id, `${indent}${last ? "   " : "│  "}`)];
  });
}

/** Which documents a part went into. */
function useOf(part: string, { documents }: Life): string {
  const uses = documents.flatMap(({ record, skipped }) => {
    if (!record.parts.includes(part)) return [];
    return `${skipped.includes(part) ? "left out of" : "in"} document ${record.position}`;
  });
  return uses.length === 0 ? "" : `  (${uses.join(", ")})`;
}

function documentRows({ record, task, runs, result, invoices, fault }: DocumentLife): readonly Row[] {
  const what = record.whole ? "the whole mail" : `part ${record.parts.join(", ")}`;
  const stands = task === null ? "" : `, ${stateOf(task)}`;
  const reasoning = result?.reasoning ?? null;
  return [
    [`document ${record.position}`, `${what}, read by ${record.service}${stands}`],
    ...runs.map((run): Row => ["", runText(run)]),
    ...(fault === null ? [] : [["", faultText(fault)] as const]),
    ...(result !== null && fault === null && invoices.length === 0 ? [["", "nothing in the answer looks like an invoice"] as const] : []),
    ...invoices.flatMap((mapped, at) => {
      const which = invoices.length === 1 ? "invoice" : `invoice ${at + 1} of ${invoices.length}`;
      return [["", which] as const, ...invoiceRows(mapped).map((line): Row => ["", `  ${line}`])];
    }),
    ...(reasoning === null ? [] : [["", `the service says: ${reasoning}`] as const]),
  ];
}

function runText({ runId, credits, possiblyTwice, onlyDoubt }: RunRecord): string {
  const price = credits === null ? "" : `, ${credits} credits`;
  const doubt = possiblyTwice === 0 ? "" : `, ${possiblyTwice} possibly twice`;
  return `${onlyDoubt ? "no run that is known" : `run ${runId ?? "without an id"}`}${price}${doubt}`;
}

/** `done`, `open, due 2026-03-31 08:14:03Z, 3 tries since …`. */
function stateOf({ status, dueAt, attempts, failingSince }: Task): string {
  const due = status === "open" ? `, due ${timeOf(dueAt)}` : "";
  const since = failingSince === null ? "" : ` since ${timeOf(failingSince)}`;
  return `${status}${due}${attempts === 0 ? "" : `, ${attempts} ${attempts === 1 ? "try" : "tries"}${since}`}`;
}

function deliveryLines({ key, task, receipt }: DeliveryLife, { id }: Life): readonly string[] {
  const proof = receipt === null ? [] : Object.entries(receipt).map(([name, value]) => `${name} ${value}`);
  return [
    `${placeOf(key, id).replace(/^delivery /, "")}: ${stateOf(task)}, key ${key}`,
    ...(proof.length === 0 ? [] : [`  receipt: ${proof.join(", ")}`]),
  ];
}

function taskLine(task: Task, life: Life): string {
  const { kind, subject, fault, status } = task;
  const place = kind === "settle" ? arrivalText(subject, life) : placeOf(subject, life.id).replace(/^delivery /, "");
  const why = fault === null || status === "done" ? "" : `: ${fault.message} [${fault.code}]`;
  return `${kind.padEnd(8)} ${place === "" ? "" : `${place}, `}${stateOf(task)}${why}`;
}

function arrivalText(subject: string, { arrivals }: Life): string {
  const arrival = arrivals.find(({ id }) => id === subject);
  return arrival === undefined ? "" : `${arrival.origin.mailbox} UID ${arrival.origin.uid}`;
}

function eventLine({ at, what, mailbox, subject, note, faultCode }: Event, id: string): string {
  const place = subject === null ? "" : placeOf(subject, id);
  const told = [mailbox, place, note].filter((text) => text !== null && text !== "").join("  ");
  return `${timeOf(at)}  ${what.padEnd(16)}  ${told}${faultCode === null ? "" : ` [${faultCode}]`}`;
}
