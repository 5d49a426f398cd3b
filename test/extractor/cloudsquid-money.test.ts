/** What Cloudsquid must never do: buy twice unseen, lose a message to an odd answer, or send what the owner did not want sent. */
import type { ServerResponse } from "node:http";
import { afterEach, describe, expect, test } from "vitest";
import { Fault } from "../../src/base/errors.ts";
import { type CloudsquidOptions, createCloudsquid } from "../../src/extractor/cloudsquid.ts";
import type { Document, Memo, Progress } from "../../src/extractor/extractor.ts";
import { createHttp } from "../../src/http/http.ts";
import { type Asked, json, startScriptedHttp } from "../servers/scripted-http.ts";
import { documentOf, piece, testClock } from "./documents.ts";

const never = new AbortController().signal;
const pdf = piece("2", "private.pdf", "application/pdf", "%PDF-1.7");
const document = documentOf(pdf);
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

async function service(answer: (asked: Asked, response: ServerResponse, nth: number) => void, changes: Partial<CloudsquidOptions> = {}) {
  let creating = 0;
  // Before the one try that is left the service is asked whether it is there at all: it is.
  const server = await startScriptedHttp((asked, response) => {
    if (asked.path === "/api/projects") json(response, 200, []);
    else answer(asked, response, creating++);
  });
  const http = createHttp({ name: "squid", connections: 1, timeoutMs: 300, maxResponseBytes: 10_000 });
  cleanups.push(http.close, server.stop);
  const clock = testClock();
  const options: CloudsquidOptions = {
    name: "squid",
    url: `${server.url}/api`,
    apiKey: "sesame",
    project: "50 % / Ü",
    table: "t",
    encoding: "multipart",
    multipart: {
      mimetype: "message/rfc822",
      fields: { name: "filename", type: "mimetype", kind: "file_type", content: "file" },
      body: "text",
    },
    zeroRetention: false,
    maxBytes: 1_000_000,
    poll: { firstMs: 2_000, longestMs: 30_000 },
    deadlines: { pendingMs: 60_000, runningMs: 120_000 },
    ...changes,
  };
  const extractor = createCloudsquid(options, { clock, http });
  const advance = (memo: Memo | null, of: Document = document) => extractor.advance(of, memo, "key", never);
  const asked = () => server.asked.map(({ method, path }) => `${method} ${path.replace("/api/projects/50%20%25%20%2F%20%C3%9C", "")}`);
  return { server, clock, extractor, advance, asked };
}

/** The progress, or the fault that was thrown as the pipeline sees it. */
async function outcome(call: Promise<Progress>): Promise<Progress | { is: "thrown"; fault: Fault; memo: null }> {
  return call.catch((thrown: unknown) => {
    if (thrown instanceof Fault) return { is: "thrown", fault: thrown, memo: null } as const;
    throw thrown;
  });
}

const uploaded: Memo = { step: "uploaded", rowId: "row-1", lost: 0 };
const running: Memo = {
  step: "running",
  rowId: "row-1",
  runId: "run-1",
  status: null,
  phase: "running",
  since: "2026-05-04T10:00:00.000Z",
  polls: 0,
};

/** Every way an answer goes wrong that leaves open whether the call took effect. */
const unclear: { readonly [what: string]: (response: ServerResponse) => void } = {
  "500": (response) => json(response, 500, { errorMessage: "oops" }),
  "502 of a proxy": (response) => response.writeHead(502, { "content-type": "text/html" }).end("<html>Bad gateway"),
  "503 without Retry-After": (response) => json(response, 503, {}, { "x-ratelimit-reset": "1777888800" }),
  "503 with Retry-After": (response) => json(response, 503, {}, { "retry-after": "1" }),
  "408": (response) => json(response, 408, {}),
  "425": (response) => json(response, 425, {}),
  "504": (response) => json(response, 504, {}),
  "HTML with 200": (response) => response.writeHead(200, { "content-type": "text/html" }).end("<!doctype html>"),
  "truncated JSON": (response) => response.writeHead(200, { "content-type": "application/json" }).end('{"row_id":"ro'),
  "an error in a 200": (response) => json(response, 200, { errorMessage: "oops" }),
  "wrong types": (response) => json(response, 200, { row_id: 7, run_id: ["x"], status: {}, data: 1 }),
  "the connection cut": (response) => response.destroy(),
  "a body too long": (response) => response.writeHead(200).end(Buffer.alloc(9 * 1024 * 1024, " ")),
  "JSON nested too deep": (response) =>
    response.writeHead(200).end(`{"status":"done","data":${"[".repeat(200_000)}${"]".repeat(200_000)}}`),
  "no answer": () => {},
  "an answer that never ends": (response) => {
    const drip = setInterval(() => response.write(" "), 20);
    response.on("close", () => clearInterval(drip));
  },
};

/** What makes something, and whether that is paid for: a row by itself is not. */
const steps = {
  upload: { memo: null, step: "upload", perhapsBought: false, changes: {} },
  run: { memo: uploaded, step: "uploaded", perhapsBought: true, changes: {} },
  sync: { memo: null, step: "upload", perhapsBought: true, changes: { mode: "sync", syncMaxBytes: 1_000 } },
} as const;

describe.each(Object.entries(unclear))("%s", (what, behave) => {
  test.each(Object.entries(steps))(
    "at %s: at most one more try, counted; then a person is asked",
    async (_, { memo, step, perhapsBought, changes }) => {
      const { advance, server, clock } = await service((_, response) => behave(response), changes);
      const first = await advance(memo);
      expect(first).toMatchObject({ is: "going", memo: { step, lost: 1, possiblyTwice: 1, perhapsBought } });
      expect(first, "what went wrong is told").toMatchObject({
        fault: { temporary: true, message: expect.stringMatching(/^squid: POST /) },
      });
      if (first.is === "going") expect(first.nextAt.getTime()).toBe(clock.now().getTime() + 30_000);
      const second = await advance(first.memo);
      expect(second).toMatchObject({
        is: "refused",
        memo: { step, possiblyTwice: 1, perhapsBought },
        fault: { code: "cloudsquid.ambiguous", temporary: false },
      });
      if (second.is === "refused") expect(second.fault.message).toMatch(/^squid: .*was tried 2 times.*POST/);
      expect(server.asked.filter(({ method }) => method !== "GET")).toHaveLength(2);
    },
  );

  test("at a poll: a temporary fault that says which service and call, and nothing is lost", async () => {
    const { advance } = await service((_, response) => behave(response));
    const seen = await outcome(advance(running));
    expect(["going", "thrown"]).toContain(seen.is);
    if (seen.is === "going") expect(seen.memo).toMatchObject({ runId: "run-1", status: null });
    // With wrong types it is still a row: it waits.
    if (what === "wrong types") return;
    expect(seen).toMatchObject({ fault: { temporary: true, message: expect.stringMatching(/^squid: GET /) } });
  });
});

describe.each(Object.entries(steps))("lives that end at %s", (_, { memo, step, perhapsBought, changes }) => {
  test("are as lost answers: one more try, counted; then a person is asked, and a retry goes on afresh", async () => {
    const { extractor, advance } = await service((_, response) => response.destroy(), changes);
    const first = extractor.interrupted?.(memo);
    expect(first).toMatchObject({ is: "going", memo: { step, lost: 1, possiblyTwice: 1, perhapsBought } });
    const second = extractor.interrupted?.(first?.memo ?? null);
    expect(second).toMatchObject({
      is: "refused",
      memo: { step, possiblyTwice: 1, perhapsBought },
      fault: { code: "cloudsquid.ambiguous", temporary: false },
    });
    const third = extractor.interrupted?.(second?.memo ?? null);
    expect(third).toMatchObject({ is: "going", memo: { lost: 1, possiblyTwice: 3 } });
    // In whatever order lives end and answers are lost.
    expect(await advance(third?.memo ?? null)).toMatchObject({ is: "refused", fault: { code: "cloudsquid.ambiguous" } });
  });
});

test("a run that is named is bought for certain; one that is refused leaves the doubt", async () => {
  const { advance } = await service((_, response, nth) => {
    if (nth % 2 === 0) response.destroy();
    else if (nth === 1) json(response, 400, {});
    else json(response, 202, { run_id: "run-1" });
  });
  const refused = await advance((await advance(uploaded)).memo);
  expect(refused).toMatchObject({ is: "refused", memo: { step: "upload", possiblyTwice: 1, perhapsBought: true } });
  const going = await advance((await advance(uploaded)).memo);
  expect(going).toMatchObject({ is: "going", memo: { runId: "run-1", possiblyTwice: 1, perhapsBought: false } });

  const sync = await service(
    (_, response, nth) => (nth === 0 ? response.destroy() : json(response, 200, { data: {}, row_id: "row-1" })),
    steps.sync.changes,
  );
  const answered = await sync.advance((await sync.advance(null)).memo);
  expect(answered).toMatchObject({ is: "answered", memo: { runId: "row-1", possiblyTwice: 1, perhapsBought: false } });
});

test("put back by a person, what was given up as ambiguous is sent afresh and counted on", async () => {
  const { advance } = await service((_, response, nth) => (nth < 3 ? response.destroy() : json(response, 200, { row_id: "row-1" })));
  const given = (await advance((await advance(null)).memo)).memo;
  expect(given).toMatchObject({ possiblyTwice: 1 });
  const third = await advance(given);
  expect(third).toMatchObject({ is: "going", memo: { lost: 1, possiblyTwice: 3 } });
  expect(await advance(third.memo)).toMatchObject({ is: "going", memo: { step: "uploaded", lost: 0, possiblyTwice: 3 } });
});

test("the count lives on to the answer", async () => {
  const { advance } = await service((asked, response, nth) => {
    if (nth === 0) response.destroy();
    else if (asked.path.endsWith("/files")) json(response, 201, { row_id: "row-1" });
    else if (asked.method === "POST") json(response, 202, { run_id: "run-1" });
    else json(response, 200, { status: "done", data: {} });
  });
  let memo: Memo | null = null;
  for (let call = 0; call < 4; call += 1) memo = (await advance(memo)).memo;
  expect(await advance(memo)).toMatchObject({ is: "answered", memo: { possiblyTwice: 1, runId: "run-1" } });
});

describe("taken at its word as not done", () => {
  test.each([
    [429, {}],
    [429, { "retry-after": "77" }],
    [401, {}],
    [404, {}],
  ])("%i %o at each creating call: a temporary fault, nothing counted", async (status, headers) => {
    for (const { memo, changes } of Object.values(steps)) {
      const { advance, clock } = await service((_, response) => json(response, status, {}, headers), changes);
      const seen = await outcome(advance(memo));
      expect(seen).toMatchObject({ is: "thrown", fault: { temporary: true } });
      if (seen.is === "thrown" && "retry-after" in headers) expect(seen.fault.retryAt).toEqual(new Date(clock.now().getTime() + 77_000));
    }
  });

  test("no connection: thrown, whatever the call", async () => {
    const { advance, server } = await service(() => {});
    await server.stop();
    for (const memo of [null, uploaded, running])
      expect(await outcome(advance(memo))).toMatchObject({ fault: { code: "http.unreachable" } });
  });
});

describe("sync", () => {
  const sync = { mode: "sync", syncMaxBytes: 1_000 } as const;

  test.each([
    [{ status: "done", data: { total: 1 }, row_id: "row-1" }, { total: 1 }, null, "row-1"],
    [{ data: { total: 1 }, row_id: "row-1", created_at: "x", unknown: {} }, { total: 1 }, null, "row-1"],
    [{ status: "", result: [1] }, [1], null, "unnamed-2026-05-04T10:00:00.000Z"],
    [{ status: "Done", data: [], run_id: "run-9", row_id: "row-1" }, [], "run-9", "run-9"],
  ])("%o is the answer", async (row, data, runId, bought) => {
    const { advance, asked, server } = await service((_, response) => json(response, 200, row), sync);
    expect(await advance(null)).toMatchObject({ is: "answered", memo: { runId: bought }, answer: { data, runId, raw: row } });
    expect(asked()).toEqual(["POST /tables/t/extract"]);
    expect(JSON.parse(String(server.asked[0]?.body))).toMatchObject({ file_type: "multipart" });
  });

  test.each([
    { status: "pending", data: {} },
    { status: "running" },
    { status: "an owl" },
    { status: "done", data: null },
    { data: "it is a bill" },
  ])("%o with a run_id is polled", async (row) => {
    const { advance, asked } = await service(
      (asked, response) => json(response, 200, asked.method === "GET" ? { status: "done", data: {} } : { ...row, run_id: "run-9" }),
      sync,
    );
    const going = await advance(null);
    expect(going).toMatchObject({ is: "going", memo: { step: "running", runId: "run-9" } });
    expect(await advance(going.memo)).toMatchObject({ is: "answered", answer: { runId: "run-9" } });
    expect(asked()).toEqual(["POST /tables/t/extract", "GET /tables/t/run/run-9"]);
  });

  test("running without a run_id cannot be asked after: refused, and what a person sends again is counted", async () => {
    const { advance } = await service(
      (_, response, nth) => json(response, 200, nth === 0 ? { status: "running", data: {}, row_id: "row-1" } : { data: {} }),
      sync,
    );
    const over = await advance(null);
    expect(over).toMatchObject({ is: "refused", fault: { code: "cloudsquid.unpollable", temporary: false }, memo: { runId: "row-1" } });
    expect(await advance(over.memo)).toMatchObject({ is: "answered", memo: { possiblyTwice: 1 } });
  });

  test("an error is refused; a retry runs again on the row, where there is one", async () => {
    const { advance } = await service((_, response) => json(response, 200, { status: "error", data: {}, row_id: "row-1" }), sync);
    expect(await advance(null)).toMatchObject({
      is: "refused",
      fault: { code: "cloudsquid.failed" },
      memo: { step: "uploaded", rowId: "row-1" },
    });
    const other = await service((_, response) => json(response, 200, { status: "error" }), sync);
    expect(await other.advance(null)).toMatchObject({ is: "refused", fault: { code: "cloudsquid.failed" }, memo: { step: "upload" } });
  });

  test.each([
    { status: "done", row_id: "row-1" },
    { data: null, row_id: "row-1" },
    { status: "done", data: 7, row_id: "row-1" },
    { result: "" },
  ])("%o, without a run_id, is no result: refused, and a retry buys another run", async (row) => {
    const { advance } = await service((_, response) => json(response, 200, row), sync);
    const memo = "row_id" in row ? { step: "uploaded", rowId: "row-1", runId: "row-1" } : { step: "upload" };
    expect(await advance(null)).toMatchObject({
      is: "refused",
      memo: { ...memo, lost: 0, perhapsBought: false },
      fault: { code: "cloudsquid.unexpected", temporary: false },
    });
  });

  test("runs that are given no id at all are told apart", async () => {
    const { advance, clock } = await service((_, response) => json(response, 200, { status: "error" }), sync);
    const first = await advance(null);
    clock.pass(1_000);
    const second = await advance(first.memo);
    expect(first.memo?.runId).toMatch(/^unnamed-/);
    expect(second.memo?.runId).toMatch(/^unnamed-/);
    expect(second.memo?.runId).not.toBe(first.memo?.runId);
  });

  test.each([
    ["over syncMaxBytes", { ...sync, syncMaxBytes: pdf.size - 1 }],
    ["nothing is to be retained", { ...sync, zeroRetention: true }],
    ["not asked for", { syncMaxBytes: 1_000 }],
  ])("%s: uploaded, started and polled", async (_, changes) => {
    const { advance, asked } = await service((_, response) => json(response, 200, { row_id: "row-1" }), changes);
    expect(await advance(null)).toMatchObject({ is: "going", memo: { step: "uploaded" } });
    expect(asked()).toEqual(["POST /tables/t/files"]);
  });
});

describe("uri", () => {
  const path = `/files?path=/billhook/${document.message.slice(0, 16)}.eml`;
  const url = "https://storage.googleapis.com/x?signature=secret";
  const answer =
    (put: number, file: unknown = { ftype: "file", url }) =>
    (asked: Asked, response: ServerResponse) => {
      if (asked.method === "PUT") json(response, put, put === 409 ? {} : { ftype: "file" });
      else if (asked.method === "GET") json(response, 200, file);
      else json(response, 200, asked.path.endsWith("/extract") ? { data: {} } : { row_id: "row-1" });
    };

  test.each([201, 409])("stored (%i), then uploaded by its signed URL, which is never saved", async (put) => {
    const { advance, asked, server } = await service(answer(put), { encoding: "uri" });
    const stored = await advance(null);
    expect(stored).toMatchObject({ is: "going", memo: { step: "stored" } });
    const done = await advance(stored.memo);
    expect(done).toMatchObject({ is: "going", memo: { step: "uploaded", rowId: "row-1" } });
    expect(asked()).toEqual([`PUT ${path}`, `GET ${path}`, "POST /tables/t/files"]);
    const filename = `${document.message.slice(0, 16)}.eml`;
    const [put_, , post] = server.asked.map(({ body }) => body.toString());
    expect(JSON.parse(put_ ?? "")).toMatchObject({ filename, mimetype: "message/rfc822", file_type: "binary" });
    expect(Buffer.from(JSON.parse(put_ ?? "").file, "base64").length).toBe(document.raw.size);
    expect(JSON.parse(post ?? "")).toEqual({ filename, mimetype: "message/rfc822", file_type: "uri", file: url });
    expect(JSON.stringify([stored.memo, done.memo])).not.toContain("signature");
  });

  test("sync too, when asked for", async () => {
    const { advance, asked } = await service(answer(201), { encoding: "uri", mode: "sync", syncMaxBytes: document.raw.size });
    expect(await advance((await advance(null)).memo)).toMatchObject({ is: "answered" });
    expect(asked().at(-1)).toBe("POST /tables/t/extract");
  });

  test.each(Object.entries(unclear))("%s at the PUT is thrown: it can be repeated, so nothing is counted", async (what, behave) => {
    const { advance } = await service((_, response) => behave(response), { encoding: "uri" });
    const seen = await outcome(advance(null));
    // Any JSON will do: whether the file is there is asked next.
    if (what === "an error in a 200" || what === "wrong types") return expect(seen).toMatchObject({ memo: { step: "stored" } });
    expect(seen).toMatchObject({ is: "thrown", fault: { temporary: true } });
  });

  test.each([{}, { ftype: "folder", entries: [] }, { url: 7 }, { url: "file:///etc/passwd" }, { url: `https://${"x".repeat(9_000)}` }])(
    "no usable url (%#): temporary, and nothing is uploaded",
    async (file) => {
      const { advance, asked } = await service(answer(201, file), { encoding: "uri" });
      const seen = await outcome(advance((await advance(null)).memo));
      expect(seen).toMatchObject({ is: "thrown", fault: { code: "cloudsquid.unexpected", temporary: true } });
      expect(asked()).not.toContain("POST /tables/t/files");
    },
  );

  test("a file that is gone is refused, and put back it is stored again", async () => {
    const { advance } = await service((asked, response) => json(response, asked.method === "PUT" ? 201 : 404, {}), { encoding: "uri" });
    const stored = await advance(null);
    expect(await advance(stored.memo)).toMatchObject({ is: "refused", memo: { step: "upload" }, fault: { code: "cloudsquid.file-gone" } });
  });
});

describe("parts whose type is not on the list", () => {
  const mixed = documentOf(
    piece("html", "html.html", "text/html", "<p>"),
    pdf,
    piece("3", "secret.xml", "application/xml", "<Invoice/>"),
    piece("4", "secret.zip", "application/zip", "PK"),
    piece("5", "fwd.eml", "message/rfc822", "Subject: x\r\n\r\n"),
    piece("5.2", "secret.png", "image/png", "png"),
    piece("6", "empty.eml", "message/rfc822", "x"),
  );

  async function sent(unsupported: "map" | "skip") {
    const { advance, server } = await service((_, response) => json(response, 200, { row_id: "row-1" }), { unsupported });
    const { memo } = await advance(null, mixed);
    const { file } = JSON.parse(String(server.asked[0]?.body)) as { file: { filename: string; mimetype: string }[] };
    return { skipped: memo?.skipped, file: file.map(({ filename, mimetype }) => `${filename} ${mimetype}`) };
  }

  test("map: what is text goes as text/plain, the rest is left out and said", async () => {
    expect(await sent("map")).toEqual({
      skipped: ["4", "5", "6"],
      file: ["body.html text/plain", "private.pdf application/pdf", "secret.xml text/plain", "secret.png image/png"],
    });
  });

  test("skip: left out and said", async () => {
    expect(await sent("skip")).toEqual({
      skipped: ["html", "3", "4", "5", "6"],
      file: ["private.pdf application/pdf", "secret.png image/png"],
    });
  });

  test("refuse: nothing is sent; ids and types are told, names are not", async () => {
    const { advance, server } = await service((_, response) => json(response, 200, {}), { unsupported: "refuse" });
    const seen = await outcome(advance(null, mixed));
    expect(seen).toMatchObject({
      is: "refused",
      memo: { skipped: mixed.parts.map(({ id }) => id) },
      fault: { code: "cloudsquid.unsupported" },
    });
    if (seen.is === "refused") {
      expect(seen.fault.message).toContain("html (text/html), 3 (application/xml), 4 (application/zip), 6 (message/rfc822)");
      expect(seen.fault.message).not.toContain("secret");
    }
    expect(server.asked).toHaveLength(0);
    expect(await advance(null)).toMatchObject({ is: "going" });
  });

  test("all of them are said, of the thousand parts a mail can have", async () => {
    const { advance } = await service((_, response) => json(response, 200, { row_id: "row-1" }));
    const many = documentOf(pdf, ...Array.from({ length: 1_000 }, (_, at) => piece(`${at + 3}`, "z", "application/zip", "")));
    const { memo } = await advance(null, many);
    expect(memo?.skipped).toHaveLength(1_000);
    expect(JSON.stringify(memo).length).toBeLessThan(10_000);
  });

  test.each([
    ["map", "application/xml", true],
    ["skip", "application/xml", false],
    ["refuse", "application/xml", true],
    ["refuse", "application/zip", true],
    ["refuse", "message/rfc822", false],
    ["map", "application/zip", false],
  ] as const)("one run an attachment: %s makes a document of %s: %s", async (unsupported, type, expected) => {
    const { extractor } = await service(() => {}, { encoding: "attachments", unsupported });
    expect(extractor.accepts(type, null)).toBe(expected);
  });
});

test("review and reasoning are passed on", async () => {
  const review = { comment: "checked", reviewed_by: "me", approved: true };
  const { advance } = await service((_, response) => json(response, 200, { status: "done", data: {}, reasoning: "by looking", review }));
  expect(await advance(running)).toMatchObject({ is: "answered", answer: { reasoning: "by looking", review, credits: null } });
});

test("a poll that stays unreadable is refused after both deadlines; a retry asks after the same run", async () => {
  const { advance, clock } = await service((_, response) => response.end("<html>"));
  clock.pass(180_001);
  const seen = await advance({ ...running, answeredAt: clock.now().toISOString() });
  expect(seen).toMatchObject({ is: "refused", fault: { code: "cloudsquid.unexpected", temporary: false }, memo: { runId: "run-1" } });
  expect(await advance(seen.memo)).toMatchObject({ is: "going", memo: { runId: "run-1" }, fault: { temporary: true } });
});

test.each([
  [402, "halted", "cloudsquid.payment-required"],
  [400, "refused", "cloudsquid.refused"],
])("a question before the last try that is answered %i: %s, the memo as it was, and the try not spent", async (status, is, code) => {
  const server = await startScriptedHttp((asked, response) => {
    if (asked.path === "/api/projects") json(response, status, {});
    else response.destroy();
  });
  const { advance } = await service(() => {}, { url: `${server.url}/api` });
  cleanups.push(server.stop);
  for (const { memo, changes } of Object.values(steps)) {
    const at = await service(() => {}, { ...changes, url: `${server.url}/api` });
    const lost = await at.advance(memo);
    expect(lost).toMatchObject({ is: "going", memo: { lost: 1 } });
    expect(await at.advance(lost.memo)).toMatchObject({ is, memo: { step: lost.memo?.step, lost: 1, possiblyTwice: 1 }, fault: { code } });
  }
  const stored = { step: "stored", lost: 1, possiblyTwice: 1 };
  expect(await advance(stored)).toMatchObject({ is, memo: stored });
  expect(server.asked.filter(({ method }) => method === "POST")).toHaveLength(3);
});

test("a signed URL that has to be paid for halts the service", async () => {
  const { advance } = await service((asked, response) => json(response, asked.method === "PUT" ? 201 : 402, {}), { encoding: "uri" });
  const { memo } = await advance(null);
  expect(await advance(memo)).toMatchObject({ is: "halted", memo: { step: "stored" }, fault: { code: "cloudsquid.payment-required" } });
});
