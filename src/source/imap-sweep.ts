/** One sweep of an open folder: what is above the cursor is listed, fetched in batches bounded by bytes, and yielded in UID order. */
import type { Clock } from "../base/clock.ts";
import { Fault, permanent } from "../base/errors.ts";
import type { Session } from "./imap-connect.ts";
import { isPassing, isRefusal } from "./imap-faults.ts";
import { fetchPiece, piecesFrom, type Reach, rows } from "./imap-read.ts";
import type { Cursor, Origin, Sight } from "./source.ts";

/** What one watcher remembers from sweep to sweep, connection to connection. */
export type Reading = {
  cursor: Cursor;
  /** How often in a row a message could not be read, by UID. */
  readonly strikes: Map<number, number>;
  /** A batch broke the connection: up to this UID messages are fetched one by one, so that the guilty one is found. */
  singlyUntil: number;
};

export type Limits = Reach & {
  readonly mailbox: string;
  /** Most bytes fetched by one command and held in memory. */
  readonly batchBytes: number;
};

type Listed = { readonly uid: number; readonly size: number; readonly receivedAt: string | null };

/** Keeps a command line under the 8,000 octets every server takes. */
const MOST_IN_A_BATCH = 250;
const TRIES = 3;

/** Moves `reading.cursor` on when the consumer asks for the next sight. Throws when the connection, or a message, fails. */
export async function* sweep(session: Session, reading: Reading, limits: Limits, clock: Clock): AsyncGenerator<Sight, void, undefined> {
  const at = clock.now();
  const listed = await list(session, reading.cursor);
  const mine = listed.filter((message) => !isOld(message, reading.cursor));
  for (const batch of batches(mine, limits)) {
    const whole = await fetchBatch(session, batch, reading, limits);
    for (const message of batch) {
      yield* readOne(session, message, whole.get(message.uid) ?? null, reading, limits);
      whole.delete(message.uid);
    }
  }
  const highest = listed.at(-1)?.uid ?? 0;
  const cursor = { ...reading.cursor, uid: Math.max(reading.cursor.uid, highest) };
  yield { is: "swept", cursor, at };
  reading.cursor = cursor;
}

async function* readOne(
  session: Session,
  message: Listed,
  whole: Uint8Array | null,
  reading: Reading,
  limits: Limits,
): AsyncGenerator<Sight, void, undefined> {
  const { uid, receivedAt } = message;
  const origin: Origin = { mailbox: limits.mailbox, uidValidity: session.uidValidity, uid };
  const cursor = { ...reading.cursor, uid };
  const strikes = reading.strikes.get(uid) ?? 0;
  // A server in trouble refuses every message. Only while another one can be read is it this message's own fault.
  const others = strikes + 1 >= TRIES && whole === null ? await othersCanBeRead(session, uid) : "not asked";
  const body: { failure: unknown } = { failure: null };
  try {
    const first = whole ?? (await fetchPiece(session, uid, 0, limits.wholeBytes));
    if (first === null) return;
    const pieces = whole === null ? piecesFrom(session, message, first, limits) : once(whole);
    yield { is: "arrival", arrival: { origin, receivedAt, bytes: told(pieces, session, body) }, cursor };
    if (body.failure !== null) throw body.failure;
    reading.strikes.delete(uid);
  } catch (thrown) {
    if (thrown instanceof Fault && thrown.code === "imap.gone") return;
    reading.strikes.set(uid, strikes + 1);
    const itsOwnFault = isRefusal(thrown) && !isPassing(thrown) ? others === "yes" || others === "there are none" : others === "yes";
    // A connection cut in the middle of a body proves nothing: bytes were coming.
    if (!itsOwnFault || (body.failure !== null && !isRefusal(thrown))) throw thrown;
    const said = session.fault(thrown).message;
    const advice = "Open it in a mail program; if it can be read there, forward it to this mailbox.";
    const fault = permanent("imap.unreadable", `Message UID ${uid} of ${limits.folder} cannot be read, others can. ${said}`, advice);
    yield { is: "unreadable", origin, fault, cursor };
    reading.strikes.delete(uid);
  }
  reading.cursor = cursor;
}

async function list(session: Session, cursor: Cursor): Promise<readonly Listed[]> {
  // FETCH on an empty folder is a BAD on some servers; NOOP lets them say that it no longer is.
  if (session.exists() === 0) await session.client.noop();
  session.check();
  if (session.exists() === 0) return [];
  const found = new Map<number, Listed>();
  for await (const row of rows(session, `${cursor.uid + 1}:*`, { uid: true, internalDate: true, size: true })) {
    // `n:*` always names the last message, and rows about flags come uninvited.
    if (row.uid <= cursor.uid || (found.has(row.uid) && row.size === undefined)) continue;
    const receivedAt = row.internalDate instanceof Date ? row.internalDate.toISOString() : null;
    found.set(row.uid, { uid: row.uid, size: row.size ?? 0, receivedAt });
  }
  return [...found.values()].sort((a, b) => a.uid - b.uid);
}

function isOld(message: Listed, cursor: Cursor): boolean {
  if (cursor.since === null || message.receivedAt === null || message.uid > cursor.until) return false;
  return Date.parse(message.receivedAt) < Date.parse(cursor.since);
}

/** Runs of small messages, in order; a large one, or one of unknown size, stands alone. */
function* batches(listed: readonly Listed[], limits: Limits): Generator<readonly Listed[]> {
  let batch: Listed[] = [];
  let bytes = 0;
  for (const message of listed) {
    const alone = isLarge(message, limits);
    if (batch.length > 0 && (alone || batch.length === MOST_IN_A_BATCH || bytes + message.size > limits.batchBytes)) {
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
  return message.size === 0 || message.size > limits.wholeBytes;
}

/** The messages of a batch the server gave; those missing are asked for one by one. */
async function fetchBatch(session: Session, batch: readonly Listed[], reading: Reading, limits: Limits): Promise<Map<number, Uint8Array>> {
  const got = new Map<number, Uint8Array>();
  const [first] = batch;
  if (first === undefined || isLarge(first, limits) || first.uid <= reading.singlyUntil) return got;
  const wanted = new Set(batch.map((message) => message.uid));
  try {
    for await (const row of rows(session, uidSet([...wanted]), { uid: true, source: true })) {
      if (row.source && wanted.has(row.uid)) got.set(row.uid, row.source);
    }
  } catch (thrown) {
    if (!isRefusal(thrown)) {
      reading.singlyUntil = batch.at(-1)?.uid ?? 0;
      throw thrown;
    }
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
  session: Session,
  body: { failure: unknown },
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* pieces;
  } catch (thrown) {
    body.failure = thrown;
    throw session.fault(thrown);
  }
}

async function othersCanBeRead(session: Session, uid: number): Promise<"yes" | "no" | "there are none"> {
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
