/** A real OpenID provider (npm oidc-provider) on loopback: access tokens are JWTs that Dovecot checks; a person can be played. */
import { once } from "node:events";
import { appendFile, mkdir, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { join } from "node:path";
// @ts-expect-error: it brings no types.
import Provider from "oidc-provider";
import type { Dovecot } from "./dovecot.ts";

export const SCOPE = "openid offline_access imap";
/** HS256; Dovecot has the same. */
export const JWT_SECRET = "a-secret-of-the-tests-that-is-long-enough-for-hs256";
const AUDIENCE = "urn:imap";
const OWN = "ap@example.com";

export type OpenId = {
  readonly issuer: string;
  readonly tokenUrl: string;
  readonly deviceUrl: string;
  readonly authorizeUrl: string;
  /** Form fields of every request for tokens so far, in order, with what was answered. */
  readonly requests: readonly { readonly grant: string; readonly refreshToken: string | null; readonly status: number }[];
  /** Every token given away so far, refresh and access. */
  readonly given: readonly string[];
  /** Resolves when the n-th request for tokens (from 1) of a grant was answered. */
  readonly answered: (grant: string, nth: number) => Promise<void>;
  /** Types the code, signs in as `user` and agrees. */
  readonly agreeToDevice: (address: string, code: string, user: string) => Promise<void>;
  /** Opens the address as a browser does, signs in, agrees and follows the redirect. Resolves with the last page. */
  readonly agreeInBrowser: (address: string, user: string) => Promise<string>;
  /** As if the user had taken back every consent. */
  readonly revokeAll: () => void;
  /** Until it is switched back every request is answered by this instead. */
  readonly misbehave: (how: ((request: IncomingMessage, answer: ServerResponse) => void) | null) => void;
  /** A token for this user without asking anybody. */
  readonly refreshTokenFor: (user: string) => Promise<string>;
  readonly down: () => Promise<void>;
  readonly up: () => Promise<void>;
  readonly stop: () => Promise<void>;
};

export type OpenIdOptions = { readonly accessTokenSeconds?: number };

export const CLIENT = { id: "billhook", secret: "secret-of-the-client-1" } as const;

export async function startOpenId({ accessTokenSeconds = 3_600 }: OpenIdOptions = {}): Promise<OpenId> {
  const requests: { grant: string; refreshToken: string | null; status: number }[] = [];
  const given: string[] = [];
  const listeners = new Set<() => void>();
  let memory = new Map<string, object>();
  let instead: ((request: IncomingMessage, answer: ServerResponse) => void) | null = null;

  const first = createServer().listen(0, "127.0.0.1");
  await once(first, "listening");
  const { port } = first.address() as AddressInfo;
  first.close();
  await once(first, "close");
  const issuer = `http://127.0.0.1:${port}`;

  const provider = new Provider(issuer, {
    adapter: (model: string) => adapterOn(() => memory, model),
    clients: [
      {
        client_id: CLIENT.id,
        client_secret: CLIENT.secret,
        application_type: "native",
        token_endpoint_auth_method: "client_secret_post",
        grant_types: ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code", "client_credentials"],
        redirect_uris: ["http://127.0.0.1/signed-in"],
        response_types: ["code"],
      },
    ],
    scopes: ["openid", "offline_access", "imap"],
    cookies: { keys: ["one"] },
    findAccount: (_: unknown, id: string) => ({ accountId: id, claims: () => ({ sub: id }) }),
    ttl: { AccessToken: accessTokenSeconds, ClientCredentials: accessTokenSeconds },
    rotateRefreshToken: true,
    features: {
      devInteractions: { enabled: true },
      deviceFlow: { enabled: true },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => AUDIENCE,
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({
          scope: "imap",
          audience: AUDIENCE,
          accessTokenTTL: accessTokenSeconds,
          accessTokenFormat: "jwt",
          jwt: { sign: { alg: "HS256", key: Buffer.from(JWT_SECRET) } },
        }),
      },
    },
    formats: {
      customizers: {
        // Dovecot wants the older type, and looks for the user in `email`; what an application is given by itself is for the one account.
        jwt: (_: unknown, token: { accountId?: string }, it: { header?: object; payload: object }) => {
          it.header = { typ: "JWT" };
          Object.assign(it.payload, { email: token.accountId ?? OWN });
        },
      },
    },
  });
  provider.on("server_error", (_: unknown, error: Error) => console.error(error));
  const handle = provider.callback();

  let server: Server;
  const sockets = new Set<Socket>();
  async function up(): Promise<void> {
    server = createServer((request, answer) => {
      if (instead !== null) return instead(request, answer);
      if (request.method === "POST" && request.url === "/token") watch(request, answer);
      handle(request, answer);
    }).listen(port, "127.0.0.1");
    server.on("connection", (socket) => {
      sockets.add(socket);
      socket.once("close", () => sockets.delete(socket));
    });
    await once(server, "listening");
  }
  async function down(): Promise<void> {
    server.close();
    for (const socket of sockets) socket.destroy();
    await once(server, "close");
  }
  function watch(request: IncomingMessage, answer: ServerResponse): void {
    let asked = "";
    request.on("data", (chunk) => {
      asked += String(chunk);
    });
    const end = answer.end.bind(answer) as (chunk?: unknown, ...rest: unknown[]) => ServerResponse;
    answer.end = ((chunk?: unknown, ...rest: unknown[]) => {
      const fields = new URLSearchParams(asked);
      const said = parsed(String(chunk ?? ""));
      for (const key of ["access_token", "refresh_token"]) if (typeof said[key] === "string") given.push(said[key]);
      requests.push({ grant: fields.get("grant_type") ?? "", refreshToken: fields.get("refresh_token"), status: answer.statusCode });
      for (const listener of [...listeners]) listener();
      return end(chunk, ...rest);
    }) as typeof answer.end;
  }
  await up();

  const person = () => browser(issuer);
  async function agreeToDevice(address: string, code: string, user: string): Promise<void> {
    const { open, post, formOf } = person();
    const asked = formOf(await open(address));
    const confirm = formOf(await post(asked.action, { ...asked.fields, user_code: code }));
    await agree(await post(confirm.action, confirm.fields), user, { post, formOf });
  }
  async function agree(page: string, user: string, { post, formOf }: Pick<ReturnType<typeof browser>, "post" | "formOf">): Promise<string> {
    const signing = formOf(page);
    const consent = formOf(await post(signing.action, { ...signing.fields, login: user, password: "any" }));
    return post(consent.action, consent.fields);
  }
  async function agreeInBrowser(address: string, user: string): Promise<string> {
    const visitor = person();
    return agree(await visitor.open(address), user, visitor);
  }
  async function refreshTokenFor(user: string): Promise<string> {
    const client = await provider.Client.find(CLIENT.id);
    const grant = new provider.Grant({ accountId: user, clientId: CLIENT.id });
    grant.addOIDCScope("openid offline_access");
    grant.addResourceScope(AUDIENCE, "imap");
    const grantId = await grant.save();
    const token = new provider.RefreshToken({
      accountId: user,
      client,
      grantId,
      scope: SCOPE,
      resource: AUDIENCE,
      gty: "authorization_code",
      rotations: 0,
      iiat: Math.floor(Date.now() / 1_000),
    });
    return token.save();
  }

  return {
    issuer,
    tokenUrl: `${issuer}/token`,
    deviceUrl: `${issuer}/device/auth`,
    authorizeUrl: `${issuer}/auth`,
    requests,
    given,
    answered: (grant, nth) =>
      new Promise((resolve) => {
        const look = () => {
          if (requests.filter((one) => one.grant.endsWith(grant)).length < nth) return;
          listeners.delete(look);
          resolve();
        };
        listeners.add(look);
        look();
      }),
    agreeToDevice,
    agreeInBrowser,
    revokeAll: () => {
      memory = new Map([...memory].filter(([key]) => !/^(Grant|RefreshToken|AccessToken)/.test(key)));
    },
    misbehave: (how) => {
      instead = how;
    },
    refreshTokenFor,
    down,
    up,
    stop: down,
  };
}

function parsed(text: string): { readonly [key: string]: unknown } {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

/** What oidc-provider asks of a database. */
function adapterOn(memory: () => Map<string, object>, model: string) {
  const key = (id: string) => `${model}:${id}`;
  const all = () => [...memory().entries()].filter(([name]) => name.startsWith(`${model}:`));
  const by = (field: string, value: string) => all().find(([, it]) => (it as { [field: string]: unknown })[field] === value)?.[1];
  return {
    upsert: async (id: string, payload: object) => void memory().set(key(id), { ...payload }),
    find: async (id: string) => memory().get(key(id)),
    findByUserCode: async (userCode: string) => by("userCode", userCode),
    findByUid: async (uid: string) => by("uid", uid),
    consume: async (id: string) => void Object.assign(memory().get(key(id)) ?? {}, { consumed: Math.floor(Date.now() / 1_000) }),
    destroy: async (id: string) => void memory().delete(key(id)),
    revokeByGrantId: async (grantId: string) => {
      for (const [name, it] of memory()) if ((it as { grantId?: string }).grantId === grantId) memory().delete(name);
    },
  };
}

/** A browser as far as these pages need one: cookies, redirects, forms. */
function browser(origin: string) {
  const jar = new Map<string, string>();
  async function load(url: string, init: RequestInit = {}): Promise<string> {
    let at = new URL(url, origin).href;
    let next: RequestInit = init;
    for (;;) {
      const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join("; ");
      const answer = await fetch(at, { ...next, headers: { ...next.headers, cookie }, redirect: "manual" });
      for (const set of answer.headers.getSetCookie()) {
        const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(set) ?? [];
        if (value === "") jar.delete(name);
        else jar.set(name, value);
      }
      const to = answer.headers.get("location");
      if (to === null) return answer.text();
      at = new URL(to, at).href;
      next = {};
    }
  }
  return {
    open: (url: string) => load(url),
    post: (url: string, fields: Readonly<Record<string, string>>) => load(url, { method: "POST", body: new URLSearchParams(fields) }),
    formOf: (page: string) => {
      const action = /action="([^"]+)"/.exec(page)?.[1];
      if (action === undefined) throw new Error(`no form in ${page.slice(0, 2_000)}`);
      const hidden = [...page.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]*)"/g)];
      return { action, fields: Object.fromEntries(hidden.map(([, name, value]) => [name ?? "", value ?? ""])) };
    },
  };
}

/** Teaches a Dovecot to take this provider's tokens, and with `mechanisms` which of the ways. */
export async function takeTokens(dovecot: Dovecot, mechanisms = "oauthbearer xoauth2"): Promise<void> {
  const keys = join(dovecot.directory, "keys", "default", "HS256");
  await mkdir(keys, { recursive: true });
  await writeFile(join(keys, "default"), Buffer.from(JWT_SECRET).toString("base64"));
  const settings = join(dovecot.directory, "oauth2.conf");
  const local = [`introspection_mode = local`, `local_validation_key_dict = fs:posix:prefix=${join(dovecot.directory, "keys")}/`];
  await writeFile(settings, [...local, "username_attribute = email", ""].join("\n"));
  const passdb = `passdb {\n  driver = oauth2\n  mechanisms = ${mechanisms}\n  args = ${settings}\n}\n`;
  await appendFile(join(dovecot.directory, "dovecot.conf"), `auth_mechanisms = plain ${mechanisms}\n${passdb}`);
  await dovecot.restart();
}
