/** How a connection signs in: with a password, or with an access token that is asked for once more when it is not taken. */
import type { ImapFlow } from "imapflow";
import { Fault } from "../../base/errors.ts";
import { type Door, who } from "./faults.ts";

/**
 * An OAuth 2.0 access token for the mailbox. `fresh`: the one given last was not taken, a kept one is of no use; the same one given
 * again says that no other is to be had now. Throws a Fault.
 */
export type AccessToken = (fresh: boolean, signal: AbortSignal) => Promise<string>;

/** SASL: OAUTHBEARER is RFC 7628, XOAUTH2 its forerunner by Google. `auto`: what the server offers, OAUTHBEARER first. */
export type Mechanism = "auto" | "oauthbearer" | "xoauth2";

export type SignIn = {
  /** Signs in instead of the password. */
  readonly accessToken?: AccessToken | null;
  readonly mechanism?: Mechanism;
};

export type Entrance = Door & SignIn;

/** What imapflow is given. */
export type Credentials = { readonly user: string; readonly pass: string } | { readonly user: string; readonly accessToken: string };

/** The door with the secret that is shown there, so that it can be kept out of what the server says. */
type Attempt<T> = (credentials: Credentials, door: Door) => Promise<T>;

/** Runs `attempt` once, and with a token that the server did not take once more with a fresh one. */
export async function signedIn<T>(account: Entrance, signal: AbortSignal, attempt: Attempt<T>): Promise<T> {
  const { user, accessToken } = account;
  if (!accessToken) return attempt({ user, pass: account.password ?? "" }, account);
  const withToken = (token: string) => attempt({ user, accessToken: token }, { ...account, password: token });
  const first = await accessToken(false, signal);
  try {
    return await withToken(first);
  } catch (thrown) {
    if (!isRefused(thrown)) throw thrown;
    const second = await accessToken(true, signal);
    if (second === first) throw notTaken(thrown, account);
    return await withToken(second).catch((again) => Promise.reject(isRefused(again) ? notTaken(again, account) : again));
  }
}

function isRefused(thrown: unknown): thrown is Fault {
  return thrown instanceof Fault && thrown.code === "imap.login";
}

function notTaken(fault: Fault, door: Door): Fault {
  return new Fault("imap.login", fault.message, {
    advice: `Check that ${who(door)} may be read with this sign-in: whoever agreed to it is this user or may read this mailbox, IMAP is switched on for it, and the scope is the one for IMAP.`,
    cause: fault.cause,
  });
}

/**
 * Makes imapflow take the mechanism that is asked for: by itself it takes OAUTHBEARER wherever that is offered, and writes the user
 * into it without the escapes of RFC 5801 section 4. `authenticate` is the method it calls between STARTTLS and the first command.
 */
export function chooseMechanism(client: ImapFlow, door: Entrance): void {
  if (!door.accessToken) return;
  const inner = client as unknown as { authenticate: () => Promise<boolean> };
  const authenticate = inner.authenticate.bind(client);
  inner.authenticate = () => {
    const offered = (name: string) => client.capabilities.has(`AUTH=${name}`);
    const mechanism = door.mechanism ?? "auto";
    if (mechanism === "oauthbearer") client.capabilities.delete("AUTH=XOAUTH2");
    if (mechanism === "xoauth2" || (/[,=]/.test(door.user) && offered("XOAUTH2"))) client.capabilities.delete("AUTH=OAUTHBEARER");
    if (offered("OAUTHBEARER") || offered("XOAUTH2") || client.authenticated) return authenticate();
    const wanted = mechanism === "auto" ? "OAUTHBEARER nor XOAUTH2" : mechanism.toUpperCase();
    throw new Fault("imap.mechanism", `${door.host}:${door.port} offers ${mechanism === "auto" ? `neither ${wanted}` : `no ${wanted}`}.`, {
      advice: "Choose another mechanism, check host and tls, or sign in with a password.",
    });
  };
}
