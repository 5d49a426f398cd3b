/** What follows from the tasks a message has: its results are delivered, and at the end every mailbox it was seen in is told. Pure. */
import { deliveryKey, deliveryNameOf, type NewTask, positionOf, type RouteRecord, type Task } from "./record.ts";

export type Known = Pick<Task, "kind" | "status" | "subject" | "memo">;

/**
 * The tasks that are missing:
 * - a delivery to each sink of the route, as soon as a document was read (`per: document`) or all of them are over (`per: message`); of
 *   failures only to sinks that want them. When more could be read since it was told, it is told again, under another key.
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
  const documents = tasks.filter(({ kind }) => kind === "extract");
  const over = tasks.every(({ kind, status }) => (kind !== "split" && kind !== "extract") || status === "done" || status === "failed");
  return (route?.sinks ?? []).flatMap(({ name, per, failures }) => {
    const units = per === "document" ? documents.filter(isOver).map((one) => ({ of: one.subject, documents: [one] })) : [];
    const all = per === "message" && over && documents.length > 0 ? [{ of: message, documents }] : [];
    return [...units, ...all].flatMap((unit) => delivery(unit.of, name, failures, readOf(unit.documents), tasks));
  });
}

function isOver({ status }: Known): boolean {
  return status === "done" || status === "failed";
}

/** The positions of the documents that were read. */
function readOf(documents: readonly Known[]): string {
  const read = documents.filter(({ status }) => status === "done").map(({ subject }) => positionOf(subject));
  return read.toSorted((a, b) => a - b).join(",");
}

/** Kept in the memo of a delivery: what had been read when it was decided. A delivery of an older version has none, and is not repeated. */
const READ = "read";

function delivery(of: string, sink: string, failures: boolean, read: string, tasks: readonly Known[]): readonly NewTask[] {
  const told = tasks.filter(({ kind, subject }) => {
    const name = kind === "deliver" ? deliveryNameOf(subject) : null;
    return name?.of === of && name.sink === sink;
  });
  const last = told.toSorted((a, b) => deliveryNameOf(a.subject).time - deliveryNameOf(b.subject).time).at(-1);
  const isNews =
    last === undefined ? read !== "" || failures : read !== "" && typeof last.memo?.[READ] === "string" && last.memo[READ] !== read;
  return isNews ? [{ kind: "deliver", subject: deliveryKey({ of, sink, time: told.length + 1 }), memo: { [READ]: read } }] : [];
}

function settling(tasks: readonly Known[], arrivals: readonly string[]): readonly NewTask[] {
  if (tasks.some((task) => task.kind !== "settle" && (task.status === "open" || task.status === "held"))) return [];
  const told = new Set(tasks.filter((task) => task.kind === "settle").map((task) => task.subject));
  return arrivals.filter((arrival) => !told.has(arrival)).map((subject) => ({ kind: "settle", subject }));
}
