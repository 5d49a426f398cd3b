/** The HTTP door: what a failure says about the request having been acted upon, deadlines, limits, streaming. */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createServer, type Server, type Socket } from "node:net";
import { setImmediate as turn } from "node:timers/promises";
import { createServer as createTls } from "node:tls";
import { afterEach, describe, expect, test } from "vitest";
import { Fault } from "../../src/base/errors.ts";
import { createHttp, type Http, type HttpOptions, type HttpRequest, retryAfter } from "../../src/http/http.ts";
import { type ScriptedHttp, startScriptedHttp } from "../servers/scripted-http.ts";

const never = new AbortController().signal;
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

function client(options: Partial<HttpOptions> = {}): Http {
  const http = createHttp({ name: "service", connections: 4, timeoutMs: 5_000, ...options });
  cleanups.push(http.close);
  return http;
}

async function scripted(answer: Parameters<typeof startScriptedHttp>[0]): Promise<ScriptedHttp> {
  const server = await startScriptedHttp(answer);
  cleanups.push(server.stop);
  return server;
}

/** A TCP server that does with each connection what the test says. */
async function sockets(behave: (socket: Socket) => void): Promise<{ url: string; server: Server }> {
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    open.add(socket.on("error", () => {}));
    behave(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanups.push(async () => {
    for (const socket of open) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/here?token=secret`, server };
}

async function faultOf(call: Promise<unknown>): Promise<Fault> {
  const thrown = await call.then(
    () => null,
    (error: unknown) => error,
  );
  if (!(thrown instanceof Fault)) throw new Error(`expected a Fault, got ${String(thrown)}`);
  return thrown;
}

const post = (url: string, body: HttpRequest["body"] = Buffer.from("{}")): HttpRequest => ({
  method: "POST",
  url,
  headers: { "x-api-key": "hidden" },
  ...(body ? { body } : {}),
});

describe("an answer", () => {
  test("of any status resolves, redirects included, with its headers and bytes", async () => {
    const server = await scripted((_, response) => {
      response.writeHead(302, { Location: "/elsewhere", "x-many": ["a", "b"] }).end("gefüllt");
    });
    const answer = await client().call({ method: "GET", url: server.url, headers: {} }, never);
    expect(answer.status).toBe(302);
    expect(answer.headers).toMatchObject({ location: "/elsewhere", "x-many": "a, b" });
    expect(answer.text()).toBe("gefüllt");
    expect(server.asked).toHaveLength(1);
  });

  test("a body is streamed with its exact length", async () => {
    const server = await scripted((_, response) => response.end());
    const body = {
      length: 6,
      open: async function* () {
        for (const text of ["ab", "", "cde", "f"]) yield Buffer.from(text);
      },
    };
    await client().call(post(server.url, body), never);
    expect(server.asked[0]?.body.toString()).toBe("abcdef");
    expect(server.asked[0]?.headers["content-length"]).toBe("6");
    expect(server.asked[0]?.headers["transfer-encoding"]).toBeUndefined();
  });

  test("that comes before the body was sent is the answer", async () => {
    const { url } = await sockets((socket) => {
      socket.once("data", () => socket.write("HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"));
    });
    const endless = {
      length: 1e12,
      open: async function* () {
        for (;;) {
          await turn();
          yield Buffer.alloc(1_000);
        }
      },
    };
    expect((await client().call(post(url, endless), never)).status).toBe(413);
  });

  const BREAKS: readonly [string, string, (socket: Socket) => void][] = [
    ["breaks off", "content-length: 100", (socket) => socket.end()],
    ["is late", "content-length: 100", () => {}],
    ["never ends", "transfer-encoding: chunked", () => {}],
    ["is garbled", "transfer-encoding: chunked", (socket) => socket.write("no length\r\n")],
  ];
  test.each(BREAKS)("of which the beginning is enough, and which %s, is its beginning", async (_, field, then) => {
    const { url } = await sockets((socket) =>
      socket.once("data", () => {
        const begun = field.startsWith("content") ? "begun" : "5\r\nbegun\r\n";
        socket.write(`HTTP/1.1 201 Created\r\nx-id: 7\r\n${field}\r\n\r\n${begun}`, () => then(socket));
      }),
    );
    const answer = await client({ timeoutMs: 500 }).call({ ...post(url), beginningOnly: true }, never);
    expect([answer.status, answer.headers["x-id"], answer.text()]).toEqual([201, "7", "begun"]);
  });

  test("of which the beginning is enough is none before the request was sent whole", async () => {
    const { url } = await sockets((socket) =>
      socket.once("data", () => {
        socket.write("HTTP/1.1 201 Created\r\ncontent-length: 100\r\n\r\nbegun", () => socket.destroy());
      }),
    );
    const endless = {
      length: 1e12,
      open: async function* () {
        for (;;) {
          await turn();
          yield Buffer.alloc(1_000);
        }
      },
    };
    const fault = await faultOf(client().call({ ...post(url, endless), beginningOnly: true }, never));
    expect(fault.code).toBe("http.interrupted");
  });

  test("backpressure: a server that does not read is not sent more than sockets hold", async () => {
    let yielded = 0;
    const { url } = await sockets((socket) => socket.pause());
    const body = {
      length: 1e9,
      open: async function* () {
        for (; yielded < 1e9; yielded += 65_536) yield Buffer.alloc(65_536);
      },
    };
    const fault = await faultOf(client({ timeoutMs: 400 }).call(post(url, body), never));
    expect(fault.code).toBe("http.interrupted");
    expect(yielded).toBeLessThan(32 * 1024 * 1024);
  });
});

describe("a failure says whether the request can have been acted upon", () => {
  test("connection refused, unknown name: http.unreachable", async () => {
    const { url, server } = await sockets(() => {});
    await new Promise((resolve) => server.close(resolve));
    cleanups.length = 0;
    for (const address of [url, "http://nowhere.invalid/here?token=secret"]) {
      const fault = await faultOf(client().call(post(address), never));
      expect(fault).toMatchObject({ code: "http.unreachable", temporary: true });
    }
  });

  test("no TLS on the other side, or TLS that fails: http.unreachable", async () => {
    const plain = await sockets((socket) => socket.end("hello\r\n"));
    const tls = createTls({}, () => {});
    tls.listen(0, "127.0.0.1");
    await once(tls, "listening");
    cleanups.push(() => new Promise((resolve) => tls.close(resolve)));
    const noCertificate = `https://127.0.0.1:${(tls.address() as AddressInfo).port}/`;
    for (const url of [plain.url.replace("http:", "https:"), noCertificate]) {
      expect((await faultOf(client().call(post(url), never))).code).toBe("http.unreachable");
    }
  });

  test("a connection that is never made: http.interrupted at the deadline, and nothing was opened", async () => {
    let opened = 0;
    const { url } = await sockets(() => {});
    const http = client({ connections: 1, timeoutMs: 300 });
    const body = {
      length: 1,
      open: async function* () {
        opened += 1;
        yield Buffer.from("x");
      },
    };
    const first = faultOf(http.call(post(url), never));
    const queued = faultOf(http.call(post(url, body), never));
    expect((await first).code).toBe("http.ambiguous");
    expect((await queued).code).toBe("http.interrupted");
    expect(opened).toBe(0);
  });

  test("cut while the body is being sent: http.interrupted", async () => {
    const { url } = await sockets((socket) => socket.once("data", () => socket.destroy()));
    const body = {
      length: 1e9,
      open: async function* () {
        for (;;) {
          await turn();
          yield Buffer.alloc(1_000);
        }
      },
    };
    expect((await faultOf(client().call(post(url, body), never))).code).toBe("http.interrupted");
  });

  test("cut, silent or cut off after the body was sent: http.ambiguous", async () => {
    const behaviours: ((socket: Socket) => void)[] = [
      (socket) => socket.destroy(),
      () => {},
      (socket) => socket.write("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{", () => socket.destroy()),
      (socket) => socket.write("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"),
      (socket) => socket.write("SSH-2.0-OpenSSH\r\n"),
    ];
    for (const behave of behaviours) {
      const { url } = await sockets((socket) => socket.once("data", () => behave(socket)));
      const fault = await faultOf(client({ timeoutMs: 300 }).call(post(url), never));
      expect(fault).toMatchObject({ code: "http.ambiguous", temporary: true });
    }
  });

  test("the same for a GET is never ambiguous: http.interrupted", async () => {
    const { url } = await sockets((socket) => socket.once("data", () => socket.destroy()));
    expect((await faultOf(client().call({ method: "GET", url, headers: {} }, never))).code).toBe("http.interrupted");
  });

  test("a body without end is cut at the deadline", async () => {
    const { url } = await sockets((socket) => {
      socket.once("data", () => {
        socket.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        const drip = setInterval(() => socket.write("1\r\nx\r\n"), 20);
        socket.on("close", () => clearInterval(drip));
      });
    });
    const fault = await faultOf(client({ timeoutMs: 300 }).call(post(url), never));
    expect(fault).toMatchObject({ code: "http.ambiguous", message: expect.stringContaining("within 300 ms") });
  });

  test("an answer over the limit is cut", async () => {
    const server = await scripted((_, response) => response.end(Buffer.alloc(2_000)));
    const fault = await faultOf(client({ maxResponseBytes: 1_000 }).call(post(server.url), never));
    expect(fault).toMatchObject({ code: "http.ambiguous", message: expect.stringContaining("longer than 1000 bytes") });
  });

  test("stopped by the caller: http.stopped before, http.ambiguous after it was sent", async () => {
    const before = await faultOf(client().call(post("http://127.0.0.1:9/"), AbortSignal.abort()));
    expect(before.code).toBe("http.stopped");

    const stop = new AbortController();
    const { url } = await sockets((socket) => socket.once("data", () => stop.abort()));
    expect((await faultOf(client().call(post(url), stop.signal))).code).toBe("http.ambiguous");
  });

  test("what the body's stream throws comes through as it is", async () => {
    const server = await scripted((_, response) => response.end());
    const broken = new Fault("spool.missing", "the file is gone", { temporary: false });
    const body = {
      length: 10,
      // biome-ignore lint/correctness/useYield: it fails before it yields
      open: async function* () {
        throw broken;
      },
    };
    expect(await faultOf(client().call(post(server.url, body), never))).toBe(broken);
  });

  test("a body of another length than announced is a permanent fault, and no complete request", async () => {
    const server = await scripted((_, response) => response.end());
    for (const length of [2, 4]) {
      const body = {
        length,
        open: async function* () {
          yield Buffer.from("abc");
        },
      };
      expect(await faultOf(client().call(post(server.url, body), never))).toMatchObject({ code: "http.body-length", temporary: false });
    }
    expect(server.asked).toHaveLength(0);
  });

  test("a fault names method and origin, never path, query, headers or body", async () => {
    const { url } = await sockets((socket) => socket.destroy());
    const { message } = await faultOf(client().call(post(url, Buffer.from("private")), never));
    expect(message).toMatch(/^service: POST http:\/\/127\.0\.0\.1:\d+: /);
    expect(message).not.toMatch(/here|secret|hidden|private/);
  });

  test("after close, and while closing, calls fail and nothing hangs", async () => {
    const { url } = await sockets((socket) => socket.once("data", () => void http.close()));
    const http = client();
    expect((await faultOf(http.call(post(url), never))).code).toBe("http.ambiguous");
    await faultOf(http.call(post(url), never));
  });
});

describe("Retry-After", () => {
  const now = new Date("2026-05-04T10:00:00Z");
  test.each([
    ["120", "2026-05-04T10:02:00.000Z"],
    ["0", "2026-05-04T10:00:00.000Z"],
    ["Mon, 04 May 2026 10:00:30 GMT", "2026-05-04T10:00:30.000Z"],
    ["Mon, 04 May 2020 10:00:30 GMT", "2026-05-04T10:00:00.000Z"],
    ["99999999999999999999999", "2026-05-05T10:00:00.000Z"],
  ])("%s", (value, at) => {
    expect(retryAfter({ "retry-after": value }, now)?.toISOString()).toBe(at);
  });
  test.each([
    ["1777888830", undefined, "2026-05-04T10:00:30.000Z"],
    ["1777888830", "soon", "2026-05-04T10:00:30.000Z"],
    ["1777888830", "5", "2026-05-04T10:00:05.000Z"],
    ["1000000000", undefined, "2026-05-04T10:00:00.000Z"],
    ["99999999999999999999999", undefined, "2026-05-05T10:00:00.000Z"],
  ])("X-RateLimit-Reset: %s with Retry-After: %s", (reset, wait, at) => {
    const headers = { "x-ratelimit-reset": reset, ...(wait === undefined ? {} : { "retry-after": wait }) };
    expect(retryAfter(headers, now)?.toISOString()).toBe(at);
  });
  test("is obeyed for as long as the caller says; X-RateLimit-Reset, which is no standard, for a day", () => {
    const week = 7 * 86_400_000;
    const waited = (headers: Record<string, string>) => (retryAfter(headers, now, week)?.getTime() ?? 0) - now.getTime();
    expect(waited({ "retry-after": "172800" })).toBe(2 * 86_400_000);
    expect(waited({ "retry-after": "9999999" })).toBe(week);
    expect(waited({ "x-ratelimit-reset": "99999999999" })).toBe(86_400_000);
  });
  test.each(["", "soon", "-5", "1.5", "tomorrow GMT"])("%s says nothing", (value) => {
    expect(retryAfter({ "retry-after": value, "x-ratelimit-reset": value }, now)).toBeNull();
  });
});
