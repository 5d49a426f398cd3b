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
  answer: async ({ rest, body }) => ({ status: 200, json: { rest, bytes: body.length } }),
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
  const web = await startWeb({ host: "127.0.0.1", port: 0, log, routes: [echo, broken], ...options });
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
  test("of 16 MB is taken", async () => {
    const { url } = await stage();
    const answer = await fetch(`${url}/echo/`, { method: "POST", body: Buffer.alloc(16 * MB) });
    expect(await answer.json()).toMatchObject({ bytes: 16 * MB });
  });

  test("of more is told 413 and not read to its end", async () => {
    const { web, lines } = await stage();
    const { socket, closed } = raw(web.port, "POST /echo/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    const chunk = Buffer.concat([Buffer.from(`${MB.toString(16)}\r\n`), Buffer.alloc(MB), Buffer.from("\r\n")]);
    let told = "";
    const answered = new Promise<void>((resolve) => {
      socket.on("data", (text: string) => {
        told += text;
        resolve();
      });
    });
    // One megabyte more than is taken; a client that goes on for ever would get no further.
    for (let sent = 0; sent < 17; sent += 1) socket.write(chunk);
    await answered;
    expect(told).toMatch(/^HTTP\/1.1 413 /);
    expect(told).toMatch(/connection: close/i);
    await closed;
    expect(lines).toEqual([]);
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
