/** From configuration to live objects: with state.ts the only file that names implementations. */
import { readFile } from "node:fs/promises";
import type { Clock } from "../base/clock.ts";
import { Fault, permanent, reasonOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { keepsNothing } from "../config/keep.ts";
import type { Config } from "../config/schema.ts";
import type { Service as ServiceConfig } from "../config/service.ts";
import type { Sink as SinkConfig } from "../config/sink.ts";
import { createCloudsquid } from "../extractor/cloudsquid.ts";
import { discreet } from "../extractor/discreet.ts";
import { isLoopback } from "../extractor/extend/webhook.ts";
import { createExtend, type ExtendDeps } from "../extractor/extend.ts";
import type { Extractor } from "../extractor/extractor.ts";
import { createHttp } from "../http/http.ts";
import { type MannersOptions, mannered } from "../http/manners.ts";
import { type Proxies, proxiesOf } from "../http/network.ts";
import { createMapping } from "../mapping/mapping.ts";
import { createRender } from "../mapping/template.ts";
import { createGate } from "../pipeline/limits.ts";
import type { RetryRule } from "../pipeline/retry.ts";
import { type RouteSink, type Routing, type Rule, withBuiltIn } from "../pipeline/route.ts";
import type { Outlet, Service, Works } from "../pipeline/step.ts";
import { createFileSink } from "../sink/file.ts";
import { createHttpSink } from "../sink/http.ts";
import type { Sink } from "../sink/sink.ts";
import { createAccounts } from "../source/imap/accounts.ts";
import { createImapSource } from "../source/imap.ts";
import type { Source } from "../source/source.ts";
import { refuseLost } from "../store/sql/recover.ts";
import { openLedger } from "../store/sql.ts";
import type { Ledger } from "../store/store.ts";
import { assembleSpool, spoolOf } from "./state.ts";

export type Doors = {
  readonly sources: ReadonlyMap<string, Source>;
  readonly services: ReadonlyMap<string, Service>;
  readonly sinks: ReadonlyMap<string, Outlet>;
  readonly routing: Routing;
  readonly close: () => Promise<void>;
};

type Deps = { readonly clock: Clock; readonly log: Logger };

/** What a webhook points to. */
const PAYLOAD_MS = 30_000;
const PAYLOAD_BYTES = 8 * 1024 * 1024;

/** What the doors ask the ledger; where there is none nothing is bought, and nothing is sent. */
type Memory = Pick<Ledger, "paused" | "sentTo">;
const FORGETFUL: Memory = { paused: async () => [], sentTo: async () => 0 };

/** The doors to the outside, none of them opened yet. */
export async function assembleDoors(config: Config, { clock, log }: Deps, memory: Memory = FORGETFUL): Promise<Doors> {
  const sources = new Map<string, Source>();
  const services = new Map<string, Service>();
  const sinks = new Map<string, Outlet>();
  const proxies = proxiesOf(process.env);
  const closing: (() => Promise<void>)[] = [];
  const accounts = createAccounts(clock);

  // Only who signs in by OAuth pays for what it takes.
  const signIns = Object.values(config.mailboxes).some(({ oauth2 }) => oauth2 !== null)
    ? (await import("./signins.ts")).createSignIns(config, { clock, proxies }, (name) => sources.get(name)?.sweep())
    : null;
  for (const [name, mailbox] of Object.entries(config.mailboxes)) {
    const { host, port, tls, user, password, oauth2, folder, start, afterwards, largest: maxBytes } = mailbox;
    const ca = await pem("ca", mailbox.ca);
    const secret = { password, accessToken: signIns?.byMailbox.get(name)?.accessToken ?? null, mechanism: oauth2?.mechanism ?? "auto" };
    const door = { name, host, port, tls, ca, user, ...secret };
    const source = createImapSource({ ...door, folder, start, afterwards, maxBytes }, { clock, log, accounts });
    sources.set(name, source);
    closing.push(source.close);
  }
  if (signIns !== null) closing.push(signIns.close);
  for (const [name, service] of Object.entries(config.services)) {
    const { rates, breaker, limits, invoice, timeout } = service;
    // A socket for each task in hand, orders and questions: behind one's turn there is no second line, in which a call could wait for longer.
    const http = createHttp({ name, connections: 2 * config.concurrency, timeoutMs: timeout, proxies });
    const manners: MannersOptions = {
      name,
      rates,
      breaker: { failures: breaker.failures, firstMs: breaker.first, longestMs: breaker.longest },
      mayCall: async (category) => (category === "run" ? pausedOr(name, memory, clock.now()) : null),
    };
    const payloads = createHttp({
      name: `${name} webhook`,
      connections: 2,
      timeoutMs: PAYLOAD_MS,
      maxResponseBytes: PAYLOAD_BYTES,
      allowPrivate: isLoopback(service.url),
      proxies,
    });
    const door = mannered(http, manners, clock);
    const extractor = createExtractor(name, service, keepsNothing(config.keep), { clock, http: door, payloads });
    const { refusedSince } = door;
    services.set(name, { extractor: discreet(extractor, secretsOf(service)), limits, mapping: createMapping(invoice), refusedSince });
    closing.push(http.close, payloads.close);
  }
  for (const [name, sink] of Object.entries(config.sinks)) {
    const made = await createSink(name, sink, config, { clock, proxies, sentTo: memory.sentTo });
    sinks.set(name, { sink: made.sink, retry: ruleOf(sink.retry) });
    closing.push(made.close);
  }
  return {
    sources,
    services,
    sinks,
    routing: routingOf(config),
    close: async () => {
      for (const close of closing) await close().catch(() => {});
    },
  };
}

function secretsOf(service: ServiceConfig): readonly string[] {
  return service.kind === "extend" && service.webhookSecret !== null ? [service.apiKey, service.webhookSecret] : [service.apiKey];
}

function createExtractor(name: string, service: ServiceConfig, zero: boolean, deps: ExtendDeps): Extractor {
  const poll = { firstMs: service.poll.first, longestMs: service.poll.longest };
  const deadlines = { pendingMs: service.deadlines.pending, runningMs: service.deadlines.running };
  switch (service.kind) {
    case "cloudsquid":
      return createCloudsquid({ ...service, zeroRetention: service.zeroRetention || zero, name, poll, deadlines }, deps);
    case "extend":
      return createExtend({ ...service, name, poll, deadlines }, deps);
  }
}

type SinkDeps = { readonly clock: Clock; readonly proxies: Proxies; readonly sentTo: Ledger["sentTo"] };
type MadeSink = { readonly sink: Sink; readonly close: () => Promise<void> };

async function createSink(name: string, config: SinkConfig, whole: Config, deps: SinkDeps): Promise<MadeSink> {
  const { clock, proxies, sentTo } = deps;
  switch (config.kind) {
    case "file":
      return { sink: createFileSink({ ...config, name, template: config.name }), close: async () => {} };
    case "http": {
      const [ca, certificate, key] = [
        await pem("ca", config.ca),
        await pem("certificate", config.certificate),
        await pem("key", config.key),
      ];
      const { timeout: timeoutMs, allowPrivate } = config;
      const http = createHttp({ name, connections: whole.concurrency, timeoutMs, allowPrivate, proxies, tls: { ca, certificate, key } });
      return { sink: createHttpSink({ ...config, name }, { clock, http, render: createRender }), close: http.close };
    }
    case "smtp": {
      const ca = await pem("ca", config.ca);
      const senders = Object.values(whole.sinks).flatMap((one) =>
        one.kind === "smtp" ? [/<([^<>]+)>\s*$/.exec(one.from)?.[1] ?? one.from] : [],
      );
      const own = [...Object.values(whole.mailboxes).map(({ user }) => user), ...senders];
      const options = { ...config, name, ca, own, timeoutMs: config.timeout };
      // Only who sends mail pays for what it takes.
      const { createSmtpSink } = await import("../sink/smtp.ts");
      const sink = createSmtpSink(options, { clock, sentTo: (address, since) => sentTo(name, address, since) });
      return { sink, close: async () => {} };
    }
  }
}

/** Rules as they are written name sinks; a message remembers with each what it is given. */
function routingOf({ services, sinks, routes }: Config): Routing {
  const told = (name: string): RouteSink => ({ name, per: sinks[name]?.per ?? "document", failures: sinks[name]?.failures ?? false });
  const rules = routes.map((rule): Rule => (rule.is === "take" ? { ...rule, sinks: rule.sinks?.map(told) ?? null } : rule));
  return { rules: withBuiltIn(rules), fallback: { service: Object.keys(services)[0] ?? "", sinks: Object.keys(sinks).map(told) } };
}

function ruleOf({ first, longest, giveUpAfter }: Config["retry"]): RetryRule {
  return { firstMs: first, longestMs: longest, giveUpAfterMs: giveUpAfter };
}

/** Everything the pipeline works with. Takes the lock of the state directory and migrates the ledger. */
export async function assembleWorks(config: Config, deps: Deps): Promise<{ readonly works: Works; readonly close: () => Promise<void> }> {
  await refuseLost(config.state.directory, spoolOf(config));
  const ledger = await openLedger({ directory: config.state.directory, own: true, now: deps.clock.now() });
  try {
    const spool = await assembleSpool(config);
    await spool.clean();
    const doors = await assembleDoors(config, deps, ledger);
    await ledger.adopt({ rule: null, is: "take", why: null, ...doors.routing.fallback, afterwards: null });
    await ledger.hasten(deps.clock.now());
    const works: Works = {
      ledger,
      spool,
      sources: doors.sources,
      services: doors.services,
      sinks: doors.sinks,
      routing: doors.routing,
      gate: createGate(),
      retry: ruleOf(config.retry),
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
async function pausedOr(name: string, ledger: Memory, now: Date): Promise<Fault | null> {
  const paused = (await ledger.paused()).find((one) => one.name === name);
  if (paused === undefined) return null;
  return new Fault("service.paused", `${name} is paused: ${paused.why}`, {
    advice: `\`billhook resume ${name}\` goes on`,
    retryAt: now,
    blameless: true,
  });
}

async function pem(key: "ca" | "certificate" | "key", path: string | null): Promise<string | null> {
  if (path === null) return null;
  return readFile(path, "utf8").catch((thrown: unknown) => {
    throw permanent(`config.${key}`, `cannot read ${path}: ${reasonOf(thrown)}`, `check the path given as \`${key}\``, thrown);
  });
}
