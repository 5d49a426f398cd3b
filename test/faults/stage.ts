/** A mailbox under fault: a folder on a real Dovecot behind our proxy, watched by source, intake, spool and ledger as in the daemon. */
import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ImapFlow } from "imapflow";
import { systemClock } from "../../src/base/clock.ts";
import type { Logger } from "../../src/base/logger.ts";
import { intake } from "../../src/daemon/intake.ts";
import { createGate } from "../../src/pipeline/limits.ts";
import type { Works } from "../../src/pipeline/step.ts";
import { createImapSource, type ImapOptions } from "../../src/source/imap.ts";
import { openSpool } from "../../src/store/spool.ts";
import { openLedger } from "../../src/store/sql.ts";
import type { Ledger, Spool } from "../../src/store/store.ts";
import type { Dovecot } from "../servers/dovecot.ts";
import { type Meddler, startProxy, type TcpProxy } from "../servers/proxy.ts";
import { drain, mail } from "../source/watching.ts";

export type Stage = {
  readonly dovecot: Dovecot;
  readonly proxy: TcpProxy;
  readonly folder: string;
  /** Where the spool is. */
  readonly spool: string;
  /** Puts so many more mails into the folder; they must be ingested, once each. */
  readonly deliver: (count: number) => Promise<void>;
  /** This mail is not to be ingested any more. */
  readonly forget: (sha256: string) => void;
  /** SHA-256 of each mail that must be ingested, in order of delivery. */
  readonly sent: () => readonly string[];
  readonly begin: () => void;
  /** Now: the fault has struck, or is over. Recovery counts from the last time this was called. */
  readonly mark: () => void;
  /** Resolves when it holds; asked after every event of the mailbox. */
  readonly until: (what: string, holds: () => boolean | Promise<boolean>, longestMs?: number) => Promise<void>;
  /** Codes of what a person was told, repeats in a row dropped; `ok` for all is well. */
  readonly told: () => readonly string[];
  /** What the mailbox's health says now. */
  readonly trouble: () => string | null;
  /** Everything delivered is ingested, and a sweep that began after the last mark is complete. */
  readonly isWell: () => Promise<boolean>;
  /** Milliseconds from the last mark to the first complete sweep after it. */
  readonly recoveredMs: () => number;
  readonly tally: () => Promise<Tally>;
  /** Another client of the same account, not through the proxy. */
  readonly asAnother: <T>(work: (client: ImapFlow) => Promise<T>) => Promise<T>;
  readonly stop: () => Promise<void>;
};

export type Tally = {
  readonly messages: number;
  readonly missing: number;
  /** Messages taken in that are none of those sent, such as halves of one, and messages taken in more than once. */
  readonly duplicates: number;
  /** Seen another time and recognised. */
  readonly seenAgain: number;
  readonly unreadable: number;
  /** Health that did not fit the log when the log was written. */
  readonly lies: readonly string[];
};

export type Around = {
  readonly meddler?: Meddler | null;
  /** Another directory for the spool. */
  readonly spoolIn?: string | null;
  /** Bytes of its disk that are kept free. */
  readonly minFree?: number;
  /** The schedule's sweep, which in earnest comes once a minute; null: IDLE has to do. */
  readonly sweepEveryMs?: number | null;
};

/** Half-open connections are noticed in seconds; everything else is as in earnest. */
const PATIENCE = { idleMs: 1_000, socketTimeoutMs: 3_000, connectTimeoutMs: 3_000 };
const TELLS = new Set(["mailbox.trouble", "mailbox.renumbered", "receive.trouble", "receive.retry", "mailbox.watching"]);
const LONGEST_MS = 30_000;
const LOOK_MS = 100;

let stages = 0;

export async function startStage(
  dovecot: Dovecot,
  options: Partial<ImapOptions> = {},
  { meddler = null, spoolIn = null, minFree = 0, sweepEveryMs = null }: Around = {},
): Promise<Stage> {
  const directory = await mkdtemp(join(tmpdir(), "billhook-faults-"));
  const folder = `Fault${++stages}`;
  await dovecot.createFolder(folder);
  const proxy = await startProxy(options.tls === "implicit" ? { host: dovecot.host, port: dovecot.tlsPort } : dovecot, meddler);
  const ledger = await openLedger({ directory, own: true, now: new Date() });
  const spoolDirectory = spoolIn ?? join(directory, "spool");
  const spool = await openSpool(spoolDirectory, minFree);
  const stopping = new AbortController();
  const waiting = new Set<() => void>();
  const told: string[] = [];
  const lies: string[] = [];
  const sent: string[] = [];
  let delivered = 0;
  let marked = 0;
  let sweptAfter: number | null = null;
  let sweptAtTrouble: Date | null = null;
  let reading: Promise<unknown> = Promise.resolve();

  const changed = () => {
    for (const look of [...waiting]) look();
  };
  const log: Logger = {
    event: (_, name, fields = {}) => {
      if (TELLS.has(name)) {
        const code = name === "mailbox.watching" ? "ok" : String(fields.fault ?? name);
        if (told.at(-1) !== code) told.push(code);
        const { trouble, sweptAt } = source.freshness();
        if (name === "mailbox.trouble") sweptAtTrouble = sweptAt;
        if (name === "mailbox.trouble" || name === "receive.trouble") {
          if (trouble?.code !== code) lies.push(`the log says ${code}, the health says ${trouble?.code ?? "ok"}`);
          if (!fields.why) lies.push(`${code} without a sentence`);
        }
        if (name === "mailbox.watching" && sweptAt !== sweptAtTrouble)
          lies.push("the last sweep moved while the mailbox could not be read");
      }
      changed();
    },
  };
  const { host, port } = proxy;
  const { user, password } = dovecot;
  const door = { host, port, user, password, folder, tls: "none", ca: dovecot.ca } as const;
  const afterwards = { done: { is: "none" }, failed: { is: "none" } } as const;
  const source = createImapSource(
    { name: "faulty", ...door, ...PATIENCE, start: { is: "all" }, afterwards, ...options },
    { clock: systemClock, log },
  );
  const schedule = sweepEveryMs === null ? null : setInterval(source.sweep, sweepEveryMs);
  const works = worksOf(
    {
      ...ledger,
      swept: async (...args) => {
        await ledger.swept(...args);
        if (args[2].getTime() >= marked) sweptAfter ??= Date.now();
        changed();
      },
    },
    spool,
  );

  const ingested = async () => (await Promise.all(sent.map((sha256) => ledger.message(sha256)))).filter((one) => one !== null).length;
  const isWell = async () => sweptAfter !== null && source.freshness().trouble === null && (await ingested()) === sent.length;

  function until(what: string, holds: () => boolean | Promise<boolean>, longestMs = LONGEST_MS): Promise<void> {
    return new Promise((resolve, reject) => {
      const over = setTimeout(() => {
        waiting.delete(look);
        reject(new Error(`${longestMs} ms and not yet: ${what}; told: ${told.join(", ")}`));
      }, longestMs);
      // Events tell of what the daemon does; what the test's own proxy sees has none.
      const timer = setInterval(() => look(), LOOK_MS);
      const end = (settle: () => void) => {
        waiting.delete(look);
        clearTimeout(over);
        clearInterval(timer);
        settle();
      };
      const look = () => {
        Promise.resolve(holds()).then(
          (held) => held && end(resolve),
          (thrown) => end(() => reject(thrown)),
        );
      };
      over.unref();
      waiting.add(look);
      look();
    });
  }

  async function tally(): Promise<Tally> {
    let twice = 0;
    let seenAgain = 0;
    let damaged = 0;
    for (const sha256 of sent) {
      const events = await ledger.events(sha256);
      twice += Math.max(0, events.filter(({ what }) => what === "received").length - 1);
      seenAgain += events.filter(({ what }) => what === "seen-again").length;
      const message = await ledger.message(sha256);
      if (message !== null && hashOf(await drain(spool.open("raw", { sha256, size: message.size }))) !== sha256) damaged += 1;
    }
    const { messages, unreadable } = await ledger.counts();
    const found = await ingested();
    return { messages, missing: sent.length - found + damaged, duplicates: messages - found + twice, seenAgain, unreadable, lies };
  }

  return {
    dovecot,
    proxy,
    folder,
    spool: spoolDirectory,
    deliver: async (count) => {
      for (let n = 0; n < count; n += 1) {
        const raw = bodyOf(`${folder}-${++delivered}`);
        sent.push(hashOf(raw));
        await dovecot.append(folder, raw);
      }
    },
    forget: (sha256) => void sent.splice(sent.indexOf(sha256), 1),
    sent: () => sent,
    begin: () => {
      reading = intake({ source, works, tell: changed, log, clock: systemClock, once: false }, stopping.signal);
    },
    mark: () => {
      marked = Date.now();
      sweptAfter = null;
    },
    until,
    told: () => told,
    trouble: () => source.freshness().trouble?.code ?? null,
    isWell,
    recoveredMs: () => (sweptAfter ?? Number.NaN) - marked,
    tally,
    asAnother: (work) => asAnother(dovecot, work),
    stop: async () => {
      if (schedule !== null) clearInterval(schedule);
      stopping.abort();
      await source.close();
      await reading;
      await proxy.stop();
      await ledger.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** The part of the works that receiving needs; nothing that is received here is worked on. */
export function worksOf(ledger: Ledger, spool: Spool): Works {
  return {
    ledger,
    spool,
    sources: new Map(),
    services: new Map(),
    sinks: new Map(),
    routing: { rules: [], fallback: { service: "", sinks: [] } },
    gate: createGate(),
    retry: { firstMs: 1_000, longestMs: 1_000, giveUpAfterMs: 1_000 },
    clock: systemClock,
  };
}

/** A mail of its own of some 4 KB. */
export function bodyOf(what: string): Buffer {
  return Buffer.from(mail(what) + `${what} ${"x".repeat(60)}\r\n`.repeat(50));
}

export function hashOf(raw: Uint8Array): string {
  return createHash("sha256").update(raw).digest("hex");
}

async function asAnother<T>(dovecot: Dovecot, work: (client: ImapFlow) => Promise<T>): Promise<T> {
  const { host, port, user, password } = dovecot;
  const client = new ImapFlow({ host, port, secure: false, doSTARTTLS: false, auth: { user, pass: password }, logger: false });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.logout();
  }
}
