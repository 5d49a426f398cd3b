/** What must hold between keys. Pure: it is given what could be read, and says every rule that is broken. */
import { type Broken, folderKey, retryRules } from "./broken.ts";
import { type Keep, keepsNothing } from "./keep.ts";
import type { Mailbox } from "./mailbox.ts";
import { mailboxRules } from "./mailbox-rules.ts";
import type { Retry } from "./retry.ts";
import type { WrittenRule } from "./route.ts";
import { type Names, routeRules } from "./route-rules.ts";
import type { Service } from "./service.ts";
import { serviceRules } from "./service-rules.ts";
import type { Sink } from "./sink.ts";
import { sinkRules } from "./sink-rules.ts";

/** The parts of a configuration that are right by themselves. */
export type Readable = {
  readonly keep: Keep | null;
  readonly retry: Retry | null;
  readonly mailboxes: { readonly [name: string]: Mailbox };
  readonly services: { readonly [name: string]: Service };
  readonly sinks: { readonly [name: string]: Sink };
  /** In their order; null for one that is not. */
  readonly routes: readonly (WrittenRule | null)[];
  /** Whether the section stands there, right or not. */
  readonly web: boolean;
  /** Whether secrets.key stands there, right or not. */
  readonly key: boolean;
  readonly names: Names;
};

export function brokenRules(readable: Readable): readonly Broken[] {
  const { keep, retry, mailboxes, services, sinks, routes, web, key, names } = readable;
  const zero = keep !== null && keepsNothing(keep);
  const accounts = new Map(Object.entries(mailboxes).map(([name, { user }]) => [user.toLowerCase(), name]));
  return [
    ...atLeastOne(names),
    ...oneName(names),
    ...(retry ? retryRules(["retry"], retry) : []),
    ...Object.entries(mailboxes).flatMap(([name, mailbox]) => mailboxRules(["mailboxes", name], mailbox, key)),
    ...sameTwice("mailboxes", mailboxes, (it) => [it.host.toLowerCase(), it.port, it.user, folderKey(it.folder)], SAME_FOLDER),
    ...Object.entries(services).flatMap(([name, service]) => serviceRules(["services", name], service, web, zero)),
    ...Object.entries(sinks).flatMap(([name, sink]) => sinkRules(["sinks", name], sink, accounts)),
    ...sameTwice("sinks", sinks, (it) => (it.kind === "file" ? [it.directory, it.name] : null), SAME_FILES),
    ...routeRules(routes, names, mailboxes),
  ];
}

const MISSING = {
  mailboxes: "expected at least one mailbox, found none. Add the mailbox to watch.",
  services: "expected at least one service, found none. Add the extraction service.",
  sinks: "expected at least one sink, found none. Add where the results go.",
};

function atLeastOne(names: Names): readonly Broken[] {
  return (["mailboxes", "services", "sinks"] as const)
    .filter((section) => names[section]?.length === 0)
    .map((section) => ({ path: [section], message: MISSING[section] }));
}

/** `billhook pause NAME` takes the name of either. */
function oneName({ services, sinks }: Names): readonly Broken[] {
  return (sinks ?? [])
    .filter((name) => services?.includes(name))
    .map((name) => ({
      path: ["sinks", name],
      message: "a service has this name too, and `billhook pause` takes either. Change one of the two.",
    }));
}

const SAME_FOLDER = "watches the same folder of the same account. Remove one of the two.";
const SAME_FILES = "writes the same files. Change directory or name of one of the two.";

function sameTwice<T>(
  section: string,
  entries: { readonly [name: string]: T },
  identity: (entry: T) => readonly (string | number)[] | null,
  message: string,
): readonly Broken[] {
  const first = new Map<string, string>();
  return Object.entries(entries).flatMap(([name, entry]) => {
    const values = identity(entry);
    if (values === null) return [];
    const key = JSON.stringify(values);
    const other = first.get(key);
    if (other === undefined) first.set(key, name);
    return other === undefined ? [] : [{ path: [section, name], message: `${other} ${message}` }];
  });
}
