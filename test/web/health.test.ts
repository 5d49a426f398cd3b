/** Health and metrics over real sockets, from a real ledger: what is told to whom, and that a stuck worker is seen. */
import { once } from "node:events";
import { get, type IncomingMessage } from "node:http";
import { json } from "node:stream/consumers";
import { describe, expect, onTestFinished, test } from "vitest";
import { type Clock, systemClock } from "../../src/base/clock.ts";
import { silent } from "../../src/base/logger.ts";
import { createWorker } from "../../src/daemon/worker.ts";
import type { Progress } from "../../src/extractor/extractor.ts";
import { examine } from "../../src/pipeline/examine.ts";
import type { Condition } from "../../src/pipeline/health.ts";
import type { Event } from "../../src/store/record.ts";
import { openLedger } from "../../src/store/sql.ts";
import type { Ledger } from "../../src/store/store.ts";
import { healthRoutes, sparingly } from "../../src/web/health.ts";
import { createMetrics } from "../../src/web/metrics.ts";
import { type Route, startWeb } from "../../src/web/web.ts";
import { arrive, extractorOf, sinkOf, sourceOf, worksIn } from "../pipeline/works.ts";
import { temporaryDirectory } from "../store/disk.ts";
import { extractDone, id, receive, refused, splitDone, taskOf, tell } from "../store/ledgers/story.ts";

async function serve(routes: readonly Route[]): Promise<string> {
  const web = await startWeb({ host: "127.0.0.1", port: 0, log: silent, routes });
  onTestFinished(web.stop);
  return `http://127.0.0.1:${web.port}`;
}

/** The system's clock, moved ahead by hand. */
function movedClock(): Clock & { readonly ahead: (milliseconds: number) => void } {
  let offset = 0;
  return {
    ...systemClock,
    now: () => new Date(Date.now() + offset),
    ahead: (milliseconds) => {
      offset += milliseconds;
    },
  };
}

const beat = (ledger: Ledger, clock: Clock, mailboxes: readonly string[] = []) =>
  ledger.beat({
    at: clock.now().toISOString(),
    alive: true,
    pid: process.pid,
    startedAt: new Date(0).toISOString(),
    mailboxes: mailboxes.map((mailbox) => ({ mailbox, sweptAt: clock.now().toISOString(), missedSweeps: 0, trouble: null })),
  });

async function stage() {
  const clock = movedClock();
  const directory = await temporaryDirectory();
  const ledger = await openLedger({ directory, own: true, now: clock.now() });
  onTestFinished(() => ledger.close());
  await beat(ledger, clock, ["invoices"]);
  let examinations = 0;
  const look = sparingly((at) => {
    examinations += 1;
    return examine({ ledger, directory, mailboxes: ["invoices"], minFreeBytes: 1 }, at);
  }, clock);
  return { clock, directory, ledger, look, examinations: () => examinations };
}

const answered: Progress = {
  is: "answered",
  memo: { runId: "run" },
  answer: { runId: "run", data: {}, credits: null, reasoning: null, review: null, raw: {} },
};

const ask = async (url: string) => {
  const answer = await fetch(url);
  return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
};

describe("/healthz", () => {
  test("says that the event loop answers, and nothing else, however ill the rest is", async () => {
    const { look, ledger } = await stage();
    await ledger.close();
    const url = await serve(healthRoutes({ look, open: true }));
    expect(await ask(`${url}/healthz`)).toEqual({ status: 200, body: { alive: true } });
    expect((await fetch(`${url}/healthz`, { method: "HEAD" })).status).toBe(200);
  });

  test.each(["/healthz/", "/healthzz", "/Healthz", "/healthz/x", "/readyz/..%2f"])("%s is something else", async (path) => {
    const url = await serve(healthRoutes({ look: async () => Promise.reject(new Error("not asked")), open: true }));
    expect((await fetch(url + path)).status).toBe(404);
  });

  test("takes no POST (RFC 9110, 15.5.6)", async () => {
    const url = await serve(healthRoutes({ look: async () => Promise.reject(new Error("not asked")), open: true }));
    const answer = await fetch(`${url}/readyz`, { method: "POST" });
    expect([answer.status, answer.headers.get("allow")]).toEqual([405, "GET, HEAD"]);
  });
});

describe("/readyz", () => {
  test("is 200 when all is well, and tells what is paused", async () => {
    const { look, ledger, clock } = await stage();
    await ledger.pause("files", "paused by hand", clock.now());
    const { status, body } = await ask(`${await serve(healthRoutes({ look, open: true }))}/readyz`);
    expect(status).toBe(200);
    expect(body).toMatchObject({ ready: true, ailments: [], paused: [{ name: "files", why: "paused by hand" }] });
  });

  test("is 503 with each reason, and 200 again when the reason is gone", async () => {
    const { look, ledger, clock } = await stage();
    const url = `${await serve(healthRoutes({ look, open: true }))}/readyz`;
    await ledger.beat({ at: clock.now().toISOString(), alive: true, pid: 1, mailboxes: [] });
    expect(await ask(url)).toMatchObject({ status: 503, body: { ready: false, ailments: [{ about: "mailbox", name: "invoices" }] } });
    await beat(ledger, clock, ["invoices"]);
    clock.ahead(5_000);
    expect(await ask(url)).toMatchObject({ status: 200, body: { ready: true } });
  });

  test("tells nobody names or reasons where that is not wanted, only the verdict", async () => {
    const { look, ledger, clock } = await stage();
    await ledger.beat({ at: clock.now().toISOString(), alive: true, pid: 1, mailboxes: [] });
    const url = await serve(healthRoutes({ look, open: false }));
    expect(await ask(`${url}/readyz`)).toEqual({ status: 503, body: { ready: false } });
  });

  test("a hundred that ask at once are one examination, and so are those within five seconds", async () => {
    const { look, clock, examinations } = await stage();
    const url = `${await serve(healthRoutes({ look, open: true }))}/readyz`;
    await Promise.all(Array.from({ length: 20 }, () => ask(url)));
    clock.ahead(4_000);
    await ask(url);
    expect(examinations()).toBe(1);
    clock.ahead(1_500);
    await ask(url);
    clock.ahead(-60_000);
    await ask(url);
    expect(examinations()).toBe(3);
  });

  test("a worker whose hands all hang is red for the service they hang at, and green when it answers", async () => {
    const clock = movedClock();
    const directory = await temporaryDirectory();
    const { promise: answer, resolve: answers } = Promise.withResolvers<Progress>();
    const { promise: full, resolve: isFull } = Promise.withResolvers<void>();
    const { extractor } = extractorOf((_, call) => {
      if (call === 2) isFull();
      return answer;
    });
    const source = sourceOf("invoices").source;
    const made = await worksIn(directory, { extractor, sinks: [sinkOf("files").sink], source });
    const works = { ...made.works, clock };
    onTestFinished(() => works.ledger.close());
    const { promise: allSplit, resolve: isAllSplit } = Promise.withResolvers<void>();
    const { promise: over, resolve: isOver } = Promise.withResolvers<void>();
    const told = new Map<string, number>();
    const worker = createWorker({
      works,
      concurrency: 2,
      log: silent,
      clock,
      tell: ({ what }: Event) => {
        told.set(what, (told.get(what) ?? 0) + 1);
        if (told.get("split.done") === 3) isAllSplit();
        if (told.get("settle.done") === 3) isOver();
        worker.wake();
      },
    });
    const look = sparingly((at) => examine({ ledger: works.ledger, directory, mailboxes: [], minFreeBytes: 1 }, at), clock);
    const url = `${await serve(healthRoutes({ look, open: true }))}/readyz`;
    for (const [uid, mail] of ["01-single-pdf", "04-xml-only", "05-html-only"].entries()) await arrive(works, mail, uid + 1);
    const [stop, abandon] = [new AbortController(), new AbortController()];
    const running = worker.run(stop.signal, abandon.signal);
    onTestFinished(async () => {
      stop.abort();
      abandon.abort();
      answers(answered);
      await running;
    });
    await Promise.all([full, allSplit]);

    await beat(works.ledger, clock);
    expect(await ask(url)).toMatchObject({ status: 200 });
    clock.ahead(11 * 60_000);
    await beat(works.ledger, clock);
    expect(await ask(url)).toMatchObject({
      status: 503,
      body: {
        ailments: [
          {
            about: "service",
            name: "service",
            code: "tasks.still",
            message: "nothing is read by a service although tasks have been due for 11 minutes, the oldest for service service",
          },
        ],
      },
    });
    answers(answered);
    await over;
    clock.ahead(5_000);
    await beat(works.ledger, clock);
    expect(await ask(url)).toMatchObject({ status: 200 });
  });
});

type Sample = { readonly name: string; readonly labels: Readonly<Record<string, string>>; readonly value: number };

/** The text format of Prometheus, version 0.0.4. Throws at a line that is none. */
function parsed(text: string): { readonly samples: readonly Sample[]; readonly types: ReadonlyMap<string, string> } {
  const types = new Map<string, string>();
  const samples: Sample[] = [];
  for (const line of text.split("\n")) {
    const type = /^# TYPE (\S+) (counter|gauge|histogram)$/.exec(line);
    if (type !== null) types.set(type[1] ?? "", type[2] ?? "");
    if (line === "" || line.startsWith("#")) continue;
    const match = /^([a-z0-9_]+)(?:\{([^}]*)\})? ([-+0-9.e]+|NaN|Nan|\+Inf)$/.exec(line);
    if (match === null) throw new Error(`no sample: ${line}`);
    const labels = [...(match[2] ?? "").matchAll(/([a-z_]+)="([^"]*)"/g)].map(([, name = "", value = ""]) => [name, value]);
    samples.push({ name: match[1] ?? "", labels: Object.fromEntries(labels), value: Number(match[3]) });
  }
  return { samples, types };
}

describe("/metrics", () => {
  async function measured() {
    const made = await stage();
    const { look, ledger } = made;
    const metrics = createMetrics({ look, ledger, mailboxes: ["invoices", "archive"], services: ["cloudsquid"], sinks: ["files"] });
    const url = `${await serve([metrics.route])}/metrics`;
    const scrape = async () => {
      made.clock.ahead(5_000);
      const answer = await fetch(url);
      expect(answer.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
      const text = await answer.text();
      const { samples, types } = parsed(text);
      const of = (name: string, labels: Readonly<Record<string, string>> = {}) => {
        const found = samples.filter(
          (one) => one.name === name && Object.entries(labels).every(([key, value]) => one.labels[key] === value),
        );
        return found.length === 1 ? found[0]?.value : found.length === 0 ? undefined : found.map(({ value }) => value);
      };
      return { text, samples, types, of };
    };
    return { ...made, metrics, scrape };
  }
  const event = (what: string, more: Partial<Event> = {}): Event => ({
    at: new Date().toISOString(),
    message: id("a"),
    mailbox: null,
    what,
    subject: null,
    note: null,
    faultCode: null,
    ...more,
  });

  test("names, units and types are Prometheus's own, and what has not happened is 0", async () => {
    const { samples, types, of } = await (await measured()).scrape();
    const own = [...types].filter(([name]) => name.startsWith("billhook_"));
    expect(own.length).toBeGreaterThan(15);
    for (const [name, type] of own) {
      expect(name).toMatch(type === "counter" ? /_total$/ : /(?<!_total)$/);
      expect(name).not.toMatch(/milliseconds|minutes|_ms$|_mb$/);
    }
    expect(types.get("billhook_effect_duration_seconds")).toBe("histogram");
    expect(of("billhook_sweeps_total", { mailbox: "archive" })).toBe(0);
    expect(of("billhook_deliveries_total", { sink: "files", outcome: "failed" })).toBe(0);
    expect(of("billhook_tasks", { kind: "extract", service: "cloudsquid", state: "failing" })).toBe(0);
    expect(of("billhook_paused", { service: "cloudsquid" })).toBe(0);
    expect(of("billhook_ready")).toBe(1);
    expect(of("process_resident_memory_bytes")).toBeGreaterThan(1_000_000);
    expect(samples.length).toBeLessThan(400);
  });

  test("gauges are what the ledger holds now", async () => {
    const { ledger, scrape, clock } = await measured();
    await tell(ledger);
    await beat(ledger, clock, ["invoices"]);
    await ledger.pause("files", "by hand", clock.now());
    const { of } = await scrape();
    expect(of("billhook_tasks", { kind: "extract", service: "cloudsquid", state: "failed" })).toBe(1);
    expect(of("billhook_tasks", { kind: "split", state: "due" })).toBe(1);
    expect(of("billhook_paused", { sink: "files" })).toBe(1);
    expect(of("billhook_tasks_oldest_due_seconds", { kind: "split" })).toBeGreaterThan(0);
    expect(of("billhook_mailbox_last_sweep_timestamp_seconds", { mailbox: "invoices" })).toBeCloseTo(clock.now().getTime() / 1_000, -2);
    expect(of("billhook_disk_free_bytes", { place: "state" })).toBeGreaterThan(0);
    expect(of("billhook_ledger_writable")).toBe(1);
    await ledger.resume("files", clock.now());
    expect((await scrape()).of("billhook_paused", { sink: "files" })).toBe(0);
  });

  test("what was bought is counted by the ledger, however often it is asked, and by a process that begins anew", async () => {
    const { ledger, scrape, look } = await measured();
    await receive(ledger, "a", 11);
    await ledger.save(await taskOf(ledger, "a", "split"), splitDone("a"), new Date());
    const run = { document: `${id("a")}.1`, service: "cloudsquid", mailbox: "invoices", runId: "r1", credits: 2.5, possiblyTwice: 1 };
    await ledger.save(await taskOf(ledger, "a", "extract"), { ...extractDone("a"), run }, new Date());
    await scrape();
    const { of } = await scrape();
    const labels = { service: "cloudsquid", mailbox: "invoices" };
    expect(of("billhook_runs_total", labels)).toBe(1);
    expect(of("billhook_credits_total", labels)).toBe(2.5);
    expect(of("billhook_runs_possibly_twice_total", labels)).toBe(1);
    const anew = createMetrics({ look, ledger, mailboxes: [], services: [], sinks: [] });
    expect(await (await fetch(`${await serve([anew.route])}/metrics`)).text()).toContain(
      'billhook_runs_total{service="cloudsquid",mailbox="invoices"} 1\n',
    );
  });

  test("events are counted by mailbox, kind, sink and code, and timed", async () => {
    const { metrics, scrape, ledger } = await measured();
    await receive(ledger, "a", 11);
    const [arrival] = await ledger.arrivals(id("a"));
    metrics.swept("invoices");
    metrics.tell(event("received", { mailbox: "invoices" }), null);
    metrics.tell(event("seen-again", { mailbox: "archive" }), null);
    metrics.tell(event("unreadable", { mailbox: "archive", faultCode: "imap.unreadable" }), null);
    metrics.tell(event("extract.retry", { faultCode: refused.code }), 1_500);
    metrics.tell(event("deliver.done", { subject: `${id("a")}.1.files~2` }), 40);
    const ended = new Date(Date.parse(arrival?.seenAt ?? "") + 20_000).toISOString();
    metrics.tell(event("settle.done", { subject: arrival?.id ?? "", at: ended }), 3);
    const { of } = await scrape();
    expect(of("billhook_sweeps_total", { mailbox: "invoices" })).toBe(1);
    expect(of("billhook_messages_received_total", { mailbox: "invoices", outcome: "new" })).toBe(1);
    expect(of("billhook_messages_received_total", { mailbox: "archive", outcome: "again" })).toBe(1);
    expect(of("billhook_messages_received_total", { mailbox: "archive", outcome: "unreadable" })).toBe(1);
    expect(of("billhook_faults_total", { code: "imap.unreadable" })).toBe(1);
    expect(of("billhook_faults_total", { code: refused.code })).toBe(1);
    expect(of("billhook_effects_total", { kind: "extract", outcome: "retry" })).toBe(1);
    expect(of("billhook_deliveries_total", { sink: "files", outcome: "done" })).toBe(1);
    expect(of("billhook_effect_duration_seconds_sum", { kind: "extract" })).toBe(1.5);
    expect(of("billhook_effect_duration_seconds_bucket", { kind: "extract", le: "1" })).toBe(0);
    expect(of("billhook_effect_duration_seconds_bucket", { kind: "extract", le: "2.5" })).toBe(1);
    expect(of("billhook_arrival_duration_seconds_sum", { mailbox: "invoices" })).toBe(20);
  });

  test("labels stay few, and none is of a mail: no ids, no addresses, whatever comes", async () => {
    const { metrics, scrape } = await measured();
    for (let n = 0; n < 1_000; n += 1) {
      const key = id(`m${n}`);
      metrics.tell(event("extract.failed", { message: key, subject: `${key}.1`, faultCode: `odd.code-${n}`, note: "a@b.example" }), n);
      metrics.tell(event("deliver.retry", { message: key, subject: `${key}.1.files`, faultCode: "http.busy" }), n);
    }
    const { text, samples, of } = await scrape();
    expect(of("billhook_effects_total", { kind: "extract", outcome: "failed" })).toBe(1_000);
    expect(samples.filter(({ name }) => name === "billhook_faults_total").length).toBeLessThanOrEqual(201);
    expect(of("billhook_faults_total", { code: "other" })).toBeGreaterThan(700);
    const own = text.split("\n").filter((line) => line.startsWith("billhook_"));
    expect(own.filter((line) => /[0-9a-f]{16}|@/.test(line))).toEqual([]);
  });

  test("a ledger that cannot be asked is told as that, and takes nothing else along", async () => {
    const { ledger, scrape, metrics } = await measured();
    metrics.swept("invoices");
    await scrape();
    await ledger.close();
    const { of } = await scrape();
    expect(of("billhook_ledger_writable")).toBe(0);
    expect(of("billhook_ready")).toBe(0);
    expect(of("billhook_ailments", { about: "ledger" })).toBe(1);
    expect(of("billhook_tasks", { kind: "split", state: "due" })).toBeUndefined();
    expect(of("billhook_sweeps_total", { mailbox: "invoices" })).toBe(1);
  });
});

test("an examination that fails is 500 for this one, and is made again", async () => {
  let times = 0;
  const clock = movedClock();
  const look = sparingly(async (): Promise<Condition> => {
    times += 1;
    throw new Error("odd");
  }, clock);
  const url = `${await serve(healthRoutes({ look, open: true }))}/readyz`;
  expect((await fetch(url)).status).toBe(500);
  clock.ahead(5_000);
  expect((await fetch(url)).status).toBe(500);
  expect(times).toBe(2);
});

test("the reasons are told to who asks for this machine by its own name, the verdict to everybody", async () => {
  const { look } = await stage();
  const url = new URL(`${await serve(healthRoutes({ look, open: true, onlyHere: true }))}/readyz`);
  const asked = async (host: string) => {
    const [answer] = (await once(get({ host: url.hostname, port: url.port, path: "/readyz", headers: { host } }), "response")) as [
      IncomingMessage,
    ];
    return Object.keys((await json(answer)) as object);
  };
  expect(await asked("localhost:8080")).toContain("ailments");
  expect(await asked("evil.example")).toEqual(["ready"]);
});
