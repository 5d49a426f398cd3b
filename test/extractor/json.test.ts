/** Answers that are well-formed JSON and too much: what is read of them is bounded before it takes any memory. */
import { execFile } from "node:child_process";
import type { ServerResponse } from "node:http";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import { parsedObject } from "../../src/extractor/json.ts";
import { json, startScriptedHttp } from "../servers/scripted-http.ts";
import { temporaryDirectory } from "../store/disk.ts";

describe("a text is read", () => {
  test("when it is an object or a list, as JSON.parse reads it", () => {
    const structured = fc.oneof(fc.array(fc.jsonValue()), fc.dictionary(fc.string(), fc.jsonValue()));
    fc.assert(
      fc.property(structured, fc.constantFrom(0, 2), (value, space) => {
        const text = JSON.stringify(value, null, space);
        expect(parsedObject(text)).toEqual(JSON.parse(text));
      }),
    );
    for (const text of ["", "1", "null", '"a"', "{", "]", "[[]", '["a]', "[1}"]) expect(parsedObject(text)).toBeNull();
  });

  test("an integer that loses digits as a number becomes their text", () => {
    const text =
      '{"order":20240000000000001234,"list":[-90071992547409931],"plain":9007199254740991,"gross":119.0000000000000000,"text":"90071992547409931"}';
    expect(parsedObject(text)).toEqual({
      order: "20240000000000001234",
      list: ["-90071992547409931"],
      plain: 9_007_199_254_740_991,
      gross: 119,
      text: "90071992547409931",
    });
  });

  test("up to 200 deep", () => {
    const deep = (depth: number) => "[".repeat(depth) + "]".repeat(depth);
    expect(parsedObject(deep(200))).not.toBeNull();
    expect(parsedObject(deep(201))).toBeNull();
    expect(parsedObject(`${'{"a":'.repeat(200)}1${"}".repeat(200)}`)).not.toBeNull();
    expect(parsedObject(`${'{"a":'.repeat(201)}1${"}".repeat(201)}`)).toBeNull();
    expect(parsedObject(`[${"[],".repeat(1_000)}1]`)).toHaveLength(1_001);
  });

  test("up to 100,000 values, the whole and those within others counted", () => {
    expect(parsedObject(`[${"1,".repeat(99_998)}1]`)).toHaveLength(99_999);
    expect(parsedObject(`[${"1,".repeat(99_999)}1]`)).toBeNull();
    expect(parsedObject(`[${'{"a":1},'.repeat(50_000)}1]`)).toBeNull();
    expect(parsedObject(`[${"[],".repeat(50_000)}1]`)).toBeNull();
    expect(parsedObject(`{${Array.from({ length: 100_000 }, (_, at) => `"${at}":0`).join()}}`)).toBeNull();
  });

  test("whatever stands in its strings; what stands behind them counts", () => {
    for (const mark of ["[", "{", ",", '\\"', "\\\\", '\\",[']) expect(parsedObject(`["${mark.repeat(200_000)}"]`)).not.toBeNull();
    for (const quoted of ['"\\\\"', '"\\""', '"\\\\\\""', '""']) expect(parsedObject(`[${quoted}${",1".repeat(100_000)}]`)).toBeNull();
  });
});

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

/** What becomes of eight mails whose runs are all answered at the same moment with this value, in a heap of 256 MB. */
async function endsOf(value: string): Promise<readonly string[]> {
  const waiting: { readonly response: ServerResponse; readonly id: string | undefined }[] = [];
  const server = await startScriptedHttp(({ method, path }, response, nth) => {
    if (path === "/files/upload") json(response, 200, { object: "file", id: `file_${nth}` });
    else if (method === "POST") json(response, 200, { object: "extract_run", id: `exr_${nth}`, status: "PROCESSING" });
    else waiting.push({ response, id: path.split("/").at(-1) });
    if (waiting.length < MAILS.length) return;
    for (const { response: one, id } of waiting.splice(0)) one.end(`{"id":"${id}","status":"PROCESSED","output":{"value":${value}}}`);
  });
  onTestFinished(server.stop);
  const args = ["--max-old-space-size=256", WORK, await temporaryDirectory(), server.url, ...MAILS];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  return stdout.split(" ");
}

const objects = (bytes: number) => `[${'{"a":1},'.repeat(bytes / 8)}1]`;
/** One letter that is not in Latin-1, and each takes two bytes of the heap. */
const text = (bytes: number) => `{"note":"${"x".repeat(bytes)}ж"}`;
/** Nothing takes more of the heap than objects of which no two have the same key. */
const costly = (values: number, bytes: number) => {
  const keys = Array.from({ length: values / 2 }, (_, at) => `{"${(at * 2_654_435_761) % 2 ** 32}":0}`);
  return `{"note":"${"x".repeat(bytes)}ж","list":[${keys.join()}]}`;
};

test.each([
  ["7.8 MB of small objects", objects(7_800_000), "http.interrupted"],
  ["7.8 MB of text", text(7_800_000), "http.interrupted"],
  ["3.9 MB of small objects", objects(3_900_000), "extend.unexpected"],
  ["3.9 MB of text", text(3_900_000), "deliver.done"],
  ["as many costly values as may be, and as much text", costly(99_900, 2_300_000), "deliver.done"],
])("eight answers at once of %s do not exhaust the heap", { timeout: 120_000 }, async (_, value, end) => {
  expect(await endsOf(value)).toEqual(MAILS.map(() => end));
});
