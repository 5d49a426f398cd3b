/** What the daemon shows over HTTP by its configuration: the page on loopback, elsewhere only with a token, and nothing without `web`. */
import { once } from "node:events";
import { get, type IncomingMessage } from "node:http";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { silent } from "../../src/base/logger.ts";
import { readConfig } from "../../src/config/load.ts";
import { watched } from "../../src/daemon/watched.ts";
import { startWeb } from "../../src/web/web.ts";
import { extractorOf, sinkOf, sourceOf, worksIn } from "../pipeline/works.ts";
import { temporaryDirectory } from "../store/disk.ts";

async function shown(web: string): Promise<(path: string, host?: string) => Promise<number>> {
  const directory = await temporaryDirectory();
  const text = `
state: { directory: ${directory} }
mailboxes: { invoices: { host: imap.example.com, user: a@example.com, password: x } }
services: { service: { kind: cloudsquid, apiKey: x, project: x, table: 3c90c3cc-0d44-4b50-8888-8dd25736052a } }
sinks: { files: { kind: file, directory: ${join(directory, "out")} } }
${web}`;
  const reading = readConfig(text, { path: join(directory, "config.yaml"), env: {}, readFile: () => "" });
  if (!("config" in reading)) throw new Error(JSON.stringify(reading.problems));
  const { extractor } = extractorOf(() => ({
    is: "answered",
    memo: {},
    answer: { runId: null, data: {}, credits: null, reasoning: null, review: null, raw: {} },
  }));
  const { works, clock } = await worksIn(directory, { extractor, sinks: [sinkOf("files").sink], source: sourceOf("invoices").source });
  onTestFinished(() => works.ledger.close());
  const { routes } = await watched(reading.config, works, clock, () => {});
  const server = await startWeb({ host: "127.0.0.1", port: 0, log: silent, routes });
  onTestFinished(server.stop);
  return async (path, host) =>
    host !== undefined
      ? askedAs(host, server.port, path)
      : (await fetch(`http://127.0.0.1:${server.port}${path}`, { redirect: "manual" })).status;
}

/** What fetch does not let one say. */
async function askedAs(host: string, port: number, path: string): Promise<number> {
  const [answer] = (await once(get({ host: "127.0.0.1", port, path, headers: { host } }), "response")) as [IncomingMessage];
  answer.resume();
  return answer.statusCode ?? 0;
}

test("what is open on loopback is not open to a name that only leads there, unless its owner opened it", async () => {
  const byDefault = await shown("web: {}");
  expect([await byDefault("/metrics", "evil.example"), await byDefault("/", "evil.example")]).toEqual([421, 421]);
  expect([await byDefault("/metrics", "localhost"), await byDefault("/healthz", "evil.example")]).toEqual([200, 200]);
  const opened = await shown("web: { metrics: true }");
  expect(await opened("/metrics", "prometheus.example")).toBe(200);
});

test.each([
  ["", { page: 404, login: 404, healthz: 404, metrics: 404 }],
  ["web: {}", { page: 200, login: 303, healthz: 200, metrics: 200 }],
  ["web: { host: localhost, metrics: false }", { page: 200, login: 303, healthz: 200, metrics: 404 }],
  ["web: { token: 0123456789abcdef }", { page: 303, login: 200, healthz: 200, metrics: 200 }],
  ["web: { host: 0.0.0.0 }", { page: 404, login: 404, healthz: 200, metrics: 404 }],
  ["web: { host: 192.168.1.7, metrics: true }", { page: 404, login: 404, healthz: 200, metrics: 200 }],
  ["web: { host: 0.0.0.0, token: 0123456789abcdef }", { page: 303, login: 200, healthz: 200, metrics: 404 }],
])("%s", async (web, expected) => {
  const status = await shown(web);
  expect({
    page: await status("/"),
    login: await status("/login"),
    healthz: await status("/healthz"),
    metrics: await status("/metrics"),
  }).toEqual(expected);
});
