/** The faults of a call without a complete answer: what they say of the request, and that they tell nothing else of it. */
import { Fault } from "../base/errors.ts";

/** How much of the body has gone out. */
export type Sent = "nothing" | "part" | "whole";

const SAID = {
  "http.unreachable": "no connection",
  "http.interrupted": "ended before it was complete; it can be repeated",
  "http.ambiguous": "sent, but no complete answer came; it may have been acted upon",
  "http.stopped": "stopped before it was sent",
} as const;

/** The code, as `Http` says. */
export function failure(method: string, sent: Sent, unconnected: boolean, stopped: boolean): keyof typeof SAID {
  if (unconnected) return "http.unreachable";
  if (sent === "whole" && method !== "GET") return "http.ambiguous";
  return stopped ? "http.stopped" : "http.interrupted";
}

export function failed(code: keyof typeof SAID, where: string, url: string, why: string, cause: unknown): Fault {
  const advice = code === "http.unreachable" ? `Check the address, the network and the certificate of ${new URL(url).host}` : undefined;
  return new Fault(code, `${where}: ${SAID[code]} (${why})`, { advice, cause });
}

/** Method and origin: everything else in a URL can be a secret, as the path of most webhooks is. */
export function placeOf(name: string, { method, url }: { readonly method: string; readonly url: string }): string {
  return `${name}: ${method} ${new URL(url).origin}`;
}
