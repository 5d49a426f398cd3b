/** Header fields of the http sink: names that cannot change the request, and values that cannot leave their line. */
import { permanent } from "../../base/errors.ts";

export type Auth = { readonly bearer: string } | { readonly basic: { readonly user: string; readonly password: string } };

/** RFC 9110 section 5.1. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
/** Characters; of those that are not ASCII nine bytes may come of each. */
const LONGEST_VALUE = 8_000;
const LONGEST_CODED = 800;

/** Fields that are billhook's, or the connection's (RFC 9110 section 7.6.1). */
const TAKEN = [
  "host",
  "content-length",
  "transfer-encoding",
  "connection",
  "keep-alive",
  "proxy-connection",
  "proxy-authorization",
  "te",
  "trailer",
  "upgrade",
  "expect",
  "idempotency-key",
  "webhook-id",
  "webhook-timestamp",
  "webhook-signature",
];

/** Throws a permanent Fault `config.header` for a name that is none, that is not the owner's to set, or that stands there twice. */
export function checkNames(sink: string, names: readonly string[], takenToo: readonly string[]): void {
  const seen = new Set<string>();
  for (const name of names) {
    const lower = name.toLowerCase();
    const tell = (why: string) =>
      permanent(
        "config.header",
        `sink ${sink}: the header ${JSON.stringify(name.slice(0, 60))} ${why}`,
        "take it out of `headers`, or give it another name",
      );
    if (!TOKEN.test(name)) throw tell("is no field name of HTTP");
    if (TAKEN.includes(lower) || takenToo.includes(lower)) throw tell("is set by billhook itself");
    if (seen.has(lower)) throw tell("is there twice");
    seen.add(lower);
  }
}

/**
 * Any text as a field value: one line of printable ASCII. Controls and line ends become spaces. A value that holds anything
 * outside ASCII is percent-encoded UTF-8, its `%` too, so that decodeURIComponent gives it back.
 */
export function fieldValue(text: string): string {
  const line = text
    .toWellFormed()
    .replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, " ")
    .trim();
  if (/^[ -~]*$/.test(line)) return line.slice(0, LONGEST_VALUE);
  return line
    .slice(0, LONGEST_CODED)
    .toWellFormed()
    .replace(/[^ -~]|%/gu, encodeURIComponent);
}

/** Bearer (RFC 6750 section 2.1) or Basic (RFC 7617, in UTF-8). Throws a permanent Fault `config.auth` that does not tell them. */
export function authorizationOf(sink: string, auth: Auth | null): string | null {
  if (auth === null) return null;
  const refused = (why: string) => permanent("config.auth", `sink ${sink}: ${why}`, "check what stands in auth");
  if ("bearer" in auth) {
    if (!/^[!-~]+$/.test(auth.bearer)) throw refused("the bearer token is empty or holds characters that cannot be sent");
    return `Bearer ${auth.bearer}`;
  }
  const { user, password } = auth.basic;
  if (user.includes(":") || /\p{Cc}/u.test(user + password)) throw refused("the user holds a colon, or one of them a control character");
  return `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;
}
