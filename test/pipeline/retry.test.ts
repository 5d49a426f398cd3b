/** When a failed effect is tried again, and when a person has to look. */
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import { Fault, permanent } from "../../src/base/errors.ts";
import { advance } from "../../src/pipeline/pipeline.ts";
import { retry } from "../../src/pipeline/retry.ts";
import type { Sink } from "../../src/sink/sink.ts";
import type { Task } from "../../src/store/record.ts";
import { testClock } from "../extractor/documents.ts";
import { startReceiver } from "../servers/receiver.ts";
import { sinkAt } from "../sink/http-side.ts";
import { temporaryDirectory } from "../store/disk.ts";
import { arrive, drain, extractorOf, openTask, patientExtractor, sinkOf, sourceOf, worksIn } from "./works.ts";

const now = new Date("2026-03-02T10:00:00.000Z");
const rule = { firstMs: 10_000, longestMs: 600_000, giveUpAfterMs: 3_600_000 };
const busy = new Fault("service.busy", "the service is busy", { advice: "wait" });

function task(attempts = 0, failingMs = 0): Task {
  const failingSince = attempts === 0 ? null : new Date(now.getTime() - failingMs).toISOString();
  const at = now.toISOString();
  return {
    id: 1,
    kind: "extract",
    subject: "a.1",
    message: "a",
    status: "open",
    attempts,
    failingSince,
    dueAt: at,
    memo: null,
    fault: null,
    released: false,
    rank: 0,
    createdAt: at,
    updatedAt: at,
  };
}

const pauseOf = (attempts: number, random: number, fault: Fault = busy) => {
  const outcome = retry(task(attempts), fault, now, rule, random);
  if (outcome.is !== "retry") throw new Error(`it is ${outcome.is}`);
  return outcome.at.getTime() - now.getTime();
};

describe("a clock that leaps", () => {
  const stage = async () => {
    const { extractor } = extractorOf(() => {
      throw busy;
    });
    const { works, clock } = await worksIn(await temporaryDirectory(), { extractor, sinks: [], source: sourceOf("invoices").source });
    onTestFinished(() => works.ledger.close());
    const beat = () => works.ledger.beat({ at: clock.now().toISOString(), alive: true, pid: 1, mailboxes: [] });
    const never = new AbortController().signal;
    await beat();
    await arrive(works, "01-single-pdf");
    await advance(await openTask(works, "split"), works, never);
    await advance(await openTask(works, "extract"), works, never);
    return { works, clock, beat, never };
  };
  const month = 30 * 86_400_000;

  test("gives up nothing before the pulse that tells of it", async () => {
    const { works, clock, beat, never } = await stage();
    clock.pass(month);
    expect(await advance(await openTask(works, "extract"), works, never)).toMatchObject({ what: "extract.retry" });
    await beat();
    clock.pass(rule.giveUpAfterMs - 120_000);
    await beat();
    expect(await advance(await openTask(works, "extract"), works, never)).toMatchObject({ what: "extract.retry" });
  });

  test("gives up nothing that was in hand, and what goes on failing in its time", async () => {
    const { works, clock, beat, never } = await stage();
    const inHand = await openTask(works, "extract");
    clock.pass(month);
    await beat();
    expect(await advance(inHand, works, never)).toMatchObject({ what: "extract.retry" });
    expect(await advance(await openTask(works, "extract"), works, never)).toMatchObject({ what: "extract.retry" });
    for (let passed = 0; passed <= rule.giveUpAfterMs; passed += 50_000) {
      clock.pass(50_000);
      await beat();
    }
    expect(await advance(await openTask(works, "extract"), works, never)).toMatchObject({ what: "extract.failed" });
  });
});

describe("a temporary fault", () => {
  test("is tried again after a pause that doubles up to the longest", () => {
    expect([0, 1, 2, 3].map((attempts) => pauseOf(attempts, 0))).toEqual([10_000, 20_000, 40_000, 80_000]);
    expect(pauseOf(6, 0)).toBe(600_000);
    expect(pauseOf(10_000, 0)).toBe(600_000);
  });

  test("is spread by a quarter at most, so that what failed together does not return together", () => {
    fc.assert(
      fc.property(fc.nat(100), fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (attempts, random) => {
        const pause = pauseOf(attempts, random);
        const least = pauseOf(attempts, 0);
        expect(pause).toBeGreaterThanOrEqual(least);
        expect(pause).toBeLessThanOrEqual(least * 1.25);
      }),
    );
    expect(pauseOf(0, 0.5)).toBe(11_250);
  });

  test("is not tried before the other side lets us, nor sooner than the pause", () => {
    const later = (ms: number) => new Fault("service.limit", "too many", { retryAt: new Date(now.getTime() + ms) });
    expect(pauseOf(0, 0, later(90_000))).toBe(90_000);
    expect(pauseOf(0, 0, later(1_000))).toBe(10_000);
    expect(pauseOf(0, 0, later(-1_000))).toBe(10_000);
  });

  test("is given up after the configured time, not after a number of tries", () => {
    expect(retry(task(500, rule.giveUpAfterMs - 1), busy, now, rule, 0).is).toBe("retry");
    const over = retry(task(5, rule.giveUpAfterMs), busy, now, rule, 0);
    expect(over).toMatchObject({
      is: "failed",
      fault: { code: "service.busy", temporary: false, advice: "wait", message: "the service is busy (given up after 1 h and 6 tries)" },
    });
  });

  test("a clock that was set back gives no reason to give up", () => {
    expect(retry(task(5, -86_400_000), busy, now, rule, 0).is).toBe("retry");
  });
});

describe("a blameless wait", () => {
  const until = new Date(now.getTime() + 90_000);
  const resting = new Fault("http.rate-limited", "asked not to be called", { blameless: true, retryAt: until });
  const waits = { is: "later", at: until, memo: null, waiting: resting };

  test("counts as no try, and for a service it may last", () => {
    expect(retry(task(), resting, now, rule, 0)).toEqual(waits);
    expect(retry(task(3, rule.giveUpAfterMs), resting, now, rule, 0)).toEqual(waits);
  });

  test("is told once, and again when it is another one", () => {
    const fault = { code: resting.code, message: resting.message, advice: null, temporary: true };
    expect(retry({ ...task(), fault }, resting, now, rule, 0)).toEqual({ ...waits, quiet: true });
    expect(retry({ ...task(), fault: { ...fault, code: "http.resting" } }, resting, now, rule, 0)).toEqual(waits);
  });

  test("of a delivery ends when its time is over", () => {
    const delivery = (attempts: number, failingMs: number): Task => ({
      ...task(1, failingMs),
      kind: "deliver",
      attempts,
    });
    expect(retry(delivery(0, rule.giveUpAfterMs - 1), resting, now, rule, 0)).toEqual(waits);
    expect(retry(delivery(2, rule.giveUpAfterMs), resting, now, rule, 0)).toMatchObject({
      is: "failed",
      fault: { temporary: false, message: "asked not to be called (given up after 1 h and 2 tries)" },
    });
  });
});

test("a permanent fault ends the task at once", () => {
  const fault = permanent("service.refused", "no", "look");
  expect(retry(task(), fault, now, rule, 0)).toEqual({ is: "failed", memo: null, fault });
});

describe("deliveries of which none succeeds are given up in the time of one", () => {
  const HOUR_MS = 3_600_000;

  /** When each delivery was given up, in milliseconds since the beginning. */
  async function ends(sink: Sink, mails: readonly string[], clock = testClock()) {
    const { extractor } = patientExtractor(clock, "attachment");
    const { works } = await worksIn(await temporaryDirectory(), { extractor, sinks: [sink], source: sourceOf("invoices").source, clock });
    onTestFinished(() => works.ledger.close());
    const from = clock.now().getTime();
    const messages: string[] = [];
    for (const [uid, mail] of mails.entries()) messages.push(await arrive(works, mail, uid + 1));
    const events = await drain(works, clock, 2_000);
    const tasks = (await Promise.all(messages.map(works.ledger.tasks))).flat().filter(({ kind }) => kind === "deliver");
    for (const { status, failingSince } of tasks) expect([status, failingSince]).toEqual(["failed", expect.any(String)]);
    const givenUp = events.filter(({ what }) => what === "deliver.failed").map(({ at }) => Date.parse(at) - from);
    expect(givenUp).toHaveLength(tasks.length);
    return givenUp;
  }

  test("of one message, one after the other: each was tried", async () => {
    const tried = new Set<string>();
    const dead: Sink = {
      ...sinkOf("erp").sink,
      deliver: async (_, key) => {
        tried.add(key);
        throw busy;
      },
    };
    const givenUp = await ends(dead, ["07-several-attachments"]);
    expect(givenUp.length).toBeGreaterThan(1);
    expect(tried.size).toBe(givenUp.length);
    expect(Math.max(...givenUp)).toBeLessThan(1.5 * HOUR_MS);
  });

  test("at a receiver that is always busy, whichever of them had a turn; it is called no more often than it asked for", async () => {
    const receiver = await startReceiver();
    onTestFinished(receiver.stop);
    receiver.behave("answers 429");
    const clock = testClock();
    const { sink, http } = sinkAt(receiver.url, {}, {}, { clock });
    onTestFinished(http.close);
    const calls: number[] = [];
    const counting: Sink = {
      ...sink,
      deliver: async (...given) => {
        const before = receiver.asked.length;
        try {
          return await sink.deliver(...given);
        } finally {
          if (receiver.asked.length > before) calls.push(clock.now().getTime());
        }
      },
    };
    const givenUp = await ends(counting, ["01-single-pdf", "04-xml-only", "07-several-attachments", "14-credit-note"], clock);
    expect(givenUp.length).toBeGreaterThan(4);
    expect(Math.max(...givenUp)).toBeLessThan(1.5 * HOUR_MS);
    expect(calls.length).toBeGreaterThan(5);
    // Retry-After: 120.
    for (const [n, at] of calls.entries()) expect(at - (calls[n - 1] ?? 0)).toBeGreaterThanOrEqual(120_000);
  });
});
