/** One sweep of an open folder: what is above the cursor is listed, fetched in batches bounded by bytes, and yielded in UID order. */
import type { Clock } from "../../base/clock.ts";
import { Fault, permanent } from "../../base/errors.ts";
import type { Cursor, Listed, Origin, Sight } from "../source.ts";
import type { Session } from "./connect.ts";
import { isPassing, isRefusal } from "./faults.ts";
import { listed } from "./list.ts";
import { fetchPiece, gone, type Lend, piecesFrom, type Reach, rows, sizeOf, tooLarge } from "./read.ts";

/** What one watcher remembers from sweep to sweep, connection to connection. */
export type Reading = {
  cursor: Cursor;
  /** What is not wanted is passed over. */
  readonly wants: (uid: number) => boolean;
  /** How often in a row a message could not be read, by UID. */
  readonly strikes: Map<number, number>;
  /** A batch broke the connection: up to this UID messages are fetched one by one, so that the guilty one is found. */
  singlyUntil: number;
  /** The session the folder was looked through on last; on another one it may have changed unheard. */
  seen: Session | null;
  /** The same, if that was done to the end, and to the last UID that was given. */
  swept: Session | null;
  /** How often in a row a sweep was a glance at a folder in which nothing had happened. */
  glances: number;
  /** UIDs were given twice under one UIDVALIDITY before. */
  rewound: boolean;
};

/** Of a watcher that has looked at nothing yet. */
export function newReading(wants: (uid: number) => boolean): Reading {
  const cursor: Cursor = { uidValidity: "", uid: 0, since: null, until: 0 };
  return { cursor, wants, strikes: new Map(), singlyUntil: 0, seen: null, swept: null, glances: 0, rewound: false };
}

export type Limits = Reach & {
  readonly mailbox: string;
  /** Most bytes fetched by one command and held in memory; asked anew for each. */
  readonly batchBytes: () => number;
  readonly fault: (thrown: unknown) => Fault;
};

/** Keeps a command line under the 8,000 octets every server takes. */
const MOST_IN_A_BATCH = 250;
const TRIES = 3;

/**
 * Moves `reading.cursor` on when the consumer asks for the next sight. The folder is lent for one command after the other and never
 * across a sight, so a slow consumer holds up nobody. Throws when the connection, or a message, fails.
 */
export async function* sweep(lend: Lend, reading: Reading, limits: Limits, clock: Clock): AsyncGenerator<Sight, void, undefined> {
  let at: Date | null = null;
  let highest = 0;
  reading.swept = null;
  reading.glances = 0;
  const look: Lend = (work) =>
    lend((session) => {
      at ??= clock.now();
      reading.seen = session;
      return work(session);
    });
  for await (const part of listed(look, () => reading.cursor.uid)) {
    const mine = part.filter((message) => !isOld(message, reading.cursor) && reading.wants(message.uid));
    for (const batch of batches(mine, limits)) {
      const whole = await fetchBatch(lend, batch, reading, limits);
      for (const message of batch) {
        yield* readOne(lend, message, whole.get(message.uid) ?? null, reading, limits);
        whole.delete(message.uid);
      }
    }
    highest = part.at(-1)?.uid ?? highest;
  }
  const cursor = { ...reading.cursor, uid: Math.max(reading.cursor.uid, highest) };
  yield { is: "swept", cursor, at: at ?? clock.now() };
  reading.cursor = cursor;
  // What is above and was not listed may only be late.
  const { seen } = reading;
  reading.swept = seen !== null && cursor.uid >= seen.uidNext - 1 ? seen : null;
}

async function* readOne(
  lend: Lend,
  message: Listed,
  whole: Uint8Array | null,
  reading: Reading,
  limits: Limits,
): AsyncGenerator<Sight, void, undefined> {
  const { uid, receivedAt } = message;
  const origin: Origin = { mailbox: limits.mailbox, uidValidity: reading.cursor.uidValidity, uid };
  const cursor = { ...reading.cursor, uid };
  const strikes = reading.strikes.get(uid) ?? 0;
  // A server in trouble refuses every message. Only while another one can be read is it this message's own fault.
  const others = strikes + 1 >= TRIES && whole === null ? await lend((session) => othersCanBeRead(session, uid)) : "not asked";
  const body: { failure: unknown } = { failure: null };
  try {
    const size = whole?.length ?? message.size;
    if (limits.maxBytes !== null && size > limits.maxBytes) throw tooLarge(uid, size, limits.folder, limits.maxBytes);
    const first = whole ?? (await lend((session) => fetchPiece(session, uid, 0, limits.wholeBytes)));
    if (first === null) throw gone(uid, limits.folder);
    const pieces = whole === null ? piecesFrom(lend, message, first, limits) : once(whole);
    yield { is: "arrival", arrival: { origin, receivedAt, size, bytes: told(pieces, limits, body) }, cursor };
    if (body.failure !== null) throw body.failure;
    reading.strikes.delete(uid);
  } catch (caught) {
    const isGone = caught instanceof Fault && caught.code === "imap.gone";
    if (isGone && (await lend((session) => sizeOf(session, uid))) === null) return;
    const thrown = isGone ? new Fault("imap.refused", "The server lists the message and sends nothing of it.") : caught;
    reading.strikes.set(uid, strikes + 1);
    const fault = givenUp(thrown, uid, others, body.failure !== null, limits);
    if (fault === null) throw thrown;
    yield { is: "unreadable", origin, fault, cursor };
    reading.strikes.delete(uid);
  }
  reading.cursor = cursor;
}

function isOld(message: Listed, cursor: Cursor): boolean {
  if (cursor.since === null || message.receivedAt === null || message.uid > cursor.until) return false;
  return Date.parse(message.receivedAt) < Date.parse(cursor.since);
}

/** Runs of small messages, in order; a large one, too large or not, or one of unknown size, stands alone. */
function* batches(listed: readonly Listed[], limits: Limits): Generator<readonly Listed[]> {
  let batch: Listed[] = [];
  let bytes = 0;
  for (const message of listed) {
    const alone = isLarge(message, limits);
    if (batch.length > 0 && (alone || batch.length === MOST_IN_A_BATCH || bytes + message.size > limits.batchBytes())) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    if (alone) {
      yield [message];
    } else {
      batch.push(message);
      bytes += message.size;
    }
  }
  if (batch.length > 0) yield batch;
}

function isLarge(message: Listed, limits: Limits): boolean {
  return message.size === 0 || message.size > limits.wholeBytes || message.size > (limits.maxBytes ?? message.size);
}

/** The messages of a batch the server gave; those missing are asked for one by one. */
async function fetchBatch(lend: Lend, batch: readonly Listed[], reading: Reading, limits: Limits): Promise<Map<number, Uint8Array>> {
  const got = new Map<number, Uint8Array>();
  const [first] = batch;
  if (first === undefined || isLarge(first, limits) || first.uid <= reading.singlyUntil) return got;
  const wanted = new Set(batch.map((message) => message.uid));
  try {
    await lend(async (session) => {
      for await (const row of rows(session, uidSet([...wanted]), { uid: true, source: true })) {
        if (row.source && wanted.has(row.uid)) got.set(row.uid, row.source);
      }
    });
  } catch (thrown) {
    if (!isRefusal(thrown)) reading.singlyUntil = batch.at(-1)?.uid ?? 0;
    if (!isRefusal(thrown) || isPassing(thrown)) throw thrown;
  }
  return got;
}

/** `1:3,7,9:10` (RFC 9051 section 9, sequence-set). */
export function uidSet(uids: readonly number[]): string {
  const ranges: [number, number][] = [];
  for (const uid of uids) {
    const last = ranges.at(-1);
    if (last !== undefined && last[1] === uid - 1) last[1] = uid;
    else ranges.push([uid, uid]);
  }
  return ranges.map(([from, to]) => (from === to ? `${from}` : `${from}:${to}`)).join(",");
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}

/** The body as its reader sees it: failures are Faults, and remembered for the sweep. */
async function* told(
  pieces: AsyncIterable<Uint8Array>,
  limits: Limits,
  body: { failure: unknown },
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* pieces;
  } catch (thrown) {
    body.failure = thrown;
    throw limits.fault(thrown);
  }
}

/** Whether another message can be read; not asked before this one has failed often enough. */
type Others = "yes" | "no" | "there are none" | "not asked";

async function othersCanBeRead(session: Session, uid: number): Promise<Others> {
  if (session.exists() <= 1) return "there are none";
  for (const sequence of ["1", "*"]) {
    try {
      const query = { uid: true, source: { start: 0, maxLength: 1 } };
      for await (const row of rows(session, sequence, query, false)) if (row.uid !== uid && row.source) return "yes";
    } catch (thrown) {
      if (!isRefusal(thrown)) throw thrown;
    }
  }
  return "no";
}

/** The fault of a message that is given up, null when it is to be tried again. */
function givenUp(thrown: unknown, uid: number, others: Others, inBody: boolean, limits: Limits): Fault | null {
  if (thrown instanceof Fault && thrown.code === "imap.too-large") return thrown;
  const itsOwnFault = isRefusal(thrown) && !isPassing(thrown) ? others === "yes" || others === "there are none" : others === "yes";
  // A connection cut in the middle of a body proves nothing: bytes were coming.
  if (!itsOwnFault || (inBody && !isRefusal(thrown))) return null;
  const said = limits.fault(thrown).message;
  const advice =
    "Open it in a mail program; if it can be read there, forward it to this mailbox. `billhook retry u<number>` asks for it again.";
  return permanent("imap.unreadable", `Message UID ${uid} of ${limits.folder} cannot be read, others can. ${said}`, advice);
}
