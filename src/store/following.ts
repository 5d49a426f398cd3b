/** What follows from the tasks a message has: its results are delivered, and at the end every mailbox it was seen in is told. Pure. */
import { deliveryKey, deliveryNameOf, positionOf, type Telling, tellingMemo, tellingOf } from "./delivery.ts";
import { type NewTask, type RouteRecord, reextractionOf, type Task } from "./record.ts";

export type Known = Pick<Task, "kind" | "status" | "subject" | "memo" | "fault">;

/**
 * The tasks that are missing:
 * - a delivery to each sink of the route, as soon as a document was read (`per: document`) or all of them are over (`per: message`); of
 *   failures only to sinks that want them. When more could be read since it was told, it is told again, under another key. Of a message
 *   that was read anew only the documents of the last time are told.
 * - when nothing else is open any more, a settle task for every arrival that has none yet.
 */
export function following(
  message: string,
  tasks: readonly Known[],
  arrivals: readonly string[],
  route: RouteRecord | null,
): readonly NewTask[] {
  const delivering = deliveries(message, tasks, route);
  return delivering.length > 0 ? delivering : settling(tasks, arrivals);
}

function deliveries(message: string, tasks: readonly Known[], route: RouteRecord | null): readonly NewTask[] {
  const from = reextractionOf(tasks.find(({ kind }) => kind === "split")?.memo ?? null)?.from ?? 1;
  const documents = tasks.filter(({ kind, subject }) => kind === "extract" && positionOf(subject) >= from);
  const over = tasks.every((task) => (task.kind !== "split" && task.kind !== "extract") || isOver(task));
  return (route?.sinks ?? []).flatMap(({ name, per, failures }) => {
    const units = per === "document" ? documents.filter(isOver).map((one) => ({ of: one.subject, documents: [one] })) : [];
    const all = per === "message" && over && documents.length > 0 ? [{ of: message, documents }] : [];
    return [...units, ...all].flatMap((unit) => delivery(unit.of, name, failures, tellingFrom(unit.documents), tasks, from));
  });
}

function isOver({ status }: Known): boolean {
  return status === "done" || status === "failed" || status === "replaced";
}

function tellingFrom(documents: readonly Known[]): Telling {
  const read = documents.filter(({ status }) => status === "done").map(({ subject }) => positionOf(subject));
  const failed = documents.filter(({ status }) => status !== "done");
  return {
    read: read.toSorted((a, b) => a - b),
    faults: Object.fromEntries(
      failed.map(({ subject, fault }) => [
        positionOf(subject),
        { code: fault?.code ?? "unknown", message: fault?.message ?? "no reason is known" },
      ]),
    ),
  };
}

function delivery(
  of: string,
  sink: string,
  failures: boolean,
  telling: Telling,
  tasks: readonly Known[],
  from: number,
): readonly NewTask[] {
  const told = tasks.filter(({ kind, subject }) => {
    const name = kind === "deliver" ? deliveryNameOf(subject) : null;
    return name?.of === of && name.sink === sink;
  });
  const ofThisReading = told.filter(({ memo }) => !isOfAnEarlier(tellingOf(memo), from));
  const last = ofThisReading.toSorted((a, b) => deliveryNameOf(a.subject).time - deliveryNameOf(b.subject).time).at(-1);
  if (last === undefined ? telling.read.length === 0 && !failures : !isNews(telling, tellingOf(last.memo))) return [];
  return [{ kind: "deliver", subject: deliveryKey({ of, sink, time: told.length + 1 }), memo: tellingMemo(telling) }];
}

/** Told of documents before the mail was read anew; so does a delivery of an older version, which could not have it read anew. */
function isOfAnEarlier(telling: Telling | null, from: number): boolean {
  if (from === 1) return false;
  return telling === null || [...telling.read, ...Object.keys(telling.faults).map(Number)].every((position) => position < from);
}

/** A delivery of an older version does not know what it told, and is not repeated. */
function isNews({ read }: Telling, before: Telling | null): boolean {
  return before !== null && read.some((position) => !before.read.includes(position));
}

function settling(tasks: readonly Known[], arrivals: readonly string[]): readonly NewTask[] {
  if (tasks.some((task) => task.kind !== "settle" && (task.status === "open" || task.status === "held"))) return [];
  const told = new Set(tasks.filter((task) => task.kind === "settle").map((task) => task.subject));
  return arrivals.filter((arrival) => !told.has(arrival)).map((subject) => ({ kind: "settle", subject }));
}
