/** From configuration to live objects: the only file that names implementations. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { permanent, reasonOf } from "../base/errors.ts";
import { createHttp } from "../base/http.ts";
import type { Logger } from "../base/logger.ts";
import type { Config } from "../config/schema.ts";
import { createCloudsquid } from "../extractor/cloudsquid.ts";
import type { Extractor } from "../extractor/extractor.ts";
import type { Works } from "../pipeline/step.ts";
import { createFileSink } from "../sink/file.ts";
import type { Sink } from "../sink/sink.ts";
import { createImapSource } from "../source/imap.ts";
import type { Source } from "../source/source.ts";
import { openSpool } from "../store/spool.ts";
import { openLedger } from "../store/sql.ts";
import type { Ledger } from "../store/store.ts";

export type Doors = {
  readonly sources: ReadonlyMap<string, Source>;
  readonly extractors: ReadonlyMap<string, Extractor>;
  readonly sinks: ReadonlyMap<string, Sink>;
  readonly close: () => Promise<void>;
};

type Deps = { readonly clock: Clock; readonly log: Logger };

const UPLOADS_AT_ONCE = 4;

/** The doors to the outside, none of them opened yet. */
export async function assembleDoors(config: Config, { clock, log }: Deps): Promise<Doors> {
  const sources = new Map<string, Source>();
  const extractors = new Map<string, Extractor>();
  const sinks = new Map<string, Sink>();
  const closing: (() => Promise<void>)[] = [];

  for (const [name, mailbox] of Object.entries(config.mailboxes)) {
    const { host, port, tls, user, password, folder, start, afterwards } = mailbox;
    const ca = mailbox.ca === null ? null : await certificates(mailbox.ca);
    const source = createImapSource({ name, host, port, tls, ca, user, password, folder, start, afterwards }, { clock, log });
    sources.set(name, source);
    closing.push(source.close);
  }
  for (const [name, service] of Object.entries(config.services)) {
    const http = createHttp({ name, connections: UPLOADS_AT_ONCE, timeoutMs: service.timeout });
    const { url, apiKey, project, table, encoding, multipart, zeroRetention, maxBytes, poll, deadlines } = service;
    extractors.set(
      name,
      createCloudsquid(
        {
          name,
          url,
          apiKey,
          project,
          table,
          encoding,
          multipart,
          zeroRetention,
          maxBytes,
          poll: { firstMs: poll.first, longestMs: poll.longest },
          deadlines: { pendingMs: deadlines.pending, runningMs: deadlines.running },
        },
        { clock, http },
      ),
    );
    closing.push(http.close);
  }
  for (const [name, sink] of Object.entries(config.sinks)) {
    const { directory, format, attachments } = sink;
    sinks.set(name, createFileSink({ name, directory, template: sink.name, format, attachments }));
  }
  return {
    sources,
    extractors,
    sinks,
    close: async () => {
      for (const close of closing) await close().catch(() => {});
    },
  };
}

/** The ledger for those who only look, or put something back, while the daemon may be running. */
export function assembleLedger(config: Config, now: Date): Promise<Ledger> {
  return openLedger({ directory: config.state.directory, own: false, now });
}

/** Everything the pipeline works with. Takes the lock of the state directory and migrates the ledger. */
export async function assembleWorks(config: Config, deps: Deps): Promise<{ readonly works: Works; readonly close: () => Promise<void> }> {
  const ledger = await openLedger({ directory: config.state.directory, own: true, now: deps.clock.now() });
  try {
    const spool = await openSpool(join(config.state.directory, "spool"));
    await spool.clean();
    const doors = await assembleDoors(config, deps);
    const [service] = Object.keys(config.services);
    const works: Works = {
      ledger,
      spool,
      sources: doors.sources,
      extractors: doors.extractors,
      sinks: doors.sinks,
      route: { service: service ?? "", sinks: Object.keys(config.sinks) },
      retry: { firstMs: config.retry.first, longestMs: config.retry.longest, giveUpAfterMs: config.retry.giveUpAfter },
      clock: deps.clock,
    };
    return {
      works,
      close: async () => {
        await doors.close();
        await ledger.close();
      },
    };
  } catch (thrown) {
    await ledger.close();
    throw thrown;
  }
}

async function certificates(path: string): Promise<string> {
  return readFile(path, "utf8").catch((thrown: unknown) => {
    throw permanent("config.ca", `cannot read the CA certificates in ${path}: ${reasonOf(thrown)}`, "check the path given as `ca`", thrown);
  });
}
