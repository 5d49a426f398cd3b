/** What must hold between the keys of one service. Pure. */
import { type Broken, grows, plaintextRule } from "./broken.ts";
import type { Cloudsquid, Extend, Service } from "./service.ts";

/** `web`: whether that section stands there. `zero`: whether `keep` keeps nothing. */
export function serviceRules(path: readonly string[], service: Service, web: boolean, zero: boolean): readonly Broken[] {
  const broken = [
    ...grows([...path, "poll"], service.poll),
    ...grows([...path, "breaker"], service.breaker),
    ...plaintextRule([...path, "url"], service.url, service.allowPlaintext, "key and mail"),
  ];
  switch (service.kind) {
    case "cloudsquid":
      return [...broken, ...cloudsquidRules(path, service, zero)];
    case "extend":
      return [...broken, ...extendRules(path, service, web)];
  }
}

function cloudsquidRules(path: readonly string[], service: Cloudsquid, zero: boolean): readonly Broken[] {
  const broken: Broken[] = [];
  const tell = (key: readonly string[], message: string) => broken.push({ path: [...path, ...key], message });
  if (cutShort(service))
    tell(
      ["timeout"],
      "expected at least 5m with mode: sync, for Cloudsquid documents no limit, and a call given up sooner may be paid for twice. Write timeout: 5m",
    );
  const [asked, instead] = service.zeroRetention ? ["zeroRetention", "zeroRetention: false"] : ["keep: none", "another keep"];
  if ((service.zeroRetention || zero) && service.mode === "sync")
    tell(["mode"], `expected async with ${asked}, for a sync call cannot ask for it. Write mode: async, or ${instead}`);
  if ((service.zeroRetention || zero) && service.encoding === "uri")
    tell(
      ["encoding"],
      `expected another than uri with ${asked}, for the mail stays among the project's files. Choose another, or write ${instead}`,
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
