/** One exchange over HTTP: the request read whole, the reply sent as it is or, on order, wrongly. */
import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Call, FaultNow } from "./faults.ts";

export type Asked = {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  readonly body: Uint8Array<ArrayBuffer> | "too-long";
};

export type Reply = {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: { readonly [name: string]: string };
  readonly body: string | Uint8Array;
};

/** A call that may be made, and how it is done. The fault is the one on order, for those that change what is done. */
export type Doing = { readonly call: Call; readonly act: (fault: FaultNow | null) => Reply | Promise<Reply> };

/** One half of the sandbox. */
export type Service = {
  /** Checks the key and finds what is asked for; or the refusal. */
  readonly route: (asked: Asked) => Doing | Reply;
  /** An error in the service's own shape. */
  readonly problem: (status: number, message: string, fault?: FaultNow) => Reply;
};

export function jsonReply(status: number, value: unknown, headers: Reply["headers"] = {}): Reply {
  return { status, headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(value) };
}

/** What a proxy on the way says, in words of its own. */
export function htmlReply(status: number): Reply {
  return { status, headers: { "content-type": "text/html" }, body: "<!doctype html><title>One moment</title>" };
}

/** The whole body; what is too long is read to its end all the same, so that the client can read the answer. */
export async function readBody(request: IncomingMessage, most: number): Promise<Uint8Array<ArrayBuffer> | "too-long" | "cut"> {
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

/** Undefined when it is not JSON. */
export function parsed(body: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(body).toString("utf8"));
  } catch {
    return undefined;
  }
}

export function sameText(given: string | string[] | null | undefined, expected: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return typeof given === "string" && timingSafeEqual(digest(given), digest(expected));
}

export function send(response: ServerResponse, { status, headers, body }: Reply): void {
  if (response.headersSent) return void response.destroy();
  response.writeHead(status, headers).end(body);
}

const HUGE_BYTES = 300 * 1024 * 1024;

/** The reply, spoiled the way the fault says. */
export async function sendWrongly(request: IncomingMessage, response: ServerResponse, reply: Reply, fault: FaultNow): Promise<void> {
  const bytes = Buffer.from(reply.body);
  const half = bytes.subarray(0, bytes.length / 2);
  if (fault.cut === "after") {
    request.socket.destroy();
  } else if (fault.cut === "body") {
    response.writeHead(reply.status, { ...reply.headers, "content-length": bytes.length });
    response.write(half, () => request.socket.destroy());
  } else if (fault.html) {
    send(response, htmlReply(200));
  } else if (fault.wrongJson) {
    response.writeHead(reply.status, reply.headers).end(bytes.subarray(0, -1));
  } else if (fault.neverEnding) {
    response.writeHead(reply.status, reply.headers).write(half);
  } else if (fault.hugeBody) {
    response.writeHead(reply.status, reply.headers);
    await pipeline(Readable.from(hugeJson()), response).catch(() => {});
  } else {
    send(response, reply);
  }
}

function* hugeJson(): Generator<string> {
  const padding = "x".repeat(1024 * 1024);
  yield '{"padding":"';
  for (let sent = 0; sent < HUGE_BYTES; sent += padding.length) yield padding;
  yield '"}';
}
