/** The role of an extractor, kept by every implementation over real sockets: one effect a call, a memo that survives, no run twice. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Fault } from "../../src/base/errors.ts";
import { createHttp, type Http } from "../../src/base/http.ts";
import { type CloudsquidOptions, createCloudsquid } from "../../src/extractor/cloudsquid.ts";
import { createExtend, type ExtendOptions } from "../../src/extractor/extend.ts";
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

const extendOptions = (sandbox: Sandbox, changes: Partial<ExtendOptions>): ExtendOptions => ({
  name: "extend",
  url: sandbox.extendUrl,
  apiKey: "key",
  workspace: null,
  extractor: { id: "ex_invoices", version: null },
  config: null,
  priority: null,
  usageTags: [],
  metadata: {},
  output: "final",
  mode: "async",
  syncMaxBytes: 0,
  submit: "parts",
  body: "none",
  unsupported: "skip",
  maxBytes: 1_000_000,
  poll: { firstMs: 1_000, longestMs: 30_000 },
  deadlines: { pendingMs: 7_200_000, runningMs: 7_200_000 },
  webhookSecret: null,
  ...changes,
});

type Seen = { readonly uploads: number; readonly runs: number; readonly polls: number };

/** What the sandbox calls a service's calls, and what it counted of them. */
const services = {
  cloudsquid: { upload: "upload", run: "run", poll: "poll", probe: "projects", seen: (sandbox: Sandbox): Seen => sandbox.counts() },
  extend: {
    upload: "extend.upload",
    run: "extend.create",
    poll: "extend.poll",
    probe: "extend.list",
    seen: (sandbox: Sandbox): Seen => sandbox.counts().extend,
  },
} as const;

type Implementation = {
  readonly name: string;
  readonly service: keyof typeof services;
  readonly document: Document;
  readonly make: (sandbox: Sandbox, clock: TestClock, http: Http) => Extractor;
};

/** Every implementation: how it is made and what it is given. */
const implementations: readonly Implementation[] = [
  ...(["multipart", "rfc822", "attachments"] as const).map(
    (encoding): Implementation => ({
      name: `cloudsquid, ${encoding}`,
      service: "cloudsquid",
      document: encoding === "attachments" ? { ...documentOf(xml), whole: false } : mail,
      make: (sandbox, clock, http) => createCloudsquid(options(sandbox, encoding), { clock, http }),
    }),
  ),
  ...(["parts", "eml"] as const).map(
    (submit): Implementation => ({
      name: `extend, ${submit}`,
      service: "extend",
      document: mail,
      make: (sandbox, clock, http) => createExtend(extendOptions(sandbox, { submit }), { clock, http }),
    }),
  ),
];

describe.each(implementations)("$name", ({ service, document, make }) => {
  const calls = services[service];
  let sandbox: Sandbox;
  let clock: TestClock;
  let http: Http;
  const never = new AbortController().signal;
  const client = () => createHttp({ name: service, connections: 4, timeoutMs: 1_000 });

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
  const seen = () => {
    const { uploads, runs, polls } = calls.seen(sandbox);
    return { uploads, runs, polls };
  };

  /** Takes a document to its end, as one process or as a new one for each call; a temporary fault is tried again later, as the pipeline does. */
  async function drive(of: Document, memo: Memo | null = null, anew = false): Promise<{ last: Progress; faults: Fault[]; calls: number }> {
    const faults: Fault[] = [];
    let one = extractor();
    for (let calls = 1; calls < 100; calls += 1) {
      if (anew) one = extractor();
      try {
        const last = await one.advance(of, memo, "key", never);
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

  test.each([false, true])("a document is answered, with a memo that survives at every step; a new process for each: %s", async (anew) => {
    const { last, faults } = await drive(document, null, anew);
    expect(faults).toEqual([]);
    expect(last).toMatchObject({ is: "answered", answer: { data: { invoice_number: "RE-2026-0815", gross_amount: "119.00" } } });
    expect(seen()).toMatchObject({ uploads: 1, runs: 1 });
    expect(last.memo).toMatchObject({ runId: expect.any(String) });
    expect(last.memo?.possiblyTwice ?? 0).toBe(0);
  });

  test("one call is at most one effect", async () => {
    const after = [];
    const one = extractor();
    let memo: Memo | null = null;
    for (let call = 0; call < 3; call += 1) {
      const progress: Progress = await one.advance(document, memo, "key", never);
      memo = progress.memo;
      const { uploads, runs, polls } = seen();
      after.push([uploads, runs, polls]);
    }
    expect(after).toEqual([
      [1, 0, 0],
      [1, 1, 0],
      [1, 1, 1],
    ]);
  });

  test("dying before a memo is saved repeats one effect and no other", async () => {
    const one = extractor();
    const first = await one.advance(document, null, "key", never);
    const run = await one.advance(document, first.memo, "key", never);
    await one.advance(document, run.memo, "key", never);
    const { last } = await drive(document, run.memo);
    expect(last.is).toBe("answered");
    expect(seen()).toMatchObject({ uploads: 1, runs: 1 });
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
        { call: calls.upload, status: 500 },
        { call: calls.run, status: 503 },
        { call: calls.poll, status: 502, times: 3 },
      ],
    ],
    [
      "429 at each step",
      [
        { call: calls.upload, status: 429 },
        { call: calls.run, status: 429 },
        { call: calls.poll, status: 429 },
      ],
    ],
    ["401 until the key is mended", [{ call: calls.upload, status: 401, times: 5 }]],
    [
      "polls cut, cut off, HTML, wrong JSON",
      [
        { call: calls.poll, cut: "after" },
        { call: calls.poll, cut: "body" },
        { call: calls.poll, html: true },
        { call: calls.poll, wrongJson: true },
      ],
    ],
    ["polls without an answer", [{ call: calls.poll, hang: true }]],
    [
      "an answer lost before anything was done",
      [
        { call: calls.upload, cut: "before" },
        { call: calls.run, cut: "before" },
      ],
    ],
  ];
  test.each(passing)("%s: answered in the end, nothing twice", async (_, rules) => {
    for (const rule of rules) sandbox.faults.add(rule);
    const { last } = await drive(document);
    expect(last.is).toBe("answered");
    expect(seen()).toMatchObject({ uploads: 1, runs: 1 });
  });

  test("Retry-After becomes the fault's retryAt", async () => {
    sandbox.faults.add({ call: calls.upload, status: 429, retryAfter: 77 });
    const fault = await extractor()
      .advance(document, null, "key", never)
      .then(
        () => null,
        (thrown: unknown) => thrown as Fault,
      );
    expect(fault?.retryAt).toEqual(new Date(clock.now().getTime() + 77_000));
  });

  if (service === "cloudsquid") {
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
  }

  if (service === "extend") {
    const lost: Omit<FaultRule, "call">[] = [{ cut: "after" }, { cut: "body" }, { wrongJson: true }, { html: true }];
    test.each(lost)("an order whose answer is lost (%o) is found in the list, not given again", async (rule) => {
      sandbox.faults.add({ ...rule, call: "extend.create" });
      const { last } = await drive(document);
      expect(last).toMatchObject({ is: "answered", memo: { possiblyTwice: 0 } });
      expect(seen()).toMatchObject({ uploads: 1, runs: 1 });
    });

    test("an order the list never shows is given once more, counted, then given up", async () => {
      sandbox.faults.add({ call: "extend.create", cut: "after", times: 2 });
      sandbox.faults.add({ call: "extend.list", empty: true, times: 100 });
      const { last } = await drive(document);
      expect(last).toMatchObject({ is: "refused", memo: { possiblyTwice: 1 }, fault: { code: "extend.ambiguous", temporary: false } });
      expect(seen()).toMatchObject({ uploads: 1, runs: 2 });

      sandbox.faults.clear();
      expect((await drive(document, last.memo)).last).toMatchObject({ is: "answered", memo: { possiblyTwice: 1 } });
      expect(seen().runs, "a retry finds what was bought").toBe(2);
    });

    test("dying while an order is given: the next process finds the run", async () => {
      const one = extractor();
      const upload = await one.advance(document, null, "key", never);
      await one.advance(document, upload.memo, "key", never);
      expect((await drive(document, upload.memo)).last).toMatchObject({ is: "answered", memo: { possiblyTwice: 0 } });
      expect(seen()).toMatchObject({ uploads: 1, runs: 1 });
    });
  }

  test("stopped in the middle of a call: it ends at once", async () => {
    sandbox.faults.add({ call: calls.poll, hang: true });
    const one = extractor();
    const upload = await one.advance(document, null, "key", never);
    const run = await one.advance(document, upload.memo, "key", never);
    const stop = new AbortController();
    const poll = one.advance(document, run.memo, "key", stop.signal);
    stop.abort();
    await expect(poll).rejects.toMatchObject({ temporary: true });
  });

  test("the probe knocks, and says when the key is wrong or nobody is there", async () => {
    expect((await extractor().probe(never)).said).toContain("key accepted");
    sandbox.faults.add({ call: calls.probe, status: 401 });
    await expect(extractor().probe(never)).rejects.toMatchObject({ code: `${service}.unauthorized` });
    await sandbox.stop();
    await http.close();
    http = client();
    await expect(extractor().probe(never)).rejects.toMatchObject({ code: "http.unreachable" });
  });
});
