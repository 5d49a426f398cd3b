/** Since when a delivery fails that others keep waiting: dead letters must not add up, nor a wait go on for ever. */
import type { ExpressionBuilder } from "kysely";
import type { Task } from "../record.ts";
import type { Tables } from "./tables.ts";

/** `failing_since` of the delivery right before it, of the same message to the same sink, when that one has failed; else null. */
export function failureBefore(e: ExpressionBuilder<Tables, "task">) {
  return e
    .selectFrom("task as other")
    .select((o) => o.case().when("other.status", "=", "failed").then(o.ref("other.failing_since")).end().as("since"))
    .whereRef("other.message", "=", "task.message")
    .whereRef("other.sink", "=", "task.sink")
    .where((o) =>
      o.or([
        o("other.position", "<", o.ref("task.position")),
        o.and([o("other.position", "=", o.ref("task.position")), o("other.id", "<", o.ref("task.id"))]),
      ]),
    )
    .orderBy("other.position", "desc")
    .orderBy("other.id", "desc")
    .limit(1);
}

/**
 * Its own first failure. Of a delivery that has had none, and only of a delivery:
 * - that stood behind one that failed: when that one began to fail, but not before this one was made or put back;
 * - that waits for its sink: when it began to wait. What a sink that was paused has left behind does not: it is due at once.
 */
export function failingSinceOf({ kind, failingSince, fault, dueAt, updatedAt }: Task, before: string | null): string | null {
  if (failingSince !== null || kind !== "deliver") return failingSince;
  if (fault !== null) return dueAt > updatedAt ? updatedAt : null;
  return before === null || before > updatedAt ? before : updatedAt;
}
