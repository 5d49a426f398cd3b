/** The sandbox keeps Cloudsquid's older paths: upload, run and poll below /datasources, in their older shapes. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Sandbox, startSandbox } from "../../src/sandbox/sandbox.ts";
import { RAW, type TestClock, testClock } from "../extractor/documents.ts";

let clock: TestClock;
let sandbox: Sandbox;
beforeEach(async () => {
  clock = testClock();
  sandbox = await startSandbox({ port: 0, apiKey: "key", pace: { pendingMs: 1_000, runningMs: 2_000 }, clock });
});
afterEach(() => sandbox.stop());

async function ask(method: string, path: string, body?: unknown, key = "key") {
  const init = body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) };
  const response = await fetch(`${sandbox.url}/datasources/${path}`, { method, headers: { "X-API-Key": key }, ...init });
  return { status: response.status, json: (await response.json()) as Record<string, unknown> };
}

const b64 = (text: string) => Buffer.from(text).toString("base64");
const mail = { filename: "m.eml", mimetype: "message/rfc822", file_type: "binary", file: b64(RAW) };
const upload = async (document: object = mail) => (await ask("POST", "src_1/documents", document)).json.file_id as string;
const run = async (fileId: string, more: object = {}) =>
  (await ask("POST", "src_1/run", { file_id: fileId, pipeline: "cloudsquid-flash", ...more })).json.run_id as string;
const poll = async (id: string) => (await ask("GET", `src_1/run/${id}`)).json;

test("upload, run, poll: running, then done, with the data as the result", async () => {
  const uploaded = await ask("POST", "src_1/documents", mail);
  expect(uploaded).toEqual({ status: 201, json: { file_id: expect.any(String) } });
  const started = await ask("POST", "src_1/run", { file_id: uploaded.json.file_id, pipeline: "cloudsquid-pro-v2" });
  expect(started).toEqual({ status: 202, json: { run_id: expect.any(String) } });
  const id = started.json.run_id as string;
  // `pending` is of a later time.
  expect(await poll(id)).toEqual({ status: "running", result: {} });
  clock.pass(3_000);
  expect(await poll(id)).toMatchObject({ status: "done", result: { invoice_number: "RE-2026-0815" } });
  expect(sandbox.counts()).toMatchObject({ uploads: 1, runs: 1, polls: 2 });
});

test("what cannot be read says why in the result", async () => {
  const id = await run(await upload({ ...mail, mimetype: "text/plain", file: b64("Hello") }));
  clock.pass(3_000);
  expect(await poll(id)).toEqual({ status: "error", result: expect.stringContaining("no invoice") });
});

test("without retention, asked for at the upload or at the run, the file is read once", async () => {
  for (const [document, more] of [
    [{ ...mail, zero_retention_mode: true }, {}],
    [mail, { zero_retention: true }],
  ] as const) {
    const fileId = await upload(document);
    const id = await run(fileId, more);
    clock.pass(3_000);
    expect(await poll(id)).toMatchObject({ status: "done" });
    expect((await ask("POST", "src_1/run", { file_id: fileId, pipeline: "cloudsquid-flash" })).status).toBe(400);
  }
});

test("sources know nothing of each other, nor do today's paths know of them", async () => {
  const fileId = await upload();
  const id = await run(fileId);
  expect((await ask("POST", "src_2/run", { file_id: fileId, pipeline: "cloudsquid-flash" })).status).toBe(404);
  expect((await ask("GET", `src_2/run/${id}`)).status).toBe(404);
  const projects = await fetch(`${sandbox.url}/projects`, { headers: { "X-API-Key": "key" } });
  expect(await projects.json()).toMatchObject([{ name: "sandbox" }]);
});

describe("refusals", () => {
  test.each<[string, string, unknown, number]>([
    ["POST", "src_1/documents", "{", 400],
    ["POST", "src_1/documents", { ...mail, mimetype: "text/html" }, 400],
    ["POST", "src_1/documents", { ...mail, zero_retention_mode: "yes" }, 400],
    ["POST", "src_1/run", "{", 400],
    ["POST", "src_1/run", { pipeline: "cloudsquid-flash" }, 400],
    ["POST", "src_1/run", { file_id: "x" }, 400],
    ["POST", "src_1/run", { file_id: "x", pipeline: "other" }, 400],
    ["POST", "src_1/run", { file_id: "x", pipeline: "cloudsquid-flash", zero_retention: 1 }, 400],
    ["POST", "src_1/run", { file_id: "x", pipeline: "cloudsquid-flash" }, 404],
    ["GET", "src_1/run/x", undefined, 404],
    ["GET", "src_1/documents/x", undefined, 404],
    ["GET", "src_1/documents", undefined, 405],
    ["POST", "src_1/run/x", {}, 405],
    ["GET", "src_1", undefined, 404],
  ])("%s %s %j is answered %i", async (method, path, body, status) => {
    expect(await ask(method, path, body)).toEqual({ status, json: { errorMessage: expect.any(String) } });
    expect(sandbox.counts()).toMatchObject({ uploads: 0, runs: 0 });
  });

  test("401 without the key; faults on order as for today's calls", async () => {
    expect((await ask("POST", "src_1/documents", mail, "other")).status).toBe(401);
    sandbox.faults.add({ call: "upload", status: 500 });
    expect((await ask("POST", "src_1/documents", mail)).status).toBe(500);
    expect(sandbox.counts().uploads).toBe(0);
  });
});
