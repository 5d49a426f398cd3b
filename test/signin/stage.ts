/** A stage for signing in: a real Dovecot that takes the tokens of a real OpenID provider, and everything of ours between them. */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { type Clock, systemClock } from "../../src/base/clock.ts";
import { silent } from "../../src/base/logger.ts";
import { createHttp, type HttpDoor } from "../../src/http/http.ts";
import { createOAuth } from "../../src/signin/oauth.ts";
import { type Provider, placeOf } from "../../src/signin/providers.ts";
import type { Grant, SignIn } from "../../src/signin/signin.ts";
import { createSignIn } from "../../src/signin/tokens.ts";
import { openVault } from "../../src/signin/vault.ts";
import { createImapSource } from "../../src/source/imap.ts";
import type { Source } from "../../src/source/source.ts";
import type { Dovecot } from "../servers/dovecot.ts";
import { CLIENT, type OpenId, SCOPE } from "../servers/openid.ts";
import { optionsFor } from "../source/watching.ts";

export const KEY = randomBytes(32).toString("base64");
export const never = new AbortController().signal;

export type Made = { readonly signIn: SignIn; readonly renewals: () => number };

export type Making = {
  readonly openId: Pick<OpenId, "issuer">;
  readonly directory: string;
  readonly grant: Grant;
  readonly refreshToken?: string | null;
  readonly key?: string;
  readonly clock?: Clock;
  readonly provider?: Provider;
  readonly clientSecret?: string;
  readonly scope?: string;
  readonly timeoutMs?: number;
};

const doors: HttpDoor[] = [];
export async function closeDoors(): Promise<void> {
  for (const http of doors.splice(0)) await http.close();
}

export function makeSignIn(making: Making): Made {
  const { openId, directory, grant, refreshToken = null, key = KEY, clock = systemClock, clientSecret = CLIENT.secret } = making;
  const http = createHttp({ name: "sign-in", connections: 4, timeoutMs: making.timeoutMs ?? 10_000 });
  doors.push(http);
  const provider = making.provider ?? { is: "issuer", issuer: openId.issuer };
  const options = { name: "invoices", clientId: CLIENT.id, clientSecret, refreshToken, scope: making.scope ?? SCOPE, grant };
  const whole = { ...options, place: placeOf(provider, grant) };
  const vault = grant === "client" ? null : openVault(join(directory, "signin"), "invoices", key, clock);
  let renewals = 0;
  const deps = { clock, vault, oauth: createOAuth(whole, { http, clock }), renewed: () => void renewals++ };
  return { signIn: createSignIn(whole, deps), renewals: () => renewals };
}

export function makeSource(dovecot: Pick<Dovecot, "host" | "port" | "user">, signIn: SignIn, more: object = {}): Source {
  const options = { ...optionsFor({ ...dovecot, password: "" }), password: null, accessToken: signIn.accessToken, ...more };
  return createImapSource(options, { clock: systemClock, log: silent });
}
