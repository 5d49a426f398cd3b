/** The IMAP source: watches one folder of one account, sees what arrives, and settles it; it reconnects by itself. */
import { type Clock, unlessAborted } from "../base/clock.ts";
import { Fault, permanent } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { type Accounts, createAccounts } from "./imap/accounts.ts";
import { backoffMs, isFirm } from "./imap/backoff.ts";
import { type Account, openAlone, type Session } from "./imap/connect.ts";
import { listed } from "./imap/list.ts";
import { type Lend, readThenEnd } from "./imap/read.ts";
import { isSameFolder, tell } from "./imap/settle.ts";
import type { Entrance } from "./imap/signin.ts";
import { startAt } from "./imap/start.ts";
import { type Limits, newReading, type Reading, sweep as sweepFolder } from "./imap/sweep.ts";
import type { Afterwards, Cursor, Listing, Origin, Probe, Settled, Sight, Source, Start, Verdict } from "./source.ts";

export type ImapOptions = Entrance & {
  readonly name: string;
  readonly folder: string;
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
  /** A message above this is not read; it becomes a record without bytes. Null, as when left out: any is. */
  readonly maxBytes?: number | null;
};

/** With IDLE's renewal, a half-open connection is noticed within 110 s. */
const DEFAULTS = {
  connectTimeoutMs: 30_000,
  idleMs: 50_000,
  socketTimeoutMs: 60_000,
  batchBytes: 8_000_000,
  wholeBytes: 1_000_000,
  maxBytes: null,
};

/** Sweeps in a row for which a glance is believed. */
const MOST_GLANCES = 10;

export type ImapDeps = {
  readonly clock: Clock;
  readonly log: Logger;
  /** Sources that are given the same one share the connection of an account. */
  readonly accounts?: Accounts;
};

export function createImapSource(options: ImapOptions, { clock, log, accounts = createAccounts(clock) }: ImapDeps): Source {
  const { name, folder } = options;
  const whole = { ...DEFAULTS, ...options };
  const door: Account = whole;
  const account = accounts.of(door);
  const limits: Limits = {
    ...whole,
    mailbox: name,
    batchBytes: () => accounts.share(whole.batchBytes),
    fault: (thrown) => account.fault(thrown, folder),
  };
  const closing = new AbortController();
  const bell = createBell();
  /** The next sweep opens the folder anew: one that was renamed or deleted may still be there for who has it open. */
  let anew = false;
  let sweptAt: Date | null = null;
  let trouble: Fault | null = null;
  let stalled: Fault | null = null;
  let said: string | null = null;

  function tellState(fault: Fault | null): void {
    trouble = fault;
    const state = fault === null ? "watching" : fault.code;
    if (state === said) return;
    said = state;
    if (fault === null) log.event("info", "mailbox.watching", { mailbox: name, folder });
    else log.event("warn", "mailbox.trouble", { mailbox: name, fault: fault.code, why: fault.message, advice: fault.advice });
  }

  /** Whether a glance is enough for this sweep. A server that answers it wrongly is not believed for ever. */
  async function isUntouched(reading: Reading, stop: AbortSignal): Promise<boolean> {
    if (reading.swept === null || reading.glances === MOST_GLANCES) return false;
    reading.glances++;
    return orStopped(account.isUntouched(reading.swept), stop, name);
  }

  function swept(cursor: Cursor, at: Date): Sight {
    tellState(null);
    sweptAt = clock.now();
    account.well();
    return { is: "swept", cursor, at };
  }

  /** One look through the folder. */
  async function* look(reading: Reading, since: Cursor | null, stop: AbortSignal): AsyncGenerator<Sight, void, undefined> {
    const at = clock.now();
    const isAnew = anew;
    anew = false;
    if (isAnew && (await isUntouched(reading, stop))) {
      yield swept(reading.cursor, at);
      return;
    }
    let done = null as (() => void) | null;
    // Opened and listed in one turn: between two of them another folder may be opened.
    const lend: Lend = (work) =>
      orStopped(
        account.use(
          folder,
          (one) => {
            if (stop.aborted) throw new Fault("imap.stopped", `Work in ${name} was stopped.`);
            if (done === null && one !== reading.seen) position(reading, one, reading.seen === null ? since : reading.cursor);
            done ??= accounts.fetching();
            if (one.uidValidity === reading.cursor.uidValidity) return work(one);
            throw new Fault("imap.renumbered", `Folder ${folder} of ${name} got another UIDVALIDITY while it was read.`);
          },
          isAnew && done === null,
        ),
        stop,
        name,
      );
    try {
      for await (const sight of sweepFolder(lend, reading, limits, clock)) {
        tellState(null);
        yield sight.is === "swept" ? swept(sight.cursor, sight.at) : sight;
        if (stop.aborted) return;
      }
    } finally {
      done?.();
    }
  }

  /** On a session the folder was not read on yet: whether the UIDs still mean what they meant. */
  function position(reading: Reading, session: Session, known: Cursor | null): void {
    const cursor = startAt(session, known, options.start, clock.now(), reading.rewound);
    reading.cursor = cursor;
    if (cursor === known) return;
    reading.strikes.clear();
    reading.singlyUntil = 0;
    if (known === null || cursor.uid > 0) return;
    reading.rewound ||= cursor.uidValidity === known.uidValidity;
    const { uidValidity, uidNext } = session;
    log.event("warn", "mailbox.renumbered", { mailbox: name, uidValidity, before: known.uidValidity, uidNext });
  }

  async function* arrivals(since: Cursor | null, signal: AbortSignal, wants = (_: number) => true): AsyncGenerator<Sight, void, undefined> {
    const stop = AbortSignal.any([signal, closing.signal]);
    stop.addEventListener("abort", bell.ring, { once: true });
    const seat = account.watch(folder, bell.ring);
    const reading = newReading(wants);
    try {
      for (let failures = 0; !stop.aborted; ) {
        bell.reset();
        seat.work();
        try {
          yield* look(reading, since, stop);
          failures = 0;
          seat.rest(reading.seen);
          await bell.heard();
        } catch (thrown) {
          if (stop.aborted) return;
          const fault = account.fault(thrown, folder);
          tellState(fault);
          seat.away();
          // A refusal may be about the state of the connection (Exchange: "authenticated but not connected").
          if (/^imap\.(refused|folder)$/.test(fault.code)) account.giveUp(`given up after: ${fault.message}`);
          await pause(failures++, fault, stop);
        }
      }
    } finally {
      seat.leave();
    }
  }

  async function pause(failures: number, fault: Fault, stop: AbortSignal): Promise<void> {
    const early = new AbortController();
    const signal = AbortSignal.any([stop, early.signal]);
    const asked = (fault.retryAt?.getTime() ?? 0) - clock.now().getTime();
    bell.reset();
    const over = Promise.all([clock.sleep(Math.max(backoffMs(failures, clock), asked), signal), account.ready(signal)]);
    if (isFirm(fault)) return void (await over);
    await Promise.race([over, bell.heard()]);
    early.abort();
  }

  async function settle(origin: Origin, verdict: Verdict, signal: AbortSignal, instead: Afterwards | null = null): Promise<Settled> {
    const told = instead ?? options.afterwards[verdict];
    if (told.is === "none" || (told.is === "move" && isSameFolder(told.folder, folder))) return "nothing-to-do";
    if (closing.signal.aborted) throw new Fault("imap.stopped", `Mailbox ${name} is closed.`);
    const work = account.use(folder, (session) => tell(session, origin, told, options));
    return orStopped(
      work.catch((thrown) => Promise.reject(account.fault(thrown, folder))),
      signal,
      name,
    );
  }

  const alone = (signal: AbortSignal, readOnly = true) => openAlone(door, folder, clock, signal, { readOnly });

  async function probe(signal: AbortSignal): Promise<Probe> {
    const { session, end } = await alone(signal, false);
    const count = session.exists();
    await end();
    const tls = { implicit: "implicit TLS", starttls: "STARTTLS", none: "no TLS" }[options.tls];
    const access = session.readOnly ? ", read-only" : "";
    return { said: `login ok (${tls}), folder ${folder} with ${count} ${count === 1 ? "message" : "messages"}${access}` };
  }

  async function read(uid: number, signal: AbortSignal, uidValidity?: string): Promise<AsyncIterable<Uint8Array> | null> {
    const stop = AbortSignal.any([signal, closing.signal]);
    const one = await alone(stop);
    if (uidValidity === undefined || uidValidity === one.session.uidValidity)
      return readThenEnd(one, uid, { ...limits, maxBytes: null }, stop);
    await one.end();
    const advice = "What is still there has been seen again, under a new UID.";
    throw permanent("imap.renumbered", `Folder ${folder} of ${name} has got another UIDVALIDITY since UID ${uid} was seen.`, advice);
  }

  async function* list(signal: AbortSignal): AsyncGenerator<Listing, void, undefined> {
    const stop = AbortSignal.any([signal, closing.signal]);
    const { session, end } = await alone(stop);
    const drop = () => session.client.close();
    stop.addEventListener("abort", drop, { once: true });
    try {
      const { uidValidity } = session;
      for await (const messages of listed(
        (work) => work(session),
        () => 0,
      ))
        yield { uidValidity, messages };
    } catch (thrown) {
      throw stop.aborted ? new Fault("imap.stopped", `Listing ${name} was stopped.`) : session.fault(thrown);
    } finally {
      stop.removeEventListener("abort", drop);
      await end();
    }
  }

  async function close(): Promise<void> {
    if (closing.signal.aborted) return;
    closing.abort();
    await account.release();
  }

  function sweep(): void {
    anew = true;
    account.hurry();
    bell.ring();
  }

  function stall(why: Fault | null): void {
    stalled = why;
  }

  return { name, arrivals, stall, sweep, settle, read, list, probe, freshness: () => ({ sweptAt, trouble: trouble ?? stalled }), close };
}

/** A bell anyone may ring; rung once it stays rung until it is reset, so that nothing is missed. */
function createBell() {
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
    heard: () => waiting.promise,
  };
}

function orStopped<T>(work: Promise<T>, signal: AbortSignal, mailbox: string): Promise<T> {
  return unlessAborted(work, signal, () => new Fault("imap.stopped", `Work in ${mailbox} was stopped.`));
}
