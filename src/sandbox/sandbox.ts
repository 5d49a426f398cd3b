/** The sandbox: a server that keeps both services' HTTP contracts and answers from the bytes it was sent. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Clock } from "../base/clock.ts";
import { Fault, reasonOf } from "../base/errors.ts";
import { type CloudsquidCounts, createCloudsquidService } from "./cloudsquid.ts";
import { type Asked, htmlReply, jsonReply, parsed, type Reply, readBody, type Service, send, sendWrongly } from "./exchange.ts";
import { createExtendService, type ExtendCounts } from "./extend.ts";
import { createFaults, type FaultNow, type FaultRule } from "./faults.ts";
import type { Pace } from "./pace.ts";
import { createSigner } from "./signer.ts";

export type SandboxOptions = {
  /** 0 picks a free one. */
  readonly port: number;
  /** 127.0.0.1 unless said otherwise. */
  readonly host?: string;
  /** For both services. */
  readonly apiKey: string;
  /** The projects Cloudsquid's half lists besides those that were used, all of which it takes; `sandbox` unless said otherwise. */
  readonly projects?: readonly string[];
  /** How long a run waits (`pending`, PENDING), then is worked on (`running`, PROCESSING). */
  readonly pace?: Pace;
  readonly clock: Clock;
  /** A longer request is answered 413; 64 MB unless said otherwise. */
  readonly maxRequestBytes?: number;
};

/** What Cloudsquid's half saw, and beside it what Extend's half saw. */
export type Counts = CloudsquidCounts & { readonly extend: ExtendCounts };

export type Sandbox = {
  /** Cloudsquid's, with the base path: `http://127.0.0.1:8080/api`. */
  readonly url: string;
  /** Extend's: `http://127.0.0.1:8080`. */
  readonly extendUrl: string;
  readonly port: number;
  /** The same as `POST` and `DELETE /_sandbox/faults`. */
  readonly faults: { readonly add: (rule: FaultRule) => void; readonly clear: () => void };
  /** The same as `GET /_sandbox/counts`. */
  readonly counts: () => Counts;
  /** Cuts every connection. */
  readonly stop: () => Promise<void>;
};

const MOST_KEPT = 10_000;
const REQUEST_BYTES = 64 * 1024 * 1024;

/** What was sent lives in memory, the oldest is forgotten first, and all of it is gone when it stops. */
export async function startSandbox(options: SandboxOptions): Promise<Sandbox> {
  const {
    clock,
    apiKey,
    projects = ["sandbox"],
    host = "127.0.0.1",
    pace = { pendingMs: 300, runningMs: 700 },
    maxRequestBytes = REQUEST_BYTES,
  } = options;
  const faults = createFaults();
  const stopping = new AbortController();
  let origin = "";
  const signer = createSigner(clock, () => origin);
  const kept = { projects, clock, apiKey, pace, signer, mostKept: MOST_KEPT, mostBytes: 8 * maxRequestBytes };
  const cloudsquid = createCloudsquidService(kept);
  const extend = createExtendService({ ...kept, faults, stopping: stopping.signal });

  const counts = (): Counts => ({ ...cloudsquid.counts(), extend: extend.counts() });

  function serviceAt(path: string): Service {
    return path === "/api" || path.startsWith("/api/") ? cloudsquid : extend;
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname: path, searchParams: query } = new URL(request.url ?? "/", "http://sandbox");
    const body = await readBody(request, maxRequestBytes);
    if (body === "cut") return;
    const asked: Asked = { method: request.method ?? "", path, query, headers: request.headers, body };
    if (path.startsWith("/_sandbox/")) return send(response, control(asked, request.socket.remoteAddress));
    const service = serviceAt(path);
    const routed = service.route(asked);
    if ("status" in routed) return send(response, routed);

    const fault = faults.take(routed.call);
    if (fault?.delayMs) await clock.sleep(fault.delayMs, stopping.signal);
    if (fault?.hang) return;
    if (fault?.cut === "before") return void request.socket.destroy();
    if (fault?.status) return send(response, comeBackLater(ordered(service, fault.status, fault), fault));
    if (fault?.errorIn200) return send(response, { ...ordered(service, 500, fault), status: 200 });
    const reply = await routed.act(fault);
    if (fault?.thenStatus && reply.status < 400) {
      return send(response, comeBackLater(ordered(service, fault.thenStatus, fault), fault));
    }
    if (fault) return sendWrongly(request, response, reply, fault);
    send(response, reply);
  }

  function ordered(service: Service, status: number, fault: FaultNow): Reply {
    return fault.html ? htmlReply(status) : service.problem(status, "a fault on order", fault);
  }

  function comeBackLater(reply: Reply, { retryAfter, rateLimitReset }: FaultNow): Reply {
    const nowSeconds = Math.floor(clock.now().getTime() / 1_000);
    return {
      ...reply,
      headers: {
        ...reply.headers,
        ...(retryAfter === undefined ? {} : { "retry-after": String(retryAfter) }),
        ...(rateLimitReset === undefined ? {} : { "x-ratelimit-reset": String(nowSeconds + rateLimitReset) }),
      },
    };
  }

  function control({ method, path, body }: Asked, from: string | undefined): Reply {
    const problem = (status: number, errorMessage: string) => jsonReply(status, { errorMessage });
    if (!isLoopback(from)) return problem(403, "only from this machine");
    const asked = `${method} ${path}`;
    if (asked === "GET /_sandbox/counts") return jsonReply(200, counts());
    if (asked === "DELETE /_sandbox/faults") {
      faults.clear();
      return jsonReply(200, {});
    }
    if (asked !== "POST /_sandbox/faults" || body === "too-long") return problem(404, "no such control");
    try {
      const json = parsed(body);
      for (const rule of Array.isArray(json) ? json : [json]) faults.add(rule);
      return jsonReply(200, {});
    } catch (thrown) {
      return problem(400, reasonOf(thrown));
    }
  }

  const server = createServer((request, response) => {
    serve(request, response).catch((thrown) => send(response, serviceAt(request.url ?? "").problem(500, reasonOf(thrown))));
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) => {
      const advice = "choose another port";
      reject(new Fault("sandbox.listen", `the sandbox cannot listen on ${host}:${options.port}: ${reasonOf(cause)}`, { advice, cause }));
    });
    server.listen(options.port, host, resolve);
  });
  const { port } = server.address() as AddressInfo;
  origin = new URL(`http://${host.includes(":") ? `[${host}]` : host}:${port}`).origin;
  return {
    url: `${origin}/api`,
    extendUrl: origin,
    port,
    faults,
    counts,
    stop: async () => {
      stopping.abort();
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await Promise.all([closed, extend.close()]);
    },
  };
}

function isLoopback(address: string | undefined): boolean {
  return address === "::1" || /^(::ffff:)?127\./.test(address ?? "");
}
