/** The Cloudsquid half of the sandbox: its paths, statuses and errors, as its documentation has them. */
import { createHash } from "node:crypto";
import type { Clock } from "../base/clock.ts";
import { readDocument, readFile } from "./cloudsquid/document.ts";
import { createProjectFiles, isPath, SIGNED } from "./cloudsquid/files.ts";
import { createLegacy } from "./cloudsquid/legacy.ts";
import { malformed, olderRow, problem } from "./cloudsquid/reply.ts";
import { createRows, type Place, type Row } from "./cloudsquid/rows.ts";
import { type Asked, type Doing, jsonReply, parsed, type Reply, type Service, sameText } from "./exchange.ts";
import type { FaultNow } from "./faults.ts";
import type { Pace } from "./pace.ts";
import type { Signer } from "./signer.ts";

export type CloudsquidCounts = {
  /** Calls that took effect. */
  readonly stores: number;
  readonly uploads: number;
  readonly runs: number;
  readonly polls: number;
  readonly extracts: number;
  readonly rows: readonly { readonly row_id: string; readonly filename: string; readonly runs: number }[];
};

export type CloudsquidOptions = {
  readonly clock: Clock;
  readonly apiKey: string;
  /** Listed besides those that were used. */
  readonly projects: readonly string[];
  readonly pace: Pace;
  readonly signer: Signer;
  readonly mostKept: number;
  readonly mostBytes: number;
};

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** Any project name and any table UUID are taken. */
export function createCloudsquidService(options: CloudsquidOptions): Service & { readonly counts: () => CloudsquidCounts } {
  const { clock, apiKey, pace, signer } = options;
  const rows = createRows({ clock, pace, mostRows: options.mostKept, mostBytes: options.mostBytes });
  const files = createProjectFiles(options);
  const done = { stores: 0, uploads: 0, runs: 0, polls: 0, extracts: 0 };
  const startedAt = clock.now();
  const legacy = createLegacy({ rows, open, remark, done });

  function route({ method, path, query, headers, body }: Asked): Doing | Reply {
    if (path.startsWith(SIGNED)) return signed(method, path, query);
    if (!sameText(headers["x-api-key"], apiKey)) return problem(401, "Unauthorized");
    if (body === "too-long") return problem(413, "the request is too long");
    const older = legacy(method, path, body);
    if (older !== null) return older;
    const route = routeOf(method, path);
    if ("status" in route) return route;
    switch (route.call) {
      case "projects":
        return { call: route.call, act: projects };
      case "upload":
      case "extract":
        return { call: route.call, act: (fault) => submit(route, body, fault) };
      case "run":
        return { call: route.call, act: (fault) => start(route, body, fault) };
      case "poll":
        return { call: route.call, act: (fault) => look(route, fault) };
      case "store":
        return { call: route.call, act: () => store(route, query, body) };
      case "file":
        return { call: route.call, act: () => readPath(route, query) };
    }
  }

  function signed(method: string, path: string, query: URLSearchParams): Doing | Reply {
    if (method !== "GET") return problem(405, "expected GET");
    if (!signer.opens(path, query)) return problem(403, "the signature is wrong or has expired");
    const file = files.signed(path);
    if (file === null) return problem(404, "no such file");
    return { call: "signed", act: () => ({ status: 200, headers: { "content-type": file.mimetype }, body: file.bytes ?? "" }) };
  }

  function open(url: string): Uint8Array | null {
    const path = signer.pathOf(url);
    return path === null ? null : (files.signed(path)?.bytes ?? null);
  }

  function store(route: Route, query: URLSearchParams, body: Uint8Array): Reply {
    const path = query.get("path") ?? "";
    if (!isPath(path) || path === "/") return malformed("path: expected one like /folder/name");
    const json = parsed(body);
    if (json === undefined) return malformed("the body is not JSON");
    const piece = readFile(json, open);
    if (typeof piece === "string") return malformed(piece);
    const file = files.store(route.project, path, piece);
    if (file === null) return problem(409, "the path exists");
    done.stores += 1;
    return jsonReply(201, file);
  }

  function readPath(route: Route, query: URLSearchParams): Reply {
    const path = query.get("path") ?? "";
    if (!isPath(path)) return malformed("path: expected one like /folder/name");
    const found = files.read(route.project, path);
    return found === null ? problem(404, "no such path in this project") : jsonReply(200, found);
  }

  function projects(): Reply {
    const used = rows.all().map((row) => row.project);
    const names = new Set([...options.projects, ...used.filter((name) => name !== "")]);
    return jsonReply(
      200,
      [...names].map((name) => ({ id: uuidOf(name), name, created_at: startedAt.toISOString() })),
    );
  }

  async function submit(route: Route, body: Uint8Array, fault: FaultNow | null): Promise<Reply> {
    const json = parsed(body);
    if (json === undefined) return malformed("the body is not JSON");
    const submission = readDocument(json, open);
    if (typeof submission === "string") return malformed(submission);
    const row = rows.add(route, submission);
    if (route.call === "extract") {
      done.extracts += 1;
      remark(row, fault);
      const { status, ...rest } = await rows.read(row);
      return jsonReply(200, fault?.older ? rest : { status, ...rest });
    }
    done.uploads += 1;
    return jsonReply(201, { row_id: row.id });
  }

  function remark(row: Row, fault: FaultNow | null): void {
    const { reasoning, review } = fault ?? {};
    row.remarks = {
      ...row.remarks,
      ...(reasoning === undefined ? {} : { reasoning }),
      ...(review === undefined ? {} : { review: { review_date: clock.now().toISOString(), ...review } }),
    };
  }

  function start(route: Route, body: Uint8Array, fault: FaultNow | null): Reply {
    const json = parsed(body);
    if (typeof json !== "object" || json === null) return malformed("the body is not a JSON object");
    const { row_id: id, zero_retention: zeroRetention = false } = json as { readonly [field: string]: unknown };
    if (typeof id !== "string" || !UUID.test(id)) return malformed("row_id: expected a uuid");
    if (typeof zeroRetention !== "boolean") return malformed("zero_retention: expected true or false");
    const row = rows.row(route, id.toLowerCase());
    if (row === null) return problem(404, "no such row in this table");
    if (row.zeroRetention && row.submission === null) return malformed("the file of this row was not retained");
    done.runs += 1;
    remark(row, fault);
    return jsonReply(202, { run_id: rows.start(row, zeroRetention).id });
  }

  async function look(route: Route, fault: FaultNow | null): Promise<Reply> {
    const run = rows.run(route, route.run.toLowerCase());
    if (run === null) return problem(404, "no such run in this table");
    done.polls += 1;
    remark(run.row, fault);
    const row = await rows.look(run);
    return jsonReply(200, fault?.older ? olderRow(row) : row);
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

type Route = Place & {
  readonly call: "projects" | "upload" | "extract" | "run" | "poll" | "store" | "file";
  readonly run: string;
};

const NOWHERE = { project: "", table: "", run: "" };

function routeOf(method: string, path: string): Route | Reply {
  if (path === "/api/projects") return method === "GET" ? { call: "projects", ...NOWHERE } : problem(405, "expected GET");
  const match = /^\/api\/projects\/([^/]+)\/(?:files|tables\/([^/]+)\/(files|run|extract)(?:\/([^/]+))?)$/.exec(path);
  if (!match) return problem(404, "no such path");
  const [, encodedProject = "", table, what, run] = match;
  const project = percentDecoded(encodedProject);
  if (project === null) return malformed("the project's name is not percent-encoded UTF-8");
  if (table === undefined) {
    if (method !== "PUT" && method !== "GET") return problem(405, "expected GET or PUT");
    return { ...NOWHERE, call: method === "PUT" ? "store" : "file", project };
  }
  if (!UUID.test(table)) return malformed("table_id: expected a uuid");
  if (run !== undefined) {
    if (what !== "run") return problem(404, "no such path");
    if (!UUID.test(run)) return malformed("run_id: expected a uuid");
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

/** The same project keeps its id. */
function uuidOf(name: string): string {
  const hex = createHash("sha256").update(name).digest("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}
