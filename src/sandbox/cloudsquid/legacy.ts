/** Cloudsquid's older paths, below /datasources: a file is uploaded, a run of it started and asked after. */

import { type Doing, jsonReply, parsed, type Reply } from "../exchange.ts";
import type { FaultNow } from "../faults.ts";
import { type Open, readDocument } from "./document.ts";
import { malformed, olderRow, problem } from "./reply.ts";
import type { Row, Rows } from "./rows.ts";

export type LegacyOptions = {
  readonly rows: Rows;
  readonly open: Open;
  readonly remark: (row: Row, fault: FaultNow | null) => void;
  readonly done: { uploads: number; runs: number; polls: number };
};

const PIPELINES: readonly unknown[] = ["cloudsquid-flash", "cloudsquid-pro-v2"];

/** Null for a path that is none of these. A source is a table without a project; its calls bear the names of today's. */
export function createLegacy({ rows, open, remark, done }: LegacyOptions) {
  function upload(source: string, body: Uint8Array): Reply {
    const json = parsed(body);
    if (json === undefined) return malformed("the body is not JSON");
    const submission = readDocument(json, open);
    if (typeof submission === "string") return malformed(submission);
    const { zero_retention_mode: zeroRetention = false } = json as { readonly [field: string]: unknown };
    if (typeof zeroRetention !== "boolean") return malformed("zero_retention_mode: expected true or false");
    const row = rows.add(placeOf(source), submission);
    row.zeroRetention = zeroRetention;
    done.uploads += 1;
    return jsonReply(201, { file_id: row.id });
  }

  function start(source: string, body: Uint8Array, fault: FaultNow | null): Reply {
    const json = parsed(body);
    if (typeof json !== "object" || json === null) return malformed("the body is not a JSON object");
    const { file_id: id, pipeline, zero_retention: zeroRetention = false } = json as { readonly [field: string]: unknown };
    if (typeof id !== "string") return malformed("file_id: expected text");
    if (!PIPELINES.includes(pipeline)) return malformed(`pipeline: expected ${PIPELINES.join(" or ")}`);
    if (typeof zeroRetention !== "boolean") return malformed("zero_retention: expected true or false");
    const row = rows.row(placeOf(source), id);
    if (row === null) return problem(404, "no such file in this source");
    if (row.zeroRetention && row.submission === null) return malformed("this file was not retained");
    done.runs += 1;
    remark(row, fault);
    return jsonReply(202, { run_id: rows.start(row, zeroRetention).id });
  }

  async function look(source: string, id: string): Promise<Reply> {
    const run = rows.run(placeOf(source), id);
    if (run === null) return problem(404, "no such run in this source");
    done.polls += 1;
    return jsonReply(200, olderRow(await rows.look(run)));
  }

  return (method: string, path: string, body: Uint8Array): Doing | Reply | null => {
    const [, source, what, id] = /^\/api\/datasources\/([\w-]+)\/(documents|run)(?:\/([\w-]+))?$/.exec(path) ?? [];
    if (source === undefined) return null;
    if (id !== undefined) {
      if (what !== "run") return problem(404, "no such path");
      return method === "GET" ? { call: "poll", act: () => look(source, id) } : problem(405, "expected GET");
    }
    if (method !== "POST") return problem(405, "expected POST");
    return what === "documents"
      ? { call: "upload", act: () => upload(source, body) }
      : { call: "run", act: (fault) => start(source, body, fault) };
  };
}

const placeOf = (source: string) => ({ project: "", table: source });
