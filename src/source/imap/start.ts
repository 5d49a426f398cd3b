/** Where a folder is read on from, as soon as it is open: pure. */
import type { Cursor, Start } from "../source.ts";
import type { Session } from "./connect.ts";

/**
 * Where to read on from: the known place, or the start rule's, or the beginning when the server has renumbered. A UIDNEXT at or below a
 * UID that was seen says that UIDs are given twice, whatever UIDVALIDITY says (RFC 9051 section 2.3.1.1 forbids both).
 */
export function startAt(session: Session, known: Cursor | null, start: Start, now: Date, rewound: boolean): Cursor {
  const { uidValidity } = session;
  const until = session.uidNext - 1;
  if (known !== null && known.uidValidity === uidValidity) {
    if (until >= known.uid) return known;
    // A server that works UIDNEXT out from its last message does this whenever that one leaves: it must not bring all of the mail again.
    return session.tellsUidNext && !rewound ? { ...known, uid: 0, until } : { ...known, uid: until };
  }
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
