/** What goes wrong between billhook and an IMAP server, told as Faults: no secrets, no mail, an advice where a person can help. */
import type { ImapFlowError } from "imapflow";
import { Fault, reasonOf } from "../../base/errors.ts";
import { shortAddress } from "../../base/logger.ts";

/** Which mailbox a fault is about; the secret it is opened with only so that it can be kept out of what the server said. */
export type Door = {
  readonly host: string;
  readonly port: number;
  readonly tls: "implicit" | "starttls" | "none";
  readonly user: string;
  /** Or an access token. Null: signed in to in another way. */
  readonly password: string | null;
};

const TLS_CODE = /^(ERR_TLS|ERR_SSL|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_|HOSTNAME_|EPROTO|STARTTLS_INJECTION|UPGRADE_TIMEOUT)/;
/** RFC 5530: the server says itself that this will pass. */
const PASSING = /^(UNAVAILABLE|INUSE|LIMIT|SERVERBUG|OVERQUOTA|CONTACTADMIN)$/i;
/** Asked to come less often: Yahoo by [LIMIT], Gmail by [OVERQUOTA] and in words. None of them says how long. */
const TOO_MUCH = /^(LIMIT|OVERQUOTA)$/i;
const TOO_MUCH_WORDS =
  /too many (simultaneous |concurrent |active |open )?(imap )?(connections|sessions|logins|login attempts|requests)|(rate|bandwidth) limit|\[(LIMIT|OVERQUOTA)\]/i;
const TOO_MUCH_MS = 60_000;
const LONGEST_SERVER_TEXT = 200;
const LONGEST_BACKOFF_MS = 3_600_000;

/** The fault of a connection that could not be made or not be logged in; `ended`: why it was closed meanwhile, where that is known. */
export function connectFault(thrown: unknown, door: Door, ended: string | null, now: Date): Fault {
  if (thrown instanceof Fault) return thrown;
  const error = imapError(thrown);
  const at = `${door.host}:${door.port}`;
  const said = error.responseText || error.reason || ended === null ? serverText(error, door) : clean(ended, door);
  const retryAt = backoff(error, said, now);
  if (error.tlsFailed || TLS_CODE.test(error.code ?? "")) {
    const advice = /STARTTLS/i.test(said)
      ? "Use tls: implicit, usually on port 993; without encryption billhook does not log in."
      : "Check tls (implicit, starttls, none), the port, and that the certificate is valid for this host; a private one needs its CA.";
    return new Fault("imap.tls", `No safe connection to ${at}: ${said}.`, { advice, retryAt });
  }
  if (error.authenticationFailed && !PASSING.test(codeOf(error)) && !retryAt) {
    return new Fault("imap.login", `${at} does not let ${who(door)} in: ${said}.`, {
      advice: "Check user and password; many providers want an app password, or IMAP to be switched on for the account.",
    });
  }
  const advice = retryAt
    ? "The server asks for patience. If it does so often, fewer programs should use this account at once."
    : "Check host, port and tls, and that the server can be reached from this machine.";
  return new Fault("imap.connect", `Could not connect to ${at}: ${said}.`, { advice, retryAt });
}

/** The fault of a folder that cannot be opened on a connection that works. */
export function folderFault(thrown: unknown, door: Door, folder: string, now: Date): Fault {
  if (thrown instanceof Fault) return thrown;
  const error = imapError(thrown);
  const said = serverText(error, door);
  const advice = error.mailboxMissing
    ? "There is no such folder; names are case-sensitive and use the server's separator."
    : isPassing(thrown)
      ? "The server says that this will pass."
      : "Check the folder's name, and the rights of the account on it.";
  return new Fault("imap.folder", `Could not open folder ${folder} of ${who(door)} at ${door.host}: ${said}.`, {
    advice,
    retryAt: backoff(error, said, now),
  });
}

/** The fault of a command on an open connection: refused by the server, or the connection is gone. */
export function commandFault(thrown: unknown, door: Door, folder: string, ended: string | null, now: Date): Fault {
  if (thrown instanceof Fault) return thrown;
  const error = imapError(thrown);
  const said = serverText(error, door);
  const retryAt = backoff(error, `${said} ${ended ?? ""}`, now);
  if (isRefusal(thrown)) {
    return new Fault("imap.refused", `${door.host} refused a command in folder ${folder}: ${said}.`, { retryAt });
  }
  const reason = ended === null ? said : clean(ended, door);
  return new Fault("imap.lost", `The connection to ${door.host}:${door.port} was lost: ${reason}.`, { retryAt });
}

/** A tagged NO or BAD: the server is there and does not want to. */
export function isRefusal(thrown: unknown): boolean {
  return thrown instanceof Fault ? thrown.code === "imap.refused" : /^(NO|BAD)$/.test(imapError(thrown).responseStatus ?? "");
}

/** A refusal the server itself calls passing, or asks us to wait for. */
export function isPassing(thrown: unknown): boolean {
  const error = imapError(thrown);
  return error.code === "ETHROTTLE" || PASSING.test(codeOf(error)) || TOO_MUCH_WORDS.test(error.responseText ?? "");
}

/** Faults are logged, and logs hold no full addresses. */
export function who(door: Door): string {
  return door.user.includes("@") ? shortAddress(door.user) : door.user;
}

function imapError(thrown: unknown): Partial<ImapFlowError> {
  return thrown instanceof Error ? thrown : {};
}

function serverText(error: Partial<ImapFlowError>, door: Door): string {
  const response = typeof error.response === "string" ? error.response : undefined;
  return clean(error.responseText || error.reason || response || reasonOf(error), door);
}

function clean(text: string, door: Door): string {
  const plain = text.replace(/[\p{Cc}\p{Cf}\s]+/gu, " ").trim();
  const safe = door.password ? plain.replaceAll(door.password, "…") : plain;
  return safe.slice(0, LONGEST_SERVER_TEXT).replace(/\.$/, "");
}

/** The response code of RFC 5530, empty where there is none. */
function codeOf(error: Partial<ImapFlowError>): string {
  const { response, serverResponseCode } = error;
  const section = typeof response === "object" && response !== null ? response.attributes?.[0]?.section?.[0] : null;
  return String(serverResponseCode ?? section?.value ?? "");
}

/** Microsoft 365 asks for patience in words: `Suggested Backoff Time: 92415 milliseconds`. */
function backoff(error: Partial<ImapFlowError>, said: string, now: Date): Date | undefined {
  const match = /Backoff Time[:=\s]{1,3}(\d{1,12})/i.exec(said);
  if (match) return new Date(now.getTime() + Math.min(Number(match[1]), LONGEST_BACKOFF_MS));
  return TOO_MUCH.test(codeOf(error)) || TOO_MUCH_WORDS.test(said) ? new Date(now.getTime() + TOO_MUCH_MS) : undefined;
}
