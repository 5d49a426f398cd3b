/** Receiving: an arrival's bytes go to the spool, then the ledger; only then is the mailbox's cursor past it. */
import { recordOf } from "../base/errors.ts";
import type { Sight } from "../source/source.ts";
import type { Event } from "../store/record.ts";
import type { Works } from "./step.ts";

/**
 * Makes one sight durable. Resolves with the event to tell, or null for a finished sweep. Throws a Fault when it could not be
 * made durable: the cursor has not moved, and the same arrival is seen again.
 */
export async function receive(sight: Sight, mailbox: string, works: Pick<Works, "ledger" | "spool" | "clock">): Promise<Event | null> {
  const { ledger, spool, clock } = works;
  switch (sight.is) {
    case "arrival": {
      const { sha256, size } = await spool.keep("raw")(sight.arrival.bytes);
      const { origin, receivedAt } = sight.arrival;
      const received = await ledger.receive({ blob: { sha256, size }, origin, receivedAt, cursor: sight.cursor, now: clock.now() });
      return received.event;
    }
    case "unreadable":
      return ledger.receiveUnreadable({ origin: sight.origin, fault: recordOf(sight.fault), cursor: sight.cursor, now: clock.now() });
    case "swept":
      await ledger.swept(mailbox, sight.cursor, sight.at);
      return null;
  }
}
