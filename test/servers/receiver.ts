/** A receiver of webhooks over real sockets, which takes deliveries, or fails in the way it is told. */
import { createHmac } from "node:crypto";
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { Webhook } from "standardwebhooks";

export type Taken = { readonly id: string; readonly headers: IncomingHttpHeaders; readonly path: string; readonly body: Buffer };

export type Receiver = {
  /** With a query that holds a secret. */
  readonly url: string;
  readonly port: number;
  /** What was accepted, in order. */
  readonly taken: readonly Taken[];
  /** Requests whose head came, accepted or not. */
  readonly asked: readonly IncomingHttpHeaders[];
  /** Connections so far. */
  readonly connections: () => number;
  /** How it behaves from now on. */
  readonly behave: (way: Way) => void;
  /** Takes no more connections, until it is opened again at the same port. */
  readonly shut: () => Promise<void>;
  readonly open: () => Promise<void>;
  readonly stop: () => Promise<void>;
};

/** What must never be seen in a fault or a receipt. */
export const LOCATION_SECRET = "secret-in-the-location";
const QUERY = "?key=secret-in-the-query";

export type Options = {
  readonly tls?: { readonly key: string; readonly cert: string; readonly ca: string; readonly requestCert: boolean };
  /** With which each delivery must be signed. */
  readonly secrets?: readonly string[];
  /** What a 2xx says. */
  readonly answer?: (taken: Taken) => { readonly status?: number; readonly body: string | Buffer };
};

type Behaviour = (request: IncomingMessage, response: ServerResponse, take: () => Promise<void>) => Promise<unknown> | unknown;

const status =
  (code: number, headers: Record<string, string> = {}): Behaviour =>
  async (request, response) => {
    await bytesOf(request);
    response.writeHead(code, headers).end("strictly confidential: the mail repeated");
  };
const location = { location: `https://user:${LOCATION_SECRET}@elsewhere.example/login?key=${LOCATION_SECRET}#${LOCATION_SECRET}` };

/** By name: all it can do besides taking a delivery. */
export const WAYS = {
  "answers 301": status(301, location),
  "answers 302 to nowhere": status(302, { location: "javascript:alert(1)" }),
  "answers 304": status(304),
  "answers 308": status(308, location),
  "answers 400": status(400),
  "answers 401": status(401, { "www-authenticate": "Bearer" }),
  "answers 403": status(403),
  "answers 404": status(404),
  "answers 408": status(408),
  "answers 410": status(410),
  "answers 413 before it has read": (_, response) => response.writeHead(413, { connection: "close" }).end(),
  "answers 422": status(422),
  "answers 425": status(425),
  "answers 429": status(429, { "retry-after": "120" }),
  "answers 500": status(500),
  "answers 502": status(502),
  "answers 503": status(503, { "retry-after": "600" }),
  "answers 599": status(599),
  "answers with a status that is none": async (request) => {
    await bytesOf(request);
    request.socket.end("HTTP/1.1 999 What\r\ncontent-length: 0\r\n\r\n");
  },
  "hangs up on the head": (request) => request.socket.resetAndDestroy(),
  "hangs up in the body": (request) => request.once("data", () => request.socket.resetAndDestroy()),
  "speaks another protocol": async (request) => {
    await bytesOf(request);
    request.socket.end("SSH-2.0-OpenSSH\r\n");
  },
  "takes it and hangs up": async (request, _, take) => {
    await take();
    request.socket.resetAndDestroy();
  },
  "takes it and answers half": async (request, response, take) => {
    await take();
    response.writeHead(200, { "content-length": "100" }).write("{", () => request.socket.destroy());
  },
  "takes it and answers without end, slowly": async (_, response, take) => {
    await take();
    response.writeHead(200);
    const drip = setInterval(() => response.write("."), 20);
    response.once("close", () => clearInterval(drip));
  },
  "takes it and never answers": async (_request, _response, take) => take(),
  "never reads": (request) => request.pause(),
} as const satisfies Readonly<Record<string, Behaviour>>;

export type Way = keyof typeof WAYS | "takes it";

export async function startReceiver({ tls, secrets = [], answer }: Options = {}): Promise<Receiver> {
  const taken: Taken[] = [];
  const asked: IncomingHttpHeaders[] = [];
  const sockets = new Set<Socket>();
  let connections = 0;
  let way: Way = "takes it";

  async function take(request: IncomingMessage): Promise<Taken> {
    const body = await bytesOf(request);
    for (const secret of secrets) verify(secret, request.headers, body);
    const one = { id: String(request.headers["idempotency-key"]), headers: request.headers, path: request.url ?? "", body };
    taken.push(one);
    return one;
  }
  const listener = async (request: IncomingMessage, response: ServerResponse) => {
    asked.push(request.headers);
    request.on("error", () => {});
    try {
      if (way !== "takes it") return await WAYS[way](request, response, async () => void (await take(request)));
      const one = await take(request);
      const { status = 202, body } = answer?.(one) ?? { body: '{"id":"r-1"}' };
      response.writeHead(status, { "content-type": "application/json" }).end(body);
    } catch (thrown) {
      if (!request.complete) return;
      response.writeHead(418).end(String(thrown));
    }
  };
  const server = tls ? createTlsServer({ ...tls, rejectUnauthorized: true }, listener) : createServer(listener);
  server.on("connection", (socket: Socket) => {
    connections += 1;
    sockets.add(socket.on("error", () => {}).once("close", () => sockets.delete(socket)));
  });
  const listen = (port: number) => new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  const shut = async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  await listen(0);
  const { port } = server.address() as AddressInfo;
  return {
    url: `${tls ? "https" : "http"}://127.0.0.1:${port}/invoices${QUERY}`,
    port,
    taken,
    asked,
    connections: () => connections,
    behave: (next) => {
      way = next;
    },
    shut,
    open: () => listen(port),
    stop: async () => {
      if (server.listening) await shut();
    },
  };
}

/** By the bytes, and by the reference library too where the body is text: it reads every body as UTF-8. */
function verify(secret: string, headers: IncomingHttpHeaders, body: Buffer): void {
  const said = headers as Record<string, string>;
  const mac = createHmac("sha256", Buffer.from(secret.slice("whsec_".length), "base64"));
  const expected = mac.update(`${said["webhook-id"]}.${said["webhook-timestamp"]}.`).update(body).digest("base64");
  if (!said["webhook-signature"]?.split(" ").includes(`v1,${expected}`)) throw new Error("the signature is wrong");
  if (Buffer.from(body.toString()).equals(body)) new Webhook(secret).verify(body, said, { jsonParse: false });
}

async function bytesOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks);
}
