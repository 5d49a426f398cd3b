/** The role of an extractor, kept by every implementation over real sockets: one effect a call, a memo that survives, no run twice. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Fault } from "../../src/base/errors.ts";
import { createHttp, type Http } from "../../src/base/http.ts";
import { type CloudsquidOptions, createCloudsquid } from "../../src/extractor/cloudsquid.ts";
import type { Document, Extractor, Memo, Progress } from "../../src/extractor/extractor.ts";
import type { FaultRule } from "../../src/sandbox/faults.ts";
import { type Sandbox, startSandbox } from "../../src/sandbox/sandbox.ts";
import { documentOf, piece, type TestClock, testClock, UBL } from "../extractor/documents.ts";

const xml = piece("2", "invoice.xml", "application/xml", UBL);
const mail = documentOf(piece("text", "text.txt", "text/plain", "Please find our invoice attached."), xml);

const options = (sandbox: Sandbox, encoding: CloudsquidOptions["encoding"]): CloudsquidOptions => ({
  name: "cloudsquid",
  url: sandbox.url,
  apiKey: "key",
  project: "Accounts / Payable",
  table: "3c90c3cc-0d44-4b50-8888-8dd25736052a",
  encoding,
  multipart: {
    mimetype: "message/rfc822",
    fields: { name: "filename", type: "mimetype", kind: "file_type", content: "file" },
    body: "text",
  },
  zeroRetention: false,
  maxBytes: 1_000_000,
  poll: { firstMs: 2_000, longestMs: 30_000 },
  deadlines: { pendingMs: 7_200_000, runningMs: 7_200_000 },
});

/** Every implementation: how it is made and what it is given. */
const implementations = (["multipart", "rfc822", "attachments"] as const).map((encoding) => ({
  name: `cloudsquid, ${encoding}`,
  document: encoding === "attachments" ? { ...documentOf(xml), whole: false } : mail,
  make: (sandbox: Sandbox, clock: TestClock, http: Http) => createCloudsquid(options(sandbox, encoding), { clock, http }),
}));

describe.each(implementations)("$name", ({ document, make }) => {
  let sandbox: Sandbox;
  let clock: TestClock;
  let http: Http;
  const never = new AbortController().signal;
  const client = () => createHttp({ name: "cloudsquid", connections: 4, timeoutMs: 1_000 });

  beforeEach(async () => {
    clock = testClock();
    sandbox = await startSandbox({ port: 0, apiKey: "key", pace: { pendingMs: 5_000, runningMs: 20_000 }, clock });
    http = client();
  });
  afterEach(async () => {
    await http.close();
    await sandbox.stop();
  });

  const extractor = (): Extractor => make(sandbox, clock, http);

  /** Takes a document to its end with an extractor made anew for each call; a temporary fault is tried again later, as the pipeline does. */
  async function drive(of: Document, memo: Memo | null = null): Promise<{ last: Progress; faults: Fault[]; calls: number }> {
    const faults: Fault[] = [];
    for (let calls = 1; calls < 100; calls += 1) {
      try {
        const last = await extractor().advance(of, memo, "key", never);
        if (last.is !== "going") return { last, faults, calls };
        memo = JSON.parse(JSON.stringify(last.memo)) as Memo;
        clock.set(new Date(Math.max(last.nextAt.getTime(), clock.now().getTime())));
      } catch (thrown) {
        if (!(thrown instanceof Fault && thrown.temporary)) throw thrown;
        faults.push(thrown);
        clock.pass(60_000);
      }
    }
    throw new Error("100 calls were not enough");
  }

  test("a document is answered, by as many calls as there are effects, with a memo that survives at every step", async () => {
    const { last, faults } = await drive(document);
    expect(faults).toEqual([]);
    expect(last).toMatchObject({ is: "answered", answer: { data: { invoice_number: "RE-2026-0815", gross_amount: "119.00" } } });
    expect(sandbox.counts()).toMatchObject({ uploads: 1, runs: 1, rows: [{ runs: 1 }] });
  });

  test("one call is at most one effect", async () => {
    const seen = [];
    let memo: Memo | null = null;
    for (let call = 0; call < 3; call += 1) {
      const progress: Progress = await extractor().advance(document, memo, "key", never);
      memo = progress.memo;
      const { uploads, runs, polls } = sandbox.counts();
      seen.push([uploads, runs, polls]);
    }
    expect(seen).toEqual([
      [1, 0, 0],
      [1, 1, 0],
      [1, 1, 1],
    ]);
  });

  test("dying before a memo is saved repeats one effect and no other", async () => {
    const first = await extractor().advance(document, null, "key", never);
    const run = await extractor().advance(document, first.memo, "key", never);
    await extractor().advance(document, run.memo, "key", never);
    const { last } = await drive(document, run.memo);
    expect(last.is).toBe("answered");
    expect(sandbox.counts()).toMatchObject({ uploads: 1, runs: 1 });
  });

  test("a document in which nothing is found is refused, with a fault trying again cannot mend", async () => {
    const { last } = await drive({
      ...document,
      parts: [piece("2", "a.png", "image/png", "none")],
      raw: piece("raw", "m", "message/rfc822", "Subject: none\r\n\r\nnone\r\n"),
    });
    expect(last).toMatchObject({ is: "refused", fault: { temporary: false } });
  });

  const passing: [string, FaultRule[]][] = [
    [
      "500 at each step",
      [
        { call: "upload", status: 500 },
        { call: "run", status: 503 },
        { call: "poll", status: 502, times: 3 },
      ],
    ],
    [
      "429 at each step",
      [
        { call: "upload", status: 429 },
        { call: "run", status: 429 },
        { call: "poll", status: 429 },
      ],
    ],
    ["401 until the key is mended", [{ call: "upload", status: 401, times: 5 }]],
    [
      "polls cut, cut off, HTML, wrong JSON",
      [
        { call: "poll", cut: "after" },
        { call: "poll", cut: "body" },
        { call: "poll", html: true },
        { call: "poll", wrongJson: true },
      ],
    ],
    ["polls without an answer", [{ call: "poll", hang: true }]],
    [
      "an answer lost before anything was done",
      [
        { call: "upload", cut: "before" },
        { call: "run", cut: "before" },
      ],
    ],
  ];
  test.each(passing)("%s: answered in the end, nothing twice", async (_, rules) => {
    for (const rule of rules) sandbox.faults.add(rule);
    const { last } = await drive(document);
    expect(last.is).toBe("answered");
    expect(sandbox.counts()).toMatchObject({ uploads: 1, runs: 1 });
  });

  test("Retry-After becomes the fault's retryAt", async () => {
    sandbox.faults.add({ call: "upload", status: 429, retryAfter: 77 });
    const fault = await extractor()
      .advance(document, null, "key", never)
      .then(
        () => null,
        (thrown: unknown) => thrown as Fault,
      );
    expect(fault?.retryAt).toEqual(new Date(clock.now().getTime() + 77_000));
  });

  const losing: FaultRule[] = [
    { call: "upload", cut: "after" },
    { call: "upload", cut: "body" },
    { call: "upload", wrongJson: true },
    { call: "upload", html: true },
  ];
  test.each(losing)("an answer to the upload that is lost (%o) is sent once more, then given up", async (rule) => {
    sandbox.faults.add(rule);
    expect((await drive(document)).last.is).toBe("answered");
    expect(sandbox.counts()).toMatchObject({ uploads: 2, runs: 1 });

    sandbox.faults.add({ ...rule, times: 10 });
    const { last, calls } = await drive(document);
    expect(last).toMatchObject({ is: "refused", fault: { code: "cloudsquid.ambiguous", temporary: false } });
    expect(calls).toBe(2);
    expect(sandbox.counts()).toMatchObject({ uploads: 4, runs: 1 });

    sandbox.faults.clear();
    expect((await drive(document, last.memo)).last.is).toBe("answered");
  });

  test.each([{ cut: "after" }, { wrongJson: true }] as const)("the same for the start of a run: %o", async (rule) => {
    sandbox.faults.add({ call: "run", ...rule, times: 10 });
    const { last } = await drive(document);
    expect(last).toMatchObject({ is: "refused", fault: { code: "cloudsquid.ambiguous" } });
    expect(sandbox.counts()).toMatchObject({ uploads: 1, runs: 2 });
  });

  test("stopped in the middle of a call: it ends at once", async () => {
    sandbox.faults.add({ call: "poll", hang: true });
    const upload = await extractor().advance(document, null, "key", never);
    const run = await extractor().advance(document, upload.memo, "key", never);
    const stop = new AbortController();
    const poll = extractor().advance(document, run.memo, "key", stop.signal);
    stop.abort();
    await expect(poll).rejects.toMatchObject({ temporary: true });
  });

  test("the probe knocks, and says when the key is wrong or nobody is there", async () => {
    expect((await extractor().probe(never)).said).toContain("key accepted");
    sandbox.faults.add({ call: "projects", status: 401 });
    await expect(extractor().probe(never)).rejects.toMatchObject({ code: "cloudsquid.unauthorized" });
    await sandbox.stop();
    await http.close();
    http = client();
    await expect(extractor().probe(never)).rejects.toMatchObject({ code: "http.unreachable" });
  });
});
