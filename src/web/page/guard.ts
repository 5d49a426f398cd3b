/** Who may ask: told by what a browser says of where a request comes from, which no page of another site can change. */
import type { IncomingHttpHeaders } from "node:http";

type Headers = IncomingHttpHeaders;

/** A link from elsewhere may lead here, and nothing else from elsewhere may (Fetch Metadata, W3C). */
export function mayLook({ "sec-fetch-site": site, "sec-fetch-mode": mode }: Headers): boolean {
  return site === undefined || site === "same-origin" || site === "none" || mode === "navigate";
}

/**
 * Browsers say where a form stood: by Sec-Fetch-Site to loopback and over TLS, by Origin always. Behind a proxy that changes Host only the
 * former can be judged.
 */
export function isOwnForm({ "sec-fetch-site": site, origin, host }: Headers): boolean {
  if (site !== undefined) return site === "same-origin";
  return origin !== undefined && host !== undefined && URL.parse(origin)?.host === host.toLowerCase();
}

/** The browser's own word for it; a proxy need not be believed. */
export function isOverTls({ origin }: Headers): boolean {
  return origin?.startsWith("https://") === true;
}
