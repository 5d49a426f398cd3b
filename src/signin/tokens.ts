/** The tokens of one mailbox: given while they are good, asked for once for all who wait, stored before they are used. */
import { createHash } from "node:crypto";
import { type Clock, unlessAborted } from "../base/clock.ts";
import { asFault, Fault, permanent } from "../base/errors.ts";
import type { OAuth, OAuthOptions } from "./oauth.ts";
import type { Grant, SignIn, Tokens } from "./signin.ts";
import type { Kept, Vault } from "./vault.ts";

export type SignInOptions = OAuthOptions & {
  readonly grant: Grant;
  /** With `refresh`: the one the owner was given. It is used until the provider, or a login, gives another. */
  readonly refreshToken: string | null;
};

export type SignInDeps = {
  readonly clock: Clock;
  readonly oauth: OAuth;
  /** Null with `client`: what can be had again at any time is not stored. */
  readonly vault: Vault | null;
  /** Called when a person has signed in, in whatever process, after a token could not be given for want of that. */
  readonly renewed: () => void;
};

/** RFC 6749 section 4.2.2 leaves it to the provider's documentation how long a token is good when it does not say. */
const UNSAID_LIFE_MS = 300_000;
const LONGEST_LIFE_MS = 86_400_000;
const LONGEST_MARGIN_MS = 300_000;
/** What was refused for good is asked again this seldom, and a token that is not taken is replaced this seldom. */
const SELDOM_MS = 600_000;
const SOON_MS = 5_000;
const LOOK_MS = 2_000;
const LEAVE_MS = 5_000;
/** A person is needed. */
const PERSONAL = new Set(["signin.needed", "signin.consent", "signin.client", "signin.key"]);

export function createSignIn(options: SignInOptions, { clock, oauth, vault, renewed }: SignInDeps): SignIn {
  const { name, grant } = options;
  const asked = askedWith(options);
  const closing = new AbortController();
  let current: Kept | null = null;
  let underWay: Promise<Kept> | null = null;
  /** Given by the provider, and not stored yet. */
  let unsaved: { readonly kept: Kept; readonly stamp: string } | null = null;
  /** The last token the mailbox did not take, and when one was asked for in place of such a one. */
  let refused: string | null = null;
  let replacedAt = Number.NEGATIVE_INFINITY;
  /** Why no token is to be had, and until when that is believed without asking; a changed stamp ends it. */
  let held: { readonly fault: Fault; readonly until: number; readonly stamp: string } | null = null;

  const now = () => clock.now().getTime();
  const isGood = (kept: Kept) => Date.parse(kept.until) > now();
  const stampNow = async () => (await vault?.stamp()) ?? "";

  async function accessToken(fresh: boolean, signal: AbortSignal): Promise<string> {
    if (fresh) refused = current?.accessToken ?? null;
    if (current !== null && isGood(current) && current.accessToken !== refused) return current.accessToken;
    underWay ??= renew().finally(() => {
      underWay = null;
    });
    underWay.catch(() => {});
    return (await orStopped(underWay, signal, name)).accessToken;
  }

  async function renew(): Promise<Kept> {
    const stamp = await stampNow();
    if (held !== null && now() < held.until && held.stamp === stamp) throw held.fault;
    held = null;
    try {
      current = vault === null ? await next() : await vault.alone(next);
      return current;
    } catch (thrown) {
      const fault = asFault(thrown, "signin.failed");
      hold(fault, stamp);
      throw fault;
    }
  }

  /** What is to be used now; asks the provider when nothing is at hand. */
  async function next(): Promise<Kept> {
    const kept = (await saveAtLast()) ?? (vault === null ? current : await stored());
    if (kept !== null && isGood(kept)) {
      if (kept.accessToken !== refused) return kept;
      if (now() - replacedAt < SELDOM_MS) return kept;
      replacedAt = now();
    }
    const refreshToken = kept?.refreshToken ?? options.refreshToken;
    if (grant === "client") return keptOf(await oauth.client(), null);
    if (refreshToken === null) throw needed();
    return save(keptOf(await oauth.refresh(refreshToken), refreshToken));
  }

  async function stored(): Promise<Kept | null> {
    const kept = (await vault?.read()) ?? null;
    return kept?.asked === asked ? kept : null;
  }

  async function save(kept: Kept): Promise<Kept> {
    unsaved = { kept, stamp: await stampNow() };
    await vault?.write(kept);
    unsaved = null;
    return kept;
  }

  /** What could not be stored is tried again before anything else is asked for, unless somebody has signed in meanwhile. */
  async function saveAtLast(): Promise<Kept | null> {
    if (unsaved === null) return null;
    const { kept, stamp } = unsaved;
    if (stamp === (await stampNow())) return save(kept);
    unsaved = null;
    return null;
  }

  function keptOf({ accessToken, lifeMs, refreshToken }: Tokens, before: string | null): Kept {
    const life = Math.min(lifeMs ?? UNSAID_LIFE_MS, LONGEST_LIFE_MS);
    const until = new Date(now() + life - Math.min(LONGEST_MARGIN_MS, life / 10)).toISOString();
    return { asked, accessToken, refreshToken: refreshToken ?? before, until };
  }

  function hold(fault: Fault, stamp: string): void {
    if (PERSONAL.has(fault.code)) {
      held = { fault, until: now() + SELDOM_MS, stamp };
      if (vault !== null) void lookOut(stamp);
    } else if (fault.code === "signin.provider") {
      held = { fault, until: Math.max(now() + SOON_MS, fault.retryAt?.getTime() ?? 0), stamp };
    }
  }

  async function lookOut(stamp: string): Promise<void> {
    const mine = held;
    while (held === mine && !closing.signal.aborted) {
      await clock.sleep(LOOK_MS, closing.signal);
      if (held !== mine || closing.signal.aborted || (await stampNow()) === stamp) continue;
      held = null;
      renewed();
    }
  }

  function needed(): Fault {
    return new Fault("signin.needed", `Nobody has signed in to mailbox ${name} with this configuration yet.`, {
      advice: `\`billhook login ${name}\` does.`,
    });
  }

  async function login(ask: Parameters<SignIn["login"]>[0], signal: AbortSignal): Promise<void> {
    if (vault === null || grant === "client")
      throw permanent(
        "signin.grant",
        `Mailbox ${name} is signed in to by the application itself: there is nobody to sign in.`,
        "nothing is to be done; `billhook check` tries it",
      );
    const given = await oauth.person(grant, ask, signal);
    if (given.refreshToken === null)
      throw permanent(
        "signin.grant",
        `Nothing was stored for mailbox ${name}: the provider gave no refresh token, and the sign-in would not outlast the hour.`,
        "Check scope, for most providers offline_access has to be in it, and that the application may have refresh tokens.",
      );
    await vault.alone(() => vault.write(keptOf(given, null)));
  }

  async function close(): Promise<void> {
    closing.abort();
    const over = new AbortController();
    await Promise.race([underWay?.catch(() => {}), clock.sleep(LEAVE_MS, over.signal)]);
    over.abort();
  }

  return { accessToken, login, close };
}

/** What a stored token belongs to. The secret of the application may change without it. */
function askedWith({ place, clientId, scope, grant, refreshToken }: SignInOptions): string {
  const what = [place.issuer, place.endpoints?.token ?? null, clientId, scope ?? place.scope, grant, refreshToken];
  return createHash("sha256").update(JSON.stringify(what)).digest("base64");
}

function orStopped<T>(work: Promise<T>, signal: AbortSignal, name: string): Promise<T> {
  return unlessAborted(work, signal, () => new Fault("signin.stopped", `Signing in to mailbox ${name} was stopped.`));
}
