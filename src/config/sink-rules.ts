/** What must hold between the keys of one sink. Pure. */

import { isIP } from "node:net";
import { isPrivate } from "../http/network.ts";
import { type Broken, isLoopback, plaintextRule, retryRules, tlsRules } from "./broken.ts";
import type { File, Http, Sink, Smtp } from "./sink.ts";

/** `accounts`: who logs in at each mailbox, by its name; what is mailed there is read again. */
export function sinkRules(path: readonly string[], sink: Sink, accounts: ReadonlyMap<string, string>): readonly Broken[] {
  const broken: Broken[] = [...retryRules([...path, "retry"], sink.retry)];
  const tell = (key: readonly string[], message: string) => broken.push({ path: [...path, ...key], message });
  switch (sink.kind) {
    case "file":
      fileRules(sink, tell);
      break;
    case "http":
      broken.push(...plaintextRule([...path, "url"], sink.url, sink.allowPlaintext, "the invoice data"));
      httpRules(sink, tell);
      break;
    case "smtp":
      broken.push(...tlsRules(path, sink));
      if (sink.oauth2 !== null)
        broken.push(...plaintextRule([...path, "oauth2", "tokenUrl"], sink.oauth2.tokenUrl, sink.allowPlaintext, "secret and token"));
      loginRules(sink, tell);
      recipientRules(sink, accounts, tell);
  }
  return broken;
}

type Tell = (key: readonly string[], message: string) => void;

/** Words that say the same of every document. */
const COMMON = new Set(["mailbox", "service"]);

function fileRules(sink: File, tell: Tell): void {
  const words = Array.from(sink.name.matchAll(/\{\{([^}]*)\}\}/g), (match) => match[1] ?? "");
  if (sink.format === "json" && words.every((word) => COMMON.has(word)))
    tell(
      ["name"],
      "expected a name that differs from document to document, for with json each is a file of its own. Put {{document}}, or another such word, into it.",
    );
  if (sink.format !== "json" && sink.mode !== null && (sink.mode & 0o200) === 0)
    tell(["mode"], `expected permissions by which the owner may write, for ${sink.format} is appended. Write, for example, mode: "0640"`);
}

function httpRules(sink: Http, tell: Tell): void {
  const { protocol, hostname } = new URL(sink.url);
  const host = hostname.replace(/^\[|\]$/g, "");
  if (!sink.allowPrivate && (isIP(host) === 0 ? isLoopback(host) : isPrivate(host)))
    tell(
      ["url"],
      "expected an address of the public internet, for private ones are refused. Choose another, or insist with allowPrivate: true",
    );
  for (const key of ["ca", "certificate", "key"] as const)
    if (sink[key] !== null && protocol === "http:") tell([key], "has no use with an http URL. Remove it, or write https:// there.");
  if (sink.certificate !== null && sink.key === null)
    tell(["certificate"], "expected key beside it, the file of its private key. Add key, or remove certificate.");
  if (sink.key !== null && sink.certificate === null)
    tell(["key"], "expected certificate beside it, the file of the certificate it is the key of. Add certificate, or remove key.");
  if (sink.format === "json")
    for (const key of ["attachments", "raw"] as const)
      if (sink[key]) tell([key], `expected false with format: json, which holds no files. Write ${key}: false, or format: multipart`);
  if (sink.format === "multipart" && sink.body !== null)
    tell(["body"], "expected none with format: multipart, whose field delivery is what is delivered. Remove body, or write format: json");
  const seen = new Set<string>();
  for (const name of Object.keys(sink.headers)) {
    const field = name.toLowerCase();
    if (seen.has(field)) tell(["headers", name], "stands there a second time, for upper and lower case do not count. Keep one of them.");
    seen.add(field);
    if (field === "authorization" && sink.auth !== null)
      tell(["headers", name], "expected auth or this field, found both. Remove one of the two.");
    if (field === "content-type" && sink.format === "multipart")
      tell(["headers", name], "is set by billhook with format: multipart. Remove it.");
  }
}

function loginRules({ user, password, oauth2 }: Smtp, tell: Tell): void {
  if (password !== null && oauth2 !== null) tell(["oauth2"], "expected password or oauth2, found both. Remove one of the two.");
  if (user !== null && password === null && oauth2 === null)
    tell(["user"], "expected password or oauth2 beside it. Add one of them, or remove user.");
  for (const [key, value] of Object.entries({ password, oauth2 }))
    if (value !== null && user === null) tell([key], `expected user beside it. Add user, or remove ${key}.`);
}

function recipientRules({ to, allow, authserv, perHour }: Smtp, accounts: ReadonlyMap<string, string>, tell: Tell): void {
  if (to === "sender") {
    if (allow.length === 0 && authserv === null)
      tell(
        ["to"],
        "expected allow or authserv beside it, for anybody can write any sender into a mail. Add authserv, the name of your mail server, or allow.",
      );
    return;
  }
  const written = { allow: allow.length > 0, authserv: authserv !== null, perHour: Number.isFinite(perHour) };
  for (const [key, isWritten] of Object.entries(written))
    if (isWritten) tell([key], `is for to: sender only. Remove ${key}, or write to: sender`);
  to.forEach((address, at) => {
    const mailbox = accounts.get(address.toLowerCase());
    if (mailbox !== undefined)
      tell(["to", String(at)], `is the account of the mailbox ${mailbox}, where it would be read as new mail. Choose another address.`);
  });
}
