/** The web server of the daemon: where webhooks come in, and health is asked after. Loopback unless its owner says otherwise. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { asFault, Fault, permanent, reasonOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";

export type WebOptions = {
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  readonly log: Logger;
  readonly routes: readonly Route[];
  /** How long a request may take to arrive whole, from when its connection was made; 10 s unless said otherwise. */
  readonly requestMs?: number;
};

/** Answers requests of one method; `rest` is what follows the path. What answers GET answers HEAD too (RFC 9110 section 9.1). */
export type Route = {
  readonly method: "GET" | "POST";
  /** One that ends in a slash stands for everything below it. */
  readonly path: string;
  readonly answer: (request: RouteRequest, signal: AbortSignal) => Promise<Reply>;
};

export type RouteRequest = {
  readonly rest: string;
  readonly headers: IncomingMessage["headers"];
  /**
   * Reads the body: not before the route knows that it wants it. Rejects with `web.too-large` beyond 1 MB, by the Content-Length
   * where there is one; the answer is then 413, whatever the route makes of it.
   */
  readonly body: () => Promise<Uint8Array>;
};

export type Reply = { readonly status: number; readonly headers?: Readonly<Record<string, string>> } & (
  | { readonly json: unknown }
  | { readonly text: string; readonly type: string }
);

export type Web = { readonly port: number; readonly stop: () => Promise<void> };

/** Extend's webhooks are small, or hold a signed URL where their endpoint says so (`payload.format: url`); polling has the rest. */
const LARGEST_BODY = 1024 * 1024;
/** Before it is answered nobody is known: few connections, each for a short time. */
const CONNECTIONS = 32;
const REQUEST_MS = 10_000;

const METHODS: Readonly<Record<Route["method"], readonly string[]>> = { GET: ["GET", "HEAD"], POST: ["POST"] };

/** Throws `web.port` when the port cannot be had. */
export async function startWeb({ host, port, log, routes, requestMs = REQUEST_MS }: WebOptions): Promise<Web> {
  const stopping = new AbortController();
  const trouble = (thrown: unknown) => {
    const fault = asFault(thrown, "web.failed");
    log.event("error", "web.trouble", { fault: fault.code, why: fault.message });
  };
  const patience = { requestTimeout: requestMs, headersTimeout: requestMs, connectionsCheckingInterval: requestMs / 10 };
  const server = createServer({ ...patience, keepAliveTimeout: 5_000 }, (request, response) => {
    answer(request, routes, stopping.signal)
      .catch((thrown: unknown): Reply => {
        // A client that goes away in the middle of its own body is no trouble of ours.
        if (!request.destroyed || request.complete) trouble(thrown);
        return { status: 500, json: { error: "billhook could not answer; see its log" } };
      })
      .then((reply) => send(request, response, reply))
      .catch(() => response.destroy());
  });
  server.maxConnections = CONNECTIONS;
  await new Promise<void>((resolve, reject) => {
    server.once("error", (thrown) =>
      reject(
        new Fault("web.port", `cannot listen on ${host}:${port}: ${reasonOf(thrown)}`, {
          advice: "choose another web.port, or stop what uses it",
          cause: thrown,
        }),
      ),
    );
    server.listen(port, host, resolve);
  });
  // One that nobody listens to would end the daemon: a connection that cannot be accepted is one.
  server.on("error", trouble);
  return {
    port: (server.address() as AddressInfo).port,
    stop: async () => {
      stopping.abort();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function answer(request: IncomingMessage, routes: readonly Route[], signal: AbortSignal): Promise<Reply> {
  const path = URL.parse(request.url ?? "/", "http://localhost")?.pathname ?? "/";
  const there = routes.filter((route) => (route.path.endsWith("/") ? path.startsWith(route.path) : path === route.path));
  if (there.length === 0) return { status: 404, json: { error: "not here" } };
  const route = there.find(({ method }) => METHODS[method].includes(request.method ?? ""));
  if (route === undefined) {
    const allow = there.flatMap(({ method }) => METHODS[method]).join(", ");
    return { status: 405, json: { error: "method not allowed" }, headers: { allow } };
  }
  let isTooLarge = false;
  const body = async () => {
    const read = await bodyOf(request);
    isTooLarge = read === null;
    if (read === null) throw permanent("web.too-large", `the body of a request is longer than ${LARGEST_BODY} bytes`);
    return read;
  };
  try {
    const reply = await route.answer({ rest: path.slice(route.path.length), headers: request.headers, body }, signal);
    return isTooLarge ? TOO_LARGE : reply;
  } catch (thrown) {
    if (isTooLarge) return TOO_LARGE;
    throw thrown;
  }
}

const TOO_LARGE: Reply = { status: 413, json: { error: "the body is too large" } };

/** Null as soon as it is known to be too large. */
async function bodyOf(request: IncomingMessage): Promise<Uint8Array | null> {
  if (Number(request.headers["content-length"] ?? 0) > LARGEST_BODY) return null;
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > LARGEST_BODY) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function send(request: IncomingMessage, response: ServerResponse, reply: Reply): void {
  const [text, type] = "json" in reply ? [`${JSON.stringify(reply.json)}\n`, "application/json; charset=utf-8"] : [reply.text, reply.type];
  const body = Buffer.from(text);
  response.writeHead(reply.status, {
    "content-type": type,
    "content-length": body.length,
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    // What was not read by now never will be.
    ...(request.complete ? {} : { connection: "close" }),
    ...reply.headers,
  });
  response.end(body);
}
