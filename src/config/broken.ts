/** What a broken rule says, and what the rules of several sections ask. */
import { isIP } from "node:net";
import type { Retry } from "./retry.ts";

export type Broken = { readonly path: readonly string[]; readonly message: string };

export function grows(path: readonly string[], wait: { readonly first: number; readonly longest: number }): readonly Broken[] {
  if (wait.first <= wait.longest) return [];
  return [{ path: [...path, "longest"], message: "expected a wait at least as long as first. Make longest longer or first shorter." }];
}

export function retryRules(path: readonly string[], retry: Retry): readonly Broken[] {
  const broken = [...grows(path, retry)];
  if (retry.giveUpAfter < retry.first)
    broken.push({
      path: [...path, "giveUpAfter"],
      message: "expected at least as long as first, or nothing is tried twice. Make it longer.",
    });
  return broken;
}

type Server = {
  readonly host: string;
  readonly tls: "implicit" | "starttls" | "none";
  readonly ca: string | null;
  readonly allowPlaintext: boolean;
};

export function tlsRules(path: readonly string[], { host, tls, ca, allowPlaintext }: Server): readonly Broken[] {
  if (tls !== "none") return [];
  const broken: Broken[] = [];
  if (!allowPlaintext && !isLoopback(host))
    broken.push({
      path: [...path, "tls"],
      message:
        "expected implicit or starttls, because none sends password and mail readable to anyone on the way. Write tls: implicit, or insist with allowPlaintext: true",
    });
  if (ca !== null)
    broken.push({ path: [...path, "ca"], message: "a CA has no use when tls is none. Remove it, or choose implicit or starttls." });
  return broken;
}

export function isLoopback(host: string): boolean {
  const bare = host.replace(/^\[|\]$/g, "").toLowerCase();
  return bare === "localhost" || bare.endsWith(".localhost") || bare === "::1" || (isIP(bare) === 4 && bare.startsWith("127."));
}

/** An http URL that leads over a network. `what` is readable there. */
export function plaintextRule(path: readonly string[], url: string, allowed: boolean, what: string): readonly Broken[] {
  const { protocol, hostname } = new URL(url);
  if (protocol !== "http:" || allowed || isLoopback(hostname)) return [];
  const why = `expected https, because http sends ${what} readable to anyone on the way.`;
  return [{ path, message: `${why} Write https://, or insist with allowPlaintext: true` }];
}

/** RFC 9051 section 5.1: INBOX is the one folder name whose case does not count. */
export function folderKey(folder: string): string {
  return folder.toUpperCase() === "INBOX" ? "INBOX" : folder;
}
