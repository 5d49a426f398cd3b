/** A glance at a folder that is not open: whether anything has come of it since it was opened last (STATUS, RFC 9051 section 6.3.11). */
import type { ImapFlow } from "imapflow";
import type { Clock } from "../../base/clock.ts";
import type { Session } from "./connect.ts";

/**
 * `untouched`: nothing at all has happened there, by UIDVALIDITY, UIDNEXT and HIGHESTMODSEQ (RFC 7162 section 3.1.2.1), so only a server
 * with CONDSTORE can say it. `news`: UIDs were given since, or given anew. `unclear`: neither, or the server does not say.
 * `told` is all that it said, as one text.
 */
export type Glance = { readonly is: "untouched" | "news" | "unclear"; readonly told: string };

/** `before`: the folder as it was when it was opened last, on whichever connection. It must not be open on this one. */
export async function glance(client: ImapFlow, before: Session): Promise<Glance> {
  // imapflow asks for HIGHESTMODSEQ only where CONDSTORE is offered. Refused, or not there: opening the folder tells why.
  const status = await client.status(before.folder, { uidValidity: true, uidNext: true, highestModseq: true }).catch((thrown: unknown) => {
    if ((thrown as { readonly code?: unknown }).code === "NotFound") return false as const;
    throw thrown;
  });
  const { uidValidity, uidNext, highestModseq } = status || {};
  const told = `${uidValidity} ${uidNext} ${highestModseq}`;
  if (uidValidity === undefined || uidNext === undefined) return { is: "unclear", told };
  if (`${uidValidity}` !== before.uidValidity || uidNext !== before.uidNext) return { is: "news", told };
  const isUntouched = before.modseq !== null && highestModseq === before.modseq;
  return { is: isUntouched ? "untouched" : "unclear", told };
}

/** A round of glances at the folders that IDLE does not tell of. */
export type Round = { readonly isDue: boolean };

const ROUND_MS = 10_000;
const EACH_MS = 1_000;

/** Comes due after ten seconds, or as many as there are folders, whatever else is done meanwhile; then it rings, unless it is over. */
export function startRound(folders: number, clock: Clock, over: AbortSignal, ring: () => void): Round {
  const round = { isDue: false };
  void clock.sleep(Math.max(ROUND_MS, folders * EACH_MS), over).then(() => {
    if (over.aborted) return;
    round.isDue = true;
    ring();
  });
  return round;
}
