/** The desk over a ledger and a spool: what it shows is put together here, what it does is the ledger's. */
import type { Clock } from "../base/clock.ts";
import { asFault, Fault, type FaultRecord, permanent, recordOf } from "../base/errors.ts";
import type { Mapped, Mapping } from "../mapping/mapping.ts";
import type { Blob } from "../message/message.ts";
import { skippedOf } from "../pipeline/document.ts";
import { deliveryNameOf, positionOf } from "../store/delivery.ts";
import type { ArrivalRecord, MessageRecord, Summary } from "../store/mail.ts";
import { isGivenUp, type ResultRecord, reextractionOf, type Task, UNREADABLE } from "../store/record.ts";
import type { Ledger, Shelf, Spool } from "../store/store.ts";
import { goneFault, type Kept } from "../store/upkeep.ts";
import { BUYS_AGAIN, type Desk, type DocumentLife, type Life, type Row, type Trouble, type Unread } from "./desk.ts";

export type DeskDeps = {
  readonly ledger: Ledger;
  readonly spool: Spool;
  /** By the name of the service: how its answers become invoices. */
  readonly mappings: ReadonlyMap<string, Mapping>;
  readonly sinks: readonly string[];
  /** The service of mail that no rule sends elsewhere. */
  readonly service: string;
  readonly clock: Clock;
};

type Result = Omit<ResultRecord, "raw">;

const MOST_UNDERSTOOD = 500;
const UNREAD = /^u(\d{1,15})$/;

export function createDesk({ ledger, spool, mappings, sinks, service: usual, clock }: DeskDeps): Desk {
  const now = () => clock.now();

  /** Of a service that is not in the configuration any more nothing is understood. A result does not change, and understanding it may cost a thread. */
  const understood = new Map<string, Promise<readonly Mapped[]>>();
  const invoicesOf = ({ document, service, data }: Result): Promise<readonly Mapped[]> => {
    const known = understood.get(document);
    if (known !== undefined) return known;
    const found = Promise.resolve(mappings.get(service)?.apply(data) ?? []);
    understood.set(document, found);
    for (const oldest of understood.keys()) if (understood.size > MOST_UNDERSTOOD) understood.delete(oldest);
    return found;
  };

  /** What was found in a document; a row that cannot be read must not hide the others. */
  const resultOf = (document: string): Promise<Result | FaultRecord | null> =>
    ledger.result(document).catch((thrown: unknown) => {
      const fault = asFault(thrown);
      if (fault.code !== UNREADABLE) throw thrown;
      return recordOf(fault);
    });

  const rowOf = async ({ message, standing, tasks }: Summary): Promise<Row> => {
    const read = tasks.filter(({ kind, status }) => kind === "extract" && status === "done");
    const results = await Promise.all(read.map(({ subject }) => resultOf(subject)));
    const invoices = await Promise.all(results.map((one) => (one === null || "code" in one ? [] : invoicesOf(one))));
    const arrivals = await ledger.arrivals(message.id);
    return {
      id: message.id,
      receivedAt: message.receivedAt,
      standing,
      facts: message.facts,
      mailboxes: [...new Set(arrivals.map(({ origin }) => origin.mailbox))],
      route: message.route,
      troubles: tasks.flatMap(troubleOf),
      invoices: invoices.flat(),
    };
  };

  const summaryOf = async (id: string): Promise<Summary> => {
    const found = UNREAD.test(id) ? null : await ledger.summary(id);
    if (found === null) throw UNREAD.test(id) ? withoutBytes(id) : unknown(id);
    return found;
  };

  const kept = (shelf: Shelf, blob: Blob) =>
    spool.check(shelf, blob).then(
      () => true,
      () => false,
    );

  const show = async (id: string): Promise<Life> => {
    const summary = await summaryOf(id);
    const { message, tasks } = summary;
    const [row, arrivals, parts, documents, runs, receipts, events] = await Promise.all([
      rowOf(summary),
      ledger.arrivals(id),
      ledger.parts(id),
      ledger.documents(id),
      ledger.runs(id),
      ledger.receipts(id),
      ledger.events(id),
    ]);
    const lives = documents.map(async (record): Promise<DocumentLife> => {
      const task = tasks.find(({ kind, subject }) => kind === "extract" && subject === record.id) ?? null;
      const found = await resultOf(record.id);
      const result = found === null || "code" in found ? null : found;
      const whyNot = (): Fault | null => {
        if (result !== null) return mappings.has(result.service) ? null : notConfigured(result.service);
        return task?.status === "done" ? goneFault(message, "results") : null;
      };
      const why = whyNot();
      return {
        record,
        task,
        runs: runs.filter(({ document }) => document === record.id),
        result,
        invoices: result === null ? [] : await invoicesOf(result),
        fault: found !== null && "code" in found ? found : why === null ? null : recordOf(why),
        skipped: skippedOf(task?.memo ?? null),
      };
    });
    return {
      ...row,
      size: message.size,
      rawKept: await kept("raw", message),
      gone: message.gone,
      faults: message.faults,
      arrivals,
      parts: await Promise.all(parts.map(async (part) => ({ ...part, kept: await kept("parts", part) }))),
      documents: await Promise.all(lives),
      deliveries: tasks.flatMap((task) => {
        if (task.kind !== "deliver") return [];
        const receipt = receipts.find(({ key }) => key === task.subject);
        return [{ key: task.subject, sink: receipt?.sink ?? sinkOf(task), task, receipt: receipt?.receipt ?? null }];
      }),
      tasks,
      events,
    };
  };

  const priceOf = async (id: string, service: string | null) => {
    const { message, tasks } = await summaryOf(id);
    mustBeThere(message, "raw");
    const documents = await ledger.documents(id);
    // What it was before it was read anew is not bought again.
    const from = reextractionOf(tasks.find(({ kind }) => kind === "split")?.memo ?? null)?.from ?? 1;
    const last = documents.filter(({ position }) => position >= from);
    const through = service ?? (message.route?.is === "take" ? message.route.service : usual);
    if (!mappings.has(through)) {
      throw permanent("desk.service", `there is no service ${through}; there is ${[...mappings.keys()].join(", ")}`, "name one of these");
    }
    return { service: through, runs: Math.max(1, last.length) };
  };

  const decide = (tasks: readonly Task[], what: string) => tasks.map((task) => `${nameOf(task)} ${what}`);

  return {
    find: async (text) => {
      const wanted = text.trim();
      if (UNREAD.test(wanted)) return arrivalName(await unreadBy(ledger, wanted));
      const found = await ledger.find(wanted);
      const [only] = found;
      if (only === undefined) throw unknown(wanted);
      if (found.length > 1) {
        const candidates = found.map((id) => id.slice(0, 16)).join(", ");
        throw permanent("desk.ambiguous", `${wanted} may be ${candidates}`, "give more of its id");
      }
      return only;
    },
    list: async (wanted) => Promise.all((await ledger.list(wanted)).map(rowOf)),
    unread: async (givenUp) => (await ledger.unreadable(givenUp)).map((arrival): Unread => ({ id: arrivalName(arrival), arrival })),
    show,
    price: priceOf,
    retry: async (id) => {
      if (UNREAD.test(id)) return refetch(ledger, id, now());
      const tasks = await ledger.reopen((await summaryOf(id)).message.id, now());
      return tasks.map((task) => `${nameOf(task)} is tried again${task.kind === "extract" ? `: ${BUYS_AGAIN}` : ""}`);
    },
    release: async (id) => {
      if (UNREAD.test(id)) return refetch(ledger, id, now());
      return decide(await ledger.release((await summaryOf(id)).message.id, now()), "goes on");
    },
    replay: async (id, sink) => {
      if (sink !== null && !sinks.includes(sink))
        throw permanent("desk.sink", `there is no sink ${sink}; there is ${sinks.join(", ")}`, "name one of these");
      const { message } = await summaryOf(id);
      mustBeThere(message, "results");
      const tasks = await ledger.replay(message.id, sink, now());
      return tasks.map((task) =>
        task.attempts === 0
          ? `will be delivered to ${sinkOf(task)} under the key ${task.subject}`
          : `${task.subject} is on its way already`,
      );
    },
    reextract: async (id, service) => {
      const through = await priceOf(id, service);
      const { message } = await summaryOf(id);
      // Before anything is promised: without its bytes nothing can be read.
      await spool.check("raw", message);
      if ((await ledger.reextract(id, service === null ? null : through.service, now())) === null) {
        const busy = `something of ${id.slice(0, 16)} is still under way`;
        throw new Fault("desk.busy", busy, { advice: "wait until it is over, or give it up with `billhook ignore`" });
      }
      return [`is read again by ${through.service}, and what is found is delivered under keys of its own`];
    },
    ignore: async (id, why) => {
      if (!UNREAD.test(id)) return decide(await ledger.ignore((await summaryOf(id)).message.id, why, now()), "is given up");
      const arrival = await ledger.ignoreArrival((await unreadBy(ledger, id)).id, why, now());
      return arrival === null ? [] : [`UID ${arrival.origin.uid} of ${arrival.origin.mailbox} is given up`];
    },
    raw: async (id) => {
      const { message } = await summaryOf(id);
      mustBeThere(message, "raw");
      await spool.check("raw", message);
      return spool.open("raw", message);
    },
    part: async (id, wanted) => {
      mustBeThere((await summaryOf(id)).message, "parts");
      const part = (await ledger.parts(id)).find((one) => one.id === wanted);
      if (part === undefined) throw permanent("desk.unknown", `message ${id.slice(0, 16)} has no part ${wanted.slice(0, 40)}`);
      await spool.check("parts", part);
      return { part, bytes: spool.open("parts", part) };
    },
  };
}

/** Throws `kept.gone` for what has had its time. */
function mustBeThere(message: MessageRecord, kept: Kept): void {
  const fault = goneFault(message, kept);
  if (fault !== null) throw fault;
}

function notConfigured(service: string): Fault {
  const advice = "`billhook export` has the answer as it was";
  return permanent("desk.service", `${service} is not in the configuration any more, and its answer is not understood without it`, advice);
}

function arrivalName({ id }: ArrivalRecord): string {
  return `u${id}`;
}

async function unreadBy(ledger: Ledger, name: string): Promise<ArrivalRecord> {
  const arrival = await ledger.arrival(UNREAD.exec(name)?.[1] ?? "");
  if (arrival === null || arrival.message !== null) throw unknown(name);
  return arrival;
}

async function refetch(ledger: Ledger, name: string, now: Date): Promise<readonly string[]> {
  const arrival = await ledger.fetchAgain((await unreadBy(ledger, name)).id, now);
  return arrival === null ? [] : [`UID ${arrival.origin.uid} of ${arrival.origin.mailbox} is fetched at the next sweep`];
}

function unknown(text: string): Fault {
  const advice = "`billhook list` shows what there is; an id may be shortened to its first characters, at least four";
  return permanent("desk.unknown", `there is no message ${text.slice(0, 100)}`, advice);
}

function withoutBytes(name: string): Fault {
  const advice = `\`billhook retry ${name}\` asks for it again`;
  return permanent("desk.unknown", `${name} was seen in a mailbox and its bytes are not here: there is nothing of it but that`, advice);
}

function sinkOf({ subject }: Task): string {
  return deliveryNameOf(subject).sink;
}

const NAMES = { split: "splitting", extract: "reading", deliver: "delivery", settle: "telling the mailbox" } as const;

function nameOf({ kind, subject }: Task): string {
  if (kind === "deliver") return `${NAMES[kind]} ${subject.slice(0, 16)}… to ${deliveryNameOf(subject).sink}`;
  return kind === "extract" ? `${NAMES[kind]} of document ${positionOf(subject)}` : NAMES[kind];
}

function troubleOf(task: Task): readonly Trouble[] {
  const { fault, status, kind, subject, message, attempts, dueAt } = task;
  if (fault === null || status === "done" || isGivenUp(status)) return [];
  const standing = status === "open" ? (attempts > 0 ? "retrying" : "waiting") : status;
  return [
    { of: kind === "extract" || kind === "deliver" ? subject : message, kind, standing, fault, again: status === "open" ? dueAt : null },
  ];
}
