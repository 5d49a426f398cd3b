/** Watching a source in a test: one sight at a time, bytes drained, and a second pair of eyes on the mailbox. */
import { ImapFlow } from "imapflow";
import type { Clock } from "../../src/base/clock.ts";
import { systemClock } from "../../src/base/clock.ts";
import type { Fields, Logger } from "../../src/base/logger.ts";
import type { ImapOptions } from "../../src/source/imap.ts";
import type { Cursor, Listed, Sight, Source } from "../../src/source/source.ts";
import type { ImapServer } from "../servers/dovecot.ts";

/** Waits pass two hundred times as fast. */
export const fastClock: Clock = {
  now: systemClock.now,
  random: () => 0.5,
  sleep: (milliseconds, signal) => systemClock.sleep(milliseconds / 200, signal),
};

/** Only the long waits pass fast: beside the timers of imapflow, which know no other clock. */
export const shortsInFull: Clock = {
  ...fastClock,
  sleep: (milliseconds, signal) => (milliseconds < 1_000 ? systemClock : fastClock).sleep(milliseconds, signal),
};

export function optionsFor(server: Pick<ImapServer, "host" | "port" | "user" | "password">, more: Partial<ImapOptions> = {}): ImapOptions {
  const { host, port, user, password } = server;
  // On the fast clock these are seconds: a busy machine is not a dead server.
  const limits = { idleMs: 600_000, socketTimeoutMs: 1_200_000 };
  const door = { host, port, user, password, tls: "none", ca: null, folder: "INBOX", ...limits } as const;
  return { name: "invoices", ...door, start: { is: "all" }, afterwards: { done: { is: "none" }, failed: { is: "none" } }, ...more };
}

export type Line = { readonly level: string; readonly name: string; readonly fields: Fields };

/** `heard` resolves when a line of this name is written, from now on, unless it has been already. */
export function listening(): {
  readonly log: Logger;
  readonly lines: readonly Line[];
  readonly heard: (fits: string | ((line: Line) => boolean)) => Promise<Line>;
} {
  const lines: Line[] = [];
  const listeners = new Set<(line: Line) => void>();
  const event: Logger["event"] = (level, name, fields = {}) => {
    const line = { level, name, fields };
    lines.push(line);
    for (const listener of listeners) listener(line);
  };
  const heard = (what: string | ((line: Line) => boolean)) =>
    new Promise<Line>((resolve) => {
      const fits = typeof what === "string" ? (line: Line) => line.name === what : what;
      const known = lines.find(fits);
      if (known !== undefined) return resolve(known);
      listeners.add((line) => fits(line) && resolve(line));
    });
  return { lines, log: { event }, heard };
}

export type Watcher = {
  readonly sight: () => Promise<Sight>;
  /** The next arrival with its bytes; sweeps are passed over. */
  readonly arrival: () => Promise<{ readonly uid: number; readonly raw: Buffer; readonly sight: Extract<Sight, { is: "arrival" }> }>;
  /** Everything up to the end of the sweep. */
  readonly sweep: () => Promise<{ readonly uids: readonly number[]; readonly raws: readonly Buffer[]; readonly cursor: Cursor }>;
  readonly stop: () => Promise<void>;
};

export function watch(source: Source, since: Cursor | null = null): Watcher {
  const stopping = new AbortController();
  const sights = source.arrivals(since, stopping.signal)[Symbol.asyncIterator]();
  const sight = async () => {
    const next = await sights.next();
    if (next.done) throw new Error("The source stopped watching");
    return next.value;
  };
  const arrival: Watcher["arrival"] = async () => {
    const next = await sight();
    if (next.is === "swept") return arrival();
    if (next.is !== "arrival") throw next.fault;
    return { uid: next.arrival.origin.uid, raw: await drain(next.arrival.bytes), sight: next };
  };
  const sweep = async () => {
    const uids: number[] = [];
    const raws: Buffer[] = [];
    for (;;) {
      const next = await sight();
      if (next.is === "swept") return { uids, raws, cursor: next.cursor };
      if (next.is === "unreadable") throw next.fault;
      uids.push(next.arrival.origin.uid);
      raws.push(await drain(next.arrival.bytes));
    }
  };
  const stop = async () => {
    stopping.abort();
    await sights.return?.(undefined);
  };
  return { sight, arrival, sweep, stop };
}

export async function everythingIn(source: Source, signal = new AbortController().signal): Promise<readonly Listed[]> {
  const all: Listed[] = [];
  for await (const { messages } of source.list(signal)) all.push(...messages);
  return all;
}

export async function drain(bytes: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of bytes) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** What another client does in the same account. */
export async function asAnother<T>(
  server: Pick<ImapServer, "host" | "port" | "user" | "password">,
  work: (client: ImapFlow) => Promise<T>,
): Promise<T> {
  const { host, port, user, password } = server;
  const client = new ImapFlow({ host, port, secure: false, doSTARTTLS: false, auth: { user, pass: password }, logger: false });
  await client.connect();
  try {
    return await work(client);
  } finally {
    client.close();
  }
}

/** UIDs and flags of a folder, as another client sees them; null when there is no such folder. */
export function look(
  server: ImapServer,
  folder: string,
): Promise<readonly { readonly uid: number; readonly flags: readonly string[] }[] | null> {
  return asAnother(server, async (client) => {
    const listed = await client.list();
    if (!listed.some((one) => one.path === folder)) return null;
    const mailbox = await client.mailboxOpen(folder, { readOnly: true });
    if (mailbox.exists === 0) return [];
    const rows = await client.fetchAll("1:*", { uid: true, flags: true });
    return rows.map((row) => ({ uid: row.uid, flags: [...(row.flags ?? [])].filter((flag) => flag !== "\\Recent").sort() }));
  });
}

/** A small message that says which one it is. */
export function mail(what: string): string {
  return `From: a@example.com\r\nTo: ap@example.com\r\nSubject: ${what}\r\nMessage-ID: <${what}@example.com>\r\n\r\n${what}\r\n`;
}
