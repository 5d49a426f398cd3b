/** A little of everything a ledger can hold, told through its own methods, and a ledger read out whole. */
import { createHash } from "node:crypto";
import { Fault, permanent, recordOf } from "../../../src/base/errors.ts";
import { NO_FACTS } from "../../../src/message/facts.ts";
import type { Facts, Part } from "../../../src/message/message.ts";
import type { Outcome, RouteRecord, Task, TaskKind } from "../../../src/store/record.ts";
import type { Ledger } from "../../../src/store/store.ts";

const start = Date.parse("2026-03-02T10:00:00.000Z");
export const at = (seconds: number) => new Date(start + seconds * 1_000);

/** Messages of the story, by name. */
export const id = (name: string) => createHash("sha256").update(name).digest("hex");
export const origin = (uid: number, mailbox = "invoices") => ({ mailbox, uidValidity: "1700000000", uid });
export const cursor = (uid: number) => ({ uidValidity: "1700000000", uid, since: "2026-01-01T00:00:00.000Z", until: 10 });

export const parts: readonly Part[] = [
  {
    id: "text",
    parent: null,
    role: "body",
    filename: null,
    contentType: "text/plain",
    sniffedType: null,
    disposition: null,
    contentId: null,
    sha256: id("text"),
    size: 4,
  },
  {
    id: "2",
    parent: null,
    role: "attachment",
    filename: "Rechnung\u0000 ü\u2028.pdf",
    contentType: "application/octet-stream",
    sniffedType: "application/pdf",
    disposition: "attachment",
    contentId: "a@b",
    sha256: id("pdf"),
    size: 2 ** 40,
  },
];

export const facts: Facts = {
  ...NO_FACTS,
  messageId: "<1@seilerei.example>",
  subject: "Rechnung RE-2026-0815 🧾",
  from: [{ name: "Seilerei Kronau", address: "rechnung@seilerei.example" }],
  to: [],
  date: "2026-03-02T09:00:00.000Z",
};

export const route: RouteRecord = {
  rule: null,
  is: "take",
  why: null,
  service: "cloudsquid",
  sinks: [{ name: "files", per: "document", failures: false }],
  afterwards: null,
};

export const temporary = new Fault("cloudsquid.busy", "the service is busy");
export const refused = permanent("cloudsquid.refused", "the run ended in an error", "look at the document");

export function receive(ledger: Ledger, name: string, uid: number, mailbox = "invoices") {
  const blob = { sha256: id(name), size: 1_000 + uid };
  return ledger.receive({ blob, origin: origin(uid, mailbox), receivedAt: at(-60).toISOString(), cursor: cursor(uid), now: at(uid) });
}

/** The task of this kind of a message; the first, or the one with this subject. */
export async function taskOf(ledger: Ledger, name: string, kind: TaskKind, subject?: string): Promise<Task> {
  const found = (await ledger.tasks(id(name))).find((task) => task.kind === kind && (subject === undefined || task.subject === subject));
  if (found === undefined) throw new Error(`${name} has no task ${kind} ${subject ?? ""}`);
  return found;
}

/** Split into its parts: one document, one run to do. */
export const splitDone = (name: string): Outcome => ({
  is: "done",
  note: "2 parts, 1 documents",
  growth: {
    split: { facts, parts, faults: [recordOf(permanent("message.odd", "an odd header"))], route },
    documents: [{ id: `${id(name)}.1`, message: id(name), position: 1, service: "cloudsquid", whole: true, parts: ["text", "2"] }],
    tasks: [{ kind: "extract", subject: `${id(name)}.1` }],
  },
});

export const extractDone = (name: string): Outcome => ({
  is: "done",
  memo: { rowId: "row", runId: "run" },
  growth: {
    result: {
      document: `${id(name)}.1`,
      service: "cloudsquid",
      runId: "run",
      data: { total: "119.00" },
      credits: null,
      reasoning: null,
      review: null,
      raw: { status: "done" },
    },
  },
});

export const deliverDone = (name: string): Outcome => ({
  is: "done",
  growth: {
    receipt: { key: `${id(name)}.1.files`, document: `${id(name)}.1`, sink: "files", receipt: { path: "/out/a.json", bytes: 12 } },
  },
});

/** A message from its arrival to the moment before the mailbox is told. */
export async function work(ledger: Ledger, name: string, uid: number): Promise<void> {
  await receive(ledger, name, uid);
  await ledger.save(await taskOf(ledger, name, "split"), splitDone(name), at(uid));
  await ledger.save(await taskOf(ledger, name, "extract"), extractDone(name), at(uid));
  await ledger.save(await taskOf(ledger, name, "deliver"), deliverDone(name), at(uid));
}

/** One message done, one seen twice and failed, one waiting for its next try, one just arrived, one that could not be read. */
export async function tell(ledger: Ledger): Promise<void> {
  await work(ledger, "good", 11);
  await ledger.save(await taskOf(ledger, "good", "settle"), { is: "done", note: "done: told" }, at(12));

  await receive(ledger, "bad", 13);
  await receive(ledger, "bad", 5, "archive");
  await ledger.save(await taskOf(ledger, "bad", "split"), splitDone("bad"), at(14));
  await ledger.save(await taskOf(ledger, "bad", "extract"), { is: "later", at: at(44), memo: { rowId: "row 2" } }, at(14));
  await ledger.save(await taskOf(ledger, "bad", "extract"), { is: "failed", fault: refused }, at(44));

  await receive(ledger, "waiting", 15);
  await ledger.save(await taskOf(ledger, "waiting", "split"), { is: "retry", at: at(60), fault: temporary }, at(16));

  await receive(ledger, "new", 17);
  await ledger.receiveUnreadable({
    origin: origin(18),
    fault: recordOf(permanent("imap.unreadable", "NO")),
    cursor: cursor(18),
    now: at(18),
  });
  await ledger.swept("invoices", cursor(18), at(19));
  await ledger.beat({ at: at(20).toISOString(), alive: true, pid: 4711, mailboxes: [] });
}

async function resultOf(ledger: Ledger, document: string) {
  const result = await ledger.result(document);
  return result === null ? null : { ...result, raw: await ledger.raw(document) };
}

/** All that it remembers. */
export async function everything(ledger: Ledger): Promise<unknown> {
  const messages = await Promise.all(
    (await ledger.summaries(100)).map(async ({ message, standing, tasks }) => ({
      message,
      standing,
      tasks,
      arrivals: await ledger.arrivals(message.id),
      parts: await ledger.parts(message.id),
      documents: await ledger.documents(message.id),
      result: await resultOf(ledger, `${message.id}.1`),
      receipts: await ledger.receipts(message.id),
      events: await ledger.events(message.id),
    })),
  );
  return {
    messages,
    mailboxes: [await ledger.mailbox("invoices"), await ledger.mailbox("archive")],
    unreadable: await ledger.unreadable(),
    pulse: await ledger.pulse(),
  };
}
