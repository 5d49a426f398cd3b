/** The web server alone, over real sockets: what it answers, what it cuts off, and what it says of it. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { describe, expect, onTestFinished, test } from "vitest";
import type { Fields, Logger } from "../../src/base/logger.ts";
import { type Route, startWeb, type WebOptions } from "../../src/web/web.ts";

type Line = { readonly name: string; readonly fields: Fields | undefined };

const echo: Route = {
  method: "POST",
  path: "/echo/",
  answer: async ({ rest, body }) => ({ status: 200, json: { rest, bytes: (await body()).length } }),
};
/** Refuses everybody, whatever they may have to say. */
const shut: Route = { method: "POST", path: "/shut/", answer: async () => ({ status: 401, json: { error: "not genuine" } }) };
/** Takes what goes wrong with a body for an answer of its own. */
const bold: Route = {
  method: "POST",
  path: "/bold/",
  answer: async ({ body }) => ({ status: 401, json: { read: await body().catch((thrown: { code: string }) => thrown.code) } }),
};
const broken: Route = {
  method: "POST",
  path: "/broken/",
  answer: async () => {
    throw new Error("the ledger is gone");
  },
};
const MB = 1024 * 1024;

async function stage(options: Partial<WebOptions> = {}) {
  const lines: Line[] = [];
  const log: Logger = { event: (_level, name, fields) => void lines.push({ name, fields }) };
  const web = await startWeb({ host: "127.0.0.1", port: 0, log, routes: [echo, broken, shut, bold], ...options });
  onTestFinished(web.stop);
  return { web, lines, url: `http://127.0.0.1:${web.port}` };
}

/** A client that says exactly these bytes; `closed` is all that came back. */
function raw(port: number, head: string): { readonly socket: Socket; readonly closed: Promise<string> } {
  const socket = connect(port, "127.0.0.1");
  onTestFinished(() => void socket.destroy());
  let said = "";
  socket.setEncoding("utf8").on("data", (chunk: string) => {
    said += chunk;
  });
  // Being cut off is what is asked for.
  socket.on("error", () => {});
  socket.write(head);
  return { socket, closed: new Promise((resolve) => socket.once("close", () => resolve(said))) };
}

describe("a request", () => {
  test("is answered by the route of its method and path, with what follows the path", async () => {
    const { url } = await stage();
    const answer = await fetch(`${url}/echo/some/where?x=1`, { method: "POST", body: "four" });
    expect([answer.status, await answer.json()]).toEqual([200, { rest: "some/where", bytes: 4 }]);
    expect(answer.headers.get("cache-control")).toBe("no-store");
  });

  test.each(["/", "/echo", "/nothing/here", "/%", "//", "//[", "/../echo"])("for %s is 404", async (path) => {
    const { web } = await stage();
    const { closed } = raw(web.port, `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
    expect(await closed).toMatch(/^HTTP\/1.1 404 /);
  });

  test.each(["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])("by %s is 405, and says what is allowed (RFC 9110, 15.5.6)", async (method) => {
    const { url } = await stage();
    const answer = await fetch(`${url}/echo/x`, { method });
    expect([answer.status, answer.headers.get("allow")]).toEqual([405, "POST"]);
  });

  test("that cannot be answered is 500, and only the log says why", async () => {
    const { url, lines } = await stage();
    const answer = await fetch(`${url}/broken/`, { method: "POST", body: "secret of the body" });
    expect(answer.status).toBe(500);
    expect(await answer.text()).not.toContain("ledger");
    expect(lines).toEqual([{ name: "web.trouble", fields: { fault: "web.failed", why: "the ledger is gone" } }]);
  });

  test("that is no HTTP is refused, and the next one is answered", async () => {
    const { web, url } = await stage();
    expect(await raw(web.port, "\u0016\u0003\u0001 hello\r\n\r\n").closed).toMatch(/^HTTP\/1.1 400 /);
    expect((await fetch(`${url}/echo/`, { method: "POST", body: "" })).status).toBe(200);
  });
});

describe("a body", () => {
  test("of 1 MB is taken", async () => {
    const { url } = await stage();
    const answer = await fetch(`${url}/echo/`, { method: "POST", body: Buffer.alloc(MB) });
    expect(await answer.json()).toMatchObject({ bytes: MB });
  });

  test.each(["echo", "bold"])("announced as longer is told 413 before a byte of it is sent (/%s/)", async (route) => {
    const { web, lines } = await stage();
    const { closed } = raw(web.port, `POST /${route}/ HTTP/1.1\r\nHost: x\r\nContent-Length: ${MB + 1}\r\n\r\n`);
    expect(await closed).toMatch(/^HTTP\/1.1 413 .*connection: close/is);
    expect(lines).toEqual([]);
  });

  test("that turns out to be longer is told 413 and not read to its end", async () => {
    const { web, lines } = await stage();
    const { socket, closed } = raw(web.port, "POST /echo/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    const half = MB / 2;
    const chunk = Buffer.concat([Buffer.from(`${half.toString(16)}\r\n`), Buffer.alloc(half), Buffer.from("\r\n")]);
    // A client that goes on for ever would get no further.
    for (let sent = 0; sent < 3; sent += 1) socket.write(chunk);
    expect(await closed).toMatch(/^HTTP\/1.1 413 .*connection: close/is);
    expect(lines).toEqual([]);
  });

  test("nobody wants is not waited for: the route answers by the headers, and the connection ends", async () => {
    const { web } = await stage({ requestMs: 60_000 });
    for (const body of [`Content-Length: ${MB}`, "Transfer-Encoding: chunked"]) {
      const { closed } = raw(web.port, `POST /shut/ HTTP/1.1\r\nHost: x\r\n${body}\r\n\r\n`);
      expect(await closed).toMatch(/^HTTP\/1.1 401 .*connection: close/is);
    }
  });

  test("that never ends is cut off, slow as it may come", async () => {
    const { web, lines } = await stage({ requestMs: 200 });
    const { socket, closed } = raw(web.port, "POST /echo/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    const drip = setInterval(() => void socket.write("1\r\nx\r\n"), 20);
    onTestFinished(() => clearInterval(drip));
    expect(await closed).toMatch(/^(HTTP\/1.1 408 |$)/);
    expect(lines).toEqual([]);
  });

  test("whose headers never end is cut off", async () => {
    const { web } = await stage({ requestMs: 200 });
    const { socket, closed } = raw(web.port, "POST /echo/ HTTP/1.1\r\nHost: x\r\n");
    const drip = setInterval(() => void socket.write("X: y\r\n"), 20);
    onTestFinished(() => clearInterval(drip));
    expect(await closed).toMatch(/^(HTTP\/1.1 408 |$)/);
  });

  test("whose client goes away is no trouble of ours", async () => {
    const { web, url, lines } = await stage();
    const { socket, closed } = raw(web.port, "POST /echo/ HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf");
    await once(socket, "connect");
    socket.resetAndDestroy();
    await closed;
    expect((await fetch(`${url}/echo/`, { method: "POST", body: "" })).status).toBe(200);
    expect(lines).toEqual([]);
  });
});

describe("a stream", () => {
  const letters = async function* (count: number) {
    for (let sent = 0; sent < count; sent += 1) yield Buffer.alloc(1_000, "x");
  };
  const stream = (bytes: () => AsyncIterable<Uint8Array>, size?: number): Route => ({
    method: "GET",
    path: "/stream",
    answer: async () => ({ status: 200, bytes: bytes(), type: "text/plain", ...(size === undefined ? {} : { size }) }),
  });

  test("is sent to its end, with its length where it is known", async () => {
    const { url } = await stage({ routes: [stream(() => letters(500), 500_000)] });
    const answer = await fetch(`${url}/stream`);
    expect(answer.headers.get("content-length")).toBe("500000");
    expect((await answer.text()).length).toBe(500_000);
  });

  test("is not begun for HEAD", async () => {
    let isBegun = false;
    const bytes = async function* () {
      isBegun = true;
      yield* letters(1);
    };
    const { url } = await stage({ routes: [stream(bytes, 1_000)] });
    const answer = await fetch(`${url}/stream`, { method: "HEAD" });
    expect([answer.status, answer.headers.get("content-length"), isBegun]).toEqual([200, "1000", false]);
  });

  test("that breaks off is cut, so that nobody takes it for whole, and the log says why", async () => {
    const bytes = async function* () {
      yield* letters(1);
      throw new Error("the disk is gone");
    };
    const { web, lines } = await stage({ routes: [stream(bytes)] });
    const { closed } = raw(web.port, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(await closed).not.toMatch(/\r\n0\r\n\r\n$/);
    expect(lines).toEqual([{ name: "web.trouble", fields: { fault: "web.failed", why: "the disk is gone" } }]);
  });

  test("nobody reads any more is ended, and so is one at the end of the server", async () => {
    const ended: (() => void)[] = [];
    const over = [0, 1].map(() => new Promise<void>((resolve) => ended.push(resolve)));
    const endless: Route = {
      method: "GET",
      path: "/stream",
      answer: async ({ gone }) => ({
        status: 200,
        type: "text/plain",
        bytes: (async function* () {
          yield* letters(1);
          if (!gone.aborted) await once(gone, "abort");
          ended.shift()?.();
        })(),
      }),
    };
    const { web } = await stage({ routes: [endless] });
    const [first, second] = [0, 1].map(() => raw(web.port, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"));
    await Promise.all([first, second].map((one) => once(one?.socket ?? process, "data")));
    first?.socket.destroy();
    await over[0];
    await web.stop();
    await over[1];
  });
});

test("of two paths that fit the longer one answers, by whatever method", async () => {
  const all: Route = { method: "GET", path: "/", answer: async ({ rest, query }) => ({ status: 200, json: { rest, x: query.get("x") } }) };
  const { url } = await stage({ routes: [all, echo] });
  expect((await fetch(`${url}/echo/x`)).status).toBe(405);
  expect(await (await fetch(`${url}/else/where?x=1`)).json()).toEqual({ rest: "else/where", x: "1" });
});

describe("connections", () => {
  test("that say nothing are cut off, each for itself", async () => {
    const { web, url } = await stage({ requestMs: 200 });
    const { closed } = raw(web.port, "");
    expect(await closed).toMatch(/^(HTTP\/1.1 408 |$)/);
    expect((await fetch(`${url}/echo/`, { method: "POST", body: "" })).status).toBe(200);
  });

  test("of who does not read are cut off", async () => {
    const left = Promise.withResolvers<void>();
    const long: Route = {
      method: "GET",
      path: "/long",
      answer: async ({ gone }) => {
        gone.addEventListener("abort", () => left.resolve());
        return { status: 200, text: "x".repeat(32 * MB), type: "text/plain" };
      },
    };
    const { web } = await stage({ routes: [long], requestMs: 200 });
    raw(web.port, "GET /long HTTP/1.1\r\nHost: x\r\n\r\n").socket.pause();
    await left.promise;
  });

  test("are for a hundred requests, and who asks for more at once is cut off", async () => {
    const { web } = await stage();
    const { closed } = raw(web.port, "POST /shut/ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".repeat(1_000));
    expect(((await closed).match(/HTTP\/1\.1 401 /g) ?? []).length).toBeLessThanOrEqual(100);
  });

  test("beyond 32 at once are not taken; there is room again when one ends", async () => {
    const { web } = await stage({ requestMs: 60_000 });
    const held = Array.from({ length: 32 }, () => raw(web.port, "POST /echo/ HTTP/1.1\r\n"));
    await Promise.all(held.map(({ socket }) => once(socket, "connect")));
    const request = "POST /echo/ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    expect(await raw(web.port, request).closed).toBe("");
    held[0]?.socket.destroy();
    await expect.poll(() => raw(web.port, request).closed).toMatch(/^HTTP\/1.1 200 /);
  });
});

test("a port that is taken is a fault that says which, and what to do", async () => {
  const { web } = await stage();
  await expect(stage({ port: web.port })).rejects.toMatchObject({
    code: "web.port",
    message: expect.stringContaining(`127.0.0.1:${web.port}`),
    advice: expect.stringContaining("web.port"),
  });
});

test("stopping cuts what is open and frees the port", async () => {
  const { web } = await stage();
  const { socket, closed } = raw(web.port, "POST /echo/ HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf");
  await once(socket, "connect");
  await web.stop();
  await closed;
  await stage({ port: web.port });
});
