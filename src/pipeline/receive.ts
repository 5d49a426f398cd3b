/** Receiving: an arrival's bytes go to the spool, then the ledger; only then is the mailbox's cursor past it. */
import { asFault, Fault, permanent, recordOf } from "../base/errors.ts";
import type { Sight, Source } from "../source/source.ts";
import type { ArrivalRecord } from "../store/mail.ts";
import type { Event } from "../store/record.ts";
import type { Arriving, Spool } from "../store/store.ts";
import type { Works } from "./step.ts";

type Place = Pick<Works, "ledger" | "spool" | "clock" | "passing">;

/**
 * Makes one sight durable. Resolves with the event to tell, or null for a finished sweep. Throws a Fault when it could not be
 * made durable: the cursor has not moved, and the same arrival is seen again.
 */
export async function receive(sight: Sight, mailbox: string, works: Place): Promise<Event | null> {
  const { ledger, clock, passing } = works;
  switch (sight.is) {
    case "arrival": {
      const [event = null] = await receiveAll([await keep(sight, works).kept], works);
      return event;
    }
    case "unreadable":
      return ledger.receiveUnreadable({ origin: sight.origin, fault: recordOf(sight.fault), cursor: sight.cursor, now: clock.now() });
    case "swept":
      passing?.("sweep done", mailbox);
      await ledger.swept(mailbox, sight.cursor, sight.at);
      passing?.("sweep saved", mailbox);
      return null;
  }
}

/** An arrival's bytes on their way into the spool. */
export type Keeping = {
  /** The source has no more to do with them: it may be asked for the next sight. Never rejects. */
  readonly read: Promise<void>;
  /** They are durable. Rejects with what the mailbox or the spool threw. */
  readonly kept: Promise<Kept>;
};

/** An arrival whose bytes are safe. */
export type Kept = Omit<Arriving, "now">;

/** Begins to make an arrival's bytes durable; the ledger is told by `receiveAll`. */
export function keep({ arrival, cursor }: Extract<Sight, { is: "arrival" }>, { spool, passing }: Place): Keeping {
  const { origin, receivedAt, bytes } = arrival;
  const read = Promise.withResolvers<void>();
  async function* watched() {
    try {
      yield* bytes;
    } finally {
      read.resolve();
    }
  }
  passing?.("receive taken", subjectOf(origin));
  const kept = spool
    .keep("raw")(watched())
    .then(({ sha256, size }): Kept => {
      passing?.("receive kept", subjectOf(origin));
      return { blob: { sha256, size }, origin, receivedAt, cursor };
    });
  // A spool may fail before the first byte is read, and before anybody waits for `kept`.
  kept.catch(() => read.resolve());
  return { read: read.promise, kept };
}

/** Arrivals whose bytes are safe, in the order they were seen: all at once, or none. Throws a Fault of the ledger. */
export async function receiveAll(kept: readonly Kept[], { ledger, clock, passing }: Place): Promise<readonly Event[]> {
  const now = clock.now();
  const events = await allOrEach(
    kept.map((one) => ({ ...one, now })),
    ledger,
  );
  for (const { origin } of kept) passing?.("receive saved", subjectOf(origin));
  return events;
}

/** What the ledger never takes becomes a record without bytes, and keeps no other out. */
async function allOrEach(arriving: readonly Arriving[], ledger: Place["ledger"]): Promise<readonly Event[]> {
  try {
    return (await ledger.receiveAll(arriving)).map(({ event }) => event);
  } catch (thrown) {
    if (!isRefusal(thrown)) throw thrown;
  }
  const events: Event[] = [];
  for (const one of arriving) {
    try {
      events.push((await ledger.receive(one)).event);
    } catch (thrown) {
      if (!isRefusal(thrown)) throw thrown;
      events.push(await ledger.receiveUnreadable({ ...one, fault: recordOf(thrown) }));
    }
  }
  return events;
}

function isRefusal(thrown: unknown): thrown is Fault {
  return thrown instanceof Fault && thrown.code === "ledger.refused";
}

function subjectOf({ mailbox, uid }: Arriving["origin"]): string {
  return `${mailbox}/${uid}`;
}

/**
 * Fetches, of whatever size, what a person wants after all. What cannot be had stays a record without bytes, says why, and is wanted no
 * more. Throws a Fault when the ledger fails or the signal is aborted: what is left is still wanted then.
 */
export async function receiveWanted(source: Source, works: Place, signal: AbortSignal, tell: (event: Event) => void): Promise<void> {
  for (const [index, arrival] of (await works.ledger.wanted(source.name)).entries()) {
    if (index > 0) await works.clock.sleep(BETWEEN_MS, signal);
    tell(await receiveOne(arrival, source, works, signal));
  }
}

/** Each of them is a login. */
const BETWEEN_MS = 2_000;

async function receiveOne({ id, origin, receivedAt }: ArrivalRecord, source: Source, works: Place, signal: AbortSignal): Promise<Event> {
  const { ledger, spool, clock } = works;
  try {
    const bytes = await source.read(origin.uid, signal, origin.uidValidity);
    if (bytes === null) throw gone(origin);
    const { sha256, size } = await spool.keep("raw")(whileThereIsRoom(bytes, spool));
    return (await ledger.receive({ blob: { sha256, size }, origin, receivedAt, cursor: null, now: clock.now() })).event;
  } catch (thrown) {
    const fault = asFault(thrown, "receive.failed");
    if (signal.aborted || (fault.code.startsWith("ledger.") && !isRefusal(fault))) throw fault;
    const advice = fault.temporary ? `\`billhook retry u${id}\` tries once more` : fault.advice;
    return ledger.receiveUnreadable({ origin, fault: { ...recordOf(fault), advice }, cursor: null, now: clock.now() });
  }
}

function gone({ mailbox, uid }: Arriving["origin"]): Fault {
  const advice = "If somebody moved it, put it back: it is then seen as new mail.";
  return permanent("receive.gone", `Message UID ${uid} is no longer in the folder of ${mailbox}.`, advice);
}

/** How much is coming is not known. */
async function* whileThereIsRoom(bytes: AsyncIterable<Uint8Array>, spool: Spool): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const piece of bytes) {
    const why = await spool.room(piece.length);
    if (why !== null) throw why;
    yield piece;
  }
}

/** Bytes failing on their way are the source's to repeat; a failing disk or ledger is ours, and the mailbox is read again from the cursor. */
export function isOurs({ code }: Fault): boolean {
  return code.startsWith("spool.") || code.startsWith("ledger.") || code === "receive.failed";
}
