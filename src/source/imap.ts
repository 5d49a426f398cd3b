/** The IMAP source: watches one folder of one account, sees what arrives, and settles it; it reconnects by itself. */
import type { Clock } from "../base/clock.ts";
import { Fault } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { type Account, lendSession, openSession, type Session } from "./imap-connect.ts";
import type { Door } from "./imap-faults.ts";
import { readThenEnd } from "./imap-read.ts";
import { isSameFolder, tell } from "./imap-settle.ts";
import { type Limits, type Reading, sweep as sweepFolder } from "./imap-sweep.ts";
import type { Afterwards, Cursor, Origin, Probe, Settled, Sight, Source, Start, Verdict } from "./source.ts";

export type ImapOptions = Door & {
  readonly name: string;
  /** PEM text of an authority to trust besides the usual ones; null: only those. */
  readonly ca: string | null;
  readonly start: Start;
  readonly afterwards: Readonly<Record<Verdict, Afterwards>>;
  readonly connectTimeoutMs?: number;
  /** A quiet IDLE is broken by a NOOP this often; a half-open connection shows only then. */
  readonly idleMs?: number;
  /** A command without any answer for this long, that NOOP included, means the connection is dead. */
  readonly socketTimeoutMs?: number;
  /** Most bytes fetched by one command. */
  readonly batchBytes?: number;
  /** A message above this is read in pieces of this size and never held whole. */
  readonly wholeBytes?: number;
};

/** With IDLE's renewal, a half-open connection is noticed within 110 s. */
const DEFAULTS = { connectTimeoutMs: 30_000, idleMs: 50_000, socketTimeoutMs: 60_000, batchBytes: 8_000_000, wholeBytes: 1_000_000 };
/** How long settlements in hand may take when the watching ends. */
const LEAVE_MS = 5_000;
const LOGIN_EVERY_MS = 2_000;
const BACKOFF_MS = { least: 2_000, most: 60_000 };
/** Between two IDLEs that the server ended by itself. */
const IDLE_AGAIN_MS = 1_000;

export function createImapSource(options: ImapOptions, deps: { readonly clock: Clock; readonly log: Logger }): Source {
  const { clock, log } = deps;
  const account: Account = { ...DEFAULTS, ...options };
  const limits: Limits = { ...DEFAULTS, ...options, mailbox: options.name };
  const closing = new AbortController();
  const bell = createBell(clock);
  const lent = lendSession(() => open(closing.signal, () => {}), clock);
  /** The connection arrivals() has, or is making, or failed to make; null when nobody watches. */
  let watched: Promise<Session> | null = null;
  let nextLogin = 0;
  let settling = 0;
  /** Settlements under way on the watching session. */
  const inHand = new Set<Promise<Settled>>();
  let sweptAt: Date | null = null;
  let trouble: Fault | null = null;
  let said: string | null = null;

  function tellState(fault: Fault | null): void {
    trouble = fault;
    const state = fault === null ? "watching" : fault.code;
    if (state === said) return;
    said = state;
    if (fault === null) log.event("info", "mailbox.watching", { mailbox: options.name, folder: options.folder });
    else log.event("warn", "mailbox.trouble", { mailbox: options.name, fault: fault.code, why: fault.message, advice: fault.advice });
  }

  /** However often a server accepts and then drops us, it sees one login every two seconds. */
  async function open(signal: AbortSignal, onChange: () => void): Promise<Session> {
    const now = clock.now().getTime();
    const turn = Math.max(now, nextLogin);
    nextLogin = turn + LOGIN_EVERY_MS;
    if (turn > now) await clock.sleep(turn - now, signal);
    return openSession(account, clock, signal, onChange);
  }

  async function* watch(
    reading: { current: Reading | null },
    since: Cursor | null,
    stop: AbortSignal,
  ): AsyncGenerator<Sight, void, undefined> {
    watched = open(stop, bell.ring);
    watched.catch(() => {});
    const session = await watched;
    const leave = async () => {
      // Whoever settles from here on finds no session that is on its way out; who has begun may finish.
      watched = null;
      const patience = new AbortController();
      await Promise.race([Promise.allSettled(inHand), clock.sleep(LEAVE_MS, patience.signal)]);
      patience.abort();
      await session.end();
    };
    stop.addEventListener("abort", leave, { once: true });
    try {
      const state = positioned(session, reading.current, since);
      reading.current = state;
      while (!stop.aborted) {
        bell.reset();
        for await (const sight of sweepFolder(session, state, limits, clock)) {
          tellState(null);
          if (sight.is === "swept") sweptAt = clock.now();
          yield sight;
          if (stop.aborted) return;
        }
        await idle(session);
      }
    } catch (thrown) {
      throw session.fault(thrown);
    } finally {
      stop.removeEventListener("abort", leave);
      await leave();
    }
  }

  function positioned(session: Session, reading: Reading | null, since: Cursor | null): Reading {
    const known = reading?.cursor ?? since;
    const cursor = startAt(session, known, options.start, clock.now());
    if (cursor === known) return reading ?? { cursor, strikes: new Map(), singlyUntil: 0 };
    if (known !== null) {
      const { uidValidity } = session;
      log.event("warn", "mailbox.renumbered", { mailbox: options.name, uidValidity, before: known.uidValidity });
    }
    return { cursor, strikes: new Map(), singlyUntil: 0 };
  }

  /** Resolves when there is a reason to look: new mail, a poke, the end of the connection. IDLE is a hint, the sweep is the truth. */
  async function idle(session: Session): Promise<void> {
    while (!bell.rung()) {
      session.check();
      const before = settling;
      let over = false;
      const idling = session.client.idle().finally(() => {
        over = true;
      });
      await bell.heardWithin(account.idleMs, idling);
      if (bell.rung()) return;
      if (!over) await session.prove();
      else if (settling === before) await bell.heardWithin(IDLE_AGAIN_MS);
    }
  }

  async function* arrivals(since: Cursor | null, signal: AbortSignal): AsyncGenerator<Sight, void, undefined> {
    const stop = AbortSignal.any([signal, closing.signal]);
    stop.addEventListener("abort", bell.ring, { once: true });
    const reading: { current: Reading | null } = { current: null };
    try {
      for (let failures = 0; !stop.aborted; failures++) {
        const sweptBefore = sweptAt;
        try {
          yield* watch(reading, since, stop);
          return;
        } catch (thrown) {
          if (stop.aborted) return;
          const fault = thrown instanceof Fault ? thrown : new Fault("imap.lost", `Watching ${options.name} failed.`, { cause: thrown });
          tellState(fault);
          if (sweptAt !== sweptBefore) failures = 0;
          await pause(failures, fault, stop);
        }
      }
    } finally {
      watched = null;
    }
  }

  async function pause(failures: number, fault: Fault, stop: AbortSignal): Promise<void> {
    const most = Math.min(BACKOFF_MS.most, BACKOFF_MS.least * 2 ** failures);
    const asked = (fault.retryAt?.getTime() ?? 0) - clock.now().getTime();
    const wait = Math.max(BACKOFF_MS.least, most * (0.5 + clock.random() / 2), asked);
    bell.reset();
    if (stop.aborted) return;
    // Pokes must not turn a wrong password into a locked account.
    if (fault.code === "imap.login" || fault.retryAt !== null) await clock.sleep(wait, stop);
    else await bell.heardWithin(wait);
  }

  async function settle(origin: Origin, verdict: Verdict, signal: AbortSignal, instead: Afterwards | null = null): Promise<Settled> {
    const told = instead ?? options.afterwards[verdict];
    if (told.is === "none" || (told.is === "move" && isSameFolder(told.folder, options.folder))) return "nothing-to-do";
    if (closing.signal.aborted) throw new Fault("imap.stopped", `Mailbox ${options.name} is closed.`);
    return orStopped(settleNow(origin, told), signal, options.name);
  }

  async function settleNow(origin: Origin, told: Afterwards): Promise<Settled> {
    const work = async (session: Session) => {
      settling++;
      return tell(session, origin, told, options).catch((thrown) => Promise.reject(session.fault(thrown)));
    };
    const session = await watched;
    if (watched === null || !session?.alive()) return lent.use(work);
    const working = work(session).finally(() => inHand.delete(working));
    inHand.add(working);
    return working;
  }

  async function probe(signal: AbortSignal): Promise<Probe> {
    const session = await openSession(account, clock, signal, () => {});
    const count = session.exists();
    await session.end();
    const tls = { implicit: "implicit TLS", starttls: "STARTTLS", none: "no TLS" }[options.tls];
    const access = session.readOnly ? ", read-only" : "";
    return { said: `login ok (${tls}), folder ${options.folder} with ${count} ${count === 1 ? "message" : "messages"}${access}` };
  }

  async function read(uid: number, signal: AbortSignal): Promise<AsyncIterable<Uint8Array> | null> {
    const stop = AbortSignal.any([signal, closing.signal]);
    return readThenEnd(await openSession(account, clock, stop, () => {}, { readOnly: true }), uid, limits, stop);
  }

  async function close(): Promise<void> {
    closing.abort();
    const watching = watched?.then(
      (session) => session.end(),
      () => {},
    );
    await Promise.all([watching, lent.end()]);
  }

  return { name: options.name, arrivals, sweep: bell.ring, settle, read, probe, freshness: () => ({ sweptAt, trouble }), close };
}

/** Where to read on from: the known place, or the start rule's, or the beginning when the server has renumbered. */
function startAt(session: Session, known: Cursor | null, start: Start, now: Date): Cursor {
  if (known !== null && known.uidValidity === session.uidValidity) return known;
  const { uidValidity } = session;
  const until = session.uidNext - 1;
  if (known !== null) return { uidValidity, uid: 0, since: known.since, until };
  switch (start.is) {
    case "all":
      return { uidValidity, uid: 0, since: null, until };
    case "since":
      return { uidValidity, uid: 0, since: new Date(start.date).toISOString(), until };
    case "now":
      // INTERNALDATE has no fractions of a second.
      return { uidValidity, uid: until, since: new Date(Math.floor(now.getTime() / 1_000) * 1_000).toISOString(), until };
  }
}

/** A bell anyone may ring; rung once it stays rung until it is reset, so that nothing is missed. */
function createBell(clock: Clock) {
  let waiting = Promise.withResolvers<void>();
  let isRung = false;
  return {
    rung: () => isRung,
    ring: () => {
      isRung = true;
      waiting.resolve();
    },
    reset: () => {
      if (isRung) waiting = Promise.withResolvers<void>();
      isRung = false;
    },
    /** Resolves when it is rung, the time is over, or something else is; rejects when that does. */
    heardWithin: async (milliseconds: number, orElse?: Promise<unknown>) => {
      const over = new AbortController();
      try {
        await Promise.race([waiting.promise, clock.sleep(milliseconds, over.signal), ...(orElse ? [orElse] : [])]);
      } finally {
        over.abort();
      }
    },
  };
}

async function orStopped<T>(work: Promise<T>, signal: AbortSignal, mailbox: string): Promise<T> {
  const stopped = Promise.withResolvers<never>();
  const stop = () => stopped.reject(new Fault("imap.stopped", `Settling in ${mailbox} was stopped.`));
  if (signal.aborted) stop();
  signal.addEventListener("abort", stop, { once: true });
  try {
    return await Promise.race([work, stopped.promise]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
