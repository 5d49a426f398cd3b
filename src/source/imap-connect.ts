/** One IMAP connection with its folder open: made, watched, lent and ended. */
import { rootCertificates } from "node:tls";
import { ImapFlow } from "imapflow";
import type { Clock } from "../base/clock.ts";
import { Fault } from "../base/errors.ts";
import { commandFault, connectFault, type Door, folderFault } from "./imap-faults.ts";

export type Account = Door & {
  /** PEM text of an authority to trust besides the usual ones; null: only those. */
  readonly ca: string | null;
  readonly connectTimeoutMs: number;
  readonly idleMs: number;
  readonly socketTimeoutMs: number;
};

/** A connection whose folder is selected. Every command goes through `client`, which sends them one after the other. */
export type Session = {
  readonly client: ImapFlow;
  readonly uidValidity: string;
  /** UIDNEXT when the folder was opened. */
  readonly uidNext: number;
  readonly readOnly: boolean;
  /** Messages in the folder as last told by the server. */
  readonly exists: () => number;
  readonly alive: () => boolean;
  /** Throws `imap.lost` when it is no longer alive: imapflow answers some commands with nothing instead of an error. */
  readonly check: () => void;
  readonly fault: (thrown: unknown) => Fault;
  /** Asks for an answer (NOOP, which also ends an IDLE). Without one in time the connection is closed, and `imap.lost` thrown. */
  readonly prove: () => Promise<void>;
  /** LOGOUT, at most two seconds of it, then close. Never rejects; may be repeated. */
  readonly end: () => Promise<void>;
};

/** No literal a server sends may take more memory than this; messages are asked for in far smaller pieces. */
const LONGEST_LITERAL = 256 * 1024 * 1024;
const LONGEST_LINE = 8 * 1024 * 1024;
const LOGOUT_MS = 2_000;
const LINGER_MS = 5_000;

/**
 * Connects, logs in and selects the folder; with `readOnly` by EXAMINE, which changes nothing, not even \Recent (RFC 9051 section 6.3.3).
 * `onChange` is called when messages arrive and when the connection ends.
 */
export async function openSession(
  account: Account,
  clock: Clock,
  signal: AbortSignal,
  onChange: () => void,
  { readOnly = false } = {},
): Promise<Session> {
  const client = new ImapFlow({
    host: account.host,
    port: account.port,
    secure: account.tls === "implicit",
    // Left undefined imapflow would upgrade when it can and stay in clear text when it cannot.
    ...(account.tls === "implicit" ? {} : { doSTARTTLS: account.tls === "starttls" }),
    tls: { minVersion: "TLSv1.2", ...(account.ca === null ? {} : { ca: [...rootCertificates, account.ca] }) },
    auth: { user: account.user, pass: account.password },
    clientInfo: { name: "billhook", version: false, vendor: false, "support-url": false },
    logger: false,
    disableAutoIdle: true,
    disableCompression: true,
    connectionTimeout: account.connectTimeoutMs,
    greetingTimeout: account.connectTimeoutMs,
    socketTimeout: account.socketTimeoutMs,
    maxLineLength: LONGEST_LINE,
    maxLiteralSize: LONGEST_LITERAL,
    maxResponseSize: LONGEST_LITERAL + LONGEST_LINE,
  });
  let ended: string | null = null;
  client.on("error", (error) => {
    ended ??= error.message;
  });
  const stop = () => client.close();
  signal.addEventListener("abort", stop, { once: true });
  try {
    if (signal.aborted) throw new Fault("imap.stopped", `Connecting to ${account.host} was stopped.`);
    await client.connect().catch((thrown) => Promise.reject(connectFault(thrown, account, clock.now())));
    // A PREAUTH greeting skips STARTTLS.
    if (account.tls !== "none" && !client.secureConnection) {
      throw new Fault("imap.tls", `${account.host}:${account.port} skipped the encryption that tls: ${account.tls} demands.`);
    }
    const mailbox = await client.mailboxOpen(account.folder, { readOnly }).catch((thrown) => Promise.reject(folderFault(thrown, account)));
    client.on("exists", onChange);
    client.on("close", onChange);
    const alive = () => client.usable && client.state === client.states.SELECTED;
    const fault = (thrown: unknown) => commandFault(thrown, account, ended ?? client.byeReason ?? null, clock.now());
    const check = () => {
      if (!alive()) throw fault(new Error("it was closed"));
    };
    // imapflow's own watchdog waits for ever when the connection dies between IDLE and its continuation.
    const prove = async () => {
      if (!(await within(clock, account.socketTimeoutMs, client.noop()))) {
        ended ??= "no answer to NOOP";
        client.close();
      }
      check();
    };
    return {
      client,
      // RFC 9051 section 6.3.2 demands both; servers exist that send neither.
      uidValidity: String(mailbox.uidValidity ?? 0),
      uidNext: mailbox.uidNext ?? (await lastUid(client)) + 1,
      readOnly: mailbox.readOnly === true,
      exists: () => (client.mailbox ? (client.mailbox.exists ?? 1) : 0),
      alive,
      check,
      fault,
      prove,
      end: () => endSession(client, clock),
    };
  } catch (thrown) {
    client.close();
    throw thrown;
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

async function lastUid(client: ImapFlow): Promise<number> {
  const row = await client.fetchOne("*", { uid: true });
  return row ? row.uid : 0;
}

async function endSession(client: ImapFlow, clock: Clock): Promise<void> {
  await within(clock, LOGOUT_MS, client.logout()).catch(() => {});
  client.close();
}

/** Whether the work was done in time. */
async function within(clock: Clock, milliseconds: number, work: Promise<void>): Promise<boolean> {
  const over = new AbortController();
  try {
    return await Promise.race([work.then(() => true), clock.sleep(milliseconds, over.signal).then(() => false)]);
  } finally {
    over.abort();
  }
}

/** A session opened when it is first needed, shared by those who need it at once, and ended a little after the last of them. */
export type Lent = { readonly use: <T>(work: (session: Session) => Promise<T>) => Promise<T>; readonly end: () => Promise<void> };

export function lendSession(open: () => Promise<Session>, clock: Clock): Lent {
  let kept: Promise<Session> | null = null;
  let users = 0;
  let rest = new AbortController();

  async function end(): Promise<void> {
    rest.abort();
    const last = kept;
    kept = null;
    await last?.then(
      (session) => session.end(),
      () => {},
    );
  }
  async function linger(signal: AbortSignal): Promise<void> {
    await clock.sleep(LINGER_MS, signal);
    if (!signal.aborted) await end();
  }
  async function current(): Promise<Session> {
    for (;;) {
      kept ??= open();
      const mine = kept;
      const session = await mine.catch((thrown) => {
        if (kept === mine) kept = null;
        throw thrown;
      });
      if (session.alive()) return session;
      if (kept === mine) kept = null;
    }
  }
  async function use<T>(work: (session: Session) => Promise<T>): Promise<T> {
    rest.abort();
    users++;
    try {
      return await work(await current());
    } finally {
      users--;
      if (users === 0) {
        rest = new AbortController();
        void linger(rest.signal);
      }
    }
  }
  return { use, end };
}
