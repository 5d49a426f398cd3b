/** What is in an open folder: UID, size and date of each message, asked for in parts so that a large folder is never listed whole. */

import type { Listed } from "../source.ts";
import type { Session } from "./connect.ts";
import { type Lend, rows } from "./read.ts";

/** About as many messages as one command lists. */
const PART = 5_000;
const HIGHEST_UID = 4_294_967_295;

/**
 * The messages above a UID in parts, each in UID order; where UIDs have gaps, a command reaches further. `above` is asked when the folder is
 * open.
 */
export async function* listed(lend: Lend, above: () => number): AsyncGenerator<readonly Listed[], void, undefined> {
  let span = PART;
  for (let next: number | null = null; next === null || next <= HIGHEST_UID; ) {
    const part = await lend(async (session) => {
      const first = next ?? above() + 1;
      const last = first + span - 1;
      // UIDNEXT is as old as the session: what came since is at the end, and so is everything where it is wrong.
      const isEnd = session.exists() <= PART || last >= session.uidNext - 1;
      return { isEnd, last, messages: await list(session, first, isEnd ? "*" : `${last}`) };
    });
    yield part.messages;
    if (part.isEnd) return;
    next = part.last + 1;
    span = part.messages.length < PART / 4 ? span * 2 : PART;
  }
}

async function list(session: Session, from: number, to: string): Promise<readonly Listed[]> {
  // FETCH on an empty folder is a BAD on some servers; NOOP lets them say that it no longer is.
  if (session.exists() === 0) await session.client.noop();
  session.check();
  if (session.exists() === 0) return [];
  const found = new Map<number, Listed>();
  for await (const row of rows(session, `${from}:${to}`, { uid: true, internalDate: true, size: true })) {
    // `n:*` always names the last message, and rows about flags come uninvited, some without a UID.
    if (!(row.uid >= from) || (found.has(row.uid) && row.size === undefined)) continue;
    const receivedAt = row.internalDate instanceof Date ? row.internalDate.toISOString() : null;
    found.set(row.uid, { uid: row.uid, size: row.size ?? 0, receivedAt });
  }
  return [...found.values()].sort((a, b) => a.uid - b.uid);
}
