/** The backfill: old mail of a mailbox is taken in beside the daemon's intake, and how far the mailbox has been read stays as it is. */
import type { Clock } from "../base/clock.ts";
import { asFault, Fault, permanent, recordOf } from "../base/errors.ts";
import type { Works } from "../pipeline/step.ts";
import type { Sight, Source } from "../source/source.ts";
import type { Ledger } from "../store/store.ts";

/** By INTERNALDATE; `before` null: up to now. */
export type Period = { readonly since: Date; readonly before: Date | null };

export type Plan = {
  readonly uidValidity: string;
  /** What came in the period and is not in the ledger, ascending, with its size. */
  readonly wanted: ReadonlyMap<number, number>;
  readonly bytes: number;
  /** What came in the period and is in the ledger. */
  readonly known: number;
};

export type Tally = {
  readonly taken: number;
  /** Their bytes were in the ledger, from another place. */
  readonly known: number;
  readonly tooLarge: number;
  readonly unreadable: number;
  /** Sum of the sizes of all of these. */
  readonly bytes: number;
};

/** A message without INTERNALDATE counts as of the period. Throws a Fault when the mailbox cannot be listed. */
export async function planBackfill(
  { name, list }: Pick<Source, "name" | "list">,
  period: Period,
  ledger: Pick<Ledger, "uids">,
  signal: AbortSignal,
): Promise<Plan> {
  const wanted = new Map<number, number>();
  let [uidValidity, known, bytes] = ["", 0, 0];
  let inLedger: ReadonlySet<number> = new Set();
  for await (const part of list(signal)) {
    if (uidValidity !== part.uidValidity) inLedger = new Set(await ledger.uids(name, part.uidValidity));
    uidValidity = part.uidValidity;
    for (const { uid, size, receivedAt } of part.messages) {
      if (!isWithin(period, receivedAt)) continue;
      if (inLedger.has(uid)) {
        known += 1;
        continue;
      }
      wanted.set(uid, size);
      bytes += size;
    }
  }
  return { uidValidity, wanted, bytes, known };
}

function isWithin({ since, before }: Period, receivedAt: string | null): boolean {
  if (receivedAt === null) return true;
  const at = new Date(receivedAt);
  return at >= since && (before === null || at < before);
}

export type BackfillOptions = {
  readonly source: Source;
  readonly plan: Plan;
  readonly works: Pick<Works, "ledger" | "spool">;
  /** After each message. */
  readonly tell: (tally: Tally) => void;
  readonly clock: Clock;
};

/** A daemon that starts meanwhile removes files that are not finished, and whoever writes to the ledger may keep us waiting. */
const TRIES = 5;
const PAUSE_MS = 1_000;
/** Far below what the daemon's own intake stops at. */
const MOST_UNSPLIT = 1_000;

/**
 * What it takes comes after what comes by itself, and it waits while the daemon has much to split. Resolves when everything wanted that is
 * still there is in the ledger, or the signal is aborted: planned again, it goes on from there. What the mailbox fails at is repeated by the
 * source for as long as it takes. Throws `backfill.renumbered`, and the Fault of a disk or ledger that fails five times in a row, or is full.
 */
export async function backfill({ source, plan, works, tell, clock }: BackfillOptions, signal: AbortSignal): Promise<Tally> {
  const { uidValidity, wanted } = plan;
  let tally: Tally = { taken: 0, known: 0, tooLarge: 0, unreadable: 0, bytes: 0 };
  const [first, last] = [wanted.keys().next().value ?? 0, [...wanted.keys()].at(-1) ?? 0];
  let read = first - 1;
  for (let failures = 0; read < last && !signal.aborted; ) {
    try {
      for await (const sight of source.arrivals({ uidValidity, uid: read, since: null, until: 0 }, signal, (uid) => wanted.has(uid))) {
        if (sight.cursor.uidValidity !== uidValidity) throw renumbered(source.name);
        if (sight.is === "swept" || sight.cursor.uid > last) return tally;
        const became = await take(sight, works, clock, signal);
        if (became === null) continue;
        tally = { ...tally, [became]: tally[became] + 1, bytes: tally.bytes + (wanted.get(sight.cursor.uid) ?? 0) };
        tell(tally);
        read = sight.cursor.uid;
        failures = 0;
        if (read === last) return tally;
      }
    } catch (thrown) {
      const fault = asFault(thrown, "backfill.failed");
      if (!fault.temporary || /\.(full|low)$/.test(fault.code) || ++failures === TRIES) throw fault;
      await clock.sleep(PAUSE_MS, signal);
    }
  }
  return tally;
}

type Became = Exclude<keyof Tally, "bytes">;

/** Null: its bytes failed on their way, and the source will show it again. */
async function take(
  sight: Exclude<Sight, { is: "swept" }>,
  { ledger, spool }: BackfillOptions["works"],
  clock: Clock,
  signal: AbortSignal,
): Promise<Became | null> {
  if (sight.is === "unreadable") {
    await ledger.receiveUnreadable({ origin: sight.origin, fault: recordOf(sight.fault), cursor: null, now: clock.now() });
    return sight.fault.code === "imap.too-large" ? "tooLarge" : "unreadable";
  }
  const { origin, receivedAt, size, bytes } = sight.arrival;
  // Without a daemon nothing is split, and nothing to wait for.
  while (!signal.aborted && (await ledger.unsplit()) >= MOST_UNSPLIT && (await ledger.held())) await clock.sleep(PAUSE_MS, signal);
  if (signal.aborted) return null;
  const low = await spool.room(size);
  if (low !== null) throw low;
  try {
    const { sha256, size } = await spool.keep("raw")(bytes);
    const received = await ledger.receive({ blob: { sha256, size }, origin, receivedAt, cursor: null, rank: 1, now: clock.now() });
    return received.isNew ? "taken" : "known";
  } catch (thrown) {
    if (thrown instanceof Fault && thrown.code.startsWith("imap.")) return null;
    throw thrown;
  }
}

function renumbered(mailbox: string): Fault {
  const advice = "run it again: what was taken in is known by its bytes";
  return permanent("backfill.renumbered", `mailbox ${mailbox} has got another UIDVALIDITY since it was looked through`, advice);
}
