/** The record: what an outcome makes of a task, when a list is over, and what the mailbox and people are told. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Fault, permanent } from "../../src/base/errors.ts";
import {
  eventOf,
  type Outcome,
  standingOf,
  type Task,
  type TaskKind,
  type TaskStatus,
  after as taskAfter,
  verdictOf,
} from "../../src/store/record.ts";

const now = new Date("2026-03-02T10:00:00.000Z");
const soon = new Date("2026-03-02T10:00:30.000Z");
const fault = new Fault("cloudsquid.busy", "the service is busy");

const task: Task = {
  id: 7,
  kind: "extract",
  subject: "abc.1",
  message: "abc",
  status: "open",
  attempts: 0,
  failingSince: null,
  dueAt: "2026-03-02T09:59:00.000Z",
  memo: { rowId: "r" },
  fault: null,
  released: false,
  rank: 0,
  createdAt: "2026-03-02T09:58:00.000Z",
  updatedAt: "2026-03-02T09:59:00.000Z",
};
const failing: Task = { ...task, attempts: 3, failingSince: "2026-03-02T09:00:00.000Z", fault: { ...recordedFault() } };

function recordedFault() {
  return { code: "cloudsquid.busy", message: "the service is busy", advice: null, temporary: true };
}

describe("after", () => {
  test("done ends the task, keeps the memo unless there is a new one, and forgets the failures", () => {
    expect(taskAfter(failing, { is: "done" }, now)).toEqual({
      ...task,
      status: "done",
      attempts: 0,
      failingSince: null,
      fault: null,
      updatedAt: now.toISOString(),
    });
    expect(taskAfter(task, { is: "done", memo: { runId: "x" } }, now).memo).toEqual({ runId: "x" });
  });

  test("later is not a failure: the memo is the new one and the failures in a row are over", () => {
    expect(taskAfter(failing, { is: "later", at: soon, memo: { runId: "x" } }, now)).toMatchObject({
      status: "open",
      attempts: 0,
      failingSince: null,
      fault: null,
      dueAt: soon.toISOString(),
      memo: { runId: "x" },
    });
  });

  test("retry counts, and remembers when the failing began", () => {
    const once = taskAfter(task, { is: "retry", at: soon, fault }, now);
    expect(once).toMatchObject({
      status: "open",
      attempts: 1,
      failingSince: now.toISOString(),
      dueAt: soon.toISOString(),
      memo: task.memo,
    });
    expect(once.fault).toEqual(recordedFault());
    expect(taskAfter(once, { is: "retry", at: soon, fault }, soon)).toMatchObject({ attempts: 2, failingSince: now.toISOString() });
  });

  test("failed ends the task and keeps what it knew, or what it learnt last", () => {
    const refused = permanent("cloudsquid.refused", "no");
    expect(taskAfter(task, { is: "failed", fault: refused }, now)).toMatchObject({
      status: "failed",
      attempts: 1,
      memo: task.memo,
      fault: { code: "cloudsquid.refused", temporary: false },
    });
    expect(taskAfter(task, { is: "failed", fault: refused, memo: { runId: "x" } }, now).memo).toEqual({ runId: "x" });
  });

  test("what a task is never changes", () => {
    fc.assert(
      fc.property(outcomes, (outcome) => {
        const next = taskAfter(failing, outcome, now);
        const { id, kind, subject, message, createdAt } = failing;
        expect(next).toMatchObject({ id, kind, subject, message, createdAt, updatedAt: now.toISOString() });
        expect((next.fault === null) === (next.attempts === 0)).toBe(true);
      }),
    );
  });
});

const outcomes: fc.Arbitrary<Outcome> = fc.oneof(
  fc.record({ is: fc.constant("done" as const) }),
  fc.record({ is: fc.constant("later" as const), at: fc.date({ noInvalidDate: true }), memo: fc.constant({ a: 1 }) }),
  fc.record({ is: fc.constant("retry" as const), at: fc.date({ noInvalidDate: true }), fault: fc.constant(fault) }),
  fc.record({ is: fc.constant("failed" as const), fault: fc.constant(fault) }),
);

test("eventOf: the name says kind and outcome; a fault is told by its code and sentence, anything else by its note", () => {
  expect(eventOf(task, { is: "retry", at: soon, fault }, now)).toEqual({
    at: now.toISOString(),
    message: "abc",
    mailbox: null,
    what: "extract.retry",
    subject: "abc.1",
    note: "the service is busy",
    faultCode: "cloudsquid.busy",
  });
  expect(eventOf(task, { is: "done", note: "3 parts" }, now)).toMatchObject({ what: "extract.done", note: "3 parts", faultCode: null });
  expect(eventOf(task, { is: "later", at: soon, memo: {} }, now)).toMatchObject({ what: "extract.later", note: null, faultCode: null });
});

test("verdictOf: done only when all work is done, whatever became of telling", () => {
  const of = (...list: readonly (readonly [TaskKind, TaskStatus])[]) =>
    verdictOf(list.map(([kind, status], at) => ({ kind, status, subject: String(at) })));
  expect(of(["split", "done"], ["extract", "done"], ["settle", "open"])).toBe("done");
  expect(of(["split", "done"], ["settle", "failed"])).toBe("done");
  expect(of(["split", "done"], ["extract", "failed"], ["settle", "open"])).toBe("failed");
  expect(of(["split", "done"], ["extract", "open"])).toBe("failed");
});

test("standingOf: open work first, then what failed", () => {
  const of = (...list: readonly (readonly [TaskStatus, number])[]) =>
    standingOf(list.map(([status, attempts]) => ({ ...task, status, attempts })));
  expect(of(["done", 0], ["open", 0])).toBe("working");
  expect(of(["failed", 1], ["open", 0])).toBe("working");
  expect(of(["open", 0], ["open", 2])).toBe("retrying");
  expect(of(["done", 0], ["failed", 1])).toBe("failed");
  expect(of(["done", 0])).toBe("done");
});
