/** Orders that may have been taken: how long they are looked for, when they are sent again, and what is remembered of them. */
import type { ServerResponse } from "node:http";
import { afterEach, describe, expect, test } from "vitest";
import { Fault } from "../../src/base/errors.ts";
import { nextAfterLook } from "../../src/extractor/extend/doubt.ts";
import type { Memo, Progress } from "../../src/extractor/extractor.ts";
import { createHttp } from "../../src/http/http.ts";
import { type Asked, json, startScriptedHttp } from "../servers/scripted-http.ts";
import { documentOf, piece, testClock } from "./documents.ts";
import { extend, never } from "./extend-service.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const document = documentOf(piece("2", "a.pdf", "application/pdf", "%PDF-1.7"));
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

/** A service whose list tells the truth at once. `order` answers an order; what it returns is whether the run was made. */
async function service(order: (response: ServerResponse, nth: number) => boolean) {
  const clock = testClock();
  const orders: Date[] = [];
  const runs: { readonly id: string; readonly metadata: unknown; readonly createdAt: string }[] = [];
  const answer = (asked: Asked, response: ServerResponse) => {
    if (asked.path === "/files/upload") json(response, 200, { id: `file_${server.asked.length}` });
    else if (asked.method === "POST") {
      const run = { id: `exr_${runs.length + 1}`, metadata: JSON.parse(String(asked.body)).metadata, createdAt: clock.now().toISOString() };
      orders.push(clock.now());
      if (order(response, orders.length)) runs.push(run);
      if (!response.writableEnded && !response.destroyed) json(response, 200, { id: run.id, status: "PENDING" });
    } else if (asked.path.startsWith("/extract_runs?")) json(response, 200, { data: [...runs].reverse() });
    else json(response, 200, { id: runs.at(-1)?.id, status: "PROCESSED", output: { value: {} } });
  };
  const server = await startScriptedHttp(answer);
  const http = createHttp({ name: "extend", connections: 1, timeoutMs: 2_000 });
  cleanups.push(http.close, server.stop);
  const extractor = extend(server.url, { clock, http }, {});
  const faults: Fault[] = [];
  /** To the end, waiting as long as it is told to, and half an hour at most after a fault, as the pipeline does. */
  async function drive(from: Memo | null = null): Promise<Exclude<Progress, { is: "going" }>> {
    let memo = from;
    for (let call = 0; call < 1_000; call += 1) {
      const progress = await extractor.advance(document, memo, "the key", never).catch((thrown: unknown) => thrown as Fault);
      if (progress instanceof Fault) {
        if (!progress.temporary) throw progress;
        faults.push(progress);
        clock.set(progress.retryAt ?? new Date(clock.now().getTime() + HOUR / 2));
      } else if (progress.is !== "going") return progress;
      else {
        memo = JSON.parse(JSON.stringify(progress.memo)) as Memo;
        clock.set(progress.nextAt);
      }
    }
    throw new Error("1,000 calls were not enough");
  }
  return { clock, server, extractor, orders, runs, faults, drive };
}

const refuse = (status: number) => (response: ServerResponse) => json(response, status, { code: "INTERNAL_ERROR", retryable: true });
const cut = (response: ServerResponse) => response.destroy();

describe("orders answered with errors, though reads work", () => {
  test.each([
    [10 * MINUTE, 4],
    [2 * HOUR, 6],
    [9 * HOUR, 8],
  ])("for %i ms: one run, few orders, no document given up, and why it waits is told", async (outageMs, most) => {
    const start = testClock().now().getTime();
    const { clock, orders, runs, faults, drive } = await service((response) => {
      const isOver = clock.now().getTime() - start >= outageMs;
      if (!isOver) refuse(503)(response);
      return isOver;
    });
    const end = await drive();
    expect(end, "each further order is counted").toMatchObject({
      is: "answered",
      memo: { possiblyTwice: orders.length - 1, perhapsBought: false },
    });
    expect(runs).toHaveLength(1);
    expect(orders.length).toBeLessThanOrEqual(most);
    expect((clock.now().getTime() - start) / outageMs, "it does not wait for longer than it was out").toBeLessThan(2.2);
    expect(faults.length).toBeGreaterThan(0);
    for (const fault of faults) {
      expect(fault).toMatchObject({ code: "extend.ambiguous", temporary: true, retryAt: expect.any(Date) });
      expect(fault.message).toContain("answered with an error");
    }
  });

  test("without an end: eight orders, then a person", async () => {
    const { orders, drive } = await service((response) => {
      refuse(500)(response);
      return false;
    });
    expect(await drive()).toMatchObject({ is: "refused", memo: { perhapsBought: true }, fault: { code: "extend.ambiguous" } });
    expect(orders).toHaveLength(8);
  });

  test("an error for an order that was taken: found, and not sent again", async () => {
    const { orders, drive } = await service((response) => {
      refuse(503)(response);
      return true;
    });
    expect(await drive()).toMatchObject({ is: "answered", memo: { possiblyTwice: 0 } });
    expect(orders).toHaveLength(1);
  });
});

describe("orders without an answer", () => {
  test("two, then a person, and a retry looks before it orders", async () => {
    let lost = true;
    const { orders, server, drive } = await service((response) => {
      if (lost) cut(response);
      return !lost;
    });
    const given = await drive();
    expect(given).toMatchObject({ is: "refused", memo: { possiblyTwice: 1, perhapsBought: true }, fault: { code: "extend.ambiguous" } });
    expect(orders).toHaveLength(2);
    lost = false;
    const before = server.asked.length;
    expect(await drive(given.memo)).toMatchObject({ is: "answered", memo: { possiblyTwice: 2 } });
    expect(server.asked.slice(before).map(({ method, path }) => `${method} ${path.split("?", 1)[0]}`)).toEqual([
      "GET /extract_runs",
      "POST /extract_runs",
      "GET /extract_runs/exr_1",
    ]);
  });

  test("the process that was about to order is gone: its order counts as sent", async () => {
    const { extractor, clock } = await service(() => true);
    const { memo } = await extractor.advance(document, null, "the key", never);
    expect(memo).toMatchObject({ step: "order", sent: 0 });
    const first = extractor.interrupted?.(memo);
    expect(first).toMatchObject({ is: "going", memo: { step: "look", sent: 1, perhapsBought: true } });
    clock.pass(MINUTE);
    const again = await extractor.advance(document, first?.memo ?? null, "the key", never);
    expect(again, "counted before it is sent").toMatchObject({ is: "going", memo: { step: "order", sent: 1, possiblyTwice: 1 } });
    expect(extractor.interrupted?.(again.memo)).toMatchObject({ memo: { step: "look", sent: 2, possiblyTwice: 1 } });
  });

  test("a memo from before intentions were saved: the run is looked for", async () => {
    const { extractor, orders } = await service(() => true);
    const kept = { files: ["file_1"], skipped: [], past: [], reruns: 0, possiblyTwice: 0 };
    for (const old of [
      { step: "order", since: "2026-05-04T10:00:00.000Z" },
      { step: "look", since: "2026-05-04T10:00:00.000Z", sent: 0, looks: 2 },
    ]) {
      const looked = await extractor.advance(document, { ...kept, ...old }, "the key", never);
      expect(looked).toMatchObject({ is: "going", memo: { step: "look", sent: 1 } });
      expect(extractor.interrupted?.({ ...kept, ...old })).toMatchObject({ is: "going", memo: { step: "look", sent: 1 } });
    }
    expect(orders).toEqual([]);
  });

  test("an answer longer than 1 MB is none: the run is looked for", async () => {
    const { drive, orders, server } = await service((response) => {
      json(response, 200, { id: "exr_1", status: "PENDING", more: "x".repeat(1_000_000) });
      return true;
    });
    expect(await drive()).toMatchObject({ is: "answered", memo: { runId: "exr_1" } });
    expect(orders).toHaveLength(1);
    expect(server.asked.filter(({ path }) => path.startsWith("/extract_runs?"))).toHaveLength(1);
  });
});

describe("what was in doubt is not forgotten", () => {
  test("when the account is out of credits at the second order", async () => {
    const { drive, orders } = await service((response, nth) => {
      if (nth < 3) refuse(nth === 1 ? 503 : 402)(response);
      return nth > 2;
    });
    const halted = await drive();
    expect(halted).toMatchObject({ is: "halted", memo: { step: "order", sent: 1, perhapsBought: true, possiblyTwice: 1 } });
    expect(await drive(halted.memo)).toMatchObject({ is: "answered", memo: { possiblyTwice: 1 } });
    expect(orders).toHaveLength(3);
  });

  test("when the second order is refused: a retry uploads again, and looks before it orders", async () => {
    const { drive, runs, server } = await service((response, nth) => {
      if (nth === 1) cut(response);
      else json(response, 404, { code: "NOT_FOUND" });
      return false;
    });
    const refused = await drive();
    expect(refused).toMatchObject({ is: "refused", memo: { step: "upload", files: [], sent: 1, perhapsBought: true } });
    // The list was late, and now it shows the run.
    runs.push({ id: "exr_1", metadata: { "billhook:key": "the key" }, createdAt: "2026-05-04T10:00:00.000Z" });
    const before = server.asked.length;
    expect(await drive(refused.memo)).toMatchObject({ is: "answered", memo: { runId: "exr_1" } });
    expect(server.asked.slice(before).map(({ method }) => method)).toEqual(["POST", "GET", "GET"]);
  });
});

describe("an order put off after its look", () => {
  const DAY = 24 * HOUR;

  /** Up to where the second order is decided upon; the first may have been taken, and no list shows it yet. */
  async function decided(order: (response: ServerResponse, nth: number) => boolean) {
    const at = await service(order);
    const { memo } = await at.extractor.advance(document, null, "the key", never);
    const lost = await at.extractor.advance(document, memo, "the key", never);
    at.clock.pass(MINUTE);
    const again = await at.extractor.advance(document, lost.memo, "the key", never);
    expect(again).toMatchObject({ is: "going", memo: { step: "order", sent: 1, possiblyTwice: 1 } });
    return { ...at, memo: again.memo };
  }
  const first = { id: "exr_1", metadata: { "billhook:key": "the key" }, createdAt: testClock().now().toISOString() };

  test("is looked for once more before it is sent: a list that shows it by now keeps from buying twice", async () => {
    const { extractor, clock, runs, orders, memo } = await decided((response, nth) => {
      if (nth === 1) cut(response);
      return false;
    });
    runs.push(first);
    clock.pass(DAY);
    const found = await extractor.advance(document, memo, "the key", never);
    expect(found).toMatchObject({ is: "going", memo: { step: "running", runId: "exr_1", possiblyTwice: 0, perhapsBought: false } });
    expect(orders).toHaveLength(1);
  });

  test("by an account out of credits too", async () => {
    const { extractor, clock, runs, orders, memo } = await decided((response, nth) => {
      if (nth === 1) cut(response);
      else refuse(402)(response);
      return false;
    });
    const halted = await extractor.advance(document, memo, "the key", never);
    expect(halted.is).toBe("halted");
    runs.push(first);
    clock.pass(DAY);
    const found = await extractor.advance(document, halted.memo, "the key", never);
    expect(found).toMatchObject({ is: "going", memo: { runId: "exr_1", possiblyTwice: 0 } });
    expect(orders).toHaveLength(2);
  });

  test("is sent right after a look that shows nothing, counted once; upon a fresh look without another", async () => {
    for (const [waitMs, looks] of [
      [DAY, 1],
      [1_000, 0],
    ] as const) {
      const { extractor, clock, server, memo } = await decided((response, nth) => {
        if (nth === 1) cut(response);
        return nth > 1;
      });
      const before = server.asked.length;
      clock.pass(waitMs);
      expect(await extractor.advance(document, memo, "the key", never)).toMatchObject({ memo: { runId: "exr_1", possiblyTwice: 1 } });
      const calls = server.asked.slice(before).map(({ method }) => method);
      expect(calls).toEqual([...Array(looks).fill("GET"), "POST"]);
    }
  });
});

test("what went wrong with an order is told, whatever it was", async () => {
  const odd: readonly [(response: ServerResponse) => void, string][] = [
    [cut, "http.ambiguous"],
    [refuse(503), "extend.unavailable"],
    [(response) => json(response, 200, { no: "id" }), "extend.unexpected"],
    [(response) => response.end("<html>"), "extend.unexpected"],
  ];
  for (const [answer, code] of odd) {
    const { extractor } = await service((response) => {
      answer(response);
      return false;
    });
    const { memo } = await extractor.advance(document, null, "the key", never);
    const lost = await extractor.advance(document, memo, "the key", never);
    expect(lost).toMatchObject({ is: "going", memo: { step: "look" }, fault: { code, temporary: true } });
    expect(extractor.interrupted?.(memo)).toMatchObject({ is: "going", fault: { code: "extend.interrupted" } });
  }
});

test("several runs found for one document are each told, the oldest is asked after", async () => {
  const { extractor, runs } = await service(() => true);
  const { memo } = await extractor.advance(document, null, "the key", never);
  const first = { id: "exr_7", metadata: { "billhook:key": "the key" }, createdAt: testClock().now().toISOString() };
  runs.push(first, { ...first, id: "exr_8" }, { ...first, id: "exr_9" });
  let progress = extractor.interrupted?.(memo);
  const told: unknown[] = [];
  while (progress?.is === "going" && progress.memo.step === "look") {
    progress = await extractor.advance(document, progress.memo, "the key", never);
    told.push(progress.memo?.runId);
  }
  expect(told).toEqual(["exr_9", "exr_8", "exr_7"]);
  expect(progress).toMatchObject({ is: "going", memo: { step: "running", runId: "exr_7", possiblyTwice: 2, past: ["exr_9", "exr_8"] } });
  const lastInDoubt = { step: "look", sent: 1, perhapsBought: true, sentFrom: first.createdAt, sentLast: first.createdAt };
  const full = await extractor.advance(document, { ...progress?.memo, ...lastInDoubt, past: Array(20).fill("exr_0") }, "the key", never);
  expect(full, "however many there are it comes to an end").toMatchObject({ memo: { step: "running", runId: "exr_7" } });
});

test("looks come at growing pauses, and never go on for longer than the rule says", () => {
  const looks = (sent: number) => {
    const ages = [2_000];
    for (;;) {
      const next = nextAfterLook(sent, true, ages.at(-1) ?? 0);
      if (next.is !== "look") return [...ages.map((age) => age / 1_000), next.is];
      ages.push((ages.at(-1) ?? 0) + next.inMs);
    }
  };
  expect(looks(1)).toEqual([2, 4, 8, 16, 30, "order"]);
  expect(looks(2)).toEqual([2, 4, 8, 16, 32, 64, 128, 256, 512, 600, "order"]);
  expect(looks(8).slice(-3)).toEqual([32_768, 38_400, "over"]);
  expect(nextAfterLook(2, false, 600_000)).toEqual({ is: "over" });
  expect(nextAfterLook(1, false, -HOUR), "a clock put back").toEqual({ is: "look", inMs: 2_000 });
});
