/** Every error the two services document, and those their clients were seen to expect: each can be had from the sandbox. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { FaultRule } from "../../src/sandbox/faults.ts";
import { type Sandbox, startSandbox } from "../../src/sandbox/sandbox.ts";
import { type TestClock, testClock, UBL } from "../extractor/documents.ts";

let clock: TestClock;
let sandbox: Sandbox;

beforeEach(async () => {
  clock = testClock();
  sandbox = await startSandbox({ port: 0, apiKey: "key", pace: { pendingMs: 1_000, runningMs: 2_000 }, clock, maxRequestBytes: 10_000 });
});
afterEach(() => sandbox.stop());

type Json = Record<string, unknown>;
type Ask = readonly [method: string, path: string, body?: unknown];
type Answer = { readonly status: number; readonly type: string | null; readonly json: Json; readonly headers: Headers };

async function answered(url: string, headers: Record<string, string>, [method, path, body]: Ask): Promise<Answer> {
  const sent = typeof body === "string" || body instanceof FormData ? body : JSON.stringify(body);
  const response = await fetch(url + path, { method, headers, ...(body === undefined ? {} : { body: sent }) });
  const type = response.headers.get("content-type");
  const json = type === "application/json" ? ((await response.json()) as Json) : {};
  return { status: response.status, type, json, headers: response.headers };
}

type Row = readonly [name: string, ask: Ask, status: number, json: Json, fault?: FaultRule | undefined, headers?: Record<string, string>];

const TABLE = "/projects/p/tables/3c90c3cc-0d44-4b50-8888-8dd25736052a";
const ID = "11111111-2222-4333-8444-555555555555";
const base64 = (text: string) => Buffer.from(text).toString("base64");
const document = { filename: "a.txt", mimetype: "text/plain", file_type: "binary", file: base64(UBL) };
const unreadable = { ...document, file: base64("Hello") };
const said = { errorMessage: expect.any(String) };
const upload: Ask = ["POST", `${TABLE}/files`, document];

const cloudsquid: readonly Row[] = [
  ["400 for a bad request", ["POST", `${TABLE}/files`, {}], 400, said],
  ["401 without the key", upload, 401, said, undefined, { "x-api-key": "other" }],
  ["402 payment required", upload, 402, said, { call: "upload", status: 402 }],
  ["403 forbidden", upload, 403, said, { call: "upload", status: 403 }],
  ["403 for a signed URL that is forged", ["GET", `/_signed/${ID}?expires=9999999999999&signature=0`], 403, said],
  ["404 for an unknown row", ["POST", `${TABLE}/run`, { row_id: ID }], 404, said],
  ["404 for an unknown run", ["GET", `${TABLE}/run/${ID}`], 404, said],
  ["404 for an unknown path", ["GET", "/projects/p/files?path=/a"], 404, said],
  ["409 for a path that is taken", ["PUT", "/projects/p/files?path=/taken", document], 409, said],
  ["413 for a request that is too long", ["POST", `${TABLE}/files`, { ...document, file: "A".repeat(10_000) }], 413, said],
  ["422", upload, 422, said, { call: "upload", status: 422 }],
  ["429 with Retry-After", upload, 429, said, { call: "upload", status: 429, retryAfter: 3 }],
  ["500", upload, 500, said, { call: "upload", status: 500 }],
  ["503 with Retry-After", upload, 503, said, { call: "upload", status: 503, retryAfter: 3 }],
  ["a proxy's 502", upload, 502, {}, { call: "upload", status: 502, html: true }],
  ["a proxy's 504 for what was done", upload, 504, {}, { call: "upload", thenStatus: 504, html: true }],
  ["an error under 200", upload, 200, said, { call: "upload", errorIn200: true }],
  ["what cannot be read, at once", ["POST", `${TABLE}/extract`, unreadable], 200, { status: "error", data: {} }],
  ["the same in the older shape", ["POST", `${TABLE}/extract`, unreadable], 200, { data: {} }, { call: "extract", older: true }],
];

const file = { text: UBL };
const sync: Ask = ["POST", "/extract", { file }];
const create: Ask = ["POST", "/extract_runs", { file }];
const error = (code: string, retryable = false) => ({
  code,
  message: expect.any(String),
  retryable,
  requestId: expect.stringMatching(/^req_/),
  docUrl: expect.any(String),
});
const coded = (status: number, code: string, retryable = false): Row => [
  `${status} ${code}`,
  sync,
  status,
  error(code, retryable),
  { call: "extend.sync", status, code },
];
const form = (content: string) => {
  const data = new FormData();
  data.append("file", new File([content], "a.txt"));
  return data;
};

const extend: readonly Row[] = [
  ["400 INVALID_REQUEST without the version", create, 400, error("INVALID_REQUEST"), undefined, { "x-extend-api-version": "" }],
  ["422 INVALID_REQUEST", ["POST", "/extract_runs", { file, priority: 0 }], 422, error("INVALID_REQUEST")],
  ["401 UNAUTHORIZED", create, 401, error("UNAUTHORIZED"), undefined, { authorization: "Bearer other" }],
  ["402 USAGE_BLOCKED", create, 402, error("USAGE_BLOCKED"), { call: "extend.create", status: 402 }],
  ["403 FORBIDDEN", create, 403, error("FORBIDDEN"), { call: "extend.create", status: 403 }],
  ["404 NOT_FOUND", ["GET", "/extract_runs/exr_1"], 404, error("NOT_FOUND")],
  ["429 RATE_LIMIT_EXCEEDED", create, 429, error("RATE_LIMIT_EXCEEDED", true), { call: "extend.create", status: 429, retryAfter: 3 }],
  ["500 INTERNAL_ERROR", create, 500, error("INTERNAL_ERROR", true), { call: "extend.create", status: 500 }],
  coded(410, "ENDPOINT_REMOVED"),
  ["400 UNABLE_TO_DOWNLOAD_FILE", ["POST", "/extract", { file: { url: "https://example.com/a" } }], 400, error("UNABLE_TO_DOWNLOAD_FILE")],
  ["400 FILE_TYPE_NOT_SUPPORTED", ["POST", "/extract", { file: { ...file, name: "a.zip" } }], 400, error("FILE_TYPE_NOT_SUPPORTED")],
  ["413 FILE_SIZE_TOO_LARGE", ["POST", "/files/upload", form("A".repeat(10_000))], 413, error("FILE_SIZE_TOO_LARGE")],
  coded(400, "CORRUPT_FILE"),
  coded(400, "PASSWORD_PROTECTED_FILE"),
  coded(400, "FAILED_TO_CONVERT_TO_PDF"),
  coded(400, "INVALID_CONFIG_OPTIONS"),
  coded(400, "OCR_ERROR", true),
  coded(404, "FILE_PURGED"),
  ["{error: text}", create, 429, { error: expect.any(String) }, { call: "extend.create", status: 429, wrapped: "text" }],
  [
    "{error: {…}}",
    create,
    400,
    { error: error("CORRUPT_FILE") },
    { call: "extend.create", status: 400, code: "CORRUPT_FILE", wrapped: "object" },
  ],
  ["a proxy's 502", create, 502, {}, { call: "extend.create", status: 502, html: true }],
  ["an error under 200", create, 200, error("INTERNAL_ERROR", true), { call: "extend.create", errorIn200: true }],
];

const failureReasons = [
  "ABORTED",
  "INTERNAL_ERROR",
  "FAILED_TO_PROCESS_FILE",
  "INVALID_PROCESSOR",
  "INVALID_CONFIGURATION",
  "PARSING_ERROR",
  "PRE_PROCESSING_FAILURE",
  "POST_PROCESSING_FAILURE",
  "OUT_OF_CREDITS",
  "SCHEMA_GENERATION_FAILED",
  "NEVER_HEARD_OF",
];

const services = {
  cloudsquid: { url: () => sandbox.url, headers: { "x-api-key": "key" }, rows: cloudsquid },
  extend: { url: () => sandbox.extendUrl, headers: { authorization: "Bearer key", "x-extend-api-version": "2026-02-09" }, rows: extend },
};

describe.each(Object.entries(services))("%s", (_, { url, headers, rows }) => {
  for (const [name, ask, status, json, fault, changed] of rows) {
    test(name, async () => {
      await answered(sandbox.url, services.cloudsquid.headers, ["PUT", "/projects/p/files?path=/taken", document]);
      if (fault) sandbox.faults.add(fault);
      const answer = await answered(url(), { ...headers, ...changed }, ask);
      expect(answer).toMatchObject({ status, json, type: fault?.html ? "text/html" : "application/json" });
      if (fault?.older) expect(answer.json).not.toHaveProperty("status");
      if (fault?.retryAfter) expect(answer.headers.get("retry-after")).toBe(String(fault.retryAfter));
    });
  }
});

test.each([false, true])("cloudsquid: a run that ends in error, in the older shape: %s", async (older) => {
  const ask = (...one: Ask) => answered(sandbox.url, services.cloudsquid.headers, one);
  const { row_id } = (await ask("POST", `${TABLE}/files`, unreadable)).json;
  const { run_id } = (await ask("POST", `${TABLE}/run`, { row_id })).json;
  if (older) sandbox.faults.add({ call: "poll", older, times: 2 });
  expect((await ask("GET", `${TABLE}/run/${run_id}`)).json).toMatchObject({ status: older ? "running" : "pending" });
  clock.pass(3_000);
  const { json } = await ask("GET", `${TABLE}/run/${run_id}`);
  expect(json).toMatchObject({ status: "error", result: expect.stringContaining("no invoice") });
  expect(json.data).toEqual(older ? undefined : {});
});

test.each(failureReasons)("extend: a run that FAILED for %s, polled and synchronous", async (failureReason) => {
  const ask = (...one: Ask) => answered(sandbox.extendUrl, services.extend.headers, one);
  const failed = { status: "FAILED", failureReason, failureMessage: expect.any(String), output: null, usage: null };
  sandbox.faults.add({ call: "extend.create", failureReason });
  sandbox.faults.add({ call: "extend.sync", failureReason });
  const { id } = (await ask(...create)).json;
  clock.pass(3_000);
  expect(await ask("GET", `/extract_runs/${id}`)).toMatchObject({ status: 200, json: failed });
  expect(await ask(...sync)).toMatchObject({ status: 200, json: failed });
});
