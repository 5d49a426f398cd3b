/** Limits on what is bought: they hold and never drop, whatever comes together, fails or dies; against a real ledger. */
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import { Fault, permanent } from "../../src/base/errors.ts";
import type { Extractor, Progress } from "../../src/extractor/extractor.ts";
import { createGate, type Limits } from "../../src/pipeline/limits.ts";
import { advance } from "../../src/pipeline/pipeline.ts";
import type { Service, Works } from "../../src/pipeline/step.ts";
import type { Task } from "../../src/store/record.ts";
import { type TestClock, testClock } from "../extractor/documents.ts";
import { temporaryDirectory } from "../store/disk.ts";
import { arrive, backfilled, drain, extractorOf, openTask, sinkOf, sourceOf, worksIn } from "./works.ts";

const never = new AbortController().signal;
const NONE: Limits = { runsPerDay: null, runsPerHour: null, maxBytes: null, maxParts: null };
const HOUR_MS = 3_600_000;
const FAR = new Date("9999-01-01T00:00:00Z");

function limited(works: Works, extractor: Extractor, limits: Partial<Limits>): Works {
  const { mapping } = works.services.get("service") as Service;
  return { ...works, services: new Map([["service", { extractor, mapping, limits: { ...NONE, ...limits } }]]) };
}

/** Buys at its first effect and answers at its second; `bought` is when, in the order of buying. */
function shop(clock: TestClock) {
  const bought: { readonly document: string; readonly at: number }[] = [];
  const { extractor } = extractorOf(({ document, memo }): Progress => {
    if (memo === null) {
      bought.push({ document: document.id, at: clock.now().getTime() });
      return { is: "going", memo: { runId: `run ${bought.length}` }, nextAt: clock.now() };
    }
    return { is: "answered", memo, answer: { runId: null, data: {}, credits: 2, reasoning: null, review: null, raw: {} } };
  });
  return { extractor, bought };
}

const MAILS = [
  "01-single-pdf",
  "02-pdf-and-xml-twin",
  "04-xml-only",
  "05-html-only",
  "09-inline-logo",
  "10-charsets",
  "14-credit-note",
  "18-plain-text",
];

/** `count` mails, split, their documents about to be bought. */
async function stage<Made extends { readonly extractor: Extractor }>(
  count: number,
  limits: Partial<Limits>,
  make: (clock: TestClock) => Made,
  start?: string,
) {
  const clock = testClock(start);
  const directory = await temporaryDirectory();
  const made = make(clock);
  const { extractor } = made;
  const invoices = sourceOf("invoices");
  const roles = { extractor, sinks: [sinkOf("files").sink], source: invoices.source, clock };
  const first = await worksIn(directory, roles);
  let current = limited(first.works, extractor, limits);
  onTestFinished(() => current.ledger.close());
  const messages: string[] = [];
  for (const [index, mail] of MAILS.slice(0, count).entries()) messages.push(await arrive(current, mail, index + 1));
  for (const task of await current.ledger.due(clock.now(), 99, [])) await advance(task, current, never);
  /** The process is killed, and the next one opens what it left. */
  const restart = async () => {
    await current.ledger.close();
    current = limited((await worksIn(directory, roles)).works, extractor, limits);
    return current;
  };
  return { works: current, clock, messages, invoices, restart, made };
}

const open = async (works: Works) => (await works.ledger.due(FAR, 99, [])).filter(({ kind }) => kind === "extract");
const codes = (tasks: readonly Task[]) => tasks.map(({ fault }) => fault?.code ?? null);

describe("runsPerHour", () => {
  test("of 2: two of four are bought, two wait until the first is an hour old, and nothing is dropped", async () => {
    const { made, works, clock, messages, invoices } = await stage(4, { runsPerHour: 2 }, shop);
    const begun = clock.now().getTime();
    for (const task of await open(works)) await advance(task, works, never);
    const waiting = (await open(works)).filter(({ fault }) => fault !== null);
    expect(made.bought).toHaveLength(2);
    expect(codes(waiting)).toEqual(["limit.runs", "limit.runs"]);
    expect(waiting.map(({ attempts, failingSince, memo }) => [attempts, failingSince, memo])).toEqual(Array(2).fill([0, null, null]));
    expect(waiting.map(({ dueAt }) => Date.parse(dueAt))).toEqual(Array(2).fill(begun + HOUR_MS + 1));
    expect((await works.ledger.summaries(9)).map(({ standing }) => standing).sort()).toEqual(["waiting", "waiting", "working", "working"]);
    expect(await works.ledger.backlog()).toEqual({ open: 2, waiting: 2 });

    await drain(works, clock);
    expect(made.bought.map(({ at }) => at - begun)).toEqual([0, 0, HOUR_MS + 1, HOUR_MS + 1]);
    expect(new Set(made.bought.map(({ document }) => document)).size).toBe(4);
    expect(invoices.told.map(({ verdict }) => verdict)).toEqual(Array(messages.length).fill("done"));
  });

  test("is any 60 minutes, not those of the clock", async () => {
    const { made, works, clock } = await stage(3, { runsPerHour: 2 }, shop, "2026-05-04T10:59:00Z");
    const [one, two, three] = await open(works);
    await advance(one as Task, works, never);
    clock.pass(20 * 60_000);
    await advance(two as Task, works, never);
    await advance(three as Task, works, never);
    const waits = (await open(works)).find(({ id }) => id === three?.id);
    expect([made.bought.length, waits?.dueAt]).toEqual([2, "2026-05-04T11:59:00.001Z"]);
  });
});

describe("a backfill", () => {
  const orders = async (works: Works, clock: TestClock, rank: number) => {
    for (const task of await works.ledger.due(clock.now(), 99, [], "split")) await advance(task, works, never);
    const due = await works.ledger.due(clock.now(), 99, [], "extract", [], false);
    for (const task of due) if (task.rank === rank) await advance(task, works, never);
  };

  test("may use half of what may be bought; new mail gets the rest at once", async () => {
    const { made, works, clock } = await stage(0, { runsPerHour: 3 }, shop);
    const begun = clock.now().getTime();
    for (const [index, mail] of MAILS.slice(0, 4).entries()) await backfilled(works, mail, index + 1);
    await orders(works, clock, 1);
    expect(made.bought).toHaveLength(2);
    const waiting = (await open(works)).filter(({ fault }) => fault !== null);
    expect(codes(waiting)).toEqual(["limit.runs", "limit.runs"]);
    expect(waiting[0]?.fault?.message).toContain("a backfill's half of limits.runsPerHour of 3");
    const fresh = await arrive(works, MAILS[5] ?? "", 9);
    await orders(works, clock, 0);
    expect(made.bought.map(({ document }) => document)[2]).toBe(`${fresh}.1`);
    await drain(works, clock);
    expect(made.bought.map(({ at }) => at - begun)).toEqual([0, 0, 0, HOUR_MS + 1, HOUR_MS + 1]);
  });

  test("has its half also when new mail uses the other one, and never more than is left", async () => {
    const { made, works, clock } = await stage(0, { runsPerHour: 4 }, shop);
    for (const [index, mail] of MAILS.slice(0, 3).entries()) await arrive(works, mail, index + 1);
    await orders(works, clock, 0);
    expect(made.bought).toHaveLength(3);
    for (const [index, mail] of MAILS.slice(3, 6).entries()) await backfilled(works, mail, index + 11);
    await orders(works, clock, 1);
    expect(made.bought).toHaveLength(4);
    clock.pass(HOUR_MS + 1);
    await orders(works, clock, 1);
    expect(made.bought).toHaveLength(6);
  });
});

describe("runsPerDay", () => {
  test("is a day of UTC: what is over it waits for midnight there, and an hour's limit holds beside it", async () => {
    const limits = { runsPerDay: 2, runsPerHour: 1 };
    const { made, works, clock } = await stage(4, limits, shop, "2026-05-04T20:30:00Z");
    await drain(works, clock);
    expect(made.bought.map(({ at }) => new Date(at).toISOString())).toEqual([
      "2026-05-04T20:30:00.000Z",
      "2026-05-04T21:30:00.001Z",
      "2026-05-05T00:00:00.000Z",
      "2026-05-05T01:00:00.001Z",
    ]);
  });
});

describe("together", () => {
  test("eight documents at once do not pass a limit of one", async () => {
    const { made, works } = await stage(8, { runsPerHour: 1 }, shop);
    await Promise.all((await open(works)).map((task) => advance(task, works, never)));
    expect(made.bought).toHaveLength(1);
    expect(codes(await open(works)).filter((code) => code === "limit.runs")).toHaveLength(7);
  });

  /** What becomes of an effect, and whether the process dies right after it, before its save. */
  const fate = fc.constantFrom("going", "bought", "bought", "answered", "busy", "resting", "refused", "halted", "killed");

  test("whatever comes together, fails, is refused or dies: no hour and no day has more runs than it may, and all come to an end", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 3 }),
        fc.option(fc.integer({ min: 1, max: 4 }), { nil: null }),
        fc.array(fate, { maxLength: 40 }),
        fc.array(fc.tuple(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 0, max: 30 * 60_000 })), { minLength: 1, maxLength: 30 }),
        async (runsPerHour, runsPerDay, fates, rounds) => {
          const bought: number[] = [];
          const left = [...fates];
          let life = new AbortController();
          const make = (clock: TestClock) =>
            extractorOf(async ({ memo, key, signal }): Promise<Progress> => {
              const next = left.shift() ?? "bought";
              // Effects of several documents take turns.
              for (let turn = 0; turn < left.length % 4; turn += 1) await Promise.resolve();
              const nextAt = clock.now();
              const buy = (): Progress => {
                const runId = `run ${key}`;
                bought.push(clock.now().getTime());
                return { is: "going", memo: { runId }, nextAt };
              };
              if (memo?.runId !== undefined) {
                if (next === "busy") throw new Fault("service.busy", "busy");
                return { is: "answered", memo, answer: { runId: null, data: {}, credits: 1, reasoning: null, review: null, raw: {} } };
              }
              switch (next) {
                case "going":
                  return { is: "going", memo: { file: "f" }, nextAt };
                case "busy":
                  throw new Fault("service.busy", "busy");
                case "resting":
                  throw new Fault("http.resting", "resting", { blameless: true, retryAt: new Date(nextAt.getTime() + 60_000) });
                case "refused":
                  return { is: "refused", memo, fault: permanent("service.refused", "no") };
                case "halted":
                  return { is: "halted", memo, fault: new Fault("service.credits", "no credits") };
                case "killed":
                  // Nothing was bought, and nothing of this is saved.
                  life.abort();
                  signal.throwIfAborted();
                  return buy();
                default:
                  return buy();
              }
            });
          const at = await stage(6, { runsPerHour, runsPerDay }, make, "2026-05-04T22:00:00Z");
          let { works } = at;
          const round = async (most: number) => {
            const tasks = await works.ledger.due(at.clock.now(), most, []);
            await Promise.all(tasks.map((task) => advance(task, works, life.signal)));
            for (const { name } of await works.ledger.paused()) await works.ledger.resume(name, at.clock.now());
            if (!life.signal.aborted) return;
            works = await at.restart();
            life = new AbortController();
          };
          for (const [most, passes] of rounds) {
            await round(most);
            at.clock.pass(passes);
          }
          for (let rest = 0; rest < 200; rest += 1) {
            const next = await works.ledger.nextDue([]);
            if (next === null) break;
            at.clock.set(new Date(Math.max(next.getTime(), at.clock.now().getTime())));
            await round(8);
          }
          expect(await works.ledger.counts()).toMatchObject({ open: 0, held: 0 });
          bought.sort((a, b) => a - b);
          for (const [index, one] of bought.entries()) {
            const hour = bought[index + runsPerHour];
            if (hour !== undefined) expect(hour - one).toBeGreaterThan(HOUR_MS - 1);
          }
          const days = Map.groupBy(bought, (one) => Math.floor(one / (24 * HOUR_MS)));
          if (runsPerDay !== null) for (const day of days.values()) expect(day.length).toBeLessThanOrEqual(runsPerDay);
        },
      ),
      { numRuns: 15 },
    );
  });
});

describe("what was let through", () => {
  const uploads = (clock: TestClock) =>
    extractorOf(({ memo }): Progress => {
      if (memo === null) return { is: "going", memo: { file: "f" }, nextAt: clock.now() };
      throw new Fault("service.busy", "the service is busy");
    });

  test("and fails on its way still counts while its memo stands, also after the process died; others look again every minute", async () => {
    const { works, clock, restart } = await stage(2, { runsPerHour: 1 }, uploads);
    const [one, two] = await open(works);
    await advance(one as Task, works, never);
    const [uploaded] = (await open(works)).filter(({ memo }) => memo !== null);
    await advance(uploaded as Task, works, never);
    await advance(two as Task, works, never);
    const next = await restart();
    const waits = (await open(next)).find(({ id }) => id === two?.id);
    expect(waits).toMatchObject({ fault: { code: "limit.runs" }, dueAt: new Date(clock.now().getTime() + 60_000).toISOString() });
    clock.pass(60_000);
    await advance(waits as Task, next, never);
    expect((await open(next)).find(({ id }) => id === two?.id)?.fault?.message).toContain("0 runs bought");
  });

  test("once needs another place for its second run: a run that failed and is ordered anew goes through the gate", async () => {
    let runs = 0;
    const { works, clock, made } = await stage(2, { runsPerHour: 1 }, (at) => {
      const { extractor, asked } = extractorOf(({ memo, document }): Progress => {
        const nextAt = at.now();
        if (memo?.over !== undefined || memo === null) {
          runs += 1;
          return { is: "going", memo: { runId: `run ${runs} of ${document.id}` }, nextAt };
        }
        // The service failed, not the document: it is ordered anew.
        if (runs === 1) return { is: "going", memo: { ...memo, over: "true" }, nextAt };
        return { is: "answered", memo, answer: { runId: null, data: {}, credits: 1, reasoning: null, review: null, raw: {} } };
      });
      const buys: Extractor["buys"] = (memo) => memo?.runId === undefined || memo.over !== undefined;
      return { extractor: { ...extractor, buys }, asked };
    });
    const begun = clock.now().getTime();
    const [one] = await open(works);
    await advance(one as Task, works, never);
    for (let round = 0; round < 6; round += 1) {
      for (const task of await works.ledger.due(clock.now(), 9, [])) if (task.kind === "extract") await advance(task, works, never);
      clock.pass(1_000);
    }
    expect([runs, clock.now().getTime() - begun]).toEqual([1, 6_000]);
    expect(codes(await open(works))).toEqual(["limit.runs", "limit.runs"]);
    await drain(works, clock);
    expect(runs).toBe(3);
    expect(clock.now().getTime() - begun).toBeGreaterThan(2 * HOUR_MS);
    expect(made.asked.length).toBeGreaterThan(runs);
  });

  test("and is given up makes room for the next", async () => {
    const { works, clock } = await stage(2, { runsPerHour: 1 }, (at) =>
      extractorOf(({ memo }): Progress => {
        if (memo === null) return { is: "going", memo: { file: "f" }, nextAt: at.now() };
        return { is: "refused", memo, fault: permanent("service.refused", "no") };
      }),
    );
    const begun = clock.now().getTime();
    await drain(works, clock);
    expect(await works.ledger.counts()).toMatchObject({ open: 0, failed: 2 });
    expect(clock.now().getTime() - begun).toBeLessThan(HOUR_MS);
  });

  test("and is given up makes room within a minute, though an older run fills the rest of the hour", async () => {
    const { works, clock, made } = await stage(3, { runsPerHour: 2 }, (at) =>
      extractorOf(({ memo }, call): Progress => {
        if (call === 1) return { is: "going", memo: { runId: "run" }, nextAt: FAR };
        if (memo === null) return { is: "going", memo: { file: "f" }, nextAt: at.now() };
        return { is: "refused", memo, fault: permanent("service.refused", "no") };
      }),
    );
    for (const task of await open(works)) await advance(task, works, never);
    expect(made.asked).toHaveLength(2);
    const begun = clock.now().getTime();
    for (const task of await works.ledger.due(clock.now(), 9, [])) await advance(task, works, never);
    expect(made.asked).toHaveLength(3);
    const waiting = (await open(works)).find(({ fault }) => fault?.code === "limit.runs");
    expect(Date.parse(waiting?.dueAt ?? "") - begun).toBe(60_000);
    clock.pass(60_000);
    for (const task of await works.ledger.due(clock.now(), 9, [])) await advance(task, works, never);
    expect(made.asked).toHaveLength(4);
  });

  test("and failed before anything began gives its place back at once", async () => {
    const { works } = await stage(2, { runsPerHour: 1 }, () =>
      extractorOf(() => {
        throw new Fault("service.busy", "the service is busy");
      }),
    );
    for (const task of await open(works)) await advance(task, works, never);
    expect(codes(await open(works))).toEqual(["service.busy", "service.busy"]);
  });

  test("and was refused needs a new place when a person puts it back: a retry does not go past a limit", async () => {
    let mended = false;
    const { works, clock } = await stage(3, { runsPerDay: 1 }, (at) =>
      extractorOf(({ memo }): Progress => {
        if (memo === null) return { is: "going", memo: { file: "f" }, nextAt: at.now() };
        if (!mended) return { is: "refused", memo, fault: permanent("service.refused", "no such table") };
        return { is: "going", memo: { ...memo, runId: "run" }, nextAt: FAR };
      }),
    );
    for (let round = 0; round < 12; round += 1) {
      for (const task of await works.ledger.due(clock.now(), 9, [])) if (task.kind === "extract") await advance(task, works, never);
      clock.pass(60_000);
    }
    mended = true;
    expect(await works.ledger.reopen(null, clock.now())).toHaveLength(3);
    for (let round = 0; round < 3; round += 1) {
      for (const task of await works.ledger.due(clock.now(), 9, [])) if (task.kind === "extract") await advance(task, works, never);
      clock.pass(60_000);
    }
    expect((await works.ledger.bought("service", new Date(0))).runs).toBe(1);
    expect(codes(await open(works)).filter((code) => code === "limit.runs")).toHaveLength(2);
  });

  test("of one service does not count for another, nor does the document itself", async () => {
    const { works, clock } = await stage(1, {}, shop);
    const gate = createGate();
    const limits = { ...NONE, runsPerHour: 1 };
    const pass = (document: string, service: string) => gate.pass(document, service, limits, works.ledger, clock.now());
    expect(await pass("a.1", "one")).toBeNull();
    expect(await pass("a.1", "one")).toBeNull();
    expect(await pass("b.1", "one")).toMatchObject({ is: "later", waiting: { code: "limit.runs" } });
    expect(await pass("b.1", "two")).toBeNull();
    gate.left("a.1");
    expect(await pass("b.1", "one")).toBeNull();
  });

  test("a ledger that cannot be read lets nobody through, and the next is asked again", async () => {
    const { works, clock } = await stage(1, {}, shop);
    const gate = createGate();
    let broken = true;
    const bought: Works["ledger"]["bought"] = async (...asked) => {
      if (broken) throw new Fault("ledger.failed", "disk");
      return works.ledger.bought(...asked);
    };
    const ask = () => gate.pass("a.1", "service", { ...NONE, runsPerDay: 1 }, { ...works.ledger, bought }, clock.now());
    await expect(ask()).rejects.toMatchObject({ code: "ledger.failed" });
    broken = false;
    expect(await ask()).toBeNull();
  });
});

describe("a message that is too big", () => {
  test.each([
    ["maxBytes", { maxBytes: 100 }, /^the message has \d+ bytes, limits\.maxBytes is 100$/],
    ["maxParts", { maxParts: 1 }, /^the message has \d+ parts, limits\.maxParts is 1$/],
  ])(
    "by %s is held: nothing is bought, the mailbox is not told; released it goes on, once and for all",
    async (_what, limits, sentence) => {
      const { made, works, clock, messages, invoices } = await stage(1, limits, shop);
      const [message = ""] = messages;
      await drain(works, clock);
      const task = (await works.ledger.tasks(message)).find(({ kind }) => kind === "extract");
      expect(task).toMatchObject({ status: "held", attempts: 0, failingSince: null, fault: { code: "limit.size", temporary: false } });
      expect(task?.fault?.message).toMatch(sentence);
      expect(task?.fault?.advice).toContain(`billhook release ${message.slice(0, 16)}`);
      expect([made.bought.length, invoices.told.length]).toEqual([0, 0]);
      expect((await works.ledger.summaries(1))[0]?.standing).toBe("held");
      expect(await works.ledger.reopen(null, clock.now())).toEqual([]);

      expect(await works.ledger.release(message.slice(0, 16), clock.now())).toHaveLength(1);
      await drain(works, clock);
      expect(made.bought).toHaveLength(1);
      expect(invoices.told.map(({ verdict }) => verdict)).toEqual(["done"]);
      expect((await works.ledger.events(message)).map(({ what }) => what)).toEqual(
        expect.arrayContaining(["extract.held", "extract.released", "extract.done", "settle.done"]),
      );
    },
  );

  test("counts all its parts, also where each attachment is a run of its own", async () => {
    const clock = testClock();
    const made = shop(clock);
    const extractor: Extractor = { ...made.extractor, grain: "attachment" };
    const source = sourceOf("invoices").source;
    const { works: all } = await worksIn(await temporaryDirectory(), { extractor, sinks: [sinkOf("files").sink], source, clock });
    const works = limited(all, extractor, { maxParts: 2 });
    await arrive(works, "07-several-attachments");
    await drain(works, clock);
    expect(made.bought).toEqual([]);
    expect((await works.ledger.counts()).held).toBeGreaterThan(1);
    await works.ledger.close();
  });

  test("of exactly the limit is not held", async () => {
    const { works, messages } = await stage(1, {}, shop);
    const [message = ""] = messages;
    const { size } = (await works.ledger.message(message)) ?? { size: 0 };
    const { length } = await works.ledger.parts(message);
    const exact = limited(works, (works.services.get("service") as Service).extractor, { maxBytes: size, maxParts: length });
    expect(await advance(await openTask(exact, "extract"), exact, never)).toMatchObject({ what: "extract.later" });
  });

  test("once let go, still waits for the limits on runs", async () => {
    const { made, works, clock } = await stage(2, { maxBytes: 100, runsPerHour: 1 }, shop);
    await drain(works, clock);
    for (const { message } of await works.ledger.summaries(9)) await works.ledger.release(message.id, clock.now());
    for (const task of await open(works)) await advance(task, works, never);
    expect(made.bought).toHaveLength(1);
    expect(codes(await open(works))).toContain("limit.runs");
  });
});
