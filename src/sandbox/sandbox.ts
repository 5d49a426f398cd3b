/** The sandbox: a server that keeps Cloudsquid's HTTP contract and answers from the bytes it was sent. */
import { createHash, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Clock } from "../base/clock.ts";
import { Fault, reasonOf } from "../base/errors.ts";
import { type Call, createFaults, type FaultNow, type FaultRule } from "./faults.ts";
import { createRows, type Pace, type Place } from "./rows.ts";
import { readSubmission } from "./submission.ts";

export type SandboxOptions = {
  /** 0 picks a free one. */
  readonly port: number;
  /** 127.0.0.1 unless said otherwise. */
  readonly host?: string;
  readonly apiKey: string;
  /** How long a run is `pending`, then `running`. */
  readonly pace?: Pace;
  readonly clock: Clock;
  /** A longer request is answered 413; 64 MB unless said otherwise. */
  readonly maxRequestBytes?: number;
};

export type Counts = {
  /** Calls that took effect. */
  readonly uploads: number;
  readonly runs: number;
  readonly polls: number;
  readonly rows: readonly { readonly row_id: string; readonly filename: string; readonly runs: number }[];
};

export type Sandbox = {
  /** With the base path: `http://127.0.0.1:8080/api`. */
  readonly url: string;
  readonly port: number;
  /** The same as `POST` and `DELETE /_sandbox/faults`. */
  readonly faults: { readonly add: (rule: FaultRule) => void; readonly clear: () => void };
  /** The same as `GET /_sandbox/counts`. */
  readonly counts: () => Counts;
  /** Cuts every connection. */
  readonly stop: () => Promise<void>;
};

type Reply = { readonly status: number; readonly json: unknown };

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const MOST_ROWS = 10_000;
const REQUEST_BYTES = 64 * 1024 * 1024;

/** Any project name and any table UUID are taken. Rows live in memory and are gone when it stops. */
export async function startSandbox(options: SandboxOptions): Promise<Sandbox> {
  const { clock, apiKey, host = "127.0.0.1", pace = { pendingMs: 300, runningMs: 700 }, maxRequestBytes = REQUEST_BYTES } = options;
  const faults = createFaults();
  const rows = createRows({ clock, pace, mostRows: MOST_ROWS, mostBytes: 8 * maxRequestBytes });
  const done = { uploads: 0, runs: 0, polls: 0 };
  const startedAt = clock.now();
  const stopping = new AbortController();

  const counts = (): Counts => ({
    ...done,
    rows: rows.all().map((row) => ({ row_id: row.id, filename: row.filename, runs: row.runs })),
  });

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname } = new URL(request.url ?? "/", "http://sandbox");
    const body = await readBody(request, maxRequestBytes);
    if (body === "cut") return;
    if (pathname.startsWith("/_sandbox/")) return send(response, control(request, pathname, body));
    if (!sameKey(request.headers["x-api-key"], apiKey)) return send(response, problem(401, "Unauthorized"));
    if (body === "too-long") return send(response, problem(413, `the request is longer than ${maxRequestBytes} bytes`));
    const route = routeOf(request.method ?? "", pathname);
    if ("status" in route) return send(response, route);

    const fault = faults.take(route.call);
    if (fault?.delayMs) await clock.sleep(fault.delayMs, stopping.signal);
    if (fault?.hang) return;
    if (fault?.cut === "before") return void request.socket.destroy();
    if (fault?.status) return send(response, problem(fault.status, "a fault on order"), fault.retryAfter);
    const reply = await act(route, body);
    if (fault) return sendWrongly(request, response, reply, fault);
    send(response, reply);
  }

  function act(route: Route, body: Uint8Array): Promise<Reply> | Reply {
    switch (route.call) {
      case "projects":
        return { status: 200, json: projects() };
      case "upload":
      case "extract":
        return submit(route, body);
      case "run":
        return start(route, body);
      case "poll":
        return look(route);
    }
  }

  function projects(): unknown {
    const names = new Set(["sandbox", ...rows.all().map((row) => row.project)]);
    return [...names].map((name) => ({ id: uuidOf(name), name, created_at: startedAt.toISOString() }));
  }

  async function submit(route: Route, body: Uint8Array): Promise<Reply> {
    const json = parsed(body);
    if (json === undefined) return problem(400, "Bad or malformed request: the body is not JSON");
    const submission = readSubmission(json);
    if (typeof submission === "string") return problem(400, `Bad or malformed request: ${submission}`);
    const row = rows.add(route, submission);
    if (route.call === "extract") return { status: 200, json: await rows.read(row) };
    done.uploads += 1;
    return { status: 201, json: { row_id: row.id } };
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
    return { status: 202, json: { run_id: rows.start(row, zeroRetention).id } };
  }

  async function look(route: Route): Promise<Reply> {
    const run = rows.run(route, route.run.toLowerCase());
    if (run === null) return problem(404, "no such run in this table");
    done.polls += 1;
    return { status: 200, json: await rows.look(run) };
  }

  function control(request: IncomingMessage, pathname: string, body: Uint8Array | "too-long"): Reply {
    if (!isLoopback(request.socket.remoteAddress)) return problem(403, "only from this machine");
    const asked = `${request.method} ${pathname}`;
    if (asked === "GET /_sandbox/counts") return { status: 200, json: counts() };
    if (asked === "DELETE /_sandbox/faults") {
      faults.clear();
      return { status: 200, json: {} };
    }
    if (asked !== "POST /_sandbox/faults" || body === "too-long") return problem(404, "no such control");
    try {
      const json = parsed(body);
      for (const rule of Array.isArray(json) ? json : [json]) faults.add(rule);
      return { status: 200, json: {} };
    } catch (thrown) {
      return problem(400, reasonOf(thrown));
    }
  }

  const server = createServer((request, response) => {
    serve(request, response).catch((thrown) => send(response, problem(500, reasonOf(thrown))));
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) => {
      const advice = "choose another port";
      reject(new Fault("sandbox.listen", `the sandbox cannot listen on ${host}:${options.port}: ${reasonOf(cause)}`, { advice, cause }));
    });
    server.listen(options.port, host, resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://${host.includes(":") ? `[${host}]` : host}:${port}/api`,
    port,
    faults,
    counts,
    stop: async () => {
      stopping.abort();
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

type Route = Place & { readonly call: Call; readonly run: string };

const NOWHERE = { project: "", table: "", run: "" };

function routeOf(method: string, pathname: string): Route | Reply {
  if (pathname === "/api/projects") return method === "GET" ? { call: "projects", ...NOWHERE } : problem(405, "expected GET");
  const match = /^\/api\/projects\/([^/]+)\/tables\/([^/]+)\/(files|run|extract)(?:\/([^/]+))?$/.exec(pathname);
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
  return { status, json: { errorMessage } };
}

function send(response: ServerResponse, { status, json }: Reply, retryAfter?: number): void {
  if (response.headersSent) return void response.destroy();
  const wait = retryAfter === undefined ? {} : { "retry-after": String(retryAfter) };
  response.writeHead(status, { "content-type": "application/json", ...wait }).end(JSON.stringify(json));
}

function sendWrongly(request: IncomingMessage, response: ServerResponse, reply: Reply, fault: FaultNow): void {
  const text = JSON.stringify(reply.json);
  const type = { "content-type": "application/json" };
  if (fault.cut === "after") {
    request.socket.destroy();
  } else if (fault.cut === "body") {
    response.writeHead(reply.status, { ...type, "content-length": Buffer.byteLength(text) });
    response.write(text.slice(0, text.length / 2), () => request.socket.destroy());
  } else if (fault.html) {
    response.writeHead(200, { "content-type": "text/html" }).end("<!doctype html><title>One moment</title>");
  } else if (fault.wrongJson) {
    response.writeHead(reply.status, type).end(text.slice(0, -1));
  } else {
    send(response, reply);
  }
}

/** The whole body; what is too long is read to its end all the same, so that the client can read the answer. */
async function readBody(request: IncomingMessage, most: number): Promise<Uint8Array | "too-long" | "cut"> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of request) {
      size += chunk.length;
      if (size <= most) chunks.push(chunk);
      else chunks.length = 0;
    }
  } catch {
    return "cut";
  }
  return size > most ? "too-long" : Buffer.concat(chunks);
}

function parsed(body: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(body).toString("utf8"));
  } catch {
    return undefined;
  }
}

function sameKey(given: string | string[] | undefined, key: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return typeof given === "string" && timingSafeEqual(digest(given), digest(key));
}

function isLoopback(address: string | undefined): boolean {
  return address === "::1" || /^(::ffff:)?127\./.test(address ?? "");
}

/** The same project keeps its id. */
function uuidOf(name: string): string {
  const hex = createHash("sha256").update(name).digest("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}
