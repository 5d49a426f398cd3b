/** What the answer to a delivery means: a receipt, or a fault that says whether trying again can help. */
import { Fault, permanent } from "../../base/errors.ts";
import { type HttpResponse, retryAfter } from "../../http/http.ts";
import type { Receipt } from "../sink.ts";

/** In characters. */
const MOST_BODY = 1_024;
const MOST_ID = 200;

export type Asked = {
  readonly sink: string;
  /** Method and origin. */
  readonly place: string;
  readonly url: string;
  readonly now: Date;
};

/** A receiver is obeyed for so long; a service, for which all mail waits, only for a day. */
const LONGEST_REST_MS = 7 * 86_400_000;

/** Until when the receiver wants no call at all (429, 503: RFC 6585 section 4, RFC 9110 section 15.6.4); null when it does not say. */
export function restOf({ status, headers }: Pick<HttpResponse, "status" | "headers">, now: Date): Date | null {
  return status === 429 || status === 503 ? retryAfter(headers, now, LONGEST_REST_MS) : null;
}

/** Nothing was sent, because of what another delivery was answered. */
export function restFault(until: Date, { sink, place }: Pick<Asked, "sink" | "place">): Fault {
  const said = `sink ${sink}: ${place} asked not to be called before ${until.toISOString()}`;
  return new Fault("http.rate-limited", said, { retryAt: until, blameless: true });
}

/**
 * Null for 2xx. Temporary, and not before Retry-After: `http.busy` (408, 425, 429, 503) and `http.failed` (other 5xx). Permanent:
 * `http.gone` (410) and `http.unauthorized` (401), which shut the door for all; `http.redirected`: no redirect is followed, for it would
 * take mail where its owner has not sent it; `http.refused`. An answer's own words are in no fault: they may repeat the mail.
 */
export function answerFault({ status, headers }: Pick<HttpResponse, "status" | "headers">, { sink, place, url, now }: Asked): Fault | null {
  const said = `sink ${sink}: ${place} answered ${status}`;
  const advice = "mend the receiver or the sink's configuration, then run `billhook retry`";
  if (status >= 200 && status < 300) return null;
  if (status >= 300 && status < 400) {
    return permanent(
      "http.redirected",
      `${said}${leadingTo(headers.location, url)}; redirects are not followed`,
      "set url to where it leads",
    );
  }
  if (status === 401 || status === 410) {
    const [code, why, what] =
      status === 401
        ? (["http.unauthorized", "it does not know these credentials", "check auth and secrets"] as const)
        : (["http.gone", "it wants no more deliveries", "check the url"] as const);
    const then = `${what}, then run \`billhook resume ${sink}\``;
    return new Fault(code, `${said}: ${why}`, { temporary: false, halts: true, advice: then });
  }
  const busy = [408, 425, 429, 503].includes(status);
  if (!busy && status >= 400 && status < 500) return permanent("http.refused", said, advice);
  return new Fault(busy ? "http.busy" : "http.failed", said, { retryAt: retryAfter(headers, now, LONGEST_REST_MS) ?? undefined });
}

/** The origin only: all else that stands in a Location may be a secret, and often repeats ours. */
function leadingTo(location: string | undefined, url: string): string {
  const target = location === undefined ? null : URL.parse(location, url);
  if (target === null || !/^https?:$/.test(target.protocol)) return "";
  return target.origin === new URL(url).origin ? " and leads elsewhere there" : ` and leads to ${target.origin.slice(0, 200)}`;
}

/** The status, the field at `path` of a JSON answer, and the beginning of the answer; `hidden` is in none of them. */
export function receiptOf(answer: HttpResponse, path: string | null, hidden: readonly string[]): Receipt {
  const text = answer.text();
  return {
    status: answer.status,
    id: path === null ? null : (safe(fieldAt(text, path), hidden)?.slice(0, MOST_ID) ?? null),
    body: safe(text, hidden)?.slice(0, MOST_BODY).toWellFormed() ?? null,
  };
}

function fieldAt(text: string, path: string): string | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  for (const key of path.split(".")) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, key)) return null;
    value = (value as { readonly [key: string]: unknown })[key];
  }
  return typeof value === "string" || typeof value === "number" ? String(value) : null;
}

/** Fewer characters of a secret are no loss. */
const SHORTEST_BEGINNING = 4;

/** Without the secrets, and without the beginning of one at the end, where the answer may have broken off. */
function veiled(text: string, hidden: readonly string[]): string {
  const longestFirst = hidden.toSorted((a, b) => b.length - a.length);
  const shown = longestFirst.reduce((said, secret) => said.replaceAll(secret, "***"), text);
  const cuts = longestFirst.map((secret) => {
    let length = Math.min(secret.length, shown.length);
    while (length >= SHORTEST_BEGINNING && !shown.endsWith(secret.slice(0, length))) length -= 1;
    return length >= SHORTEST_BEGINNING ? length : 0;
  });
  const cut = Math.max(0, ...cuts);
  return cut === 0 ? shown : `${shown.slice(0, -cut)}***`;
}

/** One line without controls and without marks that steer a terminal; null for nothing. */
function safe(text: string | null, hidden: readonly string[]): string | null {
  if (text === null) return null;
  const line = veiled(text, hidden)
    .replace(/[\s\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}]+/gu, " ")
    .trim();
  return line === "" ? null : line;
}
