/** Tokens from a provider, by the client that is certified for it: one request each, sent through our own HTTP. */
import * as openid from "openid-client";
import type { Clock } from "../base/clock.ts";
import { Fault } from "../base/errors.ts";
import type { Http } from "../http/http.ts";
import { grantFault, providerFault, type Who } from "./oauth-faults.ts";
import type { Place } from "./providers.ts";
import { awaitRedirect } from "./redirect.ts";
import type { Ask, Grant, Tokens } from "./signin.ts";

export type OAuthOptions = {
  /** The mailbox, for faults. */
  readonly name: string;
  readonly place: Place;
  readonly clientId: string;
  /** Null: a public client. */
  readonly clientSecret: string | null;
  /** Instead of the place's; separated by spaces. */
  readonly scope: string | null;
};

/** Each throws a Fault as `SignIn` says. */
export type OAuth = {
  readonly refresh: (refreshToken: string) => Promise<Tokens>;
  readonly client: () => Promise<Tokens>;
  /** By `device` or `code`, as the grant says; with `refresh` by the one the provider has. Takes as long as the person, or the code's life. */
  readonly person: (grant: Exclude<Grant, "client">, ask: Ask, signal: AbortSignal) => Promise<Tokens>;
};

/** RFC 8628 section 3.2. */
const INTERVAL_S = 5;
const LONGEST_CODE_S = 3_600;

export function createOAuth(options: OAuthOptions, { http, clock }: { readonly http: Pick<Http, "call">; readonly clock: Clock }): OAuth {
  const { name, place, clientId, clientSecret } = options;
  const scope = options.scope ?? place.scope;
  const scoped = scope === null ? {} : { scope };
  let known: Promise<openid.Configuration> | null = null;

  const fetchByHttp: openid.CustomFetch = async (url, { method, headers, body }) => {
    const sent = body == null ? {} : { body: new TextEncoder().encode(String(body)) };
    const request = { method: method === "GET" ? ("GET" as const) : ("POST" as const), url, headers, ...sent };
    // Nobody's to stop: an answer that is not read may have been the only copy of a token.
    const answer = await http.call(request, new AbortController().signal);
    return new Response(answer.bytes.length === 0 ? null : Buffer.from(answer.bytes), { status: answer.status, headers: answer.headers });
  };

  const who = (secrets: readonly (string | null)[]): Who => ({
    name,
    provider: new URL(place.endpoints?.token ?? place.issuer).host,
    secrets: [clientSecret, ...secrets].filter((secret) => secret !== null),
  });

  /** Endpoints are looked up once; a failure is forgotten. */
  async function configuration(): Promise<openid.Configuration> {
    known ??= find();
    try {
      return await known;
    } catch (thrown) {
      known = null;
      throw providerFault(thrown, who([]), clock.now());
    }
  }

  async function find(): Promise<openid.Configuration> {
    const { issuer, endpoints } = place;
    const found = endpoints === null ? await discover(issuer) : null;
    const metadata: openid.ServerMetadata = found ?? {
      issuer,
      ...(endpoints && { token_endpoint: endpoints.token }),
      ...(endpoints?.device && { device_authorization_endpoint: endpoints.device }),
      ...(endpoints?.authorize && { authorization_endpoint: endpoints.authorize }),
    };
    const config = new openid.Configuration(metadata, clientId, {}, authenticationOf(metadata));
    config[openid.customFetch] = fetchByHttp;
    if (isPlain(metadata.token_endpoint)) openid.allowInsecureRequests(config);
    return config;
  }

  async function discover(issuer: string): Promise<openid.ServerMetadata> {
    const execute = isPlain(issuer) ? [openid.allowInsecureRequests] : [];
    const config = await openid.discovery(new URL(issuer), clientId, {}, openid.None(), { [openid.customFetch]: fetchByHttp, execute });
    return config.serverMetadata();
  }

  /** RFC 6749 section 2.3.1 wants Basic to be there; Google and Microsoft document the form. */
  function authenticationOf({ token_endpoint_auth_methods_supported: ways }: openid.ServerMetadata): openid.ClientAuth {
    if (clientSecret === null) return openid.None();
    const onlyBasic = ways?.includes("client_secret_basic") && !ways.includes("client_secret_post");
    return onlyBasic ? openid.ClientSecretBasic(clientSecret) : openid.ClientSecretPost(clientSecret);
  }

  async function ask(work: (config: openid.Configuration) => Promise<openid.TokenEndpointResponse>, secret: string | null = null) {
    const config = await configuration();
    try {
      const { access_token: accessToken, expires_in: seconds, refresh_token: refreshToken } = await work(config);
      return { accessToken, lifeMs: seconds === undefined ? null : seconds * 1_000, refreshToken: refreshToken ?? null };
    } catch (thrown) {
      throw providerFault(thrown, who([secret]), clock.now());
    }
  }

  const refresh: OAuth["refresh"] = (refreshToken) =>
    ask((config) => openid.refreshTokenGrant(config, refreshToken, options.scope === null ? {} : scoped), refreshToken);

  const client: OAuth["client"] = () => ask((config) => openid.clientCredentialsGrant(config, scoped));

  const person: OAuth["person"] = (grant, tell, signal) =>
    ask((config) => {
      const { device_authorization_endpoint: device, authorization_endpoint: authorize } = config.serverMetadata();
      if (grant !== "code" && device !== undefined) return byDevice(config, tell, signal);
      if (grant !== "device" && authorize !== undefined) return byBrowser(config, tell, signal);
      throw grantFault(who([]), grant);
    });

  async function byDevice(config: openid.Configuration, tell: Ask, signal: AbortSignal): Promise<openid.TokenEndpointResponse> {
    const answer = await openid.initiateDeviceAuthorization(config, scoped);
    const given = { ...answer, interval: Math.max(answer.interval ?? INTERVAL_S, 1) };
    tell({ address: given.verification_uri, code: given.user_code });
    const late = AbortSignal.any([signal, AbortSignal.timeout(Math.min(given.expires_in, LONGEST_CODE_S) * 1_000)]);
    const over = new Promise<never>((_, reject) => late.addEventListener("abort", () => reject(tooLate(signal)), { once: true }));
    over.catch(() => {});
    for (;;) {
      try {
        return await Promise.race([over, openid.pollDeviceAuthorizationGrant(config, given, {}, { signal: late })]);
      } catch (thrown) {
        if (late.aborted) throw tooLate(signal);
        // RFC 8628 section 3.5: a connection that fails is no answer. The person may be typing.
        if (providerFault(thrown, who([]), clock.now()).code !== "signin.provider") throw thrown;
      }
    }
  }

  async function byBrowser(config: openid.Configuration, tell: Ask, signal: AbortSignal): Promise<openid.TokenEndpointResponse> {
    const verifier = openid.randomPKCECodeVerifier();
    const state = openid.randomState();
    const redirect = await awaitRedirect(signal);
    try {
      const asked = openid.buildAuthorizationUrl(config, {
        ...place.extra,
        ...scoped,
        redirect_uri: redirect.url,
        code_challenge: await openid.calculatePKCECodeChallenge(verifier),
        code_challenge_method: "S256",
        state,
      });
      tell({ address: asked.href, code: null });
      const came = await redirect.came((url) => url.searchParams.get("state") === state).catch(() => Promise.reject(tooLate(signal)));
      // RFC 9207 section 2.4: who was not looked up has no name to compare with. The address that came belongs to this one request.
      if (place.endpoints !== null) came.searchParams.delete("iss");
      return await openid.authorizationCodeGrant(config, came, { pkceCodeVerifier: verifier, expectedState: state });
    } finally {
      await redirect.close();
    }
  }

  function tooLate(signal: AbortSignal): Fault {
    if (signal.aborted) return new Fault("signin.stopped", `Signing in to mailbox ${name} was stopped.`);
    return new Fault("signin.consent", `The code for mailbox ${name} was not used in time.`, {
      advice: `\`billhook login ${name}\` gives another.`,
    });
  }

  return { refresh, client, person };
}

function isPlain(url: string | undefined): boolean {
  return url?.startsWith("http:") ?? false;
}
