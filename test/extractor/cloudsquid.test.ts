/** Cloudsquid's own traps, answered by a server that says what the test wants: statuses, deadlines, errors, odd answers. */
import type { ServerResponse } from "node:http";
import { afterEach, describe, expect, test } from "vitest";
import { Fault } from "../../src/base/errors.ts";
import { type CloudsquidOptions, createCloudsquid } from "../../src/extractor/cloudsquid.ts";
import type { Memo, Progress } from "../../src/extractor/extractor.ts";
import { createHttp } from "../../src/http/http.ts";
import { type Asked, json, startScriptedHttp } from "../servers/scripted-http.ts";
import { documentOf, piece, testClock } from "./documents.ts";

const never = new AbortController().signal;
const document = documentOf(piece("2", "a.pdf", "application/pdf", "%PDF-1.7"));
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

async function service(answer: (asked: Asked, response: ServerResponse, nth: number) => void, changes: Partial<CloudsquidOptions> = {}) {
  const server = await startScriptedHttp(answer);
  const http = createHttp({ name: "cloudsquid", connections: 1, timeoutMs: 2_000 });
  cleanups.push(http.close, server.stop);
  const clock = testClock();
  const options: CloudsquidOptions = {
    name: "cloudsquid",
    url: `${server.url}/api/`,
    apiKey: "sesame",
    project: "Accounts / Payable",
    table: "3c90c3cc-0d44-4b50-8888-8dd25736052a",
    encoding: "multipart",
    multipart: {
      mimetype: "message/rfc822",
      fields: { name: "filename", type: "mimetype", kind: "file_type", content: "file" },
      body: "text",
    },
    zeroRetention: true,
    maxBytes: 1_000,
    poll: { firstMs: 2_000, longestMs: 30_000 },
    deadlines: { pendingMs: 60_000, runningMs: 120_000 },
    ...changes,
  };
  const extractor = createCloudsquid(options, { clock, http });
  const advance = (memo: Memo | null) => extractor.advance(document, memo, "key", never);
  return { server, clock, extractor, advance };
}

const running = (fields: Memo = {}): Memo => ({
  step: "running",
  rowId: "row-1",
  runId: "run-1",
  status: null,
  phase: "pending",
  since: "2026-05-04T10:00:00.000Z",
  polls: 0,
  ...fields,
});

async function faultOf(call: Promise<Progress>): Promise<Fault> {
  const thrown = await call.then(
    (progress) => ("fault" in progress ? progress.fault : null),
    (error: unknown) => error,
  );
  if (!(thrown instanceof Fault)) throw new Error(`expected a Fault, got ${String(thrown)}`);
  return thrown;
}

test("the three calls are those of the documentation", async () => {
  const { server, advance } = await service((asked, response) => {
    if (asked.path.endsWith("/files")) json(response, 200, { row_id: "row-1" });
    else if (asked.method === "POST") json(response, 202, { run_id: "run-1" });
    else json(response, 200, { status: "done", data: { total: 1 }, row_id: "row-1" });
  });
  const upload = await advance(null);
  expect(upload).toMatchObject({ is: "going", memo: { step: "uploaded", rowId: "row-1" } });
  const run = await advance(upload.memo);
  expect(run).toMatchObject({ is: "going", memo: { step: "running", rowId: "row-1", runId: "run-1" } });
  expect(await advance(run.memo)).toMatchObject({
    is: "answered",
    answer: { runId: "run-1", data: { total: 1 }, raw: { status: "done" } },
  });

  const table = "/api/projects/Accounts%20%2F%20Payable/tables/3c90c3cc-0d44-4b50-8888-8dd25736052a";
  expect(server.asked.map(({ method, path }) => `${method} ${path}`)).toEqual([
    `POST ${table}/files`,
    `POST ${table}/run`,
    `GET ${table}/run/run-1`,
  ]);
  for (const { headers } of server.asked) expect(headers["x-api-key"]).toBe("sesame");
  expect(JSON.parse(String(server.asked[1]?.body))).toEqual({ row_id: "row-1", zero_retention: true });
});

describe("the status of a run", () => {
  test.each([
    [{ status: "DONE", data: { a: 1 } }, { a: 1 }],
    [{ status: "done", result: { b: 2 } }, { b: 2 }],
    [{ status: "done", data: null, result: [] }, []],
    [{ status: "done", data: {} }, {}],
  ])("%o is answered with %o", async (row, data) => {
    const { advance } = await service((_, response) => json(response, 200, row));
    expect(await advance(running())).toMatchObject({ is: "answered", answer: { data } });
  });

  test.each([
    {},
    { data: null },
    { data: null, result: null },
    { data: "it is a bill" },
    { data: 7, result: {} },
    { result: "" },
    { data: true },
  ])("done with %o is no result: asked for again until the running deadline, then refused; a retry buys another run", async (found) => {
    const { advance, clock } = await service((_, response) => json(response, 200, { status: "done", ...found }));
    for (const [phase, limitMs] of [
      ["running", 120_000],
      ["pending", 180_000],
    ] as const) {
      const memo = running({ phase, since: clock.now().toISOString() });
      const asked = (): Memo => ({ ...memo, answeredAt: clock.now().toISOString() });
      clock.pass(limitMs);
      expect(await advance(asked())).toMatchObject({ is: "going", fault: { code: "cloudsquid.unexpected", temporary: true } });
      clock.pass(1);
      expect(await advance(asked())).toMatchObject({
        is: "refused",
        memo: { step: "uploaded", rowId: "row-1", runId: "run-1" },
        fault: { code: "cloudsquid.unexpected", temporary: false, message: expect.stringMatching(/run run-1 of row row-1 is done/) },
      });
    }
  });

  test.each(["pending", "Running", "queued by an owl", "", null, 7, undefined])("%o waits, though data is there", async (status) => {
    const { advance } = await service((_, response) => json(response, 200, { status, data: { a: 1 } }));
    const progress = await advance(running());
    expect(progress.is).toBe("going");
    expect(progress.memo?.status).toBe(typeof status === "string" && status !== "" ? status : null);
  });

  test("error is refused; of the service's text only errorMessage is told, short and on one line", async () => {
    const { advance } = await service((_, response) =>
      json(response, 200, { status: "error", data: {}, result: "Dear Sir", errorMessage: `no\u0000 luck\r\n${"x".repeat(5_000)}` }),
    );
    const progress = await advance(running());
    expect(progress).toMatchObject({ is: "refused", memo: { step: "uploaded", rowId: "row-1" } });
    const fault = await faultOf(Promise.resolve(progress));
    expect(fault).toMatchObject({
      code: "cloudsquid.failed",
      temporary: false,
      message: expect.stringMatching(/status error: no luck x+ \(/),
    });
    expect(fault.message.length).toBeLessThan(420);
    expect(fault.message).not.toContain("Dear Sir");
  });
});

describe("waiting", () => {
  test("the interval grows from the first to the longest", async () => {
    const { advance, clock } = await service((_, response) => json(response, 200, { status: "running" }));
    const waits: number[] = [];
    let memo = running({ phase: "running" });
    for (let poll = 0; poll < 10; poll += 1) {
      const progress = await advance(memo);
      if (progress.is !== "going") throw new Error(progress.is);
      waits.push(progress.nextAt.getTime() - clock.now().getTime());
      memo = progress.memo;
    }
    expect(waits).toEqual([3_000, 4_500, 6_750, 10_125, 15_187, 22_781, 30_000, 30_000, 30_000, 30_000]);
  });

  test("each state has its own deadline, from when it began", async () => {
    let status = "pending";
    const { advance, clock } = await service((_, response) => json(response, 200, { status }));
    const asked = (memo: Memo | null): Memo => ({ ...memo, answeredAt: clock.now().toISOString() });
    clock.pass(60_000);
    expect((await advance(asked(running()))).is).toBe("going");
    clock.pass(1);
    expect(await faultOf(advance(asked(running())))).toMatchObject({ code: "cloudsquid.deadline", temporary: false });

    status = "something else";
    const begun = await advance(asked(running()));
    expect(begun).toMatchObject({ is: "going", memo: { phase: "running", since: clock.now().toISOString() } });
    clock.pass(120_000);
    expect((await advance(asked(begun.memo))).is).toBe("going");
    status = "pending";
    clock.pass(1);
    const over = await advance(asked(begun.memo));
    expect(over).toMatchObject({ is: "refused", fault: { code: "cloudsquid.deadline" } });

    status = "running";
    expect((await advance(over.memo)).is, "a retry asks after the same run").toBe("going");
  });

  test("an answer that comes after the deadline counts all the same", async () => {
    const { advance, clock } = await service((_, response) => json(response, 200, { status: "done", data: {} }));
    clock.pass(10 ** 9);
    expect((await advance(running())).is).toBe("answered");
  });

  test.each([
    ["is not known", 404, {}, 180_000],
    ["is answered oddly", 200, { maintenance: true }, 180_000],
    ["is done without data", 200, { status: "done" }, 180_000],
    ["is still pending", 200, { status: "pending" }, 60_000],
  ])(
    "time in which nobody answers does not count: after two days a run that %s has its deadline before it",
    async (_, code, body, limitMs) => {
      const { advance, clock } = await service((_, response) => json(response, code, body));
      clock.pass(48 * 3_600_000);
      let progress = await advance(running());
      expect(progress.is, "it is asked once more").toBe("going");
      const begun = clock.now().getTime();
      while (progress.is === "going") {
        clock.set(progress.nextAt);
        progress = await advance(progress.memo);
      }
      expect(progress).toMatchObject({ is: "refused", fault: { temporary: false } });
      // A minute of the two days counts, and the last wait.
      expect(clock.now().getTime() - begun).toBeGreaterThan(limitMs - 60_001);
      expect(clock.now().getTime() - begun).toBeLessThan(limitMs + 31_000);
    },
  );

  test("a run nobody knows is a temporary fault, and refused after both deadlines", async () => {
    const { advance, clock } = await service((_, response) => json(response, 404, {}));
    const first = await advance(running());
    expect(first).toMatchObject({ is: "going", memo: { runId: "run-1" }, fault: { code: "cloudsquid.not-found", temporary: true } });
    clock.pass(180_001);
    const over = await advance({ ...running(), answeredAt: clock.now().toISOString() });
    expect(over).toMatchObject({ is: "refused", fault: { code: "cloudsquid.not-found", temporary: false } });
    expect(over.memo, "a retry buys another run, and the one before is not forgotten").toMatchObject({ step: "upload", runId: "run-1" });
  });
});

describe("an error", () => {
  test.each([
    [400, "cloudsquid.refused", false],
    [401, "cloudsquid.unauthorized", true],
    [403, "cloudsquid.unauthorized", true],
    [404, "cloudsquid.not-found", true],
    [413, "cloudsquid.refused", false],
    [422, "cloudsquid.refused", false],
    [429, "cloudsquid.unavailable", true],
    [302, "cloudsquid.redirected", true],
  ])("%i at the upload is %s, temporary: %s", async (status, code, temporary) => {
    const { advance, server } = await service((_, response) => json(response, status, { errorMessage: "a reason" }, { location: "/" }));
    const fault = await faultOf(advance(null));
    expect(fault).toMatchObject({ code, temporary, message: expect.stringContaining(`${status}: a reason`) });
    expect(fault.message).not.toContain("sesame");
    expect(server.asked).toHaveLength(1);
  });

  test("a stray 400 while polling does not give the run up: a retry asks after it again, and buys nothing", async () => {
    const { advance } = await service((_, response, nth) => {
      if (nth === 0) json(response, 400, {});
      else json(response, 200, { status: "done", data: { a: 1 }, row_id: "row-1", created_at: "" });
    });
    const refused = await advance(running());
    expect(refused).toMatchObject({ is: "refused", fault: { code: "cloudsquid.refused" }, memo: { step: "running", runId: "run-1" } });
    expect(await advance(refused.memo)).toMatchObject({ is: "answered", answer: { runId: "run-1" } });
  });

  test("402 at any step halts the service and forgets nothing", async () => {
    const { advance } = await service((_, response) => json(response, 402, { errorMessage: "no credits" }));
    expect(await advance(null)).toMatchObject({ is: "halted", memo: { step: "upload", lost: 0 }, fault: { temporary: true } });
    expect(await advance({ step: "uploaded", rowId: "row-1", lost: 0 })).toMatchObject({ is: "halted", memo: { rowId: "row-1" } });
    expect(await advance(running())).toMatchObject({ is: "halted", memo: { runId: "run-1" } });
  });

  test.each(["<html>", '{"message":"Dear Sir"}', '{"errorMessage":{"a":1}}', "[", ""])(
    "with the body %s tells only the status",
    async (body) => {
      const { advance } = await service((_, response) => response.writeHead(400).end(body));
      expect((await faultOf(advance(null))).message).toMatch(/was answered 400$/);
    },
  );

  test("a message over the limit is refused before anything is sent", async () => {
    const { advance, server } = await service((_, response) => json(response, 200, { row_id: "r" }), { maxBytes: 7 });
    expect(await faultOf(advance(null))).toMatchObject({ code: "cloudsquid.too-large", temporary: false });
    expect(server.asked).toHaveLength(0);
  });

  test.each([{}, { row_id: 7 }, { row_id: "" }, { row_id: "../../other" }, []])(
    "an upload answered %o is not known to have a row",
    async (answer) => {
      const { advance } = await service((_, response) => json(response, 200, answer));
      expect(await advance(null)).toMatchObject({ is: "going", memo: { step: "upload", lost: 1 } });
    },
  );
});

describe("an answer is read up to a length that fits the call", () => {
  const MB = 1024 * 1024;
  const fits = JSON.stringify({ status: "done", data: {}, row_id: "row-1", run_id: "run-1", url: "https://example.com/" });
  const sync = { mode: "sync", syncMaxBytes: 1_000, zeroRetention: false } as const;
  test.each([
    ["upload", null, MB, {}],
    ["run", { step: "uploaded", rowId: "row-1", lost: 0 }, MB, {}],
    ["poll", running(), 4_000_000, {}],
    ["sync", null, 4_000_000, sync],
    ["projects", { step: "upload", lost: 1 }, MB, {}],
    ["store", null, MB, { encoding: "uri", maxBytes: 1_000_000 }],
    ["signed URL", { step: "stored", lost: 0 }, MB, { encoding: "uri" }],
  ] as const)("%s", async (_, memo, most, changes) => {
    let length: number = most;
    const { advance } = await service((_, response) => {
      response.end(fits.padEnd(length));
      length = 0;
    }, changes);
    const taken = await advance(memo);
    expect(["going", "answered"]).toContain(taken.is);
    expect(taken.memo?.lost ?? 0).toBe(0);

    length = most + 1;
    const over = await advance(memo).catch((thrown: unknown) => thrown);
    if (!(over instanceof Fault)) expect(over).toMatchObject({ is: "going", memo: { lost: 1 } });
    else expect(over).toMatchObject({ temporary: true, message: expect.stringContaining(`longer than ${most} bytes`) });
  });
});

test("the probe says whether the project is listed", async () => {
  const { extractor, server } = await service((_, response, nth) =>
    json(response, 200, nth === 0 ? [{ name: "Accounts / Payable" }, null] : []),
  );
  expect((await extractor.probe(never)).said).toBe('key accepted, project "Accounts / Payable" is there');
  await expect(extractor.probe(never)).rejects.toMatchObject({ code: "cloudsquid.no-project", temporary: false });
  expect(server.asked[0]?.path).toBe("/api/projects");
});
