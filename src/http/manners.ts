/** Manners towards one service: no more calls a second than agreed, none before it lets us back, and rest while it is down. */
import type { Clock } from "../base/clock.ts";
import { Fault } from "../base/errors.ts";
import { type Http, type HttpRequest, type HttpResponse, retryAfter } from "./http.ts";

export type MannersOptions = {
  /** Who is called, for errors: `cloudsquid`. */
  readonly name: string;
  /** Calls a second of each category (`HttpRequest.category`), spread evenly; a category without a rate is not slowed down. */
  readonly rates: Readonly<Record<string, number>>;
  readonly breaker: BreakerOptions;
  /**
   * Asked when a call's turn has come, right before it is sent: the Fault that keeps it from being sent, or null. What it throws
   * keeps the call from being sent too.
   */
  readonly mayCall?: (category: string) => Promise<Fault | null>;
};

export type BreakerOptions = {
  /** After how many failures in a row there is a rest. */
  readonly failures: number;
  /** The first rest; doubled each time the service does not answer at its end either. */
  readonly firstMs: number;
  readonly longestMs: number;
};

/** Moments are milliseconds since 1970, as `Date.getTime` gives them. */
export type Breaker = {
  /** Failures in a row. */
  readonly failures: number;
  readonly failingSince: number | null;
  /** Null while calls go through. */
  readonly rest: { readonly until: number; readonly lengthMs: number } | null;
};

export const CLOSED: Breaker = { failures: 0, failingSince: null, rest: null };

/** What became of a call. `refused`: our key was not taken, which no next call will mend; it need not be seen more than once. */
export type Called = "answered" | "failed" | "refused";

/** The breaker after a call it had let through. Pure. */
export function afterCall(breaker: Breaker, called: Called, now: number, options: BreakerOptions): Breaker {
  if (called === "answered") return CLOSED;
  const failures = breaker.failures + 1;
  const failingSince = breaker.failingSince ?? now;
  if (breaker.rest === null && failures < options.failures && called === "failed") return { failures, failingSince, rest: null };
  const lengthMs = breaker.rest === null ? options.firstMs : Math.min(options.longestMs, 2 * breaker.rest.lengthMs);
  return { failures, failingSince, rest: { until: now + lengthMs, lengthMs } };
}

/** When the `nth` caller turned away (from 0) may come back, so that all of them together keep to the rate. Pure. */
export function comeBackAt(until: number, nth: number, intervalMs: number, random: number): Date {
  return new Date(until + (nth + random) * (intervalMs || UNHURRIED_MS));
}

/** Between callers of a category without a rate. */
const UNHURRIED_MS = 100;

/** What rests together: one category, or the service as a whole. */
type Watch = {
  breaker: Breaker;
  /** The one call that may end the rest is under way. */
  testing: boolean;
};

/** The calls of one category. */
type Lane = Watch & {
  readonly category: string;
  readonly intervalMs: number;
  /** When the next call may be sent. */
  freeAt: number;
  /** The service said: not before. */
  closedUntil: number;
  turnedAway: number;
  /** Ends when the last caller in line has been let through or has gone away. */
  last: Promise<void>;
  readonly waiting: Set<AbortController>;
};

/** The category of questions. */
const READ = "read";

/** Nothing that needs the key was answered well for so long: nothing will be. */
const SURE_MS = 60_000;
/** It was not, the last time: then it is about what was called for so long. */
const DISPROVED_MS = 86_400_000;

/** The calls of this category are in trouble; what a proxy garbles, and what we break ourselves, is not the service's failure. */
const TROUBLE = new Set(["http.interrupted", "http.ambiguous"]);

export type Mannered = Http & {
  /** Since when the service has not taken our key; null while it does, as far as is known. */
  readonly refusedSince: () => Date | null;
};

/**
 * The same calls, first come first served within their category. Besides `http.stopped` three more temporary Faults, with `retryAt`, all
 * thrown before anything is sent and no failure of what was to be sent:
 * - `http.rate-limited`: a 429 or 503 with Retry-After or X-RateLimit-Reset closed the category.
 * - `http.resting`: too many failures in a row, of one category (5xx, no complete answer) or of the service (no connection). When the
 *   rest is over exactly one call is let through: its answer ends the rest, its failure doubles it. Each category is counted by
 *   itself: questions that are answered say nothing about orders that are not. But where questions fail nothing is ordered or uploaded
 *   either: what becomes of it could not be asked.
 * - `http.unauthorized`: as `http.resting`, while our key is not taken. What is answered 401 itself is given to who made the call, with
 *   `comeBack` (see `HttpResponse`) when it is about the key: as long as nothing that was sent since the first of them was answered well.
 *   When nothing has been for a minute, the service rests. Once it was about the one call it is for a day.
 * The wait for one's turn is not part of the call's deadline.
 */
export function mannered(http: Http, options: MannersOptions, clock: Clock): Mannered {
  const { name } = options;
  const lanes = new Map<string, Lane>();
  const whole: Watch = { breaker: CLOSED, testing: false };
  let refusedSince: number | null = null;
  let takenAt = Number.NEGATIVE_INFINITY;
  let disprovedAt = Number.NEGATIVE_INFINITY;
  let closed = false;
  const now = () => clock.now().getTime();
  /** Also after a clock that was set. */
  const isLong = (since: number, milliseconds: number) => Math.abs(now() - since) >= milliseconds;

  function laneOf({ category, method }: HttpRequest): Lane {
    const wanted = category ?? (method === "GET" ? READ : "write");
    const known = lanes.get(wanted);
    if (known) return known;
    const rate = options.rates[wanted];
    const intervalMs = rate === undefined ? 0 : 1_000 / rate;
    const lane: Lane = {
      category: wanted,
      intervalMs,
      freeAt: 0,
      closedUntil: 0,
      turnedAway: 0,
      last: Promise.resolve(),
      waiting: new Set(),
      breaker: CLOSED,
      testing: false,
    };
    lanes.set(wanted, lane);
    return lane;
  }

  function turnAway(lane: Lane, until: number, code: string, why: string, advice?: string): Fault {
    const retryAt = comeBackAt(until, lane.turnedAway, lane.intervalMs, clock.random());
    lane.turnedAway += 1;
    return new Fault(code, `${name} ${why}; next try at ${retryAt.toISOString()}`, { retryAt, blameless: true, advice });
  }

  function unsent(why: string): Fault {
    return new Fault("http.stopped", `${name}: ${why} before it was sent`, { retryAt: clock.now(), blameless: true });
  }

  /** Why a call cannot be made now; null when it can. */
  function obstacle(lane: Lane): Fault | null {
    if (lane.closedUntil > now()) {
      const until = new Date(lane.closedUntil).toISOString();
      return turnAway(lane, lane.closedUntil, "http.rate-limited", `wants no more calls of the kind "${lane.category}" before ${until}`);
    }
    const reading = lanes.get(READ);
    const watches = [whole, lane, ...(reading === undefined || reading === lane ? [] : [reading])];
    const resting = watches.find(({ breaker, testing }) => breaker.rest !== null && (testing || breaker.rest.until > now()));
    if (resting === undefined) return null;
    const { breaker, testing } = resting;
    const until = testing ? now() + options.breaker.firstMs : (breaker.rest?.until ?? now());
    if (resting === whole && refusedSince !== null) return unauthorized(lane, until, refusedSince);
    const what = resting === whole ? "cannot be reached" : `fails calls of the kind "${resting === lane ? lane.category : READ}"`;
    return turnAway(lane, until, "http.resting", `${what} since ${new Date(breaker.failingSince ?? now()).toISOString()}`);
  }

  function unauthorized(lane: Lane, until: number, since: number): Fault {
    const advice = "put the right apiKey in, and restart; until then every mail waits, and none fails";
    return turnAway(lane, until, "http.unauthorized", `has not taken its key since ${new Date(since).toISOString()} (401)`, advice);
  }

  async function awaitTurn(lane: Lane, signal: AbortSignal): Promise<void> {
    const before = lane.last;
    const { promise: left, resolve: leave } = Promise.withResolvers<void>();
    lane.last = before.then(() => left);
    const away = new AbortController();
    const stop = () => away.abort();
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
    lane.waiting.add(away);
    try {
      await either(before, away.signal);
      // A clock that was put back must not hold the line.
      const waitMs = Math.min(lane.freeAt - now(), lane.intervalMs);
      if (waitMs > 0) await clock.sleep(waitMs, away.signal);
      const refusal = away.signal.aborted ? null : ((await options.mayCall?.(lane.category)) ?? null);
      if (signal.aborted || closed) throw unsent("stopped");
      if (away.signal.aborted) throw obstacle(lane) ?? unsent("put off");
      if (refusal !== null) throw refusal;
      lane.freeAt = now() + lane.intervalMs;
    } finally {
      lane.waiting.delete(away);
      signal.removeEventListener("abort", stop);
      leave();
    }
  }

  function sendAway(lane: Lane): void {
    for (const waiting of lane.waiting) waiting.abort();
  }

  function note(watch: Watch, called: Called, tested: readonly Watch[]): void {
    // What was sent before the rest began says nothing about its end.
    if (watch.breaker.rest !== null && !tested.includes(watch)) return;
    watch.breaker = afterCall(watch.breaker, called, now(), options.breaker);
    if (watch.breaker.rest === null) return;
    for (const lane of lanes.values()) if (watch === whole || watch === lane || watch === lanes.get(READ)) sendAway(lane);
  }

  async function send(request: HttpRequest, signal: AbortSignal, lane: Lane, tested: readonly Watch[]): Promise<HttpResponse> {
    const sentAt = now();
    const response = await http.call(request, signal).catch((thrown: unknown) => {
      if (thrown instanceof Fault && !signal.aborted) {
        if (thrown.code === "http.unreachable") {
          refusedSince = null;
          note(whole, "failed", tested);
        }
        if (TROUBLE.has(thrown.code)) note(lane, "failed", tested);
      }
      throw thrown;
    });
    const { status } = response;
    if (status === 401 && isLong(disprovedAt, DISPROVED_MS)) {
      refusedSince ??= now();
      const isSure = isLong(takenAt, SURE_MS);
      note(whole, isSure ? "refused" : "answered", tested);
      note(lane, "answered", tested);
      // Behind all others, so that one odd call is not the one that tries after each rest.
      const comeBack = isSure ? (whole.breaker.rest?.until ?? now()) + options.breaker.firstMs : now() + SURE_MS;
      return { ...response, comeBack: new Date(comeBack) };
    }
    // What was sent before says nothing about the key as it is now.
    if (status >= 200 && status < 300 && (refusedSince === null || sentAt > refusedSince)) {
      takenAt = now();
      if (refusedSince !== null) disprovedAt = now();
      refusedSince = null;
    }
    note(whole, "answered", tested);
    note(lane, status < 500 ? "answered" : "failed", tested);
    const until = response.status === 429 || response.status === 503 ? retryAfter(response.headers, clock.now()) : null;
    if (until !== null && until.getTime() > now()) {
      lane.closedUntil = Math.max(lane.closedUntil, until.getTime());
      sendAway(lane);
    }
    return response;
  }

  return {
    call: async (request, signal) => {
      const lane = laneOf(request);
      const fault = obstacle(lane);
      if (fault !== null) throw fault;
      lane.turnedAway = 0;
      const tested = [whole, lane].filter(({ breaker }) => breaker.rest !== null);
      for (const watch of tested) watch.testing = true;
      try {
        await awaitTurn(lane, signal);
        return await send(request, signal, lane, tested);
      } finally {
        for (const watch of tested) watch.testing = false;
      }
    },
    refusedSince: () => (refusedSince === null ? null : new Date(refusedSince)),
    close: () => {
      closed = true;
      for (const lane of lanes.values()) sendAway(lane);
      return http.close();
    },
  };
}

/** Resolves when the promise does, or the signal is aborted. */
function either(promise: Promise<void>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      signal.removeEventListener("abort", done);
      resolve();
    };
    signal.addEventListener("abort", done);
    promise.then(done);
    if (signal.aborted) done();
  });
}
