/** The shapes of Cloudsquid's answers that are no DataRow: its errors, and the row as older versions gave it. */

import { jsonReply, type Reply } from "../exchange.ts";
import type { DataRow } from "./rows.ts";

export function problem(status: number, errorMessage: string): Reply {
  return jsonReply(status, { errorMessage });
}

export function malformed(what: string): Reply {
  return problem(400, `Bad or malformed request: ${what}`);
}

/** As an older version of the documentation has it: without `pending`, and with the data, or what went wrong, as `result`. */
export function olderRow({ status, data, result }: DataRow): object {
  return { status: status === "pending" ? "running" : status, result: result ?? data };
}
