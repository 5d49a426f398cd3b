/** Prints how fast messages are split and how much memory that takes: `node test/bench/split.ts`, one process a case. */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import type { Keep } from "../../src/message/message.ts";
import { parse } from "../../src/message/parse.ts";

const MEGABYTES = 100;
const LINE = Buffer.from(`${Buffer.alloc(57, "invoice").toString("base64")}\r\n`);
const BLOCK = Buffer.concat(Array<Buffer>(800).fill(LINE));

const attachment = "Content-Type: application/octet-stream; name=big.bin\r\nContent-Transfer-Encoding: base64\r\n\r\n";
const heads: { readonly [name: string]: string } = {
  "attachment, base64": `Subject: big\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n${attachment}`,
  "attachment in a forwarded mail": `Content-Type: message/rfc822\r\n\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n${attachment}`,
  "text/plain body": "Content-Type: text/plain\r\n\r\n",
};

const name = process.argv[2];
if (name === undefined) {
  for (const each of Object.keys(heads)) {
    spawnSync(process.execPath, ["--expose-gc", import.meta.filename, each], { stdio: "inherit" });
  }
} else await measure(name);

async function measure(which: string): Promise<void> {
  const keep: Keep = async (bytes) => {
    const hash = createHash("sha256");
    let size = 0;
    for await (const chunk of bytes) {
      hash.update(chunk);
      size += chunk.length;
    }
    return { sha256: hash.digest("hex"), size, head: new Uint8Array() };
  };
  async function* message() {
    yield Buffer.from(heads[which] ?? "");
    for (let sent = 0; sent < MEGABYTES * 1e6; sent += BLOCK.length) yield Buffer.from(BLOCK);
    yield Buffer.from("\r\n--b--\r\n");
  }
  async function* small() {
    yield Buffer.from("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: image/png\r\n\r\nx\r\n--b--");
  }
  await parse(small(), keep);
  globalThis.gc?.();
  const before = process.memoryUsage().rss;
  let most = before;
  const watch = setInterval(() => {
    most = Math.max(most, process.memoryUsage().rss);
  }, 5);
  const start = performance.now();
  const found = await parse(message(), keep);
  const seconds = (performance.now() - start) / 1_000;
  clearInterval(watch);
  const codes = found.faults.map((fault) => fault.code).join(" ") || "no faults";
  const grown = Math.round((most - before) / 1e6);
  console.log(
    `${which}: ${MEGABYTES} MB in ${seconds.toFixed(2)} s, ${Math.round(MEGABYTES / seconds)} MB/s, RSS grew by ${grown} MB (${codes})`,
  );
}
