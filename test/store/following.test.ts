/** What follows from a message's tasks: deliveries when there is something to tell, and every mailbox told at the end. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { deliveryKey, deliveryNameOf, positionOf } from "../../src/store/delivery.ts";
import { following, type Known } from "../../src/store/following.ts";
import type { NewTask, RouteRecord, RouteSinkRecord, TaskKind, TaskStatus } from "../../src/store/record.ts";

const MESSAGE = "5d41402abc4b2a76b9719d911017c592ae3b0c44298fc1c149afbf4c8996fb92";
const doc = (position: number) => `${MESSAGE}.${position}`;
const known = (kind: TaskKind, status: TaskStatus, subject: string, memo: Known["memo"] = null): Known => ({
  kind,
  status,
  subject,
  memo,
  fault: null,
});
const split = known("split", "done", MESSAGE);
const extract = (status: TaskStatus, position = 1) => known("extract", status, doc(position));

function routeTo(...sinks: readonly Partial<RouteSinkRecord>[]): RouteRecord {
  const all = sinks.map((sink) => ({ name: "files", per: "document" as const, failures: false, ...sink }));
  return { rule: null, is: "take", why: null, service: "cloudsquid", sinks: all, afterwards: null };
}

const follow = (tasks: readonly Known[], route: RouteRecord | null, arrivals: readonly string[] = ["1"]) =>
  following(MESSAGE, tasks, arrivals, route);
const keysOf = (tasks: readonly NewTask[]) => tasks.map(({ kind, subject }) => `${kind} ${subject.replace(MESSAGE, "M")}`);
/** What follows, added; until nothing follows any more. `status` is what becomes of deliveries. */
const grown = (tasks: readonly Known[], route: RouteRecord, status: TaskStatus): readonly Known[] => {
  const more = follow(tasks, route).map(({ kind, subject, memo = null }) => known(kind, status, subject, memo));
  return more.length === 0 ? tasks : grown([...tasks, ...more], route, status);
};

describe("deliveries", () => {
  test("of a document as soon as it was read, to each sink", () => {
    const route = routeTo({}, { name: "erp" });
    expect(keysOf(follow([split, extract("done"), extract("open", 2)], route))).toEqual(["deliver M.1.files", "deliver M.1.erp"]);
  });

  test("of a message when all its documents are over, even those that failed, as long as one was read", () => {
    const route = routeTo({ per: "message" });
    expect(follow([split, extract("done"), extract("open", 2)], route)).toEqual([]);
    expect(follow([split, extract("done"), extract("held", 2)], route)).toEqual([]);
    expect(keysOf(follow([split, extract("done"), extract("failed", 2)], route))).toEqual(["deliver M.files"]);
    expect(keysOf(follow([split, extract("failed"), extract("failed", 2)], route))).toEqual(["settle 1"]);
  });

  test("of failures only to sinks that want them", () => {
    const route = routeTo({}, { name: "reply", per: "message", failures: true }, { name: "erp", failures: true });
    const all = [split, extract("done"), extract("failed", 2)];
    expect(keysOf(follow(all, route))).toEqual(["deliver M.1.files", "deliver M.reply", "deliver M.1.erp", "deliver M.2.erp"]);
    expect(keysOf(follow([split, extract("failed")], route))).toEqual(["deliver M.reply", "deliver M.1.erp"]);
  });

  test("when a person had a failure mended, what was told is told again under another key, and what was not told is told", () => {
    const route = routeTo({}, { name: "reply", per: "message", failures: true });
    const before = grown([split, extract("done"), extract("failed", 2)], route, "done");
    const working = before.map((task) => (task.subject === doc(2) ? { ...task, status: "open" as const } : task));
    expect(follow(working, route)).toEqual([]);
    const mended = before.map((task) => (task.subject === doc(2) ? { ...task, status: "done" as const } : task));
    expect(keysOf(follow(mended, route))).toEqual(["deliver M.2.files", "deliver M.reply~2"]);
    expect(follow(grown(mended, route, "done"), route)).toEqual([]);
  });

  test("of a mail that was read anew, also that it failed again, though something was told before", () => {
    const route = routeTo({ name: "reply", per: "message", failures: true });
    const before = grown([split, extract("done")], route, "done");
    const anew = before.map((task) => (task.kind === "split" ? { ...task, memo: { service: null, from: 2 } } : task));
    expect(keysOf(follow([...anew, extract("failed", 2)], route))).toEqual(["deliver M.reply~2"]);
    expect(keysOf(follow([...anew, extract("done", 2)], route))).toEqual(["deliver M.reply~2"]);
  });

  test("a delivery of an older version, which does not know what had been read, is not repeated", () => {
    const told = known("deliver", "done", `${doc(1)}.files`);
    expect(keysOf(follow([split, extract("done"), told], routeTo({})))).toEqual(["settle 1"]);
  });

  test("none for a message that goes nowhere", () => {
    expect(keysOf(follow([split], { ...routeTo(), is: "ignore" }))).toEqual(["settle 1"]);
    expect(keysOf(follow([split, extract("done")], null))).toEqual(["settle 1"]);
  });
});

describe("telling the mailbox", () => {
  test("not while a delivery is open or held; failed ones end the list like those that are done", () => {
    const told = (status: TaskStatus) => [split, extract("done"), known("deliver", status, `${doc(1)}.files`, { read: "1" })];
    expect(follow(told("open"), routeTo({}))).toEqual([]);
    expect(follow(told("held"), routeTo({}))).toEqual([]);
    expect(keysOf(follow(told("failed"), routeTo({})))).toEqual(["settle 1"]);
    expect(keysOf(follow([known("split", "failed", MESSAGE)], null))).toEqual(["settle 1"]);
  });

  const statuses = fc.constantFrom<TaskStatus>("open", "done", "failed", "held");
  const sinks = fc.uniqueArray(
    fc.record({ name: fc.constantFrom("files", "erp", "1"), per: fc.constantFrom("document", "message"), failures: fc.boolean() }),
    { selector: ({ name }) => name },
  );

  test("whatever is done in whatever order: it ends, nothing is told twice, and every arrival is told once", () => {
    fc.assert(
      fc.property(fc.array(statuses, { maxLength: 4 }), sinks, fc.uniqueArray(fc.constantFrom("1", "2", "3")), (given, wanted, seen) => {
        const route = routeTo(...(wanted as readonly RouteSinkRecord[]));
        let tasks: readonly Known[] = [split, ...given.map((status, at) => extract(status, at + 1))];
        for (let round = 0; round < 20; round += 1) {
          const more = following(MESSAGE, tasks, seen, route);
          const working = tasks.some(({ kind, status }) => kind !== "settle" && (status === "open" || status === "held"));
          if (more.some(({ kind }) => kind === "settle")) expect(working).toBe(false);
          // Each is done, then the longest open extraction is read.
          const added = more.map(({ kind, subject, memo = null }) => known(kind, "done", subject, memo));
          const first = tasks.find(({ status }) => status === "open" || status === "held");
          tasks = [...tasks.map((task) => (task === first && added.length === 0 ? { ...task, status: "done" as const } : task)), ...added];
          if (added.length === 0 && first === undefined) break;
        }
        const subjects = tasks.map(({ kind, subject }) => `${kind} ${subject}`);
        expect(new Set(subjects).size).toBe(subjects.length);
        expect(following(MESSAGE, tasks, seen, route)).toEqual([]);
        for (const arrival of seen) expect(subjects).toContain(`settle ${arrival}`);
        for (const { name, per, failures } of route.sinks) {
          const told = tasks.filter(({ kind, subject }) => kind === "deliver" && deliveryNameOf(subject).sink === name);
          const read = tasks.filter(({ kind, status }) => kind === "extract" && (status === "done" || failures));
          expect(new Set(told.map(({ subject }) => deliveryNameOf(subject).of)).size).toBe(
            per === "document" ? read.length : Math.min(1, read.length),
          );
        }
      }),
    );
  });
});

test("a key says what it is of, to whom, and for the which time", () => {
  for (const name of [
    { of: doc(12), sink: "erp", time: 1 },
    { of: MESSAGE, sink: "1", time: 3 },
  ])
    expect(deliveryNameOf(deliveryKey(name))).toEqual(name);
  expect(positionOf(doc(12))).toBe(12);
  expect(positionOf(MESSAGE)).toBe(0);
});
