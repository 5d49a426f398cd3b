/** What goes wrong between billhook and a provider of tokens, told as Faults: what it said, without a secret, and what mends it. */
import { Fault, permanent, reasonOf } from "../base/errors.ts";
import { retryAfter } from "../http/http.ts";
import type { Grant } from "./signin.ts";

/** Whose token it is about and who is asked; the secrets only so that they can be kept out of what was said. */
export type Who = { readonly name: string; readonly provider: string; readonly secrets: readonly string[] };

/** What openid-client throws has these. Its `cause` can hold the whole answer, tokens too: it goes no further than here. */
type Thrown = {
  readonly code?: unknown;
  readonly error?: unknown;
  readonly error_description?: unknown;
  readonly status?: unknown;
  readonly response?: Response;
  readonly cause?: unknown;
};

/** RFC 6749 section 5.2, OpenID Connect Core section 3.1.2.6 and RFC 8628 section 3.5: a person has to sign in, again or at all. */
const CONSENT =
  /^(invalid_grant|interaction_required|login_required|consent_required|account_selection_required|access_denied|expired_token)$/;
/** RFC 6749 sections 4.1.2.1 and 5.2: it will pass. */
const PASSING = /^(temporarily_unavailable|server_error|slow_down|authorization_pending)$/;
const LONGEST_TEXT = 300;
/** Nobody who signs in meanwhile should wait longer. */
const LONGEST_WAIT_MS = 3_600_000;

/** Any failure of a request for tokens. A Fault is passed on, but one of HTTP itself becomes `signin.provider`. */
export function providerFault(thrown: unknown, who: Who, now: Date): Fault {
  const inner = thrown instanceof Error && thrown.cause instanceof Fault ? thrown.cause : thrown;
  if (inner instanceof Fault && !inner.code.startsWith("http.")) return inner;
  const { error, error_description: description, status, cause }: Thrown = thrown instanceof Error ? thrown : {};
  const answered = cause instanceof Response ? cause : (thrown as Thrown).response;
  if (inner instanceof Fault || typeof error !== "string") return unreachable(inner, answered, who, now);
  const said = clean([error, typeof description === "string" ? description : ""].filter(Boolean).join(": "), who);
  const sentence = `${who.provider} gives no token for mailbox ${who.name}: ${said}.`;
  if (CONSENT.test(error)) return new Fault("signin.consent", sentence, { advice: `\`billhook login ${who.name}\` signs in again.` });
  if (PASSING.test(error) || status === 429) return new Fault("signin.provider", sentence, { retryAt: backAt(answered, now) });
  return new Fault("signin.client", sentence, {
    advice: `Check provider, clientId, clientSecret, tenant and scope, and what the application is allowed at ${who.provider}; then \`billhook login ${who.name}\`.`,
  });
}

/** The provider has no page for this way of signing in. */
export function grantFault({ name, provider }: Who, grant: Grant): Fault {
  const missing = { device: "device codes", code: "a consent in a browser" }[grant as string] ?? "a person to sign in at";
  const advice = grant === "refresh" ? "Put a new refreshToken into the configuration, and restart." : "Choose another grant.";
  return permanent("signin.grant", `${provider} names no address for ${missing}, to sign in to mailbox ${name}.`, advice);
}

function unreachable(thrown: unknown, answered: Response | undefined, who: Who, now: Date): Fault {
  const why = answered === undefined ? clean(reasonOf(thrown), who) : `it answered with ${answered.status}`;
  return new Fault("signin.provider", `No token for mailbox ${who.name} from ${who.provider}: ${why}.`, {
    advice: thrown instanceof Fault ? (thrown.advice ?? undefined) : undefined,
    retryAt: backAt(answered, now),
  });
}

function backAt(answered: Response | undefined, now: Date): Date | undefined {
  const at = retryAfter(Object.fromEntries(answered?.headers ?? []), now);
  return at === null ? undefined : new Date(Math.min(at.getTime(), now.getTime() + LONGEST_WAIT_MS));
}

function clean(text: string, { secrets }: Who): string {
  const plain = text.replace(/[\p{Cc}\p{Cf}\s]+/gu, " ").trim();
  const safe = secrets.reduce((left, secret) => (secret === "" ? left : left.replaceAll(secret, "…")), plain);
  return safe.slice(0, LONGEST_TEXT).replace(/\.$/, "");
}
