/** The sandbox keeps Extend's contract: paths, headers, errors, the life of a run, lists, webhooks, faults on order. */
import { createHmac } from "node:crypto";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { FaultRule } from "../../src/sandbox/faults.ts";
import { type Sandbox, startSandbox } from "../../src/sandbox/sandbox.ts";
import { RAW, type TestClock, testClock, UBL } from "../extractor/documents.ts";

/** For other work on the machine; what is waited for comes at once. */
const PATIENT = { timeout: 20_000 };
const HEADERS = { authorization: "Bearer key", "x-extend-api-version": "2026-02-09" };

let clock: TestClock;
let sandbox: Sandbox;

beforeEach(async () => {
  clock = testClock();
  sandbox = await startSandbox({ port: 0, apiKey: "key", pace: { pendingMs: 1_000, runningMs: 2_000 }, clock, maxRequestBytes: 1_000_000 });
});
afterEach(() => sandbox.stop());

type Json = Record<string, unknown>;
type Answer = { readonly status: number; readonly headers: Headers; readonly json: Json };

async function ask(method: string, path: string, body?: unknown, headers: Record<string, string> = HEADERS): Promise<Answer> {
  const init = body === undefined ? {} : { body: body instanceof FormData || typeof body === "string" ? body : JSON.stringify(body) };
  const response = await fetch(sandbox.extendUrl + path, { method, headers, ...init });
  return { status: response.status, headers: response.headers, json: (await response.json()) as Json };
}

function form(name: string, content: string | Uint8Array<ArrayBuffer>): FormData {
  const data = new FormData();
  data.append("file", new File([content], name));
  return data;
}
const upload = async (name = "invoice.xml", content = UBL) =>
  (await ask("POST", "/files/upload", form(name, content))).json as Json & { id: string };
const create = async (body: Json) => (await ask("POST", "/extract_runs", body)).json as Json & { id: string };
const look = async (id: string) => (await ask("GET", `/extract_runs/${id}`)).json;
const refused = (status: number, code: string, said = "") => ({
  status,
  json: {
    code,
    message: expect.stringContaining(said),
    retryable: status === 429 || status >= 500,
    requestId: expect.stringMatching(/^req_/),
  },
});

describe("the life of a run", () => {
  test("upload, create, poll: PENDING, PROCESSING, PROCESSED by the clock, with usage", async () => {
    const file = await upload();
    expect(file).toMatchObject({
      object: "file",
      id: expect.stringMatching(/^file_/),
      name: "invoice.xml",
      type: "XML",
      presignedUrl: null,
    });
    const metadata = { "billhook:key": "k1", "extend:usage_tags": ["mail box!", "ap-1", "?"] };
    const created = await create({ extractor: { id: "ex_1", version: "2.1" }, file: { id: file.id }, priority: 10, metadata });
    expect(created).toMatchObject({
      object: "extract_run",
      id: expect.stringMatching(/^exr_/),
      status: "PENDING",
      output: null,
      failureReason: null,
      metadata: { "billhook:key": "k1", "extend:usage_tags": ["mailbox", "ap-1"] },
      extractor: { id: "ex_1" },
      extractorVersion: { version: "2.1", extractorId: "ex_1" },
      file: { id: file.id },
      files: null,
      usage: null,
      createdAt: "2026-05-04T10:00:00.000Z",
    });
    clock.pass(1_000);
    expect(await look(created.id)).toMatchObject({ status: "PROCESSING", updatedAt: "2026-05-04T10:00:01.000Z" });
    clock.pass(2_000);
    expect(await look(created.id)).toMatchObject({
      status: "PROCESSED",
      output: { value: { invoice_number: "RE-2026-0815", gross_amount: "119.00", source_format: "ubl" }, metadata: {} },
      usage: { credits: 2, totalCredits: 3, breakdown: [{ object: "extract_run", id: created.id }, { object: "parse_run" }] },
      updatedAt: "2026-05-04T10:00:03.000Z",
    });
    expect(sandbox.counts().extend).toEqual({
      uploads: 1,
      runs: 1,
      polls: 2,
      lists: 0,
      cancels: 0,
      credits: 3,
      made: [{ id: created.id, key: "k1", credits: 3 }],
    });
  });

  test("a package: files[] and no file, one output over all; a mail sent whole is taken apart; text is a file", async () => {
    const [body, mail] = [await upload("body.txt", "Please find our invoice attached."), await upload("mail.eml", RAW)];
    expect(mail).toMatchObject({ type: null });
    const run = await create({ package: { files: [{ id: body.id }, { id: mail.id }] } });
    expect(run).toMatchObject({ file: null, files: [{ id: body.id }, { id: mail.id }], extractor: null });
    clock.pass(3_000);
    expect(await look(run.id)).toMatchObject({ output: { value: { invoice_number: "RE-2026-0815" } }, usage: { credits: 4 } });
    const text = await create({ file: { text: UBL, name: "a.xml" }, config: { schema: { type: "object" } } });
    expect(text).toMatchObject({ file: { name: "a.xml" }, config: { schema: { type: "object" } } });
    clock.pass(3_000);
    expect(await look(text.id)).toMatchObject({ status: "PROCESSED" });
  });

  test("what is not read is FAILED and says why: no invoice, a type that is not supported, a URL, a file deleted meanwhile", async () => {
    const [none, zip, gone] = [await upload("a.txt", "Hello"), await upload("a.zip", "PK"), await upload()];
    const ids = [];
    for (const file of [{ id: none.id }, { id: zip.id }, { url: "https://example.com/a.pdf" }, { id: gone.id }])
      ids.push((await create({ file })).id);
    expect(await ask("DELETE", `/files/${gone.id}`)).toMatchObject({ status: 200, json: { id: gone.id } });
    expect(await ask("GET", `/files/${gone.id}`)).toMatchObject(refused(404, "NOT_FOUND"));
    clock.pass(3_000);
    const said = [/no invoice/, /^FILE_TYPE_NOT_SUPPORTED/, /^UNABLE_TO_DOWNLOAD_FILE/, /^FILE_PURGED/];
    for (const [at, id] of ids.entries()) {
      expect(await look(id)).toMatchObject({
        status: "FAILED",
        failureReason: "FAILED_TO_PROCESS_FILE",
        failureMessage: expect.stringMatching(said[at] ?? ""),
        output: null,
        usage: null,
      });
    }
  });

  test("cancelled only while PROCESSING; a deleted run is gone, and still counted", async () => {
    const { id } = await create({ file: { text: UBL } });
    expect(await ask("POST", `/extract_runs/${id}/cancel`)).toMatchObject(refused(400, "INVALID_REQUEST", "PROCESSING"));
    clock.pass(1_000);
    expect(await ask("POST", `/extract_runs/${id}/cancel`)).toMatchObject({ status: 200, json: { id, status: "CANCELLED" } });
    clock.pass(9_000);
    expect(await look(id)).toMatchObject({ status: "CANCELLED", output: null });
    expect((await ask("POST", `/extract_runs/${id}/cancel`)).status).toBe(400);
    expect(await ask("DELETE", `/extract_runs/${id}`)).toMatchObject({ status: 200, json: { id } });
    expect(await ask("GET", `/extract_runs/${id}`)).toMatchObject(refused(404, "NOT_FOUND"));
    expect(sandbox.counts().extend).toMatchObject({ runs: 1, cancels: 1, made: [{ id, key: null, credits: 0 }] });
  });

  test("reviewed and corrected, on order: both outputs and the edits, once it is PROCESSED", async () => {
    const { id } = await create({ file: { text: UBL } });
    expect(await look(id)).toMatchObject({ reviewed: false, edited: false, initialOutput: null, reviewedOutput: null, edits: null });
    sandbox.faults.add({ call: "extend.poll", reviewed: { gross_amount: "120.00", note: "by hand" } });
    expect(await look(id)).toMatchObject({ status: "PENDING", reviewed: false, output: null, reviewedOutput: null });
    clock.pass(3_000);
    const corrected = { value: { invoice_number: "RE-2026-0815", gross_amount: "120.00", note: "by hand" }, metadata: {} };
    expect(await look(id)).toMatchObject({
      reviewed: true,
      edited: true,
      output: corrected,
      reviewedOutput: corrected,
      initialOutput: { value: { gross_amount: "119.00" } },
      edits: { gross_amount: { originalValue: "119.00", editedValue: "120.00" }, note: { editedValue: "by hand" } },
      updatedAt: "2026-05-04T10:00:03.000Z",
    });
    const [listed] = (await ask("GET", "/extract_runs")).json.data as Json[];
    expect(listed).toMatchObject({ reviewed: true, edited: true });
    expect(listed).not.toHaveProperty("edits");
  });

  test("reviewed without a change, later: its output stays; what failed is not reviewed", async () => {
    const { id } = await create({ file: { text: UBL } });
    clock.pass(9_000);
    sandbox.faults.add({ call: "extend.poll", reviewed: {} });
    const run = await look(id);
    expect(run).toMatchObject({ reviewed: true, edited: false, edits: null, updatedAt: "2026-05-04T10:00:09.000Z" });
    expect([run.reviewedOutput, run.initialOutput]).toEqual([run.output, run.output]);
    sandbox.faults.add({ call: "extend.sync", reviewed: { gross_amount: "1.00" } });
    expect((await ask("POST", "/extract", { file: { text: "Hello" } })).json).toMatchObject({ status: "FAILED", reviewed: false });
  });

  test("the synchronous call answers at once; what fails for its file is an error there", async () => {
    expect(await ask("POST", "/extract", { file: { text: UBL } })).toMatchObject({
      status: 200,
      json: { status: "PROCESSED", output: { value: { gross_amount: "119.00" } } },
    });
    const zip = await upload("a.zip", "PK");
    expect(await ask("POST", "/extract", { file: { id: zip.id } })).toMatchObject(refused(400, "FILE_TYPE_NOT_SUPPORTED"));
    expect(await ask("POST", "/extract", { file: { text: UBL }, priority: 3 })).toMatchObject(refused(422, "INVALID_REQUEST", "priority"));
  });

  test("a file's presigned URL opens without the key for 15 minutes, and only as it was signed", async () => {
    const { id } = await upload();
    const { presignedUrl } = (await ask("GET", `/files/${id}`)).json as { presignedUrl: string };
    expect(await (await fetch(presignedUrl)).text()).toBe(UBL);
    expect((await fetch(presignedUrl.replace(/.$/, (last) => (last === "0" ? "1" : "0")))).status).toBe(403);
    clock.pass(15 * 60_000);
    expect((await fetch(presignedUrl)).status).toBe(403);
  });
});

describe("refusals", () => {
  test("401 without the key, 400 without the version, on every path; each with its request id in a header", async () => {
    for (const [headers, status, code] of [
      [{ "x-extend-api-version": "2026-02-09" }, 401, "UNAUTHORIZED"],
      [{ ...HEADERS, authorization: "Bearer other" }, 401, "UNAUTHORIZED"],
      [{ ...HEADERS, authorization: "key" }, 401, "UNAUTHORIZED"],
      [{ authorization: "Bearer key" }, 400, "INVALID_REQUEST"],
      [{ ...HEADERS, "x-extend-api-version": "2025-04-21" }, 400, "INVALID_REQUEST"],
    ] as const) {
      for (const [method, path] of [
        ["GET", "/extract_runs"],
        ["POST", "/files/upload"],
        ["GET", "/nowhere"],
      ] as const) {
        const answer = await ask(method, path, undefined, { ...headers });
        expect(answer, `${method} ${path}`).toMatchObject(refused(status, code));
        expect(answer.headers.get("x-extend-request-id")).toBe(answer.json.requestId);
      }
    }
    expect((await ask("GET", "/extract_runs")).headers.get("x-extend-request-id")).toMatch(/^req_/);
  });

  const file = { text: "x" };
  test.each<[unknown, number, string]>([
    ["{", 400, "not JSON"],
    [[], 422, "body"],
    [{}, 422, "file, package"],
    [{ file, package: { files: [{ id: "file_1" }] } }, 422, "file, package"],
    [{ file, extractor: { id: "ex_1" }, config: {} }, 422, "extractor, config"],
    [{ file, Extractor: { id: "ex_1" } }, 422, "Extractor"],
    [{ file, config: { fields: [] } }, 422, "fields"],
    [{ file: { base64: "eA==", name: "a.txt" } }, 422, "file"],
    [{ package: { files: [] } }, 422, "package.files"],
    [{ package: { files: Array(51).fill({ id: "file_1" }) } }, 422, "package.files"],
    [{ package: { files: [{ text: "x" }] } }, 422, "package.files"],
    [{ file: { url: "ftp://example.com/a" } }, 422, "file"],
    [{ file, priority: 0 }, 422, "priority"],
    [{ file, priority: 101 }, 422, "priority"],
    [{ file, priority: 1.5 }, 422, "priority"],
    [{ file, metadata: { note: "x".repeat(10_240) } }, 422, "metadata: larger than 10 KB"],
    [`{"file":{"text":"x"},"metadata":{"deep":${"[".repeat(100_000)}${"]".repeat(100_000)}}}`, 422, "metadata: larger than 10 KB"],
    [{ file, metadata: { "extend:usage_tags": "ap" } }, 422, "metadata: extend:usage_tags"],
    [{ file: { id: "file_1" } }, 404, "no such file"],
    [{ file, extractor: { id: "proc_1" } }, 404, "no such extractor"],
  ])("a run that is not well-made (%#) is answered as documented", async (body, status, said) => {
    expect(await ask("POST", "/extract_runs", body)).toMatchObject(refused(status, status === 404 ? "NOT_FOUND" : "INVALID_REQUEST", said));
    expect(sandbox.counts().extend.runs).toBe(0);
  });

  const part = (disposition: string, content = "x") => `--b\r\nContent-Disposition: form-data; ${disposition}\r\n\r\n${content}\r\n`;
  test.each([
    ["application/json", "{}", 400],
    ["multipart/form-data", "--b--", 400],
    ["multipart/form-data; boundary=b", "", 400],
    ["multipart/form-data; boundary=b", part('name="file"; filename="a.txt"'), 400],
    ["multipart/form-data; boundary=b", `${part('name="file"; filename="a.txt"').replaceAll("\r", "")}--b--`, 400],
    ["multipart/form-data; boundary=c", `${part('name="file"; filename="a.txt"')}--b--`, 400],
    ["multipart/form-data; boundary=b", `${part('name="file"')}--b--`, 422],
    ["multipart/form-data; boundary=b", `${part('name="file"; filename=""')}--b--`, 422],
    ["multipart/form-data; boundary=b", `${part('name="document"; filename="a.txt"')}--b--`, 422],
    ["multipart/form-data; boundary=b", `${part('name="file"; filename="a.txt"').repeat(2)}--b--`, 422],
    ["multipart/form-data; boundary=b", `${part('name="file"; filename="a.txt"')}${part('name="purpose"')}--b--`, 422],
    ["multipart/form-data; boundary=b", `${part('name="file"; filename="a.txt"', "x".repeat(1_000_000))}--b--`, 413],
  ])("the upload %s %# is answered", async (type, body, status) => {
    expect((await ask("POST", "/files/upload", body, { ...HEADERS, "content-type": type })).status).toBe(status);
    expect(sandbox.counts().extend.uploads).toBe(0);
  });

  test("a well-made upload keeps every byte, the name, and knows a password", async () => {
    const bytes = Uint8Array.from({ length: 70_000 }, (_, at) => at % 256);
    const data = form('Rechnung "ü" 7.pdf', bytes);
    data.append("password", "secret");
    const { status, json } = await ask("POST", "/files/upload?convertToPdf=true", data);
    expect([status, json.name]).toEqual([200, 'Rechnung "ü" 7.pdf']);
    const { presignedUrl } = (await ask("GET", `/files/${json.id}`)).json as { presignedUrl: string };
    expect(new Uint8Array(await (await fetch(presignedUrl)).arrayBuffer())).toEqual(bytes);
  });

  test("extractors: any id that begins as they do", async () => {
    expect(await ask("GET", "/extractors/ex_Xj8")).toMatchObject({
      status: 200,
      json: { object: "extractor", id: "ex_Xj8", draftVersion: {} },
    });
    expect(await ask("GET", "/extractors/7")).toMatchObject(refused(404, "NOT_FOUND"));
  });
});

describe("lists", () => {
  const ids = async (query: string) => ((await ask("GET", `/extract_runs?${query}`)).json.data as { id: string }[]).map(({ id }) => id);

  test("runs without their output, latest first, page by page, filtered", async () => {
    const made: string[] = [];
    for (let nth = 0; nth < 5; nth += 1) {
      const more = nth % 2 === 0 ? { extractor: { id: "ex_even" } } : {};
      made.push((await create({ file: { text: UBL, name: `token-${nth}.xml` }, metadata: { "billhook:key": `k${nth}` }, ...more })).id);
      clock.pass(1_000);
    }
    const { json } = await ask("GET", "/extract_runs");
    expect(json).not.toHaveProperty("nextPageToken");
    const [first] = json.data as Json[];
    expect(first).toMatchObject({ object: "extract_run", metadata: { "billhook:key": "k4" }, file: { name: "token-4.xml" } });
    expect(first).not.toHaveProperty("output");
    expect(await ids("")).toEqual(made.toReversed());
    expect(await ids("sortDir=asc&sortBy=createdAt")).toEqual(made);

    const seen = [];
    let query = "sortDir=asc&maxPageSize=2";
    for (let pages = 0; pages < 3; pages += 1) {
      const page = (await ask("GET", `/extract_runs?${query}`)).json as { data: { id: string }[]; nextPageToken?: string };
      seen.push(...page.data.map(({ id }) => id));
      query = `sortDir=asc&maxPageSize=2&nextPageToken=${page.nextPageToken}`;
      expect(page.nextPageToken === undefined).toBe(pages === 2);
    }
    expect(seen).toEqual(made);

    expect(await ids("status=PROCESSED&sortDir=asc")).toEqual(made.slice(0, 3));
    expect(await ids("extractorId=ex_even&sortDir=asc")).toEqual([made[0], made[2], made[4]]);
    expect(await ids("fileNameContains=token-3")).toEqual([made[3]]);
    expect(await ids("batchId=bpr_1")).toEqual([]);
    expect(await ids("source=API&maxPageSize=1000")).toHaveLength(5);
    clock.pass(-1_000);
    await ask("POST", `/extract_runs/${made[2]}/cancel`);
    expect((await ids("sortBy=updatedAt"))[0]).toBe(made[2]);
    for (const wrong of ["nextPageToken=x", "maxPageSize=0", "sortBy=name", "statuses=FAILED"]) {
      expect(await ask("GET", `/extract_runs?${wrong}`), wrong).toMatchObject(refused(422, "INVALID_REQUEST"));
    }
  });

  test("files by name", async () => {
    const [one, other] = [await upload("token-1.xml"), await upload("token-2.xml")];
    expect((await ask("GET", "/files?nameContains=token-1")).json).toMatchObject({ object: "list", data: [{ id: one.id }] });
    expect((await ask("GET", "/files?sortDir=desc&maxPageSize=1")).json).toMatchObject({
      data: [{ id: other.id }],
      nextPageToken: expect.any(String),
    });
  });
});

describe("faults on order", () => {
  test.each([
    [402, "USAGE_BLOCKED"],
    [422, "INVALID_REQUEST"],
    [429, "RATE_LIMIT_EXCEEDED"],
    [500, "INTERNAL_ERROR"],
    [503, "INTERNAL_ERROR"],
  ])("%i %s on order, nothing done", async (status, code) => {
    sandbox.faults.add({ call: "extend.create", status, retryAfter: 7, rateLimitReset: 9 });
    const answer = await ask("POST", "/extract_runs", { file: { text: UBL } });
    expect(answer).toMatchObject(refused(status, code));
    expect(answer.headers.get("retry-after")).toBe("7");
    expect(answer.headers.get("x-ratelimit-reset")).toBe(String(clock.now().getTime() / 1_000 + 9));
    expect(sandbox.counts().extend.runs).toBe(0);
  });

  test.each([
    [{ call: "extend.create", errorIn200: true }, 0],
    [{ call: "extend.create", html: true }, 1],
    [{ call: "extend.create", wrongJson: true }, 1],
  ] as [FaultRule, number][])("%j: runs %i", async (rule, runs) => {
    sandbox.faults.add(rule);
    const answer = await ask("POST", "/extract_runs", { file: { text: UBL } }).catch(() => null);
    if (rule.errorIn200) expect(answer).toMatchObject({ status: 200, json: { code: "INTERNAL_ERROR", retryable: true } });
    else expect(answer).toBeNull();
    expect(sandbox.counts().extend.runs).toBe(runs);
  });

  test.each([408, 425, 500, 503])("done, and then answered %i; what is refused stays refused", async (status) => {
    sandbox.faults.add({ call: "extend.create", thenStatus: status, retryAfter: 7, times: 2 });
    const answer = await ask("POST", "/extract_runs", { file: { text: UBL } });
    expect(answer.status).toBe(status);
    expect(answer.json).toMatchObject({ code: expect.any(String), retryable: status >= 500 });
    expect(answer.headers.get("retry-after")).toBe("7");
    expect(sandbox.counts().extend.runs).toBe(1);
    expect((await ask("POST", "/extract_runs", {})).status).toBe(422);
    expect(sandbox.counts().extend.runs).toBe(1);
  });

  test("a list that lags does not know yet what is younger than its lag, for as many calls as ordered", async () => {
    const [run, file] = [await create({ file: { text: UBL } }), await upload()];
    for (const [call, path, id] of [
      ["extend.list", "/extract_runs", run.id],
      ["extend.files", "/files?nameContains=invoice", file.id],
    ] as const) {
      sandbox.faults.add({ call, lagMs: 5_000, times: 3 });
      const seen = async () => (await ask("GET", path)).json.data as Json[];
      expect(await seen()).toEqual([]);
      clock.pass(4_999);
      expect(await seen()).toEqual([]);
      clock.pass(1);
      expect(await seen()).toMatchObject([{ id }]);
      clock.pass(-5_000);
      expect(await seen()).toMatchObject([{ id }]);
    }
  });

  test("a reason to fail, also one nobody has heard of; a list that does not know yet", async () => {
    for (const failureReason of ["OUT_OF_CREDITS", "PARSING_ERROR", "NEVER_HEARD_OF"]) {
      sandbox.faults.add({ call: "extend.create", failureReason });
      const { id } = await create({ file: { text: UBL } });
      clock.pass(3_000);
      expect(await look(id)).toMatchObject({ status: "FAILED", failureReason, failureMessage: expect.any(String) });
    }
    sandbox.faults.add({ call: "extend.list", empty: true });
    expect((await ask("GET", "/extract_runs")).json.data).toEqual([]);
    expect((await ask("GET", "/extract_runs")).json.data).toHaveLength(3);
  });
});

describe("webhooks", () => {
  type Delivery = { readonly headers: NodeJS.Dict<string | string[]>; readonly body: string };
  let receiver: Server;
  let deliveries: Delivery[];
  let answers: number[];

  beforeEach(async () => {
    deliveries = [];
    answers = [];
    receiver = createServer(async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk);
      deliveries.push({ headers: request.headers, body: Buffer.concat(chunks).toString() });
      response.writeHead(answers.shift() ?? 204).end();
    });
    await new Promise<void>((resolve) => receiver.listen(0, "127.0.0.1", resolve));
  });
  afterEach(() => void receiver.close());

  const endpoint = async (more: Json = {}) => {
    const url = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hook`;
    const events = ["extract_run.processed", "extract_run.failed"];
    const body = { url, name: "billhook", enabledEvents: events, apiVersion: "2026-02-09", ...more };
    const { status, json } = await ask("POST", "/webhook_endpoints", body);
    expect([status, json]).toMatchObject([200, { object: "webhook_endpoint", signingSecret: expect.stringMatching(/^wss_/) }]);
    return json.signingSecret as string;
  };
  const event = (at: number) => JSON.parse(deliveries[at]?.body ?? "null") as { eventId: string; eventType: string; payload: Json };

  test("a run that is over is told, signed, with the headers that were asked for", async () => {
    const secret = await endpoint({ advancedOptions: { headers: { "x-mine": "yes" } } });
    const { id } = await create({ file: { text: UBL } });
    await expect.poll(() => deliveries.length, PATIENT).toBe(1);
    expect(event(0)).toMatchObject({
      eventId: expect.stringMatching(/^event_/),
      eventType: "extract_run.processed",
      payload: { object: "extract_run", id, status: "PROCESSED", output: { value: { invoice_number: "RE-2026-0815" } } },
    });
    const { headers, body } = deliveries[0] as Delivery;
    const timestamp = String(clock.now().getTime() / 1_000);
    expect(headers).toMatchObject({
      "x-mine": "yes",
      "x-extend-request-timestamp": timestamp,
      "x-extend-request-signature": createHmac("sha256", secret).update(`v0:${timestamp}:${body}`).digest("hex"),
    });
  });

  test("a failed run too; sent again with longer and longer waits until it is taken; twice when that is on order", async () => {
    await endpoint();
    sandbox.faults.add({ call: "extend.create", failureReason: "PARSING_ERROR" });
    sandbox.faults.add({ call: "extend.webhook", repeat: true });
    answers = [500, 404, 200];
    await create({ file: { text: UBL } });
    await expect.poll(() => deliveries.length, PATIENT).toBe(4);
    expect(event(0)).toMatchObject({ eventType: "extract_run.failed", payload: { failureReason: "PARSING_ERROR" } });
    expect(new Set(deliveries.map(({ body }) => body)).size).toBe(1);
    const [first, second, third, repeated] = deliveries.map(({ headers }) => Number(headers["x-extend-request-timestamp"]));
    expect([Number(second) - Number(first), Number(third) - Number(second), Number(repeated) - Number(third)]).toEqual([1, 2, 0]);
  });

  test("as a signed URL when the payload is large, which opens without the key for an hour", async () => {
    await endpoint({ advancedOptions: { payload: { format: "url", urlThresholdBytes: 100 } } });
    const { id } = await create({ file: { text: UBL }, metadata: { "billhook:key": "k" } });
    await expect.poll(() => deliveries.length, PATIENT).toBe(1);
    expect(event(0).payload).toEqual({ object: "signed_data_url", id, data: expect.any(String), metadata: { "billhook:key": "k" } });
    const url = event(0).payload.data as string;
    expect(await (await fetch(url)).json()).toMatchObject({ object: "extract_run", id, status: "PROCESSED" });
    clock.pass(60 * 60_000);
    expect((await fetch(url)).status).toBe(403);
  });

  test("an endpoint that comes later hears of the runs under way", async () => {
    const { id } = await create({ file: { text: UBL } });
    await endpoint();
    await expect.poll(() => deliveries.length, PATIENT).toBe(1);
    expect(event(0).payload.id).toBe(id);
  });

  test("one that is disabled or wants other events hears nothing", async () => {
    await endpoint({ status: "disabled" });
    await endpoint({ enabledEvents: ["extract_run.failed"] });
    await create({ file: { text: UBL } });
    await endpoint();
    const { id } = await create({ file: { text: UBL } });
    await expect.poll(() => deliveries.length, PATIENT).toBe(1);
    expect(event(0).payload.id).toBe(id);
  });

  test.each([{ enabledEvents: ["extract_run.done"] }, { apiVersion: "2025-04-21" }, { url: "hook" }, { secret: "mine" }])(
    "422 for an endpoint with %j",
    async (more) => {
      const body = { url: "http://127.0.0.1/", name: "n", enabledEvents: [], apiVersion: "2026-02-09", ...more };
      expect(await ask("POST", "/webhook_endpoints", body)).toMatchObject(refused(422, "INVALID_REQUEST"));
    },
  );
});
