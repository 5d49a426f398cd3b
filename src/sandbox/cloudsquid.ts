/** The Cloudsquid half of the sandbox: its paths, statuses and errors, as its documentation has them. */
import { createHash } from "node:crypto";
import type { Clock } from "../base/clock.ts";
import { readDocument } from "./cloudsquid-document.ts";
import { createRows, type Place } from "./cloudsquid-rows.ts";
import { type Asked, type Doing, jsonReply, parsed, type Reply, type Service, sameText } from "./exchange.ts";
import type { Pace } from "./pace.ts";

export type CloudsquidCounts = {
  /** Calls that took effect. */
  readonly uploads: number;
  readonly runs: number;
  readonly polls: number;
  readonly rows: readonly { readonly row_id: string; readonly filename: string; readonly runs: number }[];
};

export type CloudsquidOptions = {
  readonly clock: Clock;
  readonly apiKey: string;
  readonly pace: Pace;
  readonly mostKept: number;
  readonly mostBytes: number;
};

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** Any project name and any table UUID are taken. */
export function createCloudsquidService(options: CloudsquidOptions): Service & { readonly counts: () => CloudsquidCounts } {
  const { clock, apiKey, pace } = options;
  const rows = createRows({ clock, pace, mostRows: options.mostKept, mostBytes: options.mostBytes });
  const done = { uploads: 0, runs: 0, polls: 0 };
  const startedAt = clock.now();

  function route({ method, path, headers, body }: Asked): Doing | Reply {
    if (!sameText(headers["x-api-key"], apiKey)) return problem(401, "Unauthorized");
    if (body === "too-long") return problem(413, "the request is too long");
    const route = routeOf(method, path);
    if ("status" in route) return route;
    switch (route.call) {
      case "projects":
        return { call: route.call, act: projects };
      case "upload":
      case "extract":
        return { call: route.call, act: () => submit(route, body) };
      case "run":
        return { call: route.call, act: () => start(route, body) };
      case "poll":
        return { call: route.call, act: () => look(route) };
    }
  }

  function projects(): Reply {
    const names = new Set(["sandbox", ...rows.all().map((row) => row.project)]);
    return jsonReply(
      200,
      [...names].map((name) => ({ id: uuidOf(name), name, created_at: startedAt.toISOString() })),
    );
  }

  async function submit(route: Route, body: Uint8Array): Promise<Reply> {
    const json = parsed(body);
    if (json === undefined) return problem(400, "Bad or malformed request: the body is not JSON");
    const submission = readDocument(json);
    if (typeof submission === "string") return problem(400, `Bad or malformed request: ${submission}`);
    const row = rows.add(route, submission);
    if (route.call === "extract") return jsonReply(200, await rows.read(row));
    done.uploads += 1;
    return jsonReply(201, { row_id: row.id });
  }

  function start(route: Route, body: Uint8Array): Reply {
    const json = parsed(body);
    if (typeof json !== "object" || json === null) return problem(400, "Bad or malformed request: the body is not a JSON object");
    const { row_id: id, zero_retention: zeroRetention = false } = json as { readonly [field: string]: unknown };
    if (typeof id !== "string" || !UUID.test(id)) return problem(400, "Bad or malformed request: row_id: expected a uuid");
    if (typeof zeroRetention !== "boolean") return problem(400, "Bad or malformed request: zero_retention: expected true or false");
    const row = rows.row(route, id.toLowerCase());
    if (row === null) return problem(404, "no such row in this table");
    if (row.zeroRetention && row.submission === null)
      return problem(400, "Bad or malformed request: the file of this row was not retained");
    done.runs += 1;
    return jsonReply(202, { run_id: rows.start(row, zeroRetention).id });
  }

  async function look(route: Route): Promise<Reply> {
    const run = rows.run(route, route.run.toLowerCase());
    if (run === null) return problem(404, "no such run in this table");
    done.polls += 1;
    return jsonReply(200, await rows.look(run));
  }

  return {
    route,
    problem,
    counts: () => ({
      ...done,
      rows: rows.all().map((row) => ({ row_id: row.id, filename: row.filename, runs: row.runs })),
    }),
  };
}

type Route = Place & { readonly call: "projects" | "upload" | "extract" | "run" | "poll"; readonly run: string };

const NOWHERE = { project: "", table: "", run: "" };

function routeOf(method: string, path: string): Route | Reply {
  if (path === "/api/projects") return method === "GET" ? { call: "projects", ...NOWHERE } : problem(405, "expected GET");
  const match = /^\/api\/projects\/([^/]+)\/tables\/([^/]+)\/(files|run|extract)(?:\/([^/]+))?$/.exec(path);
  if (!match) return problem(404, "no such path");
  const [, encodedProject = "", table = "", what, run] = match;
  const project = percentDecoded(encodedProject);
  if (project === null) return problem(400, "Bad or malformed request: the project's name is not percent-encoded UTF-8");
  if (!UUID.test(table)) return problem(400, "Bad or malformed request: table_id: expected a uuid");
  if (run !== undefined) {
    if (what !== "run") return problem(404, "no such path");
    if (!UUID.test(run)) return problem(400, "Bad or malformed request: run_id: expected a uuid");
    return method === "GET" ? { call: "poll", project, table, run } : problem(405, "expected GET");
  }
  if (method !== "POST") return problem(405, "expected POST");
  return { call: what === "files" ? "upload" : what === "run" ? "run" : "extract", project, table, run: "" };
}

function percentDecoded(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}

function problem(status: number, errorMessage: string): Reply {
  return jsonReply(status, { errorMessage });
}

/** The same project keeps its id. */
function uuidOf(name: string): string {
  const hex = createHash("sha256").update(name).digest("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}
