/** What an upload of 100 MB costs in memory: `node test/bench/upload.ts [MB]` prints the growth of RSS in a process of its own. */

import { fork } from "node:child_process";
import { createReadStream } from "node:fs";
import { mkdtemp, open, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encode } from "../../src/extractor/cloudsquid/encode.ts";
import { createHttp } from "../../src/http/http.ts";
import { NO_FACTS } from "../../src/message/facts.ts";

const MB = 1024 * 1024;

/** A server that swallows what it gets and counts it. */
async function measure(megabytes: number): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "billhook-bench-"));
  const path = join(directory, "part");
  let swallowed = 0;
  const server = createServer((request, response) => {
    request.on("data", (chunk: Buffer) => {
      swallowed += chunk.length;
    });
    request.on("end", () => response.end("{}"));
  });
  try {
    const file = await open(path, "w");
    for (let at = 0; at < megabytes; at += 1) await file.write(Buffer.alloc(MB, at));
    await file.close();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const child = fork(new URL(import.meta.url), ["upload", path, String((server.address() as AddressInfo).port), String(megabytes * MB)]);
    const code = await new Promise((resolve) => child.on("exit", resolve));
    console.log(`server received ${(swallowed / MB).toFixed(1)} MB, child ended with ${code}`);
  } finally {
    server.close();
    await rm(directory, { recursive: true });
  }
}

async function upload(path: string, port: string, size: number): Promise<void> {
  const http = createHttp({ name: "null", connections: 1, timeoutMs: 120_000 });
  const piece = { id: "2", filename: "a.pdf", contentType: "application/pdf", sha256: "", size, open: () => createReadStream(path) };
  const body = encode(
    {
      id: "1",
      message: "0".repeat(64),
      facts: NO_FACTS,
      raw: piece,
      parts: [piece],
      whole: true,
    },
    "multipart",
    { mimetype: "message/rfc822", fields: { name: "filename", type: "mimetype", kind: "file_type", content: "file" }, body: "none" },
  );
  if (body === null) throw new Error("nothing to send");
  const url = `http://127.0.0.1:${port}/`;
  const signal = new AbortController().signal;
  await http.call({ method: "POST", url, headers: {}, body: Buffer.from("warm") }, signal);
  const before = process.memoryUsage.rss();
  let peak = before;
  const watch = setInterval(() => {
    peak = Math.max(peak, process.memoryUsage.rss());
  }, 5);
  const began = performance.now();
  await http.call({ method: "POST", url, headers: {}, body }, signal);
  clearInterval(watch);
  const seconds = (performance.now() - began) / 1_000;
  console.log(
    `${size / MB} MB in ${seconds.toFixed(2)} s: RSS ${(before / MB).toFixed(0)} MB before, ${(peak / MB).toFixed(0)} MB at most, ` +
      `growth ${((peak - before) / MB).toFixed(0)} MB`,
  );
  await http.close();
}

const [mode = "100", path = "", port = "", size = ""] = process.argv.slice(2);
await (mode === "upload" ? upload(path, port, Number(size)) : measure(Number(mode)));
