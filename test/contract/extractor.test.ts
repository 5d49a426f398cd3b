/** The role of an extractor, kept by every implementation over real sockets: one effect a call, a memo that survives, no run twice. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Fault } from "../../src/base/errors.ts";
import { type CloudsquidOptions, createCloudsquid } from "../../src/extractor/cloudsquid.ts";
import { createExtend, type ExtendOptions } from "../../src/extractor/extend.ts";
import type { Document, Extractor, Memo, Progress } from "../../src/extractor/extractor.ts";
import { createHttp, type Http } from "../../src/http/http.ts";
import { mannered } from "../../src/http/manners.ts";
import type { Call, FaultRule } from "../../src/sandbox/faults.ts";
import { type Sandbox, startSandbox } from "../../src/sandbox/sandbox.ts";
import { documentOf, piece, type TestClock, testClock, UBL } from "../extractor/documents.ts";

const xml = piece("2", "invoice.xml", "application/xml", UBL);
const mail = documentOf(piece("text", "text.txt", "text/plain", "Please find our invoice attached."), xml);

const options = (sandbox: Sandbox, changes: Pick<CloudsquidOptions, "encoding"> & Partial<CloudsquidOptions>): CloudsquidOptions => ({
  name: "cloudsquid",
  url: sandbox.url,
  apiKey: "key",
  project: "Accounts / Payable",
  table: "3c90c3cc-0d44-4b50-8888-8dd25736052a",
  multipart: {
    mimetype: "message/rfc822",
    fields: { name: "filename", type: "mimetype", kind: "file_type", content: "file" },
    body: "text",
  },
  zeroRetention: false,
  maxBytes: 1_000_000,
  poll: { firstMs: 2_000, longestMs: 30_000 },
  deadlines: { pendingMs: 7_200_000, runningMs: 7_200_000 },
  ...changes,
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

/** What the sandbox counted of each service's calls. */
const counted = {
  cloudsquid: (sandbox: Sandbox) => {
    const { stores, uploads, runs, polls, extracts } = sandbox.counts();
    return { store: stores, upload: uploads, run: runs, poll: polls, extract: extracts };
  },
  extend: (sandbox: Sandbox) => {
    const { uploads, runs, polls } = sandbox.counts().extend;
    return { "extend.upload": uploads, "extend.create": runs, "extend.sync": runs, "extend.poll": polls };
  },
} as const;

type Service = keyof typeof counted;
const probes: Readonly<Record<Service, Call>> = { cloudsquid: "projects", extend: "extend.list" };

type Implementation = {
  readonly name: string;
  readonly service: Service;
  /** The calls that do something, in their order; with a poll at the end, where there is one. */
  readonly steps: readonly Call[];
  readonly document: Document;
  readonly make: (sandbox: Sandbox, clock: TestClock, http: Http, changes?: Pick<ExtendOptions, "output">) => Extractor;
};

function cloudsquid(encoding: CloudsquidOptions["encoding"], mode: "async" | "sync"): Implementation {
  return {
    name: `cloudsquid, ${encoding}, ${mode}`,
    service: "cloudsquid",
    steps: [
      ...(encoding === "uri" ? (["store"] as const) : []),
      ...(mode === "sync" ? (["extract"] as const) : (["upload", "run", "poll"] as const)),
    ],
    document: encoding === "attachments" ? { ...documentOf(xml), whole: false } : mail,
    make: (sandbox, clock, http) => createCloudsquid(options(sandbox, { encoding, mode, syncMaxBytes: 1_000_000 }), { clock, http }),
  };
}

function extend(submit: ExtendOptions["submit"], mode: "async" | "sync"): Implementation {
  return {
    name: `extend, ${submit}, ${mode}`,
    service: "extend",
    steps: ["extend.upload", ...(mode === "sync" ? (["extend.sync"] as const) : (["extend.create", "extend.poll"] as const))],
    document: mail,
    make: (sandbox, clock, http, changes) =>
      createExtend(extendOptions(sandbox, { submit, mode, syncMaxBytes: 1_000_000, ...changes }), { clock, http }),
  };
}

/** Every implementation, in every way it can be told to work. */
const implementations: readonly Implementation[] = [
  cloudsquid("multipart", "async"),
  cloudsquid("rfc822", "async"),
  cloudsquid("uri", "async"),
  cloudsquid("attachments", "async"),
  cloudsquid("multipart", "sync"),
  cloudsquid("uri", "sync"),
  extend("parts", "async"),
  extend("eml", "async"),
  extend("parts", "sync"),
];

type Driven = { readonly last: Progress; readonly faults: readonly Fault[]; readonly calls: number };

describe.each(implementations)("$name", ({ service, steps, document, make }) => {
  const effects = steps.filter((call) => !call.endsWith("poll"));
  const poll = steps.find((call) => call.endsWith("poll"));
  const first = steps[0] as Call;
  /** The call that buys: where its answer is lost, money may be. */
  const order = effects.at(-1) as Call;
  let sandbox: Sandbox;
  let clock: TestClock;
  let http: Http;
  const never = new AbortController().signal;
  const client = () => createHttp({ name: service, connections: 4, timeoutMs: 1_000 });

  beforeEach(async () => {
    clock = testClock();
    sandbox = await startSandbox({
      port: 0,
      apiKey: "key",
      projects: ["Accounts / Payable"],
      pace: { pendingMs: 5_000, runningMs: 20_000 },
      clock,
    });
    http = client();
  });
  afterEach(async () => {
    await http.close();
    await sandbox.stop();
  });

  const extractor = (): Extractor => make(sandbox, clock, http);
  /** How often each of these took effect. */
  const seen = (...of: readonly Call[]) => {
    const counts: Readonly<Partial<Record<Call, number>>> = counted[service](sandbox);
    return of.map((call) => counts[call] ?? 0);
  };
  const once = effects.map(() => 1);

  /** Takes a document to its end, as one process or as a new one for each call; a temporary fault is tried again later, as the pipeline does. */
  async function drive(of: Document, memo: Memo | null = null, anew = false, next = extractor): Promise<Driven> {
    const faults: Fault[] = [];
    let one = next();
    for (let calls = 1; calls < 100; calls += 1) {
      if (anew) one = next();
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

  /** The memo with which this call is the next. */
  async function upTo(one: Extractor, call: Call): Promise<Memo | null> {
    let memo: Memo | null = null;
    for (const _ of steps.slice(0, steps.indexOf(call))) memo = (await one.advance(document, memo, "key", never)).memo;
    return memo;
  }

  test.each([false, true])("a document is answered, with a memo that survives at every step; a new process for each: %s", async (anew) => {
    const { last, faults } = await drive(document, null, anew);
    expect(faults).toEqual([]);
    expect(last).toMatchObject({ is: "answered", answer: { data: { invoice_number: "RE-2026-0815", gross_amount: "119.00" } } });
    expect(seen(...effects)).toEqual(once);
    expect(last.memo).toMatchObject({ runId: expect.any(String) });
    expect(last.memo?.possiblyTwice ?? 0).toBe(0);
    if (!poll) expect(seen("poll", "extend.poll")).toEqual([0, 0]);
  });

  test("one call is at most one effect", async () => {
    const after = [];
    const one = extractor();
    let memo: Memo | null = null;
    for (const _ of steps) {
      const progress: Progress = await one.advance(document, memo, "key", never);
      memo = progress.memo;
      after.push(seen(...steps));
    }
    expect(after).toEqual(steps.map((_, at) => steps.map((_, other) => (other <= at ? 1 : 0))));
  });

  test("the intention is told right before what cannot be sent twice without harm, and before nothing else", async () => {
    const one = extractor();
    const told: Call[] = [];
    let memo: Memo | null = null;
    for (const call of steps) {
      const buying = async () => {
        told.push(call);
        expect(seen(call), "not sent yet").toEqual([0]);
      };
      memo = (await one.advance(document, memo, "key", never, buying)).memo;
    }
    expect(told).toEqual(effects.filter((call) => call !== "store" && call !== "extend.upload"));
  });

  test("an intention that cannot be saved: nothing is sent, and its fault is thrown", async () => {
    const one = extractor();
    const memo = await upTo(one, order);
    const full = new Fault("ledger.full", "no space left");
    await expect(one.advance(document, memo, "key", never, () => Promise.reject(full))).rejects.toBe(full);
    expect(seen(order)).toEqual([0]);
  });

  test("no intention while the turn has not come: a call that is put off has none", async () => {
    const paused = new Fault("service.paused", "the service is paused", { blameless: true });
    const rules = { name: service, rates: {}, breaker: { failures: 10, firstMs: 1_000, longestMs: 1_000 }, mayCall: async () => paused };
    const memo = await upTo(extractor(), order);
    const one = make(sandbox, clock, mannered(http, rules, clock));
    let isTold = false;
    const buying = async () => {
      isTold = true;
    };
    await expect(one.advance(document, memo, "key", never, buying)).rejects.toBe(paused);
    expect(isTold).toBe(false);
  });

  if (poll) {
    test("dying before a memo is saved repeats one effect and no other", async () => {
      const one = extractor();
      const memo = await upTo(one, poll);
      await one.advance(document, memo, "key", never);
      const { last } = await drive(document, memo);
      expect(last.is).toBe("answered");
      expect(seen(...effects)).toEqual(once);
    });

    test("stopped in the middle of a call: it ends at once", async () => {
      sandbox.faults.add({ call: poll, hang: true });
      const one = extractor();
      const memo = await upTo(one, poll);
      const stop = new AbortController();
      const polled = one.advance(document, memo, "key", stop.signal);
      stop.abort();
      await expect(polled).rejects.toMatchObject({ temporary: true });
    });
  }

  test("a document in which nothing is found is refused, with a fault trying again cannot mend", async () => {
    const { last } = await drive({
      ...document,
      parts: [piece("2", "a.png", "image/png", "none")],
      raw: piece("raw", "m", "message/rfc822", "Subject: none\r\n\r\nnone\r\n"),
    });
    expect(last).toMatchObject({ is: "refused", fault: { temporary: false } });
  });

  const ordered = (what: string, ...rules: FaultRule[]): [string, FaultRule[]] => [what, rules];
  const passing: [string, FaultRule[]][] = [
    ["500 at each step", steps.map((call) => ({ call, status: 500 }))],
    ["502 from a proxy at each step", steps.map((call) => ({ call, status: 502, html: true }))],
    ["503 at each step", steps.map((call) => ({ call, status: 503, retryAfter: 1 }))],
    ["429 at each step", steps.map((call) => ({ call, status: 429 }))],
    ["401 until the key is mended", [{ call: first, status: 401, times: 5 }]],
    ["an answer lost before anything was done", effects.map((call) => ({ call, cut: "before" }))],
    ...(poll
      ? [
          ordered("polls that fail", { call: poll, status: 502, times: 3 }),
          ordered(
            "polls cut, cut off, HTML, wrong JSON",
            { call: poll, cut: "after" },
            { call: poll, cut: "body" },
            { call: poll, html: true },
            { call: poll, wrongJson: true },
          ),
          ordered("polls without an answer", { call: poll, hang: true }),
        ]
      : []),
  ];
  test.each(passing)("%s: answered in the end, nothing twice", async (_, rules) => {
    for (const rule of rules) sandbox.faults.add(rule);
    const { last } = await drive(document);
    expect(last.is).toBe("answered");
    expect(seen(...effects)).toEqual(once);
  });

  test("Retry-After becomes the fault's retryAt", async () => {
    sandbox.faults.add({ call: first, status: 429, retryAfter: 77 });
    const fault = await extractor()
      .advance(document, null, "key", never)
      .then(
        () => null,
        (thrown: unknown) => thrown as Fault,
      );
    expect(fault?.retryAt).toEqual(new Date(clock.now().getTime() + 77_000));
  });

  if (service === "cloudsquid") {
    const lost: Omit<FaultRule, "call">[] = [{ cut: "after" }, { cut: "body" }, { wrongJson: true }, { html: true }];
    /** The row is made by the upload, or by the extraction at once. */
    const making = effects.find((call) => call !== "store") as Call;
    test.each(lost)("an answer to what makes the row that is lost (%o) is sent once more, then given up", async (rule) => {
      sandbox.faults.add({ ...rule, call: making });
      expect((await drive(document)).last).toMatchObject({ is: "answered", memo: { possiblyTwice: 1 } });
      expect(seen(making)).toEqual([2]);

      sandbox.faults.add({ ...rule, call: making, times: 10 });
      const { last, calls } = await drive(document);
      expect(last).toMatchObject({ is: "refused", memo: { possiblyTwice: 1 }, fault: { code: "cloudsquid.ambiguous", temporary: false } });
      expect(calls).toBe(steps.indexOf(making) + 2);
      expect(seen(making)).toEqual([4]);

      sandbox.faults.clear();
      expect((await drive(document, last.memo)).last.is).toBe("answered");
    });

    test("dying while the row is made: made once more, and that is counted", async () => {
      const one = extractor();
      const memo = await upTo(one, making);
      await one.advance(document, memo, "key", never);
      const { last } = await drive(document, extractor().interrupted?.(memo).memo);
      expect(last).toMatchObject({ is: "answered", memo: { possiblyTwice: 1 } });
      expect(seen(making)).toEqual([2]);
    });

    if (order === "run") {
      test.each([{ cut: "after" }, { wrongJson: true }] as const)("the same for the start of a run: %o", async (rule) => {
        sandbox.faults.add({ call: "run", ...rule, times: 10 });
        const { last } = await drive(document);
        expect(last).toMatchObject({ is: "refused", fault: { code: "cloudsquid.ambiguous" } });
        expect(seen("upload", "run")).toEqual([1, 2]);
      });
    }

    test("what a person said of the answer, and how the service came to it, come with it", async () => {
      const review = { comment: "checked", reviewed_by: "anna", review_date: "2026-05-04T10:05:00Z", approved: true };
      sandbox.faults.add({ call: order, review, reasoning: "read from the XML" });
      expect((await drive(document)).last).toMatchObject({ answer: { review, reasoning: "read from the XML" } });
    });

    test("the shape of an older version of the API is understood", async () => {
      sandbox.faults.add({ call: poll ?? order, older: true, times: 100 });
      expect((await drive(document)).last).toMatchObject({ is: "answered", answer: { data: { invoice_number: "RE-2026-0815" } } });
      expect(seen(...effects)).toEqual(once);
    });
  }

  if (first === "store") {
    test("a file is stored once, however often its answer is lost", async () => {
      for (const rule of [{ cut: "after" }, { wrongJson: true }, { html: true }] as const) sandbox.faults.add({ call: "store", ...rule });
      expect((await drive(document)).last).toMatchObject({ is: "answered", memo: { possiblyTwice: 0 } });
      expect(seen(...effects)).toEqual(once);
    });
  }

  if (service === "extend") {
    const lost: Omit<FaultRule, "call">[] = [{ cut: "after" }, { cut: "body" }, { wrongJson: true }, { html: true }];
    test.each(lost)("an order whose answer is lost (%o) is found in the list, not given again", async (rule) => {
      sandbox.faults.add({ ...rule, call: order });
      const { last } = await drive(document);
      expect(last).toMatchObject({ is: "answered", memo: { possiblyTwice: 0 } });
      expect(seen(...effects)).toEqual(once);
    });

    test("an order the list never shows is given once more, counted, then given up", async () => {
      sandbox.faults.add({ call: order, cut: "after", times: 2 });
      sandbox.faults.add({ call: "extend.list", empty: true, times: 100 });
      const { last } = await drive(document);
      expect(last).toMatchObject({ is: "refused", memo: { possiblyTwice: 1 }, fault: { code: "extend.ambiguous", temporary: false } });
      expect(seen(...effects)).toEqual([1, 2]);

      sandbox.faults.clear();
      expect((await drive(document, last.memo)).last).toMatchObject({ is: "answered", memo: { possiblyTwice: 1 } });
      expect(seen(order), "a retry finds what was bought").toEqual([2]);
    });

    test("dying while an order is given: the next process finds the run", async () => {
      const one = extractor();
      const memo = await upTo(one, order);
      await one.advance(document, memo, "key", never);
      const { last } = await drive(document, extractor().interrupted?.(memo).memo);
      expect(last).toMatchObject({ is: "answered", memo: { possiblyTwice: 0 } });
      expect(seen(...effects)).toEqual(once);
    });

    test("the shape of an older version of the API is understood", async () => {
      sandbox.faults.add({ call: "extend.upload", older: true });
      expect((await drive(document)).last.is).toBe("answered");
      expect(seen(...effects)).toEqual(once);
    });

    const corrected = { invoice_number: "RE-2026-0815", gross_amount: "120.00" };
    const asRead = { invoice_number: "RE-2026-0815", gross_amount: "119.00" };
    test.each([
      ["final", corrected],
      ["reviewed", corrected],
      ["initial", asRead],
    ] as const)("the output chosen of a run a person has corrected, %s", async (output, data) => {
      sandbox.faults.add({ call: order, reviewed: { gross_amount: "120.00" } });
      const { last } = await drive(document, null, false, () => make(sandbox, clock, http, { output }));
      expect(last).toMatchObject({ is: "answered", answer: { data, review: { reviewed: true, edited: true } } });
    });

    test("only what was reviewed, when that is asked for: a run is waited for until a person has looked at it", async () => {
      const one = make(sandbox, clock, http, { output: "reviewed" });
      let memo = await upTo(one, order);
      const start = clock.now().getTime();
      while (clock.now().getTime() < start + 600_000) {
        const progress = await one.advance(document, memo, "key", never);
        if (progress.is !== "going") throw new Error(`expected to go on, is ${progress.is}`);
        memo = progress.memo;
        clock.set(progress.nextAt);
      }
      expect(memo).toMatchObject({ status: "PROCESSED, not reviewed" });
      sandbox.faults.add({ call: "extend.poll", reviewed: {} });
      const last = await one.advance(document, memo, "key", never);
      expect(last).toMatchObject({ is: "answered", answer: { data: asRead, review: { reviewed: true, edited: false } } });
      expect(seen(...effects)).toEqual(once);
    });
  }

  test("the probe knocks, and says when the key is wrong or nobody is there", async () => {
    expect((await extractor().probe(never)).said).toContain("key accepted");
    sandbox.faults.add({ call: probes[service], status: 401 });
    await expect(extractor().probe(never)).rejects.toMatchObject({ code: `${service}.unauthorized` });
    await sandbox.stop();
    await http.close();
    http = client();
    await expect(extractor().probe(never)).rejects.toMatchObject({ code: "http.unreachable" });
  });
});
