/** The sign-ins of the mailboxes that have no password, made from the configuration. */
import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import type { Config } from "../config/schema.ts";
import { createHttp } from "../http/http.ts";
import type { Proxies } from "../http/network.ts";
import { createOAuth } from "../signin/oauth.ts";
import { type Provider, placeOf } from "../signin/providers.ts";
import type { SignIn } from "../signin/signin.ts";
import { createSignIn } from "../signin/tokens.ts";
import { openVault } from "../signin/vault.ts";

export type SignIns = {
  /** By the mailbox's name; those with a password are not among them. */
  readonly byMailbox: ReadonlyMap<string, SignIn>;
  readonly close: () => Promise<void>;
};

/** Below the minute after which another process takes a lease over. */
const TOKEN_MS = 20_000;
const TOKEN_BYTES = 1024 * 1024;
const CONNECTIONS = 16;

/** `renewed` is told the mailbox that somebody has signed in to, in whatever process, when that was waited for. */
export function createSignIns(
  config: Pick<Config, "mailboxes" | "secrets" | "state">,
  { clock, proxies }: { readonly clock: Clock; readonly proxies: Proxies },
  renewed: (mailbox: string) => void = () => {},
): SignIns {
  const http = createHttp({ name: "sign-in", connections: CONNECTIONS, timeoutMs: TOKEN_MS, maxResponseBytes: TOKEN_BYTES, proxies });
  const directory = join(config.state.directory, "signin");
  const byMailbox = new Map<string, SignIn>();
  /** Folders of one account have one sign-in, under the name of the first of them: two would take each other's tokens away. */
  const byAccount = new Map<string, { readonly signIn: SignIn; readonly names: string[] }>();
  for (const [name, { host, port, user, oauth2 }] of Object.entries(config.mailboxes)) {
    if (oauth2 === null) continue;
    const account = JSON.stringify([host.toLowerCase(), port, user, oauth2]);
    const { signIn, names } = byAccount.get(account) ?? create(name, oauth2);
    byAccount.set(account, { signIn, names });
    byMailbox.set(name, signIn);
    names.push(name);
  }
  function create(name: string, oauth2: OAuth2) {
    const names: string[] = [];
    const { grant, clientId, clientSecret, refreshToken, scope } = oauth2;
    const options = { name, clientId, clientSecret, refreshToken, scope, grant, place: placeOf(providerOf(oauth2), grant) };
    const { key } = config.secrets ?? { key: null };
    const vault = grant === "client" || key === null ? null : openVault(directory, name, key, clock);
    const told = () => {
      for (const one of names) renewed(one);
    };
    const deps = { clock, vault, oauth: createOAuth(options, { http, clock }), renewed: told };
    return { signIn: createSignIn(options, deps), names };
  }
  return {
    byMailbox,
    close: async () => {
      await Promise.all([...byAccount.values()].map(({ signIn }) => signIn.close()));
      await http.close();
    },
  };
}

type OAuth2 = NonNullable<Config["mailboxes"][string]["oauth2"]>;

function providerOf({ provider, tenant }: OAuth2): Provider {
  if (provider.is === "issuer" || provider.is === "endpoints") return provider;
  return provider.is === "google" ? { is: "google" } : { is: "microsoft", tenant: tenant ?? "organizations" };
}
