/** Telling the mailbox what became of a message: a flag, a move, a deletion, by UID and harmless when repeated. */
import { Fault, permanent } from "../../base/errors.ts";
import type { Afterwards, Origin, Settled } from "../source.ts";
import type { Session } from "./connect.ts";
import { type Door as Server, who } from "./faults.ts";

type Door = Server & { readonly folder: string };

/** INBOX is the only name without case (RFC 9051 section 5.1). */
export function isSameFolder(a: string, b: string): boolean {
  return a === b || (a.toUpperCase() === "INBOX" && b.toUpperCase() === "INBOX");
}

export async function tell(session: Session, origin: Origin, told: Afterwards, door: Door): Promise<Settled> {
  if (session.uidValidity !== origin.uidValidity) return "gone";
  const flags = await flagsOf(session, origin.uid);
  if (flags === null) return "gone";
  if (told.is !== "none" && session.readOnly) {
    throw permanent(
      "imap.readonly",
      `Folder ${door.folder} of ${who(door)} is read-only: ${told.is} is not possible.`,
      "Use afterwards: none.",
    );
  }
  switch (told.is) {
    case "none":
      return "nothing-to-do";
    case "seen":
      await addFlag(session, origin.uid, "\\Seen", flags, door);
      break;
    case "flag":
      await addFlag(session, origin.uid, "\\Flagged", flags, door);
      break;
    case "keyword":
      await addFlag(session, origin.uid, told.keyword, flags, door);
      break;
    case "label":
      await addLabel(session, origin.uid, told.label, door);
      break;
    case "delete":
      await remove(session, origin.uid, flags, door);
      break;
    case "move":
      await move(session, origin.uid, told.folder, flags, door);
      break;
  }
  return "told";
}

async function flagsOf(session: Session, uid: number): Promise<ReadonlySet<string> | null> {
  let flags: ReadonlySet<string> | null = null;
  session.check();
  for await (const row of session.client.fetch(`${uid}`, { uid: true, flags: true }, { uid: true })) {
    if (row.uid === uid) flags = row.flags ?? flags ?? new Set();
  }
  session.check();
  return flags;
}

async function addFlag(session: Session, uid: number, flag: string, flags: ReadonlySet<string>, door: Door): Promise<void> {
  if ([...flags].some((one) => one.toLowerCase() === flag.toLowerCase())) return;
  const mailbox = session.client.mailbox;
  const kept = mailbox ? mailbox.permanentFlags : undefined;
  if (kept !== undefined && !kept.has("\\*") && !kept.has(flag)) {
    throw permanent("imap.flag", `${door.host} does not keep the flag ${flag} in folder ${door.folder}.`, "Use move, or another flag.");
  }
  if (!(await session.client.messageFlagsAdd(`${uid}`, [flag], { uid: true, silent: true })))
    throw refused(session, door, `set the flag ${flag}`);
}

/** Gmail's own extension (X-GM-EXT-1); a label that is not there is made by Gmail. */
async function addLabel(session: Session, uid: number, label: string, door: Door): Promise<void> {
  if (!session.client.capabilities.has("X-GM-EXT-1")) {
    throw permanent("imap.label", `${door.host} has no labels; only Gmail has.`, "Use keyword, or move.");
  }
  if (!(await session.client.messageFlagsAdd(`${uid}`, [label], { uid: true, useLabels: true })))
    throw refused(session, door, `add the label ${label}`);
}

async function remove(session: Session, uid: number, flags: ReadonlySet<string>, door: Door): Promise<void> {
  // Without UIDPLUS only EXPUNGE is left, which also takes what others marked: the mark has to do.
  if (!session.client.capabilities.has("UIDPLUS")) return addFlag(session, uid, "\\Deleted", flags, door);
  if (!(await session.client.messageDelete(`${uid}`, { uid: true }))) throw refused(session, door, "delete a message");
}

async function move(session: Session, uid: number, written: string, flags: ReadonlySet<string>, door: Door): Promise<void> {
  const { client } = session;
  const folder = inServersWords(session, written);
  const attempt = client.capabilities.has("MOVE")
    ? () => client.messageMove(`${uid}`, folder, { uid: true })
    : () => client.messageCopy(`${uid}`, folder, { uid: true });
  const copying = !client.capabilities.has("MOVE");
  // Copied by an earlier try that could only mark the original.
  if (copying && flags.has("\\Deleted")) return remove(session, uid, flags, door);
  if (!(await attempt())) {
    session.check();
    const why = await client.mailboxCreate(folder).then(() => null, serverSaid);
    if (!(await attempt())) throw refused(session, door, `move a message to ${folder}`, why);
  }
  if (copying) await remove(session, uid, flags, door);
}

/** `A/B` is how an owner writes a folder in a folder; Maildir++ and others separate them by a full stop (RFC 9051 section 5.1.1). */
function inServersWords({ client }: Session, folder: string): string {
  const delimiter = client.mailbox ? client.mailbox.delimiter : null;
  return typeof delimiter === "string" && delimiter !== "" ? folder.replaceAll("/", delimiter) : folder;
}

function serverSaid(thrown: unknown): string | null {
  const { responseText } = thrown as { readonly responseText?: unknown };
  return typeof responseText === "string" ? responseText.slice(0, 200) : null;
}

/** imapflow answers false for a refusal and for a lost connection alike. */
function refused(session: Session, door: Door, what: string, why: string | null = null): Fault {
  session.check();
  return new Fault("imap.refused", `${door.host} refused to ${what} in folder ${door.folder}${why === null ? "" : `: ${why}`}.`, {
    advice: "Check the rights of the account on this folder and on the target.",
  });
}
