/** Manners: the rate holds, first come first served; a closed door is not knocked at; a service that is down is asked by one at a time. */
import { getEventListeners } from "node:events";
import type { ServerResponse } from "node:http";
import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import type { Clock } from "../../src/base/clock.ts";
import { Fault } from "../../src/base/errors.ts";
import { createHttp } from "../../src/http/http.ts";
import { afterCall, type Breaker, CLOSED, comeBackAt, type MannersOptions, mannered } from "../../src/http/manners.ts";
import { type Asked, startScriptedHttp } from "../servers/scripted-http.ts";

const never = new AbortController().signal;
const START = Date.parse("2026-05-04T10:00:00Z");
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

/** Goes on only when told; `sleeping` says how many wait. */
function manualClock() {
  let now = START;
  const sleepers = new Set<{ at: number; wake: () => void }>();
  const clock: Clock = {
    now: () => new Date(now),
    random: () => 0.5,
    sleep: (milliseconds, signal) =>
      new Promise((resolve) => {
        const wake = () => {
          sleepers.delete(sleeper);
          signal?.removeEventListener("abort", wake);
          resolve();
        };
        const sleeper = { at: now + milliseconds, wake };
        sleepers.add(sleeper);
        signal?.addEventListener("abort", wake, { once: true });
        if (signal?.aborted) wake();
      }),
  };
  return {
    clock,
    sleeping: () => sleepers.size,
    pass: (milliseconds: number) => {
      now += milliseconds;
      for (const sleeper of [...sleepers]) if (sleeper.at <= now) sleeper.wake();
    },
  };
}

type Answer = (asked: Asked, response: ServerResponse, nth: number) => void;

async function service(answer: Answer, changes: Partial<MannersOptions> = {}) {
  const server = await startScriptedHttp(answer);
  const time = manualClock();
  const options = { name: "squid", rates: { run: 10 }, breaker: { failures: 3, firstMs: 10_000, longestMs: 35_000 }, ...changes };
  const http = mannered(createHttp({ name: "squid", connections: 50, timeoutMs: 500 }), options, time.clock);
  cleanups.push(http.close, server.stop);
  const call = (category: string, signal = never, path = "") =>
    http.call({ method: "GET", url: server.url + path, headers: {}, category }, signal);
  const fault = async (category: string) => {
    const thrown = await call(category).then(
      (answer) => answer.status,
      (thrown: unknown) => thrown,
    );
    if (!(thrown instanceof Fault)) throw new Error(`expected a Fault, got ${String(thrown)}`);
    return thrown;
  };
  return { ...time, server, http, call, fault };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await turn();
}

const fine: Answer = (_, response) => response.end("{}");
const status =
  (code: number, headers: Record<string, string> = {}): Answer =>
  (_, response) =>
    response.writeHead(code, headers).end();

describe("the rate", () => {
  test("calls are sent one interval after the other, in the order they came", async () => {
    const { call, pass, server, sleeping } = await service(fine);
    const calls = ["/a", "/b", "/c"].map((path) => call("run", never, path));
    await calls[0];
    await until(() => sleeping() === 1);
    pass(99);
    await turn();
    expect(server.asked).toHaveLength(1);
    pass(1);
    await calls[1];
    await until(() => sleeping() === 1);
    pass(100);
    await calls[2];
    expect(server.asked.map(({ path }) => path)).toEqual(["/a", "/b", "/c"]);
    expect(sleeping()).toBe(0);
  });

  test("categories do not wait for each other, nor does one without a rate", async () => {
    const { call, server } = await service(fine, { rates: { run: 10, write: 10 } });
    await Promise.all([call("run"), call("write"), call("read"), call("read")]);
    expect(server.asked).toHaveLength(4);
  });

  test("the category is read for a GET and write for anything else, unless it is said", async () => {
    const { http, sleeping, server } = await service(fine, { rates: { read: 1, write: 1 } });
    const request = { url: server.url, headers: {} };
    await http.call({ ...request, method: "GET" }, never);
    await http.call({ ...request, method: "POST" }, never);
    const stop = new AbortController();
    const waiting = http.call({ ...request, method: "PUT" }, stop.signal);
    await until(() => sleeping() === 1);
    stop.abort();
    await expect(waiting).rejects.toMatchObject({ code: "http.stopped" });
  });

  test("who gives up waiting leaves the line, sends nothing, and holds nobody up", async () => {
    const { call, pass, server, sleeping } = await service(fine);
    await call("run");
    const stop = new AbortController();
    const second = call("run", stop.signal, "/second");
    const third = call("run", never, "/third");
    await until(() => sleeping() === 1);
    stop.abort();
    await expect(second).rejects.toMatchObject({ code: "http.stopped", temporary: true, blameless: true });
    await until(() => sleeping() === 1);
    pass(100);
    await third;
    expect(server.asked.map(({ path }) => path)).toEqual(["/", "/third"]);
    await expect(call("run", AbortSignal.abort())).rejects.toMatchObject({ code: "http.stopped" });
    expect(sleeping()).toBe(0);
  });

  test("the wait is not part of the deadline of the call", async () => {
    const { call, pass, sleeping } = await service(fine, { rates: { run: 0.001 } });
    await call("run");
    const second = call("run");
    await until(() => sleeping() === 1);
    pass(1_000_000);
    expect((await second).status).toBe(200);
  });

  test("a clock that is put back does not hold the line", async () => {
    const { call, pass, sleeping } = await service(fine);
    await call("run");
    pass(-3_600_000);
    const second = call("run");
    await until(() => sleeping() === 1);
    pass(100);
    await second;
  });

  test("close sends everybody in line away", async () => {
    const { call, http, sleeping } = await service(fine);
    await call("run");
    const second = call("run");
    await until(() => sleeping() === 1);
    await Promise.all([expect(second).rejects.toMatchObject({ code: "http.stopped" }), http.close()]);
    expect(sleeping()).toBe(0);
  });
});

describe("429", () => {
  test.each([
    ["retry-after", "60"],
    ["x-ratelimit-reset", String(START / 1_000 + 60)],
  ])("with %s closes its category until then, also for who is in line; the others stay open", async (header, value) => {
    const { call, fault, pass, server, sleeping } = await service((asked, response, nth) =>
      nth === 0 ? status(429, { [header]: value })(asked, response, nth) : fine(asked, response, nth),
    );
    const first = call("run");
    const inLine = fault("run");
    expect((await first).status).toBe(429);
    expect(await inLine).toMatchObject({ code: "http.rate-limited", temporary: true, retryAt: new Date(START + 60_050) });
    expect(sleeping()).toBe(0);
    pass(59_999);
    expect(await fault("run")).toMatchObject({ code: "http.rate-limited", retryAt: new Date(START + 60_150) });
    await call("read");
    expect(server.asked).toHaveLength(2);
    pass(1);
    expect((await call("run")).status).toBe(200);
  });

  test("a thousand callers turned away come back no faster than the rate", async () => {
    const { call, fault } = await service(status(429, { "retry-after": "60" }));
    await call("run");
    const times: number[] = [];
    for (let n = 0; n < 1_000; n += 1) times.push((await fault("run")).retryAt?.getTime() ?? 0);
    for (let n = 10; n < 1_000; n += 1) expect((times[n] ?? 0) - (times[n - 10] ?? 0)).toBeGreaterThanOrEqual(1_000);
    expect(times[999]).toBe(START + 60_000 + 99_950);
  });

  test.each([{}, { "retry-after": "0" }, { "retry-after": "soon" }])("with %o closes nothing", async (headers) => {
    const { call, server } = await service(status(429, headers as Record<string, string>));
    await call("read");
    await call("read");
    expect(server.asked).toHaveLength(2);
  });
});

describe("a service that is down", () => {
  test.each([
    ["500", status(500)],
    ["no answer", (_: Asked, response: ServerResponse) => void response.socket?.destroy()],
  ])("%s three times in a row: that category rests, and says so without asking; the others are asked", async (_, answer) => {
    const { call, fault, server } = await service((asked, response, nth) => (asked.path === "/fine" ? fine : answer)(asked, response, nth));
    for (let n = 0; n < 3; n += 1) await call("write").catch(() => {});
    const resting = await fault("write");
    expect(resting).toMatchObject({ code: "http.resting", temporary: true, retryAt: new Date(START + 10_050) });
    expect(resting.message).toBe(
      'squid fails calls of the kind "write" since 2026-05-04T10:00:00.000Z; next try at 2026-05-04T10:00:10.050Z',
    );
    expect(server.asked).toHaveLength(3);
    expect((await call("run", never, "/fine")).status).toBe(200);
    expect(await fault("write"), "an answer to the others says nothing about it").toMatchObject({ code: "http.resting" });
  });

  test("questions that fail keep back what is ordered and uploaded too, until one is answered", async () => {
    let down = true;
    const { call, fault, server, pass } = await service((asked, response, nth) =>
      (down && asked.path === "/" ? status(502) : fine)(asked, response, nth),
    );
    for (let n = 0; n < 3; n += 1) expect((await call("read", never, "/")).status).toBe(502);
    for (const category of ["run", "write"])
      expect(await fault(category)).toMatchObject({
        code: "http.resting",
        blameless: true,
        message: expect.stringContaining('kind "read"'),
      });
    expect(server.asked).toHaveLength(3);
    down = false;
    pass(10_000);
    expect((await call("read", never, "/")).status).toBe(200);
    expect((await call("run", never, "/order")).status).toBe(200);
  });

  test("orders that fail are counted though questions are answered in between", async () => {
    const { call, fault, server, pass } = await service((asked, response, nth) =>
      (asked.path === "/order" ? status(500) : fine)(asked, response, nth),
    );
    for (let n = 0; n < 3; n += 1) {
      expect((await call("run", never, "/order")).status).toBe(500);
      expect((await call("read", never, "/")).status).toBe(200);
      pass(100);
    }
    expect(await fault("run")).toMatchObject({ code: "http.resting", blameless: true });
    expect((await call("read", never, "/")).status).toBe(200);
    expect(server.asked.filter(({ path }) => path === "/order")).toHaveLength(3);
  });

  test("a rest is not shorter than the Retry-After of its 503", async () => {
    const { call, fault, pass, server } = await service(status(503, { "retry-after": "60" }));
    await Promise.all([call("read"), call("read"), call("read")]);
    pass(59_999);
    const { code, retryAt } = await fault("read");
    expect(["http.rate-limited", "http.resting"]).toContain(code);
    expect(retryAt?.getTime()).toBeGreaterThanOrEqual(START + 60_000);
    expect(server.asked).toHaveLength(3);
    pass(1);
    expect((await call("read")).status).toBe(503);
  });

  test("no connection counts for all of it, whichever category finds out, and one call tries for all", async () => {
    const { fault, pass, server } = await service(fine, { rates: {} });
    await server.stop();
    for (const category of ["read", "write", "run"]) expect(await fault(category)).toMatchObject({ code: "http.unreachable" });
    for (const category of ["read", "write", "run", "other"]) {
      const resting = await fault(category);
      expect(resting.code).toBe("http.resting");
      expect(resting.message).toMatch(/^squid cannot be reached since 2026-05-04T10:00:00\.000Z/);
    }
    pass(10_000);
    const trial = fault("read");
    expect(await fault("run"), "while it is under way").toMatchObject({ code: "http.resting" });
    expect(await trial).toMatchObject({ code: "http.unreachable" });
    expect((await fault("run")).retryAt?.getTime(), "twice as long").toBeGreaterThanOrEqual(START + 30_000);
  });

  test("a call that times out counts too", async () => {
    const silent = await service(() => {});
    await Promise.all([1, 2, 3].map(() => silent.fault("read")));
    expect(await silent.fault("read")).toMatchObject({ code: "http.resting" });
  });

  test("any other answer starts the count anew: garbage, refusals, 429", async () => {
    const codes = [500, 500, 200, 500, 500, 404, 500, 500, 429, 500, 500];
    const { call, server } = await service((asked, response, nth) => status(codes[nth] ?? 200)(asked, response, nth));
    for (const _ of codes) await call("read");
    expect(server.asked).toHaveLength(codes.length);
  });

  test("what the caller stops, and what its own body throws, is not the service's failure", async () => {
    const { http, server } = await service(() => {});
    for (let n = 0; n < 3; n += 1) {
      const stop = new AbortController();
      const stopped = http.call({ method: "POST", url: server.url, headers: {}, body: Buffer.from("{}") }, stop.signal);
      await until(() => server.asked.length === n + 1);
      stop.abort();
      await expect(stopped).rejects.toMatchObject({ code: "http.ambiguous" });
    }
    const body = {
      length: 3,
      // biome-ignore lint/correctness/useYield: it fails before it yields
      open: async function* () {
        throw new Fault("spool.missing", "gone");
      },
    };
    for (let n = 0; n < 3; n += 1) {
      await expect(http.call({ method: "POST", url: server.url, headers: {}, body }, never)).rejects.toMatchObject({
        code: "spool.missing",
      });
    }
  });

  test("when the rest is over one call goes through, and its answer ends the rest", async () => {
    let answer: Answer = status(500);
    const { call, fault, pass, server } = await service((...args) => answer(...args));
    for (let n = 0; n < 3; n += 1) await call("read");
    pass(10_000);
    let release = () => {};
    answer = (_, response) => {
      release = () => response.end();
    };
    const trial = call("read");
    expect(await fault("read"), "while it is under way").toMatchObject({ code: "http.resting" });
    await until(() => server.asked.length === 4);
    release();
    expect((await trial).status).toBe(200);
    answer = fine;
    await Promise.all([call("read"), call("read")]);
    expect(server.asked).toHaveLength(6);
  });

  test("its failure doubles the rest, up to the longest", async () => {
    const { call, fault, pass, server } = await service(status(503));
    for (let n = 0; n < 3; n += 1) await call("read");
    for (const restMs of [10_000, 20_000, 35_000, 35_000]) {
      pass(restMs - 1);
      expect(await fault("read")).toMatchObject({ code: "http.resting" });
      pass(1);
      expect((await call("read")).status).toBe(503);
    }
    expect(server.asked).toHaveLength(3 + 4);
  });

  test("a trial that is stopped decides nothing: the next call is the trial", async () => {
    let answer: Answer = status(500);
    const { call, pass, server } = await service((...args) => answer(...args));
    for (let n = 0; n < 3; n += 1) await call("read");
    pass(10_000);
    answer = () => {};
    const stop = new AbortController();
    const trial = call("read", stop.signal);
    await until(() => server.asked.length === 4);
    stop.abort();
    await expect(trial).rejects.toBeInstanceOf(Fault);
    answer = fine;
    expect((await call("read")).status).toBe(200);
  });

  test("who is in line when it begins to rest is sent away; what was under way decides nothing", async () => {
    const held: ServerResponse[] = [];
    const { call, fault, pass, server, sleeping } = await service((asked, response, nth) => {
      if (asked.path === "/slow") held.push(response);
      else status(500)(asked, response, nth);
    });
    const slow = call("run", never, "/slow");
    await until(() => held.length === 1);
    for (let n = 0; n < 3; n += 1) {
      const failing = call("run");
      await until(() => sleeping() === 1);
      pass(100);
      if (n < 2) await failing;
      else {
        const inLine = fault("run");
        await failing;
        expect(await inLine).toMatchObject({ code: "http.resting" });
      }
    }
    expect(sleeping()).toBe(0);
    held[0]?.end();
    expect((await slow).status).toBe(200);
    expect(await fault("run")).toMatchObject({ code: "http.resting" });
    expect(server.asked).toHaveLength(4);
    pass(10_000);
    expect((await call("run")).status).toBe(500);
  });
});

describe("a call that must not be sent", () => {
  const paused = new Fault("service.paused", "paused", { blameless: true, retryAt: new Date(START) });

  test("is asked about when its turn has come, not before: what waits in line learns of a pause, and sends nothing", async () => {
    let refusal: Fault | null = null;
    const about: string[] = [];
    const { call, fault, pass, server, sleeping } = await service(fine, {
      mayCall: async (category) => {
        about.push(category);
        return category === "run" ? refusal : null;
      },
    });
    await call("run");
    const waiting = Array.from({ length: 7 }, () => fault("run"));
    await until(() => sleeping() === 1);
    refusal = paused;
    expect(about).toEqual(["run"]);
    pass(100);
    for (const thrown of await Promise.all(waiting)) expect(thrown).toBe(paused);
    expect(server.asked).toHaveLength(1);
    expect((await call("write")).status).toBe(200);
    refusal = null;
    expect((await call("run")).status, "no turn was lost by them").toBe(200);
    expect(sleeping()).toBe(0);
  });

  test("is not sent either when the answer cannot be had; the line goes on, and a rest can still be ended", async () => {
    let broken = true;
    let answer: Answer = status(500);
    const { call, fault, pass, server } = await service((...args) => answer(...args), {
      mayCall: async () => {
        if (broken) throw new Fault("ledger.failed", "disk");
        return null;
      },
    });
    expect(await fault("read")).toMatchObject({ code: "ledger.failed" });
    broken = false;
    for (let n = 0; n < 3; n += 1) await call("read");
    broken = true;
    pass(10_000);
    expect(await fault("read")).toMatchObject({ code: "ledger.failed" });
    broken = false;
    answer = fine;
    expect((await call("read")).status).toBe(200);
    expect(server.asked).toHaveLength(4);
  });

  test("who gives up while it is asked about sends nothing", async () => {
    const { promise, resolve } = Promise.withResolvers<null>();
    const { call, server } = await service(fine, { mayCall: () => promise });
    const stop = new AbortController();
    const stopped = call("run", stop.signal);
    stop.abort();
    resolve(null);
    await expect(stopped).rejects.toMatchObject({ code: "http.stopped" });
    expect(server.asked).toEqual([]);
  });
});

describe("a key that is not taken", () => {
  const since = new Date(START);
  const refused = {
    code: "http.unauthorized",
    temporary: true,
    blameless: true,
    message: expect.stringContaining(`squid has not taken its key since ${since.toISOString()} (401)`),
    advice: expect.stringContaining("apiKey"),
  };

  test("one 401 is a rest for all, without blame for who waits; one call after each rest tries, and a good answer ends it", async () => {
    let code = 401;
    const { call, fault, pass, server, http } = await service((...asked) => status(code)(...asked), { rates: {} });
    expect(http.refusedSince()).toBeNull();
    expect(await call("run")).toMatchObject({ status: 401, comeBack: new Date(START + 20_000) });
    expect(http.refusedSince()).toEqual(since);
    expect(await fault("run")).toMatchObject(refused);
    expect(await fault("read"), "nor is anything asked").toMatchObject(refused);
    expect(server.asked).toHaveLength(1);
    pass(10_000);
    expect((await call("run")).status).toBe(401);
    expect(http.refusedSince(), "since the first").toEqual(since);
    pass(19_999);
    expect(await fault("run")).toMatchObject(refused);
    expect(server.asked).toHaveLength(2);
    pass(1);
    code = 200;
    expect((await call("read")).status).toBe(200);
    expect(http.refusedSince()).toBeNull();
    expect((await call("run")).status).toBe(200);
  });

  test("in the midst of good answers: nobody is to blame for the first minute either, and then the service rests", async () => {
    let code = 200;
    const { call, fault, pass, http } = await service((...asked) => status(code)(...asked), { rates: {} });
    expect((await call("read")).status).toBe(200);
    pass(1_000);
    code = 401;
    for (let second = 1; second < 60; second++) {
      const { comeBack } = await call("read");
      expect(comeBack?.getTime()).toBe(START + second * 1_000 + 60_000);
      pass(1_000);
    }
    expect((await call("run")).comeBack).toEqual(new Date(START + 60_000 + 20_000));
    expect(await fault("read")).toMatchObject({ code: "http.unauthorized" });
    expect(http.refusedSince()).toEqual(new Date(START + 1_000));
  });

  test("beside good answers to what was sent later it is about the one call: that is to blame, for a day", async () => {
    const { call, http, pass } = await service((asked, response, nth) => status(asked.path === "/odd" ? 401 : 200)(asked, response, nth));
    const odd = () => call("run", never, "/odd");
    await call("read");
    pass(1_000);
    expect((await odd()).comeBack).toBeDefined();
    pass(1_000);
    expect((await call("read")).status).toBe(200);
    expect(http.refusedSince()).toBeNull();
    for (let hour = 0; hour < 23; hour++) {
      pass(3_600_000);
      expect(await odd()).toEqual(expect.not.objectContaining({ comeBack: expect.anything() }));
      expect(http.refusedSince()).toBeNull();
    }
    pass(3_600_000);
    expect((await odd()).comeBack).toBeDefined();
  });

  test("an answer to what was sent before says nothing about the key as it is now", async () => {
    const early = Promise.withResolvers<void>();
    const answer: Answer = (asked, response) => {
      if (asked.path !== "/early") return void status(401)(asked, response, 0);
      void early.promise.then(() => response.end("{}"));
    };
    const { call, pass, http, server } = await service(answer, { rates: {} });
    const under = call("read", never, "/early");
    await until(() => server.asked.length === 1);
    pass(1_000);
    expect((await call("run")).comeBack).toBeDefined();
    early.resolve();
    expect((await under).status).toBe(200);
    expect(http.refusedSince()).toEqual(new Date(START + 1_000));
  });

  test("one odd call does not stay the one that tries: whoever comes back when told is served", async () => {
    const { http, server, pass, clock } = await service(
      (asked, response, nth) => status(asked.path === "/odd" ? 401 : 200)(asked, response, nth),
      {
        rates: {},
      },
    );
    const due = new Map<string, number>([["/odd", START], ...Array.from({ length: 20 }, (_, n) => [`/${n}`, START + 1 + n] as const)]);
    const served = new Set<string>();
    for (let step = 0; step < 200 && served.size < 20; step++) {
      const [path, at] = [...due].toSorted((a, b) => a[1] - b[1])[0] ?? ["", 0];
      pass(Math.max(0, at - clock.now().getTime()));
      const told = await http
        .call({ method: "GET", url: server.url + path, headers: {}, category: "read" }, never)
        .catch((thrown) => thrown);
      if (told instanceof Fault) due.set(path, told.retryAt?.getTime() ?? 0);
      else if (told.status === 401) due.set(path, told.comeBack?.getTime() ?? at + 3_600_000);
      else {
        served.add(path);
        due.delete(path);
      }
    }
    expect(served.size).toBe(20);
    expect(clock.now().getTime() - START).toBeLessThan(60_000);
  });

  test("one that cannot be reached any more is called by that name", async () => {
    const { call, fault, http, pass, server } = await service(status(401));
    await call("run");
    await server.stop();
    pass(10_000);
    expect(await fault("run")).toMatchObject({ code: "http.unreachable" });
    expect(http.refusedSince()).toBeNull();
    expect(await fault("run")).toMatchObject({ code: "http.resting", message: expect.stringContaining("cannot be reached") });
  });
});

describe("the decisions, pure", () => {
  const options = { failures: 5, firstMs: 1_000, longestMs: 60_000 };

  test("property: it rests exactly after five failures in a row, ever longer, and any answer closes it", () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { maxLength: 60 }), (answers) => {
        let breaker: Breaker = CLOSED;
        let inARow = 0;
        answers.forEach((answered, second) => {
          const now = second * 1_000;
          breaker = afterCall(breaker, answered ? "answered" : "failed", now, options);
          inARow = answered ? 0 : inARow + 1;
          expect(breaker.rest).toEqual(
            inARow < 5 ? null : { until: now + (breaker.rest?.lengthMs ?? 0), lengthMs: Math.min(60_000, 1_000 * 2 ** (inARow - 5)) },
          );
          expect(breaker.failingSince).toBe(inARow === 0 ? null : (second - inARow + 1) * 1_000);
        });
      }),
    );
  });

  test("a key that is not taken need not be seen twice; the rests grow all the same", () => {
    const rests: number[] = [];
    let breaker: Breaker = CLOSED;
    for (let second = 0; second < 8; second++) {
      breaker = afterCall(breaker, "refused", second * 1_000, options);
      rests.push(breaker.rest?.lengthMs ?? 0);
    }
    expect(rests).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
    expect(afterCall(breaker, "answered", 9_000, options)).toEqual(CLOSED);
  });

  test("property: nobody comes back before the door opens", () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(10_000), fc.double({ min: 0, max: 0.999, noNaN: true }), (until, nth, random) => {
        expect(comeBackAt(until, nth, 0, random).getTime()).toBeGreaterThanOrEqual(until);
      }),
    );
  });
});

test("nothing keeps the process alive: no listener stays on the caller's signal", async () => {
  const { call, pass, sleeping } = await service(fine);
  const stop = new AbortController();
  const calls = [call("run", stop.signal), call("run", stop.signal)];
  await until(() => sleeping() === 1);
  pass(100);
  await Promise.all(calls);
  expect(getEventListeners(stop.signal, "abort")).toHaveLength(0);
  expect(sleeping()).toBe(0);
});
