/** Conversations with a submission server: one mail handed over, or the door tried. Each on a connection of its own. */
import { Readable } from "node:stream";
import { rootCertificates } from "node:tls";
import SMTPConnection, { type SMTPConnectionAuth, type SMTPConnectionSendInfo } from "nodemailer/lib/smtp-connection";
import XOAuth2 from "nodemailer/lib/xoauth2";
import { asFault, type Fault } from "../../base/errors.ts";
import { type Door, noLogin, smtpFault } from "./faults.ts";

/** How the submission server is reached. */
export type Submission = {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly tls: "implicit" | "starttls" | "none";
  /** PEM text of an authority to trust besides the usual ones; null: only those. */
  readonly ca: string | null;
  /** Null: no login. Otherwise with either a password or OAuth2. */
  readonly user: string | null;
  readonly password: string | null;
  readonly oauth2: OAuth2 | null;
  /** For each silence of the server; the whole conversation may take ten times as long. */
  readonly timeoutMs: number;
};

/** RFC 6749 section 6, for SASL XOAUTH2. */
export type OAuth2 = {
  readonly clientId: string;
  readonly clientSecret: string | null;
  readonly refreshToken: string;
  readonly tokenUrl: string;
};

export type Envelope = { readonly from: string; readonly to: readonly string[] };

export type Submitter = {
  /** Resolves when the server has taken the mail for at least one of the recipients. Throws a Fault, or the signal's reason. */
  readonly send: (envelope: Envelope, open: () => Readable, signal: AbortSignal) => Promise<SMTPConnectionSendInfo>;
  /** Connects, logs in and says goodbye. */
  readonly probe: (signal: AbortSignal) => Promise<{ readonly said: string }>;
};

const WHOLE = 10;
const LONGEST_REPLY = 64 * 1024;
const CLOSE_MS = 2_000;

export function createSubmitter(submission: Submission, door: Door): Submitter {
  const { host, port, tls, ca, timeoutMs } = submission;
  const auth = authOf(submission);
  const settings = {
    host,
    port,
    secure: tls === "implicit",
    // Without these nodemailer would upgrade when it is offered, and stay in clear text when it is not.
    requireTLS: tls === "starttls",
    ignoreTLS: tls === "none",
    tls: { minVersion: "TLSv1.2", ...(ca === null ? {} : { ca: [...rootCertificates, ca] }) },
    connectionTimeout: timeoutMs,
    greetingTimeout: timeoutMs,
    socketTimeout: timeoutMs,
    socketCloseTimeout: CLOSE_MS,
    maxResponseSize: LONGEST_REPLY,
  } as const;

  /** Connects, logs in, talks, says goodbye. Whatever happens, the connection is closed and what was thrown is as nodemailer made it. */
  async function converse<T>(talk: (connection: SMTPConnection, done: Done<T>) => void, signal: AbortSignal): Promise<T> {
    signal.throwIfAborted();
    const connection = new SMTPConnection(settings);
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(errorOf("ETIMEDOUT")), timeoutMs * WHOLE);
    const over = AbortSignal.any([signal, late.signal]);
    try {
      const said = await new Promise<T>((resolve, reject) => {
        over.addEventListener("abort", () => reject(over.reason), { once: true });
        connection.on("error", reject);
        connection.once("end", () => reject(errorOf("ECONNECTION")));
        const done: Done<T> = (thrown, result) => (thrown ? reject(thrown) : resolve(result as T));
        connection.connect((thrown) => {
          if (thrown) return reject(thrown);
          if (auth === null) return talk(connection, done);
          if (!connection.allowsAuth) return reject(noLogin(door));
          connection.login(auth, (refused) => (refused ? reject(refused) : talk(connection, done)));
        });
      });
      connection.quit();
      return said;
    } finally {
      clearTimeout(timer);
      connection.close();
    }
  }

  const send: Submitter["send"] = async ({ from, to }, open, signal) => {
    const mail = watch(open);
    try {
      return await converse<SMTPConnectionSendInfo>((connection, done) => {
        connection.send({ from, to: [...to] }, mail.bytes, done);
      }, signal);
    } catch (thrown) {
      signal.throwIfAborted();
      throw mail.broken() ?? smtpFault(thrown, door, mail.isWhole());
    } finally {
      mail.bytes.destroy();
    }
  };

  const probe: Submitter["probe"] = async (signal) => {
    try {
      await converse<void>((_, done) => done(null), signal);
      return { said: `${host}:${port} ${auth === null ? "answers" : "lets us in"}` };
    } catch (thrown) {
      signal.throwIfAborted();
      throw smtpFault(thrown, door, false);
    }
  };

  return { send, probe };
}

type Done<T> = (thrown: Error | null, result?: T) => void;

function errorOf(code: string): Error {
  return Object.assign(new Error(code), { code });
}

function authOf({ user, password, oauth2, timeoutMs }: Submission): SMTPConnectionAuth | null {
  if (user === null) return null;
  if (oauth2 === null) return { user, pass: password ?? "" };
  const { clientId, clientSecret, refreshToken, tokenUrl } = oauth2;
  const token = { user, clientId, clientSecret: clientSecret ?? "", refreshToken, accessUrl: tokenUrl, requestTimeout: timeoutMs };
  // One for all conversations: it keeps the access token while it is good.
  return { user, method: "XOAUTH2", oauth2: new XOAuth2(token) };
}

/** The bytes of the mail, read only when the server waits for them (nothing is buffered before), and what became of them. */
function watch(open: () => Readable): {
  readonly bytes: Readable;
  /** Every byte is on its way. */
  readonly isWhole: () => boolean;
  readonly broken: () => Fault | null;
} {
  let whole = false;
  let broken: Fault | null = null;
  async function* read(): AsyncGenerator<Buffer> {
    try {
      yield* open() as AsyncIterable<Buffer>;
    } catch (thrown) {
      broken = asFault(thrown, "smtp.unreadable");
      // Not the fault itself: nodemailer writes into the errors that pass through it.
      throw new Error("the mail cannot be read");
    }
  }
  const bytes = Readable.from(read(), { objectMode: false });
  bytes.once("end", () => {
    whole = true;
  });
  return { bytes, isWhole: () => whole, broken: () => broken };
}
