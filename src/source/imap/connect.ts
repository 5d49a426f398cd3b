/** One IMAP connection: made, proved, ended; and a folder opened on it. */
import { rootCertificates } from "node:tls";
import { ImapFlow } from "imapflow";
import type { Clock } from "../../base/clock.ts";
import { Fault } from "../../base/errors.ts";
import { commandFault, connectFault, type Door, folderFault } from "./faults.ts";
import { type Credentials, chooseMechanism, type Entrance, signedIn } from "./signin.ts";

export type Account = Entrance & {
  /** PEM text of an authority to trust besides the usual ones; null: only those. */
  readonly ca: string | null;
  readonly connectTimeoutMs: number;
  readonly idleMs: number;
  readonly socketTimeoutMs: number;
};

/** A connection that is logged in. Every command goes through `client`, which sends them one after the other. */
export type Connection = {
  readonly client: ImapFlow;
  readonly alive: () => boolean;
  /** What a command in this folder threw, as a Fault. */
  readonly fault: (thrown: unknown, folder: string) => Fault;
  /** Asks for an answer, by NOOP or another command, which also ends an IDLE. Without one in time the connection is closed. */
  readonly prove: (command?: string, ask?: () => Promise<unknown>) => Promise<void>;
  /** Closed without a word to the server. */
  readonly drop: (why: string) => void;
  /** LOGOUT, at most two seconds of it, then close. Never rejects; may be repeated. */
  readonly end: () => Promise<void>;
};

/** A connection whose folder is selected, until another one is. */
export type Session = {
  readonly client: ImapFlow;
  readonly folder: string;
  /** `0` where the server does not say. */
  readonly uidValidity: string;
  /** UIDNEXT when the folder was opened; worked out from the last message where the server did not say. */
  readonly uidNext: number;
  readonly tellsUidNext: boolean;
  /** HIGHESTMODSEQ when the folder was opened; null where the server keeps none. */
  readonly modseq: bigint | null;
  readonly readOnly: boolean;
  /** Messages in the folder as last told by the server. */
  readonly exists: () => number;
  readonly alive: () => boolean;
  /** Throws `imap.lost` when it is no longer alive: imapflow answers some commands with nothing instead of an error. */
  readonly check: () => void;
  readonly fault: (thrown: unknown) => Fault;
};

/** No literal a server sends may take more memory than this; messages are asked for in far smaller pieces. */
const LONGEST_LITERAL = 256 * 1024 * 1024;
const LONGEST_LINE = 8 * 1024 * 1024;
const LOGOUT_MS = 2_000;
const MUTE = { debug: () => {}, info: () => {}, error: () => {}, fatal: () => {} };

/** Connects and logs in. */
export async function openConnection(account: Account, clock: Clock, signal: AbortSignal): Promise<Connection> {
  const { client, endedBy } = await signedIn(account, signal, (credentials, door) => connect(account, credentials, door, clock, signal));
  let dropped: string | null = null;
  const drop = (why: string) => {
    dropped ??= why;
    client.close();
  };
  return {
    client,
    alive: () => client.usable && client.state !== client.states.LOGOUT,
    fault: (thrown, folder) => commandFault(thrown, account, folder, client.byeReason || (dropped ?? endedBy()), clock.now()),
    // imapflow's own watchdog waits for ever when the connection dies between IDLE and its continuation.
    prove: async (command = "NOOP", ask = () => client.noop()) => {
      const answer = ask().catch(() => drop(`${command} failed`));
      if (!(await within(clock, account.socketTimeoutMs, answer))) drop(`no answer to ${command}`);
    },
    drop,
    end: async () => {
      await within(clock, LOGOUT_MS, client.logout()).catch(() => {});
      client.close();
    },
  };
}

/** Selects a folder; with `readOnly` by EXAMINE, which changes nothing, not even \Recent (RFC 9051 section 6.3.3). */
export async function openFolder(
  connection: Connection,
  folder: string,
  door: Door,
  clock: Clock,
  { readOnly = false } = {},
): Promise<Session> {
  const { client } = connection;
  const mailbox = await client.mailboxOpen(folder, { readOnly }).catch((thrown: unknown) => {
    throw connection.alive() ? folderFault(thrown, door, folder, clock.now()) : connection.fault(thrown, folder);
  });
  const fault = (thrown: unknown) => connection.fault(thrown, folder);
  const alive = () => connection.alive() && client.state === client.states.SELECTED;
  // imapflow does not understand every EXISTS.
  const exists = () => (client.mailbox ? (client.mailbox.exists ?? 1) : 0);
  return {
    client,
    folder,
    // RFC 9051 section 6.3.2 demands both; servers exist that send neither.
    uidValidity: String(mailbox.uidValidity ?? 0),
    uidNext: mailbox.uidNext ?? (exists() === 0 ? 0 : await lastUid(client)) + 1,
    tellsUidNext: mailbox.uidNext !== undefined,
    modseq: mailbox.highestModseq || null,
    readOnly: mailbox.readOnly === true,
    exists,
    alive,
    check: () => {
      if (!alive()) throw fault(new Error("it was closed"));
    },
    fault,
  };
}

/** A connection of its own with a folder open, for one purpose; `end` it. */
export async function openAlone(
  account: Account,
  folder: string,
  clock: Clock,
  signal: AbortSignal,
  { readOnly = false } = {},
): Promise<{ readonly session: Session; readonly end: () => Promise<void> }> {
  const connection = await openConnection(account, clock, signal);
  const stop = () => connection.drop("it was stopped");
  signal.addEventListener("abort", stop, { once: true });
  try {
    return { session: await openFolder(connection, folder, account, clock, { readOnly }), end: connection.end };
  } catch (thrown) {
    connection.client.close();
    throw thrown;
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

/** `endedBy`: the error that ended the connection, null while there was none. */
type Connected = { readonly client: ImapFlow; readonly endedBy: () => string | null };

/** TCP, TLS and login. */
async function connect(account: Account, credentials: Credentials, door: Door, clock: Clock, signal: AbortSignal): Promise<Connected> {
  let ended: string | null = null;
  // Throttled, imapflow waits and tries again by itself, on a connection that then looks dead. Its log is the only place that tells.
  const heed = (entry: unknown) => {
    const delay = (entry as { readonly throttleDelay?: unknown }).throttleDelay;
    if (typeof delay !== "number") return;
    ended ??= `Request is throttled. Suggested Backoff Time: ${delay} milliseconds`;
    // The wait begins only after this line of the log, and only then can be broken off.
    client.closeAfter();
  };
  const client = new ImapFlow({
    host: account.host,
    port: account.port,
    secure: account.tls === "implicit",
    // Left undefined imapflow would upgrade when it can and stay in clear text when it cannot.
    ...(account.tls === "implicit" ? {} : { doSTARTTLS: account.tls === "starttls" }),
    tls: { minVersion: "TLSv1.2", ...(account.ca === null ? {} : { ca: [...rootCertificates, account.ca] }) },
    auth: credentials,
    clientInfo: { name: "billhook", version: false, vendor: false, "support-url": false },
    logger: { ...MUTE, warn: heed },
    disableAutoIdle: true,
    disableCompression: true,
    connectionTimeout: account.connectTimeoutMs,
    greetingTimeout: account.connectTimeoutMs,
    socketTimeout: account.socketTimeoutMs,
    maxLineLength: LONGEST_LINE,
    maxLiteralSize: LONGEST_LITERAL,
    maxResponseSize: LONGEST_LITERAL + LONGEST_LINE,
  });
  chooseMechanism(client, account);
  client.on("error", (error) => {
    ended ??= error.message;
  });
  const stop = () => client.close();
  signal.addEventListener("abort", stop, { once: true });
  try {
    if (signal.aborted) throw stopped(account);
    await client.connect().catch((thrown) => Promise.reject(connectFault(thrown, door, ended, clock.now())));
    // A PREAUTH greeting skips STARTTLS.
    if (account.tls !== "none" && !client.secureConnection) {
      throw new Fault("imap.tls", `${account.host}:${account.port} skipped the encryption that tls: ${account.tls} demands.`);
    }
    return { client, endedBy: () => ended };
  } catch (thrown) {
    client.close();
    throw thrown;
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

function stopped({ host }: Account): Fault {
  return new Fault("imap.stopped", `Connecting to ${host} was stopped.`);
}

/** The UID of the last message. Not by `*` alone, which imapflow replaces by the number of messages it believes in. */
async function lastUid(client: ImapFlow): Promise<number> {
  let last = 0;
  for await (const row of client.fetch("*:*", { uid: true }, { uid: true })) last = Math.max(last, row.uid ?? 0);
  if (last > 0) return last;
  throw new Fault("imap.folder", "The server tells neither UIDNEXT nor the UID of the last message.");
}

/** Whether the work was done in time. */
export async function within(clock: Clock, milliseconds: number, work: Promise<unknown>): Promise<boolean> {
  const over = new AbortController();
  try {
    return await Promise.race([work.then(() => true), clock.sleep(milliseconds, over.signal).then(() => false)]);
  } finally {
    over.abort();
  }
}
