/** What must hold between keys. Pure: it is given what could be read, and says every rule that is broken. */
import { isIP } from "node:net";
import type { Mailbox, Retry, Sink } from "./schema.ts";
import type { Cloudsquid, Extend, Service } from "./service.ts";

/** The parts of a configuration that are right by themselves. */
export type Readable = {
  readonly retry: Retry | null;
  readonly mailboxes: { readonly [name: string]: Mailbox };
  readonly services: { readonly [name: string]: Service };
  readonly sinks: { readonly [name: string]: Sink };
  /** Whether the section stands there, right or not. */
  readonly web: boolean;
  /** How many entries stand in each section, right or not; null when the section is not a mapping. */
  readonly counts: { readonly mailboxes: number | null; readonly services: number | null; readonly sinks: number | null };
};

export type Broken = { readonly path: readonly string[]; readonly message: string };

export function brokenRules(readable: Readable): readonly Broken[] {
  return [
    ...counts(readable.counts),
    ...(readable.retry ? grows(["retry"], readable.retry) : []),
    ...(readable.retry ? givesUpLate(readable.retry) : []),
    ...Object.entries(readable.mailboxes).flatMap(([name, mailbox]) => mailboxRules(["mailboxes", name], mailbox)),
    ...sameTwice("mailboxes", readable.mailboxes, (it) => [it.host.toLowerCase(), it.port, it.user, folderKey(it.folder)], SAME_FOLDER),
    ...Object.entries(readable.services).flatMap(([name, service]) => serviceRules(["services", name], service, readable.web)),
    ...Object.entries(readable.sinks).flatMap(([name, sink]) => sinkRules(["sinks", name], sink)),
    ...sameTwice("sinks", readable.sinks, (it) => [it.directory, it.name], SAME_FILES),
  ];
}

function counts({ mailboxes, services, sinks }: Readable["counts"]): readonly Broken[] {
  const broken: Broken[] = [];
  if (mailboxes === 0)
    broken.push({ path: ["mailboxes"], message: "expected at least one mailbox, found none. Add the mailbox to watch." });
  if (services === 0) broken.push({ path: ["services"], message: "expected exactly one service, found none. Add the extraction service." });
  if (services !== null && services > 1)
    broken.push({ path: ["services"], message: `expected exactly one service in this version, found ${services}. Keep one of them.` });
  if (sinks === 0) broken.push({ path: ["sinks"], message: "expected at least one sink, found none. Add where the results go." });
  return broken;
}

function grows(path: readonly string[], wait: { readonly first: number; readonly longest: number }): readonly Broken[] {
  if (wait.first <= wait.longest) return [];
  return [{ path: [...path, "longest"], message: "expected a wait at least as long as first. Make longest longer or first shorter." }];
}

function givesUpLate(retry: Retry): readonly Broken[] {
  if (retry.giveUpAfter >= retry.first) return [];
  return [{ path: ["retry", "giveUpAfter"], message: "expected at least as long as first, or nothing is tried twice. Make it longer." }];
}

function mailboxRules(path: readonly string[], mailbox: Mailbox): readonly Broken[] {
  const broken: Broken[] = [];
  const tell = (key: readonly string[], message: string) => broken.push({ path: [...path, ...key], message });
  if (mailbox.tls === "none" && !mailbox.allowPlaintext && !isLoopback(mailbox.host))
    tell(
      ["tls"],
      "expected implicit or starttls, because none sends password and mail readable to anyone on the way. Write tls: implicit, or insist with allowPlaintext: true",
    );
  if (mailbox.tls === "none" && mailbox.ca !== null)
    tell(["ca"], "a CA has no use when tls is none. Remove it, or choose implicit or starttls.");
  for (const verdict of ["done", "failed"] as const) {
    const action = mailbox.afterwards[verdict];
    if (action.is === "move" && folderKey(action.folder) === folderKey(mailbox.folder))
      tell(["afterwards", verdict, "move"], "expected another folder than the one that is watched. Choose another, or write none.");
  }
  return broken;
}

function serviceRules(path: readonly string[], service: Service, web: boolean): readonly Broken[] {
  const broken: Broken[] = [...grows([...path, "poll"], service.poll), ...grows([...path, "breaker"], service.breaker)];
  const url = new URL(service.url);
  if (url.protocol === "http:" && !service.allowPlaintext && !isLoopback(url.hostname))
    broken.push({
      path: [...path, "url"],
      message:
        "expected https, because http sends key and mail readable to anyone on the way. Write https://, or insist with allowPlaintext: true",
    });
  switch (service.kind) {
    case "cloudsquid":
      return [...broken, ...cloudsquidRules(path, service)];
    case "extend":
      return [...broken, ...extendRules(path, service, web)];
  }
}

function cloudsquidRules(path: readonly string[], service: Cloudsquid): readonly Broken[] {
  const broken: Broken[] = [];
  const tell = (key: readonly string[], message: string) => broken.push({ path: [...path, ...key], message });
  if (cutShort(service))
    tell(
      ["timeout"],
      "expected at least 5m with mode: sync, for Cloudsquid documents no limit, and a call given up sooner may be paid for twice. Write timeout: 5m",
    );
  if (service.zeroRetention && service.mode === "sync")
    tell(["mode"], "expected async with zeroRetention, for a sync call cannot ask for it. Write mode: async, or zeroRetention: false");
  if (service.zeroRetention && service.encoding === "uri")
    tell(
      ["encoding"],
      "expected another than uri with zeroRetention, for the mail stays among the project's files. Choose another, or write zeroRetention: false",
    );
  const fields = Object.entries(service.multipart.fields).filter(([, name]) => name !== null);
  fields.forEach(([key, name], index) => {
    const before = fields.slice(0, index).find(([, other]) => other === name);
    if (before)
      tell(["multipart", "fields", key], `expected a field name of its own, found the one of ${before[0]}. Change one of the two.`);
  });
  return broken;
}

/** A blocking call is bought as it is sent: who gives up on it does not learn what it has bought. Extend ends it after 5 minutes. */
function cutShort({ mode, timeout }: Service): boolean {
  return mode === "sync" && timeout < 5 * 60_000;
}

/** Extend takes 10 KB of metadata, in which our own key has its place. */
const METADATA_BYTES = 8 * 1024;

function extendRules(path: readonly string[], service: Extend, web: boolean): readonly Broken[] {
  const broken: Broken[] = [];
  const tell = (key: string, message: string) => broken.push({ path: [...path, key], message });
  if (service.extractor !== null && service.config !== null)
    tell("config", "expected extractor or config, found both. Remove one of the two.");
  if (cutShort(service))
    tell(
      "timeout",
      "expected at least 5m with mode: sync, for Extend may take that long, and a call given up sooner may be paid for twice. Write timeout: 5m",
    );
  const bytes = Buffer.byteLength(JSON.stringify([service.metadata, service.usageTags]));
  if (bytes > METADATA_BYTES)
    tell(
      Object.keys(service.metadata).length > 0 ? "metadata" : "usageTags",
      `expected metadata and usageTags of at most 8 KB together, found ${Math.ceil(bytes / 1024)} KB. Shorten them.`,
    );
  if (service.webhookSecret !== null && !web)
    tell("webhookSecret", "expected a section web, for that is where webhooks come in. Add web: { port: 8080 }, or remove webhookSecret.");
  return broken;
}

function sinkRules(path: readonly string[], sink: Sink): readonly Broken[] {
  const words = new Set(Array.from(sink.name.matchAll(/\{\{([^}]*)\}\}/g), (match) => match[1]));
  if (sink.format === "jsonl" || words.has("document") || (words.has("message") && words.has("position"))) return [];
  return [
    {
      path: [...path, "name"],
      message:
        "expected a name that differs for every document, or one file replaces another. Put {{document}}, or {{message}} and {{position}}, into it.",
    },
  ];
}

const SAME_FOLDER = "watches the same folder of the same account. Remove one of the two.";
const SAME_FILES = "writes the same files. Change directory or name of one of the two.";

function sameTwice<T>(
  section: string,
  entries: { readonly [name: string]: T },
  identity: (entry: T) => readonly (string | number)[],
  message: string,
): readonly Broken[] {
  const first = new Map<string, string>();
  return Object.entries(entries).flatMap(([name, entry]) => {
    const key = JSON.stringify(identity(entry));
    const other = first.get(key);
    if (other === undefined) first.set(key, name);
    return other === undefined ? [] : [{ path: [section, name], message: `${other} ${message}` }];
  });
}

/** RFC 9051 section 5.1: INBOX is the one folder name whose case does not count. */
function folderKey(folder: string): string {
  return folder.toUpperCase() === "INBOX" ? "INBOX" : folder;
}

function isLoopback(host: string): boolean {
  const bare = host.replace(/^\[|\]$/g, "").toLowerCase();
  return bare === "localhost" || bare.endsWith(".localhost") || bare === "::1" || (isIP(bare) === 4 && bare.startsWith("127."));
}
