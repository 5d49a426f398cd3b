/** The sandbox keeps Cloudsquid's contract: paths, statuses, errors, the life of a run, faults on order. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { sandbox as sandboxCommand } from "../../src/cli/sandbox.ts";
import { type Sandbox, type SandboxOptions, startSandbox } from "../../src/sandbox/sandbox.ts";
import { RAW, type TestClock, testClock, UBL } from "../extractor/documents.ts";

const TABLE = "3c90c3cc-0d44-4b50-8888-8dd25736052a";
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const b64 = (content: string) => Buffer.from(content).toString("base64");
const xml = { filename: "invoice.xml", mimetype: "text/plain", file_type: "binary", file: b64(UBL) };

let clock: TestClock;
let sandbox: Sandbox;
const start = async (options: Partial<SandboxOptions> = {}) =>
  startSandbox({ port: 0, apiKey: "key", pace: { pendingMs: 1_000, runningMs: 2_000 }, clock, ...options });

beforeEach(async () => {
  clock = testClock();
  sandbox = await start();
});
afterEach(() => sandbox.stop());

type Answer = { readonly status: number; readonly headers: Headers; readonly json: Record<string, unknown> };

async function ask(method: string, path: string, body?: unknown, key: string | null = "key"): Promise<Answer> {
  const response = await fetch(`${path.startsWith("/_") ? sandbox.url.replace(/\/api$/, "") : sandbox.url}${path}`, {
    method,
    headers: key === null ? {} : { "X-API-Key": key },
    ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  return { status: response.status, headers: response.headers, json: (await response.json()) as Record<string, unknown> };
}

const at = (path: string, project = "any name") => `/projects/${encodeURIComponent(project)}/tables/${TABLE}${path}`;
const upload = async (document: unknown) => (await ask("POST", at("/files"), document)).json.row_id as string;
const run = async (row: string, more = {}) => (await ask("POST", at("/run"), { row_id: row, ...more })).json.run_id as string;
const poll = async (id: string) => (await ask("GET", at(`/run/${id}`))).json;

describe("the three steps", () => {
  test("upload, run, poll: pending, running, done by the clock", async () => {
    const uploaded = await ask("POST", at("/files"), xml);
    expect(uploaded).toMatchObject({ status: 201, json: { row_id: expect.stringMatching(UUID) } });
    const row = uploaded.json.row_id;
    const started = await ask("POST", at("/run"), { row_id: row });
    expect(started).toMatchObject({ status: 202, json: { run_id: expect.stringMatching(UUID) } });
    const id = started.json.run_id as string;

    expect(await poll(id)).toMatchObject({ status: "pending", data: {}, row_id: row, created_at: "2026-05-04T10:00:00.000Z" });
    clock.pass(1_000);
    expect(await poll(id)).toMatchObject({ status: "running", data: {} });
    clock.pass(2_000);
    expect(await poll(id)).toMatchObject({ status: "done", data: { invoice_number: "RE-2026-0815" }, row_id: row });
    expect(sandbox.counts()).toMatchObject({ uploads: 1, runs: 1, polls: 3, rows: [{ row_id: row, filename: "invoice.xml", runs: 1 }] });
  });

  test("a synchronous extraction answers at once", async () => {
    expect(await ask("POST", at("/extract"), xml)).toMatchObject({
      status: 200,
      json: { status: "done", data: { gross_amount: "119.00" } },
    });
  });

  test("a row may be run again and says the same", async () => {
    const row = await upload(xml);
    const first = await run(row);
    clock.pass(3_000);
    const answer = await poll(first);
    const second = await run(row);
    expect(await poll(second)).toMatchObject({ status: "pending" });
    clock.pass(3_000);
    expect(await poll(second)).toEqual(answer);
  });

  test("zero retention: the answer can be asked for again, the file is gone", async () => {
    const row = await upload(xml);
    const id = await run(row, { zero_retention: true });
    clock.pass(3_000);
    expect(await poll(id)).toMatchObject({ status: "done" });
    expect(await poll(id)).toMatchObject({ status: "done", data: { invoice_number: "RE-2026-0815" } });
    expect(await ask("POST", at("/run"), { row_id: row })).toMatchObject({
      status: 400,
      json: { errorMessage: expect.stringContaining("not retained") },
    });
  });

  test("a review and the reasoning, on order: from then on, when it is done", async () => {
    const row = await upload(xml);
    sandbox.faults.add({ call: "run", reasoning: "read from the XML" });
    const id = await run(row);
    sandbox.faults.add({ call: "poll", review: { approved: false, reviewed_by: "anna" } });
    const pending = await poll(id);
    expect(pending).toMatchObject({ status: "pending" });
    for (const field of ["review", "reasoning"]) expect(pending).not.toHaveProperty(field);
    clock.pass(3_000);
    const review = { comment: "", reviewed_by: "anna", review_date: "2026-05-04T10:00:00.000Z", approved: false };
    expect(await poll(id)).toMatchObject({ status: "done", reasoning: "read from the XML", review });
    sandbox.faults.add({ call: "poll", review: { approved: true, comment: "now", review_date: "2026-05-05T00:00:00Z" } });
    expect(await poll(id)).toMatchObject({ reasoning: "read from the XML", review: { comment: "now", approved: true } });
    sandbox.faults.add({ call: "extract", review: { approved: true } });
    expect((await ask("POST", at("/extract"), xml)).json).toMatchObject({ status: "done", review: { approved: true } });
    expect((await ask("POST", at("/extract"), xml)).json).not.toHaveProperty("review");
    sandbox.faults.add({ call: "extract", reasoning: "nothing to read" });
    const unread = (await ask("POST", at("/extract"), { ...xml, file: b64("Hello") })).json;
    expect(unread).toMatchObject({ status: "error" });
    expect(unread).not.toHaveProperty("reasoning");
  });

  test("projects are `sandbox` and those used, with ids that stay", async () => {
    await upload(xml);
    const projects = (await ask("GET", "/projects")).json as unknown as { id: string; name: string; created_at: string }[];
    expect(projects.map(({ name }) => name)).toEqual(["sandbox", "any name"]);
    for (const { id } of projects) expect(id).toMatch(UUID);
    expect((await ask("GET", "/projects")).json).toEqual(projects);
  });
});

describe("refusals", () => {
  test("401 without the key or with another one, on every path", async () => {
    for (const key of [null, "Key", "key2", ""]) {
      expect(await ask("GET", "/projects", undefined, key)).toMatchObject({ status: 401, json: { errorMessage: "Unauthorized" } });
      expect((await ask("POST", at("/files"), xml, key)).status).toBe(401);
    }
    expect(sandbox.counts().uploads).toBe(0);
  });

  const part = { ...xml, file_type: "multipart", mimetype: "message/rfc822" };
  test.each([
    ["{", "not JSON"],
    ["", "not JSON"],
    [[], "body: expected an object"],
    [{ ...xml, filename: undefined }, "filename: expected text"],
    [{ ...xml, mimetype: "text/html" }, "mimetype: not one"],
    [{ ...xml, mimetype: undefined }, "mimetype: not one"],
    [{ ...xml, file_type: "base64" }, "file_type: expected"],
    [{ ...xml, file: undefined }, "file: missing"],
    [{ ...xml, file: "Zm9v!" }, "expected base64"],
    [{ ...xml, file: "Zg=v" }, "expected base64"],
    [{ ...xml, file: "Zm9" }, "expected base64"],
    [{ ...xml, file: 7 }, "expected base64"],
    [{ ...xml, file_type: "uri", file: "https://example.com/a.pdf" }, "fetches nothing"],
    [{ ...part, file: b64("x") }, "expected an array"],
    [{ ...part, file: [] }, "expected an array"],
    [{ ...part, file: [xml, { ...xml, mimetype: "image/tiff" }] }, "file[1].mimetype: not one"],
    [{ ...part, file: [{ filename: "a", mimetype: "text/plain", content: "Zg==" }] }, "file[0].file_type: expected"],
    [{ ...part, file: [{ ...xml, file_type: "uri", file: "https://example.com" }] }, "file[0]: expected file_type binary"],
    [{ ...part, file: [null] }, "file[0].: expected an object"],
  ])("400 for the upload %o: %s", async (document, said) => {
    expect(await ask("POST", at("/files"), document)).toMatchObject({ status: 400, json: { errorMessage: expect.stringContaining(said) } });
    expect(sandbox.counts().rows).toEqual([]);
  });

  test.each([
    [{}, 400],
    [{ row_id: "7" }, 400],
    [[], 400],
    ["[", 400],
    [{ row_id: TABLE, zero_retention: "yes" }, 400],
    [{ row_id: TABLE }, 404],
  ])("the run %o is answered %i", async (body, status) => {
    expect(await ask("POST", at("/run"), body)).toMatchObject({ status, json: { errorMessage: expect.any(String) } });
  });

  test("404 for a run or row of another project or table, and for other paths; 405 for other methods", async () => {
    const row = await upload(xml);
    const id = await run(row);
    const other = TABLE.replace("3c", "4d");
    for (const [method, path, status] of [
      ["GET", at(`/run/${TABLE}`), 404],
      ["GET", at(`/run/${id}`, "other"), 404],
      ["GET", at(`/run/${id}`).replace(TABLE, other), 404],
      ["GET", at("/run/7"), 400],
      ["GET", "/projects/p/tables/7/run/7", 400],
      ["GET", `/projects/%ff/tables/${TABLE}/run/${id}`, 400],
      ["GET", "/nowhere", 404],
      ["GET", at("/files/7"), 404],
      ["DELETE", at(`/run/${id}`), 405],
      ["GET", at("/files"), 405],
      ["POST", "/projects", 405],
    ] as const) {
      expect(await ask(method, path), `${method} ${path}`).toMatchObject({ status, json: { errorMessage: expect.any(String) } });
    }
    expect((await ask("POST", at("/run", "other"), { row_id: row })).status).toBe(404);
  });

  test("413 for a request over the limit", async () => {
    await sandbox.stop();
    sandbox = await start({ maxRequestBytes: 10_000 });
    expect((await ask("POST", at("/files"), { ...xml, file: "A".repeat(10_000) })).status).toBe(413);
    expect((await ask("POST", at("/files"), xml)).status).toBe(201);
  });

  test("what is not held any more is forgotten, oldest first", async () => {
    await sandbox.stop();
    sandbox = await start({ maxRequestBytes: 10_000 });
    const rows = [];
    for (let nth = 0; nth < 60; nth += 1) rows.push(await upload(xml));
    const held = sandbox.counts().rows.map((row) => row.row_id);
    expect(held.length).toBeLessThan(60);
    expect(held).toEqual(rows.slice(-held.length));
    expect((await ask("POST", at("/run"), { row_id: rows[0] })).status).toBe(404);
  });

  test("a port in use is a fault", async () => {
    await expect(start({ port: sandbox.port })).rejects.toMatchObject({ code: "sandbox.listen" });
  });
});

describe("faults on order", () => {
  test("over HTTP, used up by the calls they are for", async () => {
    const rules = [{ call: "upload", status: 429, retryAfter: 3, times: 2 }];
    expect((await ask("POST", "/_sandbox/faults", rules, null)).status).toBe(200);
    expect((await ask("GET", "/projects")).status).toBe(200);
    for (let nth = 0; nth < 2; nth += 1) {
      const { status, headers } = await ask("POST", at("/files"), xml);
      expect([status, headers.get("retry-after")]).toEqual([429, "3"]);
    }
    expect((await ask("POST", at("/files"), xml)).status).toBe(201);
    expect((await ask("GET", "/_sandbox/counts", undefined, null)).json).toEqual(sandbox.counts());
  });

  test("what is not a rule is refused; they can be taken back", async () => {
    const unfit = [
      { call: "upload", code: "OCR_ERROR" },
      { call: "upload", review: { approved: true } },
      { call: "run", older: true },
      { call: "poll", failureReason: "ABORTED" },
      { call: "extend.poll", lagMs: 1 },
    ];
    for (const rule of [{}, { call: "upload", cut: "twice" }, { call: "upload", sttus: 500 }, "[", 7, ...unfit]) {
      expect((await ask("POST", "/_sandbox/faults", rule)).status).toBe(400);
    }
    await ask("POST", "/_sandbox/faults", { call: "projects", status: 500 });
    await ask("DELETE", "/_sandbox/faults");
    expect((await ask("GET", "/projects")).status).toBe(200);
  });

  test.each([
    ["before", 0],
    ["after", 1],
    ["body", 1],
  ] as const)("cut %s: the connection breaks, uploads %i", async (cut, uploads) => {
    sandbox.faults.add({ call: "upload", cut });
    await expect(ask("POST", at("/files"), xml)).rejects.toThrow();
    expect(sandbox.counts().uploads).toBe(uploads);
  });

  test("a delay by the clock; wrong JSON; HTML", async () => {
    sandbox.faults.add({ call: "projects", delayMs: 5_000 });
    const before = clock.now().getTime();
    await ask("GET", "/projects");
    expect(clock.now().getTime() - before).toBe(5_000);
    for (const rule of [{ wrongJson: true }, { html: true }] as const) {
      sandbox.faults.add({ call: "projects", ...rule });
      await expect(ask("GET", "/projects")).rejects.toThrow(SyntaxError);
    }
  });

  test("an error under status 200, and nothing is done", async () => {
    sandbox.faults.add({ call: "upload", errorIn200: true });
    expect(await ask("POST", at("/files"), xml)).toMatchObject({ status: 200, json: { errorMessage: expect.any(String) } });
    expect(sandbox.counts().uploads).toBe(0);
  });

  test("an answer of 300 MB, sent no faster than it is read; an answer that is never finished", async () => {
    sandbox.faults.add({ call: "projects", hugeBody: true });
    const huge = await fetch(`${sandbox.url}/projects`, { headers: { "X-API-Key": "key" } });
    let size = 0;
    for await (const chunk of huge.body ?? []) size += chunk.length;
    expect(size).toBeGreaterThan(300 * 1024 * 1024);

    sandbox.faults.add({ call: "projects", neverEnding: true });
    const endless = await fetch(`${sandbox.url}/projects`, { headers: { "X-API-Key": "key" } });
    const reader = endless.body?.getReader();
    expect((await reader?.read())?.value?.length).toBeGreaterThan(10);
    const more = reader?.read();
    const seen = expect(more).rejects.toThrow();
    await sandbox.stop();
    await seen;
  });

  test("hang: no answer until the sandbox stops", async () => {
    sandbox.faults.add({ call: "projects", hang: true });
    const hanging = ask("GET", "/projects");
    const seen = expect(hanging).rejects.toThrow();
    // The next call is answered while that one waits; then stop() must not wait for it.
    expect((await ask("POST", at("/files"), { ...xml, mimetype: "message/rfc822", file: b64(RAW) })).status).toBe(201);
    await sandbox.stop();
    await seen;
  });
});

test("the command prints where it listens and the key, and stops when it is told to", async () => {
  const stop = new AbortController();
  const lines: string[] = [];
  const ended = sandboxCommand({ port: 0, key: "shown", project: "any" }, (line) => lines.push(line), stop.signal);
  await expect
    .poll(() => lines)
    .toEqual([
      expect.stringMatching(/^url: http:\/\/127\.0\.0\.1:\d+\/api$/),
      expect.stringMatching(/^extend: http:\/\/127\.0\.0\.1:\d+$/),
      "key: shown",
    ]);
  const projects = `${lines[0]?.slice("url: ".length)}/projects`;
  expect((await fetch(projects, { headers: { "X-API-Key": "shown" } })).status).toBe(200);
  stop.abort();
  expect(await ended).toBe(0);
  await expect(fetch(projects)).rejects.toThrow();
});
