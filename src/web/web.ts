/** The web server of the daemon: where webhooks come in, health is asked after, and its page is served. Loopback unless its owner says otherwise. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { pipeline, Readable } from "node:stream";
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
  /** One that ends in a slash stands for everything below it that has no longer one. */
  readonly path: string;
  readonly answer: (request: RouteRequest, signal: AbortSignal) => Promise<Reply>;
};

export type RouteRequest = {
  readonly rest: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage["headers"];
  /** The address it came from: that of a proxy where there is one. */
  readonly from: string;
  /**
   * Reads the body: not before the route knows that it wants it. Rejects with `web.too-large` beyond `most` bytes (1 MB unless less is
   * wanted), by the Content-Length where there is one; the answer is then 413, whatever the route makes of it.
   */
  readonly body: (most?: number) => Promise<Uint8Array>;
  /** Aborted when the whole answer was sent, or nobody is there to read it any more. */
  readonly gone: AbortSignal;
};

/** `bytes` are read as fast as they are taken, not at all for HEAD; `size` where it is known. */
export type Reply = { readonly status: number; readonly headers?: Readonly<Record<string, string | string[]>> } & (
  | { readonly json: unknown }
  | { readonly text: string; readonly type: string }
  | { readonly bytes: AsyncIterable<Uint8Array>; readonly type: string; readonly size?: number }
);

export type Web = { readonly port: number; readonly stop: () => Promise<void> };

/** Extend's webhooks are small, or hold a signed URL where their endpoint says so (`payload.format: url`); polling has the rest. */
const LARGEST_BODY = 1024 * 1024;
/** Before it is answered nobody is known: few connections, each for a short time. */
const CONNECTIONS = 32;
const REQUEST_MS = 10_000;
/** Who takes nothing of a stream for so long is cut off; of any other answer for as long as a request may take. */
const STALLED_MS = 60_000;
/** On one connection: answers to who asks on and on without reading wait in memory. */
const REQUESTS = 100;

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
    const gone = new AbortController();
    response.once("close", () => gone.abort());
    answer(request, routes, stopping.signal, gone.signal)
      .catch((thrown: unknown): Reply => {
        // A client that goes away in the middle of its own body is no trouble of ours.
        if (!request.destroyed || request.complete) trouble(thrown);
        return { status: 500, json: { error: "billhook could not answer; see its log" } };
      })
      .then((reply) => {
        response.setTimeout("bytes" in reply ? STALLED_MS : requestMs, () => response.destroy());
        send(request, response, reply, trouble);
      })
      .catch(() => response.destroy());
  });
  server.maxConnections = CONNECTIONS;
  server.maxRequestsPerSocket = REQUESTS;
  server.on("dropRequest", (_, socket) => socket.destroy());
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

async function answer(request: IncomingMessage, routes: readonly Route[], signal: AbortSignal, gone: AbortSignal): Promise<Reply> {
  const url = URL.parse(request.url ?? "/", "http://localhost");
  const path = url?.pathname ?? "/";
  const matching = routes.filter((route) => (route.path.endsWith("/") ? path.startsWith(route.path) : path === route.path));
  const longest = Math.max(...matching.map((route) => route.path.length));
  const there = matching.filter((route) => route.path.length === longest);
  if (there.length === 0) return { status: 404, json: { error: "not here" } };
  const route = there.find(({ method }) => METHODS[method].includes(request.method ?? ""));
  if (route === undefined) {
    const allow = there.flatMap(({ method }) => METHODS[method]).join(", ");
    return { status: 405, json: { error: "method not allowed" }, headers: { allow } };
  }
  let isTooLarge = false;
  const body = async (most = LARGEST_BODY) => {
    const read = await bodyOf(request, most);
    isTooLarge = read === null;
    if (read === null) throw permanent("web.too-large", `the body of a request is longer than ${most} bytes`);
    return read;
  };
  const query = url?.searchParams ?? new URLSearchParams();
  const from = request.socket.remoteAddress ?? "";
  try {
    const reply = await route.answer({ rest: path.slice(route.path.length), query, headers: request.headers, from, body, gone }, signal);
    return isTooLarge ? TOO_LARGE : reply;
  } catch (thrown) {
    if (isTooLarge) return TOO_LARGE;
    throw thrown;
  }
}

const TOO_LARGE: Reply = { status: 413, json: { error: "the body is too large" } };

/** Null as soon as it is known to be too large. */
async function bodyOf(request: IncomingMessage, most: number): Promise<Uint8Array | null> {
  if (Number(request.headers["content-length"] ?? 0) > most) return null;
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > most) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function send(request: IncomingMessage, response: ServerResponse, reply: Reply, trouble: (thrown: unknown) => void): void {
  const common = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    // What was not read by now never will be.
    ...(request.complete ? {} : { connection: "close" }),
    ...reply.headers,
  };
  if ("bytes" in reply) {
    const length = reply.size === undefined ? {} : { "content-length": reply.size };
    response.writeHead(reply.status, { "content-type": reply.type, ...length, ...common });
    const bytes = Readable.from(reply.bytes, { objectMode: false });
    if (request.method === "HEAD") {
      bytes.destroy();
      response.end();
      return;
    }
    pipeline(bytes, response, (thrown) => {
      if (thrown && (thrown as NodeJS.ErrnoException).code !== "ERR_STREAM_PREMATURE_CLOSE") trouble(thrown);
    });
    return;
  }
  const [text, type] = "json" in reply ? [`${JSON.stringify(reply.json)}\n`, "application/json; charset=utf-8"] : [reply.text, reply.type];
  const body = Buffer.from(text);
  response.writeHead(reply.status, { "content-type": type, "content-length": body.length, ...common });
  response.end(body);
}
