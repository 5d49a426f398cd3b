/** Answers that are well-formed and hostile: what is read of them is bounded before it takes any memory. */
import { execFile } from "node:child_process";
import type { ServerResponse } from "node:http";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";
import { json, startScriptedHttp } from "../servers/scripted-http.ts";
import { temporaryDirectory } from "../store/disk.ts";

const MAILS = [
  "01-single-pdf",
  "02-pdf-and-xml-twin",
  "03-facturx-pdf",
  "04-xml-only",
  "05-html-only",
  "06-forwarded",
  "07-several-attachments",
  "14-credit-note",
];

const WORK = fileURLToPath(new URL("long-answers.ts", import.meta.url));

/** What becomes of eight mails whose runs are all answered at the same moment with this output, under a heap of 256 MB. */
async function endsOf(output: string): Promise<string> {
  const waiting: { response: ServerResponse; id: string }[] = [];
  const server = await startScriptedHttp(({ method, path }, response, nth) => {
    if (path === "/files/upload") json(response, 200, { object: "file", id: `file_${nth}` });
    else if (method === "POST") json(response, 200, { object: "extract_run", id: `exr_${nth}`, status: "PROCESSING" });
    else waiting.push({ response, id: path.split("/").at(-1) ?? "" });
    if (waiting.length === MAILS.length)
      for (const { response: one, id } of waiting.splice(0)) {
        one.writeHead(200, { "content-type": "application/json" });
        one.end(`{"id":"${id}","status":"PROCESSED","output":{"value":${output}}}`);
      }
  });
  onTestFinished(server.stop);
  const directory = await temporaryDirectory();
  const args = ["--max-old-space-size=256", WORK, directory, server.url, ...MAILS];
  return (await promisify(execFile)(process.execPath, args)).stdout;
}

const V = 199_000;
const SHAPES: Record<string, () => string> = {
  uniq: () => `[${Array.from({ length: V / 2 }, (_, i) => `{"k${i}":0}`).join()}]`,
  ints: () => `[${Array.from({ length: V / 2 }, (_, i) => `{"${(i * 2654435761) % 4294967296}":0}`).join()}]`,
  empty: () => `[${"{},".repeat(V / 2)}1]`,
  deep: () => `${"[".repeat(190)}${"1,".repeat(V)}1${"]".repeat(190)}`,
  deepobj: () => `${'{"a":'.repeat(190)}[${"1,".repeat(V)}1]${"}".repeat(190)}`,
  mixed: () => `{"s":"${"x".repeat(4_000_000)}ж","l":[${Array.from({ length: V / 2 }, (_, i) => `{"k${i}":0}`).join()}]}`,
  longkeys: () => `[${Array.from({ length: V / 2 - 100 }, (_, i) => `{"k${i}${"ж".repeat(32)}":0}`).join()}]`,
  lines: () =>
    `{"total":"1.00","line_items":[${Array.from({ length: V / 5 }, (_, i) => `{"description":"d ${i}","quantity":"${i}","amount":"1.00"}`).join()}]}`,
};
test("x", async () => {
  const text = SHAPES[process.env.SHAPE ?? ""]?.() ?? "";
  console.log(process.env.SHAPE, text.length, await endsOf(text));
}, 120_000);
