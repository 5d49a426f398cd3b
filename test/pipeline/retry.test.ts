/** When a failed effect is tried again, and when a person has to look. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Fault, permanent } from "../../src/base/errors.ts";
import { retry } from "../../src/pipeline/retry.ts";
import type { Task } from "../../src/store/record.ts";

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
    createdAt: at,
    updatedAt: at,
  };
}

const pauseOf = (attempts: number, random: number, fault: Fault = busy) => {
  const outcome = retry(task(attempts), fault, now, rule, random);
  if (outcome.is !== "retry") throw new Error(`it is ${outcome.is}`);
  return outcome.at.getTime() - now.getTime();
};

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

test("a permanent fault ends the task at once", () => {
  const fault = permanent("service.refused", "no", "look");
  expect(retry(task(), fault, now, rule, 0)).toEqual({ is: "failed", memo: null, fault });
});
