/** Prints what the extraction of a 100 MB mail costs in memory, and what 1,000 outstanding runs cost in polls: `node test/bench/extract.ts`. */

import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { createHttp } from "../../src/base/http.ts";
import { mannered } from "../../src/base/manners.ts";
import { createCloudsquid } from "../../src/extractor/cloudsquid.ts";
import type { Encoding } from "../../src/extractor/cloudsquid-encode.ts";
import type { Document, Extractor, Memo } from "../../src/extractor/extractor.ts";
import { NO_FACTS } from "../../src/message/facts.ts";
import type { Piece } from "../../src/message/message.ts";
import { openSpool } from "../../src/store/spool.ts";

const MEGABYTES = 100;
const LINE = Buffer.from(`${Buffer.alloc(57, "invoice").toString("base64")}\r\n`);
const RUNS = 1_000;
const SECONDS = 20;

const [mode, ...rest] = process.argv.slice(2);
const never = new AbortController().signal;
if (mode === undefined) await measure();
else if (mode === "extraction") await extraction(rest);
else if (mode === "polling") await polling(rest);

/** The service is in this process, what is measured in one of its own, which does not load what only the service needs. */
async function measure(): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "billhook-bench-"));
  const { server, url, seen } = await nullService();
  try {
    const spool = await openSpool(directory);
    const mail = await spool.keep("raw")(bytes(Buffer.from("Subject: big\r\nContent-Type: application/pdf\r\n\r\n")));
    const part = await spool.keep("parts")(bytes(Buffer.alloc(0)));
    for (const encoding of ["multipart", "rfc822", "uri"]) {
      seen.bytes = 0;
      await child("extraction", url, directory, encoding, JSON.stringify(mail), JSON.stringify(part));
      console.log(`  the service received ${Math.round(seen.bytes / 1e6)} MB`);
    }
    await child("polling", url, "all begun at once, at most 10 reads/s", "10", "0");
    await child("polling", url, "all long under way, no limit", "", "100");
  } finally {
    server.closeAllConnections();
    server.close();
    await rm(directory, { recursive: true });
  }
}

async function child(...args: readonly string[]): Promise<void> {
  const { fork } = await import("node:child_process");
  const [code] = await once(fork(import.meta.filename, args), "exit");
  if (code !== 0) throw new Error(`${args[0]} ended with ${code}`);
}

async function* bytes(head: Buffer): AsyncGenerator<Uint8Array> {
  const block = Buffer.concat(Array<Buffer>(800).fill(LINE));
  if (head.length > 0) yield head;
  for (let sent = 0; sent < MEGABYTES * 1e6; sent += block.length) yield block;
}

/** Takes everything, remembers nothing; a run called `slow` is never over. */
async function nullService(): Promise<{ server: Server; url: string; seen: { bytes: number } }> {
  const { createServer } = await import("node:http");
  const seen = { bytes: 0 };
  const server = createServer((request, response) => {
    request.on("data", (chunk: Buffer) => {
      seen.bytes += chunk.length;
    });
    request.on("end", () => {
      const { method, url = "" } = request;
      const row = { status: url.endsWith("/slow") ? "running" : "done", data: {}, row_id: "row" };
      const file = { ftype: "file", url: "https://storage.example/file" };
      const made = url.endsWith("/run") ? { run_id: "run" } : { row_id: "row" };
      const answer = url.includes("/files?") ? file : method === "GET" ? row : made;
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/api`, seen };
}

function cloudsquid(url: string, encoding: Encoding, rates: Readonly<Record<string, number>>, firstMs: number): Extractor {
  const http = createHttp({ name: "null", connections: 4, timeoutMs: 120_000 });
  const breaker = { failures: 5, firstMs: 10_000, longestMs: 600_000 };
  return createCloudsquid(
    {
      name: "null",
      url,
      apiKey: "key",
      project: "p",
      table: "t",
      encoding,
      multipart: {
        mimetype: "message/rfc822",
        fields: { name: "filename", type: "mimetype", kind: "file_type", content: "file" },
        body: "text",
      },
      zeroRetention: false,
      maxBytes: 1e9,
      poll: { firstMs, longestMs: 30_000 },
      deadlines: { pendingMs: 7_200_000, runningMs: 7_200_000 },
    },
    { clock: systemClock, http: mannered(http, { name: "null", rates, breaker }, systemClock) },
  );
}

function documentOf(raw: Piece, parts: readonly Piece[]): Document {
  return { id: "1", message: raw.sha256, facts: NO_FACTS, raw, parts, whole: true };
}

async function extraction([url = "", directory = "", encoding = "", mail = "", part = ""]: readonly string[]): Promise<void> {
  const spool = await openSpool(directory);
  const raw = JSON.parse(mail);
  const pdf = JSON.parse(part);
  const document = documentOf({ ...raw, id: "raw", filename: "m.eml", contentType: "message/rfc822", open: () => spool.open("raw", raw) }, [
    { ...pdf, id: "2", filename: "a.pdf", contentType: "application/pdf", open: () => spool.open("parts", pdf) },
  ]);
  const extractor = cloudsquid(url, encoding as Encoding, { read: 10, write: 10, run: 10 }, 50);
  const began = performance.now();
  let memo: Memo | null = null;
  for (;;) {
    const progress = await extractor.advance(document, memo, "key", never);
    if (progress.is === "answered") break;
    if (progress.is !== "going") throw progress.fault;
    memo = progress.memo;
    await systemClock.sleep(progress.nextAt.getTime() - Date.now());
  }
  const seconds = (performance.now() - began) / 1_000;
  console.log(`${encoding}: a mail of ${MEGABYTES} MB answered in ${seconds.toFixed(2)} s, RSS at most ${mostMegabytes()} MB in all`);
  process.exit(0);
}

/** Of this program alone: what getrusage says includes the process it was forked from. */
function mostMegabytes(): number {
  const kilobytes = process.platform === "linux" ? Number(/VmHWM:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))?.[1]) : 0;
  return Math.round(((kilobytes || process.resourceUsage().maxRSS) * 1_024) / 1e6);
}

async function polling([url = "", what = "", rate = "", polls = ""]: readonly string[]): Promise<void> {
  const extractor = cloudsquid(url, "rfc822", rate === "" ? {} : { read: Number(rate) }, 2_000);
  const raw: Piece = { id: "raw", filename: "", contentType: "", sha256: "", size: 0, open: () => bytes(LINE) };
  const document = documentOf(raw, []);
  let asked = 0;
  const began: Memo = { step: "running", rowId: "row", runId: "slow", status: "running", phase: "running", polls: Number(polls) };
  async function run(): Promise<void> {
    let memo: Memo = { ...began, since: new Date().toISOString() };
    // Those long under way come at any moment of their interval.
    await systemClock.sleep(Number(polls) > 0 ? Math.random() * 28_000 : 2_000);
    for (;;) {
      const progress = await extractor.advance(document, memo, "key", never);
      if (progress.is !== "going") throw new Error(progress.is);
      asked += 1;
      memo = progress.memo;
      await systemClock.sleep(progress.nextAt.getTime() - Date.now());
    }
  }
  for (let n = 0; n < RUNS; n += 1) void run();
  // The start of the process is not the cost of polling.
  await systemClock.sleep(2_000);
  asked = 0;
  const before = process.cpuUsage();
  await systemClock.sleep(SECONDS * 1_000);
  const { user, system } = process.cpuUsage(before);
  const cpu = ((user + system) / (SECONDS * 1e6)) * 100;
  console.log(
    `${RUNS} runs, ${what}: ${(asked / SECONDS).toFixed(1)} requests/s, ${cpu.toFixed(1)} % of one CPU, RSS ${mostMegabytes()} MB`,
  );
  process.exit(0);
}
