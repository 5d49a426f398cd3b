/** Time that leapt: what the open tasks remember of it is moved along, or nothing would be due for a day, or all be given up at once. */
import { type RawBuilder, sql, type Transaction } from "kysely";
import type { Tables } from "./tables.ts";

/** Between two pulses lie ten seconds. */
const LEAP_MS = 60_000;

/**
 * Called with each pulse, before it is written. A clock set back: what was to be done in an hour is to be done in an hour. A clock set
 * ahead, a machine that slept, a daemon that was not running: all is due that would have been, and nothing has failed meanwhile.
 */
export async function leap(trx: Transaction<Tables>, at: string): Promise<void> {
  const last = sql<string | null>`CASE WHEN json_valid(body) THEN json_extract(body, '$.at') END`.as("at");
  const before = await trx.selectFrom("pulse").select(last).where("id", "=", 1).executeTakeFirst();
  const leaptMs = Date.parse(at) - Date.parse(before?.at ?? at);
  if (!(Math.abs(leaptMs) > LEAP_MS)) return;
  const moved = (column: "due_at" | "failing_since" | "updated_at"): RawBuilder<string> =>
    sql`coalesce(strftime('%Y-%m-%dT%H:%M:%fZ', ${sql.ref(column)}, ${`${leaptMs / 1_000} seconds`}), ${sql.ref(column)})`;
  await trx
    .updateTable("task")
    // What began to fail after the leap does so since then.
    .set({
      failing_since: sql<string>`min(${moved("failing_since")}, ${at})`,
      ...(leaptMs < 0 ? { due_at: moved("due_at"), updated_at: moved("updated_at") } : {}),
    })
    .where("status", "=", "open")
    .execute();
}
