/** Extend's own traps, answered by a server that says what the test wants: statuses, failures, errors, outputs, odd answers. */
import type { ServerResponse } from "node:http";
import { afterEach, describe, expect, test } from "vitest";
import { Fault } from "../../src/base/errors.ts";
import type { ExtendOptions } from "../../src/extractor/extend.ts";
import type { Document, Memo, Progress } from "../../src/extractor/extractor.ts";
import { createHttp } from "../../src/http/http.ts";
import { type Asked, json, startScriptedHttp } from "../servers/scripted-http.ts";
import { documentOf, piece, testClock } from "./documents.ts";
import { extend, never } from "./extend-service.ts";

const pdf = piece("2", "a.pdf", "application/pdf", "%PDF-1.7");
const one = documentOf(pdf);
const two = documentOf(piece("text", "text.txt", "text/plain", "Dear Sir"), pdf);
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

async function service(answer: (asked: Asked, response: ServerResponse, nth: number) => void, changes: Partial<ExtendOptions> = {}) {
  const server = await startScriptedHttp(answer);
  const http = createHttp({ name: "extend", connections: 1, timeoutMs: 2_000 });
  cleanups.push(http.close, server.stop);
  const clock = testClock();
  const extractor = extend(`${server.url}/`, { clock, http }, changes);
  const advance = (memo: Memo | null, document: Document = one) => extractor.advance(document, memo, "the key", never);
  return { server, clock, extractor, advance };
}

const certain = { sent: 0, perhapsBought: false, sentFrom: null, sentLast: null, withError: false };
const kept = { files: ["file_1"], skipped: [], past: [], reruns: 0, possiblyTwice: 0, ...certain };
const since = "2026-05-04T10:00:00.000Z";
const running: Memo = { ...kept, step: "running", runId: "exr_1", status: "PENDING", phase: "pending", since, polls: 0 };
const looking: Memo = { ...kept, step: "look", sent: 1, perhapsBought: true, sentFrom: since, sentLast: since };

async function faultOf(call: Promise<Progress>): Promise<Fault> {
  const thrown = await call.then(
    (progress) => ("fault" in progress ? progress.fault : null),
    (error: unknown) => error,
  );
  if (!(thrown instanceof Fault)) throw new Error(`expected a Fault, got ${String(thrown)}`);
  return thrown;
}

/** Uploads a document and goes on to `order`; the server answers uploads by itself. */
async function ordering(answer: (asked: Asked, response: ServerResponse) => void, changes: Partial<ExtendOptions> = {}) {
  const made = await service((asked, response) => {
    if (asked.path === "/files/upload") json(response, 200, { object: "file", id: "file_1" });
    else answer(asked, response);
  }, changes);
  const { memo } = await made.advance(null);
  expect(memo).toMatchObject({ step: "order" });
  return { ...made, memo };
}

test("the calls are those of the documentation, one a time", async () => {
  const { server, advance } = await service(
    (asked, response, nth) => {
      if (asked.path === "/files/upload") json(response, 200, { object: "file", id: `file_${nth}` });
      else if (asked.method === "POST") json(response, 200, { object: "extract_run", id: "exr_1", status: "PROCESSING" });
      else json(response, 200, { id: "exr_1", status: "PROCESSED", output: { value: { total: 1 }, metadata: {} } });
    },
    {
      workspace: "ws_1",
      extractor: { id: "ex_1", version: "1.2" },
      priority: 7,
      usageTags: ["Kreditoren Süd", "a/b", "ab"],
      metadata: { team: "ap" },
    },
  );
  const seen: unknown[] = [];
  let progress = await advance(null, two);
  while (progress.is === "going") {
    seen.push([server.asked.length, progress.memo.step]);
    progress = await advance(JSON.parse(JSON.stringify(progress.memo)), two);
  }
  expect(seen).toEqual([
    [1, "upload"],
    [2, "order"],
    [3, "running"],
  ]);
  expect(progress).toMatchObject({ is: "answered", memo: { runId: "exr_1" }, answer: { runId: "exr_1", data: { total: 1 } } });

  expect(server.asked.map(({ method, path }) => `${method} ${path}`)).toEqual([
    "POST /files/upload",
    "POST /files/upload",
    "POST /extract_runs",
    "GET /extract_runs/exr_1",
  ]);
  for (const { headers } of server.asked) {
    expect(headers).toMatchObject({
      authorization: "Bearer sesame",
      "x-extend-api-version": "2026-02-09",
      "x-extend-workspace-id": "ws_1",
    });
  }
  expect(JSON.parse(String(server.asked[2]?.body))).toEqual({
    extractor: { id: "ex_1", version: "1.2" },
    package: { files: [{ id: "file_0" }, { id: "file_1" }] },
    priority: 7,
    metadata: { "billhook:key": "the key", "extend:usage_tags": ["KreditorenSd", "ab"], team: "ap" },
  });
});

describe("the order", () => {
  async function bodyOf(changes: Partial<ExtendOptions>) {
    const { advance, memo, server } = await ordering((_, response) => json(response, 200, { id: "exr_1", status: "PENDING" }), changes);
    await advance(memo);
    return { path: server.asked[1]?.path, body: JSON.parse(String(server.asked[1]?.body)) };
  }
  const metadata = { "billhook:key": "the key" };
  const file = { id: "file_1" };

  test("one file is a file; without a version the service chooses", async () => {
    expect((await bodyOf({})).body).toEqual({ extractor: { id: "ex_1" }, file, metadata });
  });
  test("an inline config, or neither", async () => {
    expect((await bodyOf({ extractor: null, config: { schema: {} } })).body).toEqual({ config: { schema: {} }, file, metadata });
    expect((await bodyOf({ extractor: null })).body).toEqual({ file, metadata });
  });
  test("synchronous only up to its size, and without a priority", async () => {
    const sync = { mode: "sync", priority: 3, extractor: null } as const;
    expect(await bodyOf({ ...sync, syncMaxBytes: 8 })).toEqual({ path: "/extract", body: { file, metadata } });
    expect(await bodyOf({ ...sync, syncMaxBytes: 7 })).toEqual({ path: "/extract_runs", body: { file, priority: 3, metadata } });
  });
  test("metadata stays under 10 KB, and our key is always in it", async () => {
    const long = { "billhook:key": "theirs", a: "x".repeat(9_000), b: "ü".repeat(5_000), c: "short" };
    const { body } = await bodyOf({ metadata: long });
    expect(body.metadata).toEqual({ "billhook:key": "the key", a: long.a, c: "short" });
  });
});

describe("the status of a run", () => {
  test.each(["PENDING", "PROCESSING", "CANCELLING", "NEEDS_REVIEW", "processed"])("%s waits, though an output is there", async (status) => {
    const { advance } = await service((_, response) => json(response, 200, { id: "exr_1", status, output: { value: {} } }));
    expect(await advance(running)).toMatchObject({ is: "going", memo: { status, phase: status === "PENDING" ? "pending" : "running" } });
  });

  test("what a run found may be 4 MB long, and no longer", async () => {
    let length = 3_900_000;
    const { advance } = await service((_, response) => {
      json(response, 200, { id: "exr_1", status: "PROCESSED", output: { value: { text: "x".repeat(length) } } });
    });
    expect((await advance(running)).is).toBe("answered");
    length = 4_000_000;
    expect(await faultOf(advance(running))).toMatchObject({ code: "http.interrupted", temporary: true });
  });

  const processed = { id: "exr_1", status: "PROCESSED" };
  const noFields = "an output that holds fields";
  const another = "the run that was asked for";
  test.each([
    [{}, "a status"],
    [{ status: null }, "a status"],
    [{ status: 7 }, "a status"],
    [[], "a status"],
    [{ code: "INTERNAL_ERROR", message: "oh", retryable: true }, "a status: INTERNAL_ERROR oh"],
    [processed, noFields],
    [{ ...processed, output: null }, noFields],
    [{ ...processed, output: "Dear Sir" }, noFields],
    [{ ...processed, output: { value: null } }, noFields],
    [{ ...processed, output: { value: "Dear Sir" } }, noFields],
    [{ ...processed, output: { value: 7 } }, noFields],
    [{ id: "exr_2", status: "PROCESSED", output: { value: {} } }, another],
    [{ id: "exr_2", status: "FAILED" }, another],
    [{ id: 7, status: "CANCELLED" }, another],
  ])("%o is not the run: asked again until its deadline, then refused, and never delivered", async (answer, missing) => {
    const { advance, clock } = await service((_, response) => json(response, 200, answer));
    const message = `extend: GET /extract_runs/exr_1 was answered without ${missing}`;
    expect(await faultOf(advance(running))).toMatchObject({ code: "extend.unexpected", temporary: true, message });
    clock.pass(120_001);
    const answeredAt = clock.now().toISOString();
    expect((await faultOf(advance({ ...running, answeredAt }))).temporary, "it was pending before").toBe(true);
    const late = await advance({ ...running, phase: "running", answeredAt });
    expect(late).toMatchObject({ is: "refused", memo: { step: "running", runId: "exr_1" }, fault: { message, temporary: false } });
    expect((await faultOf(advance(late.memo))).temporary, "a retry asks again").toBe(true);
  });

  test.each(["[", '{"a":'])("an answer nested 200,000 deep (%s) is not read", async (bracket) => {
    const close = bracket === "[" ? "]" : "}";
    const deep = bracket.repeat(200_000) + (bracket === "[" ? "" : "1") + close.repeat(200_000);
    const { advance } = await service((_, response) => {
      response.writeHead(200, { "content-type": "application/json" }).end(`{"id":"exr_1","status":"PROCESSED","output":{"value":${deep}}}`);
    });
    expect(await faultOf(advance(running))).toMatchObject({ code: "extend.unexpected", temporary: true });
  });

  test("CANCELLED is refused, and a retry orders a new run", async () => {
    const { advance } = await service((_, response) => json(response, 200, { status: "CANCELLED" }));
    expect(await advance(running)).toMatchObject({
      is: "refused",
      memo: { step: "upload", files: ["file_1"], past: ["exr_1"], runId: "exr_1" },
      fault: { code: "extend.cancelled", temporary: false },
    });
  });
});

describe("the answer", () => {
  const [final, initial, reviewed] = [{ total: "3" }, { total: "1" }, { total: "2" }];
  const outputs = { output: { value: final }, initialOutput: { value: initial }, reviewedOutput: { value: reviewed } };
  async function answerOf(run: object, output: ExtendOptions["output"] = "final") {
    const { advance } = await service((_, response) => json(response, 200, { id: "exr_1", status: "PROCESSED", ...run }), { output });
    const progress = await advance(running);
    return progress.is === "answered" ? progress.answer : progress;
  }

  test.each(["final", "reviewed", "initial"] as const)("%s is the output that was asked for", async (output) => {
    const run = { ...outputs, reviewed: true, edited: true };
    expect(await answerOf(run, output)).toMatchObject({
      data: { final, initial, reviewed }[output],
      review: { reviewed: true, edited: true },
      reasoning: null,
      raw: run,
    });
  });
  test("nobody looked: the initial output is the output", async () => {
    const run = { output: { value: { a: 1 } }, initialOutput: null, reviewed: false, edited: false };
    expect(await answerOf(run, "initial")).toMatchObject({ data: { a: 1 }, review: null });
  });
  test("reviewed waits until somebody looked", async () => {
    expect(await answerOf({ output: { value: {} }, reviewed: false }, "reviewed")).toMatchObject({
      is: "going",
      memo: { status: "PROCESSED, not reviewed", phase: "review" },
    });
  });
  test.each([
    [{ output: { invoice_number: { value: "1" } } }, { invoice_number: { value: "1" } }],
    [{ output: { value: [{ number: "1" }] } }, [{ number: "1" }]],
    [{ output: { value: {} } }, {}],
  ])("%o holds the data %o", async (run, data) => {
    expect(await answerOf(run)).toMatchObject({ data });
  });
  test.each([
    [{ credits: 9, totalCredits: 15 }, 15],
    [{ credits: 9 }, 9],
    [{ credits: "9" }, null],
    [null, null],
    [undefined, null],
  ])("usage %o is %s credits", async (usage, credits) => {
    expect(await answerOf({ ...outputs, usage })).toMatchObject({ credits });
  });
});

describe("a failed run", () => {
  const failing = (failureReason: unknown, failureMessage: unknown = "because") =>
    service((_, response) => json(response, 200, { id: "exr_1", status: "FAILED", failureReason, failureMessage, usage: { credits: 4 } }));

  test.each([
    ["ABORTED", "extend.aborted"],
    ["FAILED_TO_PROCESS_FILE", "extend.failed-to-process-file"],
    ["INVALID_PROCESSOR", "extend.invalid-processor"],
    ["INVALID_CONFIGURATION", "extend.invalid-configuration"],
    ["SCHEMA_GENERATION_FAILED", "extend.schema-generation-failed"],
    ["EATEN_BY_AN_OWL", "extend.eaten-by-an-owl"],
    ["not a code", "extend.failed"],
    [null, "extend.failed"],
  ])("%s is refused at once: %s", async (reason, code) => {
    const { advance } = await failing(reason);
    expect(await advance(running)).toMatchObject({
      is: "refused",
      memo: { step: "upload" },
      fault: { code, temporary: false },
      credits: 4,
    });
  });

  test.each(["INTERNAL_ERROR", "PRE_PROCESSING_FAILURE", "POST_PROCESSING_FAILURE", "PARSING_ERROR"])(
    "%s is run once more, counted, then refused",
    async (reason) => {
      const { advance } = await failing(reason);
      const again = await advance(running);
      expect(again).toMatchObject({
        is: "going",
        memo: { step: "order", reruns: 1, past: ["exr_1"], files: ["file_1"], runId: "exr_1" },
        credits: 4,
      });
      const code = `extend.${reason.toLowerCase().replaceAll("_", "-")}`;
      expect(await advance({ ...running, reruns: 1 })).toMatchObject({ is: "refused", fault: { code } });
    },
  );

  test("out of credits halts the service, and goes on before the order", async () => {
    const { advance } = await failing("OUT_OF_CREDITS");
    expect(await advance(running)).toMatchObject({
      is: "halted",
      memo: { step: "upload", files: ["file_1"], past: ["exr_1"] },
      fault: { code: "extend.out-of-credits", advice: expect.any(String) },
      credits: 4,
    });
  });

  test("its message is told short and on one line", async () => {
    const { advance } = await failing("ABORTED", `no\u0000 luck\r\n${"x".repeat(5_000)}`);
    const { message } = await faultOf(advance(running));
    expect(message).toMatch(/run exr_1 failed: ABORTED: no luck x+$/);
    expect(message.length).toBeLessThan(360);
  });
});

describe("waiting", () => {
  test("one second for 30 s, then 15 % longer each time, up to 30 s", async () => {
    const { advance, clock } = await service((_, response) => json(response, 200, { status: "PROCESSING" }));
    const waits: number[] = [];
    let memo: Memo = { ...running, phase: "running" };
    for (let poll = 0; poll < 60; poll += 1) {
      const progress = await advance(memo);
      if (progress.is !== "going") throw new Error(progress.is);
      waits.push(progress.nextAt.getTime() - clock.now().getTime());
      memo = progress.memo;
    }
    expect(waits.slice(0, 31)).toEqual(Array(31).fill(1_000));
    expect(waits.slice(31, 34)).toEqual([1_150, 1_322, 1_520]);
    expect(waits.at(-1)).toBe(30_000);
  });

  test("each phase has its deadline; a retry asks after the same run", async () => {
    let status = "PENDING";
    const { advance, clock } = await service((_, response) => json(response, 200, { status }));
    const asked = (memo: Memo | null): Memo => ({ ...memo, answeredAt: clock.now().toISOString() });
    clock.pass(60_000);
    expect((await advance(asked(running))).is).toBe("going");
    clock.pass(1);
    expect(await faultOf(advance(asked(running)))).toMatchObject({ code: "extend.deadline", temporary: false });
    status = "CANCELLING";
    const begun = await advance(asked(running));
    expect(begun).toMatchObject({ is: "going", memo: { phase: "running", since: clock.now().toISOString() } });
    clock.pass(120_001);
    const over = await advance(asked(begun.memo));
    expect(over).toMatchObject({ is: "refused", memo: { step: "running", runId: "exr_1" }, fault: { code: "extend.deadline" } });
    expect((await advance(over.memo)).is).toBe("going");
  });

  test("a run nobody knows is a temporary fault, and refused after both deadlines", async () => {
    const { advance, clock } = await service((_, response) => json(response, 404, { code: "NOT_FOUND" }));
    const first = await advance(running);
    expect(first).toMatchObject({ is: "going", memo: { runId: "exr_1" }, fault: { code: "extend.not-found", temporary: true } });
    clock.pass(180_001);
    const asked = { ...running, answeredAt: clock.now().toISOString() };
    expect(await advance(asked)).toMatchObject({ is: "refused", memo: { step: "upload" }, fault: { temporary: false } });
  });

  test.each([
    ["is not known", 404, { code: "NOT_FOUND" }],
    ["is answered oddly", 200, { maintenance: true }],
    ["is still pending", 200, { id: "exr_1", status: "PENDING" }],
  ])("time in which nobody answers does not count: after two days a run that %s has its deadline before it", async (_, status, body) => {
    const { advance, clock } = await service((_, response) => json(response, status, body));
    clock.pass(48 * 3_600_000);
    let progress = await advance(running);
    expect(progress.is, "it is asked once more").toBe("going");
    const begun = clock.now().getTime();
    while (progress.is === "going") {
      clock.set(progress.nextAt);
      progress = await advance(progress.memo);
    }
    expect(progress).toMatchObject({ is: "refused", fault: { temporary: false } });
    const deadlineMs = status === 200 && "status" in body ? 60_000 : 180_000;
    // A minute of the two days counts, and the last wait.
    expect(clock.now().getTime() - begun).toBeGreaterThan(deadlineMs - 60_001);
    expect(clock.now().getTime() - begun).toBeLessThan(deadlineMs + 31_000);
  });

  test("people have days to review, not the hours of a machine, and are asked after less and less often", async () => {
    let run: object = { id: "exr_1", status: "PROCESSED", reviewed: false, output: { value: {} } };
    const { advance, clock, server } = await service((_, response) => json(response, 200, run), {
      output: "reviewed",
      reviewMs: 14 * 86_400_000,
    });
    let progress = await advance(running);
    const begun = clock.now().getTime();
    const waits: number[] = [];
    while (progress.is === "going" && clock.now().getTime() - begun < 13.9 * 86_400_000) {
      waits.push(progress.nextAt.getTime() - clock.now().getTime());
      clock.set(progress.nextAt);
      progress = await advance(progress.memo);
    }
    expect(progress.is).toBe("going");
    expect([waits[0], waits.at(-1)]).toEqual([30_000, 600_000]);
    expect(server.asked.length).toBeLessThan(14 * 24 * 6 + 30);
    clock.pass(86_400_000);
    const over = await advance({ ...progress.memo, answeredAt: clock.now().toISOString() });
    expect(over).toMatchObject({ is: "refused", memo: { step: "running", runId: "exr_1" }, fault: { code: "extend.deadline" } });
    run = { ...run, reviewed: true };
    expect((await advance(over.memo)).is).toBe("answered");
  });
});

describe("an error", () => {
  const body = (code: string, retryable = false) => ({ code, message: "a reason", retryable, requestId: "req_1", docUrl: "https://…" });
  const cases: [number, object, string, "thrown" | "refused" | "halted" | "look"][] = [
    [400, body("INVALID_REQUEST"), "extend.refused", "refused"],
    [422, body("INVALID_REQUEST"), "extend.refused", "refused"],
    [404, body("NOT_FOUND"), "extend.not-found", "refused"],
    [413, body("FILE_SIZE_TOO_LARGE"), "extend.refused", "refused"],
    [400, body("OCR_ERROR", true), "extend.unavailable", "look"],
    [401, body("UNAUTHORIZED"), "extend.unauthorized", "thrown"],
    [403, body("FORBIDDEN"), "extend.unauthorized", "thrown"],
    [402, body("USAGE_BLOCKED"), "extend.usage-blocked", "halted"],
    [403, body("USAGE_BLOCKED"), "extend.usage-blocked", "halted"],
    [429, body("RATE_LIMIT_EXCEEDED", true), "extend.rate-limited", "thrown"],
    [302, body("MOVED"), "extend.redirected", "thrown"],
    [500, body("INTERNAL_ERROR", true), "extend.unavailable", "look"],
    [503, body("INTERNAL_ERROR", true), "extend.unavailable", "look"],
    [408, body("TIMEOUT"), "extend.unavailable", "look"],
  ];

  test.each(cases)("%i %o at the order: %s, %s", async (status, error, code, what) => {
    const { advance, memo, server } = await ordering((_, response) => json(response, status, error, { location: "/" }));
    const progress = await advance(memo).catch((thrown: Fault) => thrown);
    if (what === "look") {
      expect(progress).toMatchObject({ is: "going", memo: { step: "look", sent: 1, withError: true, perhapsBought: true } });
      return;
    }
    const fault = progress instanceof Fault ? progress : "fault" in progress ? progress.fault : null;
    expect(progress instanceof Fault ? "thrown" : progress.is).toBe(what);
    expect(fault).toMatchObject({ code, temporary: what !== "refused" });
    expect(fault?.message).toMatch(new RegExp(`^extend: POST /extract_runs was answered ${status}: [A-Z_]+ a reason \\(request req_1\\)$`));
    expect(fault?.message).not.toContain("sesame");
    expect(server.asked).toHaveLength(2);
  });

  test.each(cases)("%i %o at an upload and at a poll is never the end of a run that may be good", async (status, error, _code, what) => {
    const { advance } = await service((_, response) => json(response, status, error, { location: "/" }));
    for (const memo of [null, running]) {
      const progress = await advance(memo).catch((thrown: Fault) => thrown);
      const expected = status === 404 && memo !== null ? "going" : what === "look" ? "thrown" : what;
      expect(progress instanceof Fault ? "thrown" : progress.is).toBe(expected);
    }
  });

  test("after 429 the order is sent again without looking: it was not taken", async () => {
    let orders = 0;
    const { advance, memo, server, clock } = await ordering((_, response) => {
      orders += 1;
      if (orders === 1) json(response, 429, { error: "slow down" }, { "retry-after": "77" });
      else json(response, 200, { id: "exr_1", status: "PENDING" });
    });
    const fault = await faultOf(advance(memo));
    expect(fault).toMatchObject({ message: expect.stringContaining("429: slow down"), retryAt: new Date(clock.now().getTime() + 77_000) });
    expect(await advance(memo)).toMatchObject({ is: "going", memo: { runId: "exr_1", possiblyTwice: 0 } });
    expect(server.asked.filter(({ method }) => method === "GET")).toEqual([]);
  });

  test("X-RateLimit-Reset is obeyed, and Retry-After of a 503 puts the look off", async () => {
    const { advance, clock } = await service((_, response, nth) => {
      const reset = String(Math.floor(Date.parse(since) / 1_000) + 40);
      if (nth === 0) json(response, 429, {}, { "x-ratelimit-reset": reset });
      else if (nth === 1) json(response, 200, { file: { id: "file_1" } });
      else json(response, 503, {}, { "retry-after": "50" });
    });
    expect((await faultOf(advance(null))).retryAt).toEqual(new Date(clock.now().getTime() + 40_000));
    const uploaded = await advance(null);
    expect(await advance(uploaded.memo)).toMatchObject({ memo: { step: "look" }, nextAt: new Date(clock.now().getTime() + 50_000) });
  });

  test.each(["<html>Dear Sir</html>", "[", "", '{"error":{"message":{}}}'])("with the body %s tells only the status", async (text) => {
    const { advance } = await service((_, response) => response.writeHead(400).end(text));
    expect((await faultOf(advance(null))).message).toBe("extend: POST /files/upload was answered 400");
  });

  test.each([{}, { id: 7 }, { id: "../x" }, { error: "oh" }])("an upload answered %o is made again", async (answer) => {
    const { advance } = await service((_, response) => json(response, 200, answer));
    expect(await faultOf(advance(null))).toMatchObject({ code: "extend.unexpected", temporary: true });
  });

  test("a document over a limit is refused before anything is sent", async () => {
    const { advance, server } = await service((_, response) => json(response, 200, { id: "file_1" }), { maxBytes: 7 });
    expect(await advance(null)).toMatchObject({ is: "refused", fault: { code: "extend.too-large" } });
    expect(server.asked).toEqual([]);
  });
});

describe("looking for a run", () => {
  const run = (id: string, key: string, createdAt = since) => ({ id, metadata: { "billhook:key": key }, createdAt });

  test("page by page, by the key, back to the order, and the oldest is taken", async () => {
    const pages = [
      { data: [run("exr_9", "other"), { id: "exr_8" }, null, run("exr_7", "the key")], nextPageToken: "a+/=" },
      { data: [run("exr_6", "the key"), run("exr_5", "the key")], nextPageToken: "b" },
      { data: [run("exr_4", "other", "2026-05-04T09:00:00Z")], nextPageToken: "c" },
    ];
    const { advance, server } = await service((_, response, nth) => json(response, 200, pages[nth]));
    const found = await advance({ ...looking, past: ["exr_5"] });
    expect(found).toMatchObject({ is: "going", memo: { step: "look", runId: "exr_7", possiblyTwice: 1, past: ["exr_5", "exr_7"] } });
    expect(server.asked.map(({ path }) => path)).toEqual([
      "/extract_runs?sortBy=createdAt&sortDir=desc&maxPageSize=100&extractorId=ex_1",
      "/extract_runs?sortBy=createdAt&sortDir=desc&maxPageSize=100&extractorId=ex_1&nextPageToken=a%2B%2F%3D",
      "/extract_runs?sortBy=createdAt&sortDir=desc&maxPageSize=100&extractorId=ex_1&nextPageToken=b",
    ]);
  });

  test("a list without an end is not read for ever, and proves nothing", async () => {
    const { advance, server } = await service((_, response) =>
      json(response, 200, { data: [run("exr_9", "other")], nextPageToken: "more" }),
    );
    expect(await advance(looking)).toMatchObject({ is: "refused", memo: { perhapsBought: true }, fault: { code: "extend.ambiguous" } });
    expect(server.asked).toHaveLength(50);
    expect(server.asked.every(({ method }) => method === "GET")).toBe(true);
  });

  test.each([
    [404, "refused"],
    [402, "halted"],
  ])("a list answered %i: %s, and looked for again afterwards", async (status, is) => {
    const { advance } = await service((_, response) => json(response, status, {}));
    expect(await advance(looking)).toMatchObject({ is, memo: looking });
  });

  test("without an extractor all runs are listed", async () => {
    const { advance, server } = await service((_, response) => json(response, 200, { data: [] }), { extractor: null });
    await advance(looking);
    expect(server.asked[0]?.path).toBe("/extract_runs?sortBy=createdAt&sortDir=desc&maxPageSize=100");
  });

  test.each([{}, { data: {} }, [], { data: [], nextPageToken: 7 }, { data: [], nextPageToken: {} }])(
    "a list answered %o is read again later",
    async (answer) => {
      const { advance, clock } = await service((_, response) => json(response, 200, answer));
      clock.pass(60_000);
      expect(await faultOf(advance(looking))).toMatchObject({ code: "extend.unexpected", temporary: true });
    },
  );
});

describe("a synchronous run", () => {
  const sync = { mode: "sync", syncMaxBytes: 1_000 } as const;
  test.each([
    [
      { id: "exr_1", status: "PROCESSED", output: { value: { total: 1 } } },
      { is: "answered", memo: { runId: "exr_1" }, answer: { data: { total: 1 } } },
    ],
    [
      { id: "exr_1", status: "PROCESSED", output: null },
      { is: "going", memo: { step: "running", runId: "exr_1" } },
    ],
    [
      { id: "exr_1", status: "FAILED", failureReason: "ABORTED" },
      { is: "refused", fault: { code: "extend.aborted" } },
    ],
    [
      { id: "exr_1", status: "FAILED", failureReason: "PARSING_ERROR" },
      { is: "going", memo: { step: "order", reruns: 1 } },
    ],
    [
      { id: "exr_1", status: "PROCESSING" },
      { is: "going", memo: { step: "running", runId: "exr_1" } },
    ],
    [{ id: "exr_1" }, { is: "going", memo: { step: "running", runId: "exr_1" } }],
    [
      { status: "PROCESSED", output: { value: {} } },
      { is: "going", memo: { step: "look", sent: 1 } },
    ],
  ])("answered %o", async (answer, expected) => {
    const { advance, memo } = await ordering((_, response) => json(response, 200, answer), sync);
    expect(await advance(memo)).toMatchObject(expected);
  });
});

test("cancel asks once, is harmless when it is over, and says when the service is down", async () => {
  const statuses = [200, 404, 422, 500];
  const { extractor, server } = await service((_, response, nth) => json(response, statuses[nth] ?? 200, {}));
  await extractor.cancel?.(looking, never);
  expect(server.asked).toEqual([]);
  for (const _ of [200, 404, 422]) await extractor.cancel?.(running, never);
  await expect(extractor.cancel?.(running, never)).rejects.toMatchObject({ code: "extend.unavailable" });
  expect(server.asked[0]).toMatchObject({ method: "POST", path: "/extract_runs/exr_1/cancel" });
});

test("the probe tells the extractor's name, or that it is not there", async () => {
  const { extractor, server } = await service((asked, response, nth) => {
    if (nth > 1 && asked.path === "/extractors/ex_1") json(response, 404, { code: "NOT_FOUND" });
    else json(response, 200, { name: "Invoices", data: [] });
  });
  expect((await extractor.probe(never)).said).toBe('key accepted; extractor ex_1 is "Invoices"');
  await expect(extractor.probe(never)).rejects.toMatchObject({ code: "extend.not-found" });
  expect(server.asked[0]?.path).toBe("/extract_runs?maxPageSize=1");
});

test("a memo of another service is not taken", async () => {
  const { extractor } = await service(() => {});
  expect(() => extractor.advance(one, { step: "uploaded" }, "key", never)).toThrow(expect.objectContaining({ code: "extend.memo" }));
});
