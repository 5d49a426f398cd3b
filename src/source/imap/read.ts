/** The bytes of one message, in pieces and without a trace in the mailbox (BODY.PEEK[]). */
import type { FetchMessageObject, FetchQueryObject } from "imapflow";
import { Fault, permanent } from "../../base/errors.ts";
import type { Session } from "./connect.ts";

export type Reach = {
  readonly folder: string;
  /** A message above this is read in pieces of this size. */
  readonly wholeBytes: number;
  /** A message above this is not read at all; null: any is. */
  readonly maxBytes: number | null;
};

/** It stays where it is until a person wants it fetched. */
export function tooLarge(uid: number, bytes: number, folder: string, most: number): Fault {
  const size = `has ${bytes} bytes or more, and ${most} is the most that is read`;
  const advice = "It is still in the mailbox: see `billhook list --state unread`; `billhook retry u<number>` fetches it after all.";
  return permanent("imap.too-large", `Message UID ${uid} of ${folder} ${size}.`, advice);
}

/** Lends the folder, open, for as long as the work takes: each time it may be on another connection. */
export type Lend = <T>(work: (session: Session) => Promise<T>) => Promise<T>;

type Alone = { readonly session: Session; readonly end: () => Promise<void> };

/** One message by its UID, null when there is none. The session ends with the iteration, at an abort, and when this does not give bytes. */
export async function readThenEnd(
  { session, end: endSession }: Alone,
  uid: number,
  reach: Reach,
  stop: AbortSignal,
): Promise<AsyncIterable<Uint8Array> | null> {
  const close = () => session.client.close();
  stop.addEventListener("abort", close, { once: true });
  if (stop.aborted) close();
  const end = async () => {
    stop.removeEventListener("abort", close);
    await endSession();
  };
  const fault = (thrown: unknown) =>
    stop.aborted ? new Fault("imap.stopped", `Reading from folder ${reach.folder} was stopped.`) : session.fault(thrown);
  try {
    // FETCH on an empty folder is a BAD on some servers.
    const size = session.exists() === 0 ? null : await sizeOf(session, uid);
    const first = size === null ? null : await fetchPiece(session, uid, 0, reach.wholeBytes);
    if (size !== null && first !== null)
      return endingWith(
        piecesFrom((work) => work(session), { uid, size }, first, reach),
        fault,
        end,
      );
  } catch (thrown) {
    const told = fault(thrown);
    await end();
    throw told;
  }
  await end();
  return null;
}

async function* endingWith(
  pieces: AsyncIterable<Uint8Array>,
  fault: (thrown: unknown) => Fault,
  end: () => Promise<void>,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* pieces;
  } catch (thrown) {
    throw fault(thrown);
  } finally {
    await end();
  }
}

/** It was expunged, or its server keeps it back. */
export function gone(uid: number, folder: string): Fault {
  return new Fault("imap.gone", `Message UID ${uid} of ${folder} disappeared while it was read.`);
}

/** RFC822.SIZE, 0 where the server does not say; null when there is no such message. */
export async function sizeOf(session: Session, uid: number): Promise<number | null> {
  let size: number | null = null;
  for await (const row of rows(session, `${uid}`, { uid: true, size: true })) if (row.uid === uid) size = row.size ?? size ?? 0;
  return size;
}

/** Bytes of one message from `start` on; empty past its end, null when there is no such message any more. */
export async function fetchPiece(session: Session, uid: number, start: number, length: number): Promise<Uint8Array | null> {
  let seen = false;
  let piece: Uint8Array | null = null;
  for await (const row of rows(session, `${uid}`, { uid: true, source: { start, maxLength: length } })) {
    if (row.uid !== uid) continue;
    seen = true;
    if (row.source) piece = row.source;
  }
  if (piece !== null || (!seen && !(await isThere(session, uid)))) return piece;
  if (seen && start > 0) return new Uint8Array(0);
  throw new Fault("imap.refused", "The server lists the message and sends no body for it.");
}

/** An answer without a row does not say that the message is gone: some servers leave out what they cannot read. */
async function isThere(session: Session, uid: number): Promise<boolean> {
  let found = false;
  for await (const row of rows(session, `${uid}`, { uid: true })) found ||= row.uid === uid;
  return found;
}

export async function* piecesFrom(
  lend: Lend,
  message: { readonly uid: number; readonly size: number },
  first: Uint8Array,
  reach: Reach,
): AsyncGenerator<Uint8Array, void, undefined> {
  // RFC822.SIZE may be wrong, and a server that ignores partial FETCH would send the first piece for ever.
  const most = message.size === 0 ? Number.MAX_SAFE_INTEGER : message.size * 2 + reach.wholeBytes;
  let read = 0;
  for (let piece: Uint8Array | null = first; ; ) {
    if (piece === null) throw gone(message.uid, reach.folder);
    if (piece.length > 0) yield piece;
    read += piece.length;
    if (piece.length !== reach.wholeBytes) return;
    if (reach.maxBytes !== null && read > reach.maxBytes) throw tooLarge(message.uid, read, reach.folder, reach.maxBytes);
    if (read > most) throw new Fault("imap.refused", "The server sends more than twice the size it told for the message.");
    const start = read;
    piece = await lend((session) => fetchPiece(session, message.uid, start, reach.wholeBytes));
  }
}

/** Commands inside a `for await` over this would wait for ever. */
export async function* rows(
  session: Session,
  range: string,
  query: FetchQueryObject,
  uid = true,
): AsyncGenerator<FetchMessageObject, void, undefined> {
  session.check();
  yield* session.client.fetch(range, query, { uid });
  session.check();
}
