/** From configuration to live objects: the only file that names implementations. */
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { Fault, permanent, reasonOf } from "../base/errors.ts";
import { createHttp } from "../base/http.ts";
import type { Logger } from "../base/logger.ts";
import { type MannersOptions, mannered } from "../base/manners.ts";
import type { Config } from "../config/schema.ts";
import type { Service as ServiceConfig } from "../config/service.ts";
import { createCloudsquid } from "../extractor/cloudsquid.ts";
import { discreet } from "../extractor/discreet.ts";
import { createExtend, type ExtendDeps } from "../extractor/extend.ts";
import type { Extractor } from "../extractor/extractor.ts";
import { createMapping } from "../mapping/mapping.ts";
import { createGate } from "../pipeline/limits.ts";
import type { Service, Works } from "../pipeline/step.ts";
import { createFileSink } from "../sink/file.ts";
import type { Sink } from "../sink/sink.ts";
import { createImapSource } from "../source/imap.ts";
import type { Source } from "../source/source.ts";
import { openSpool } from "../store/spool.ts";
import { openLedger } from "../store/sql.ts";
import type { Ledger } from "../store/store.ts";

export type Doors = {
  readonly sources: ReadonlyMap<string, Source>;
  readonly services: ReadonlyMap<string, Service>;
  readonly sinks: ReadonlyMap<string, Sink>;
  readonly close: () => Promise<void>;
};

type Deps = { readonly clock: Clock; readonly log: Logger };

/** What a webhook points to. */
const PAYLOAD_MS = 30_000;
const PAYLOAD_BYTES = 8 * 1024 * 1024;

/**
 * The doors to the outside, none of them opened yet. `refusal` is asked right before something is bought at a service: the Fault
 * that forbids it, or null.
 */
export async function assembleDoors(
  config: Config,
  { clock, log }: Deps,
  refusal: (service: string) => Promise<Fault | null> = async () => null,
): Promise<Doors> {
  const sources = new Map<string, Source>();
  const services = new Map<string, Service>();
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
    const { rates, breaker, limits, invoice, timeout } = service;
    // A socket for each task in hand: behind one's turn there is no second line, in which a call could wait for longer.
    const http = createHttp({ name, connections: config.concurrency, timeoutMs: timeout });
    const manners: MannersOptions = {
      name,
      rates,
      breaker: { failures: breaker.failures, firstMs: breaker.first, longestMs: breaker.longest },
      mayCall: async (category) => (category === "run" ? refusal(name) : null),
    };
    const payloads = createHttp({ name: `${name} webhook`, connections: 2, timeoutMs: PAYLOAD_MS, maxResponseBytes: PAYLOAD_BYTES });
    const extractor = createExtractor(name, service, { clock, http: mannered(http, manners, clock), payloads });
    services.set(name, { extractor: discreet(extractor, secretsOf(service)), limits, mapping: createMapping(invoice) });
    closing.push(http.close, payloads.close);
  }
  for (const [name, sink] of Object.entries(config.sinks)) {
    const { directory, format, attachments } = sink;
    sinks.set(name, createFileSink({ name, directory, template: sink.name, format, attachments }));
  }
  return {
    sources,
    services,
    sinks,
    close: async () => {
      for (const close of closing) await close().catch(() => {});
    },
  };
}

function secretsOf(service: ServiceConfig): readonly string[] {
  return service.kind === "extend" && service.webhookSecret !== null ? [service.apiKey, service.webhookSecret] : [service.apiKey];
}

function createExtractor(name: string, service: ServiceConfig, deps: ExtendDeps): Extractor {
  const poll = { firstMs: service.poll.first, longestMs: service.poll.longest };
  const deadlines = { pendingMs: service.deadlines.pending, runningMs: service.deadlines.running };
  switch (service.kind) {
    case "cloudsquid":
      return createCloudsquid({ ...service, name, poll, deadlines }, deps);
    case "extend":
      return createExtend({ ...service, name, poll, deadlines }, deps);
  }
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
    const doors = await assembleDoors(config, deps, (name) => pausedOr(name, ledger, deps.clock.now()));
    const [service] = Object.keys(config.services);
    const works: Works = {
      ledger,
      spool,
      sources: doors.sources,
      services: doors.services,
      sinks: doors.sinks,
      route: { service: service ?? "", sinks: Object.keys(config.sinks) },
      gate: createGate(),
      life: randomUUID(),
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

/** A service may be paused while a purchase waits for its turn: the task goes back to the others that wait for it to be resumed. */
async function pausedOr(name: string, ledger: Ledger, now: Date): Promise<Fault | null> {
  const paused = (await ledger.paused()).find(({ service }) => service === name);
  if (paused === undefined) return null;
  return new Fault("service.paused", `${name} is paused: ${paused.why}`, {
    advice: `\`billhook resume ${name}\` goes on`,
    retryAt: now,
    blameless: true,
  });
}

async function certificates(path: string): Promise<string> {
  return readFile(path, "utf8").catch((thrown: unknown) => {
    throw permanent("config.ca", `cannot read the CA certificates in ${path}: ${reasonOf(thrown)}`, "check the path given as `ca`", thrown);
  });
}
