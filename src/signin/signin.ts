/** The role of a sign-in: it has an access token for one mailbox whenever one is asked for, and lets a person consent to that. */

/**
 * How the first token is got (RFC 6749):
 * - `device`: a person types a code into a page of the provider, on any machine (RFC 8628).
 * - `code`: a person consents in a browser that comes back to this machine (RFC 8252, with PKCE).
 * - `refresh`: a refresh token that somebody else was given (section 6).
 * - `client`: by the application itself, without any person (section 4.4).
 */
export type Grant = "device" | "code" | "refresh" | "client";

/** What a provider answers. */
export type Tokens = {
  readonly accessToken: string;
  /** How long it is good from now on; null when the provider does not say. */
  readonly lifeMs: number | null;
  /** The next one to ask with; null: the one that was used stays. */
  readonly refreshToken: string | null;
};

/** What a person has to do: open the address, and with `device` type the code there. */
export type Asked = { readonly address: string; readonly code: string | null };
export type Ask = (asked: Asked) => void;

export type SignIn = {
  /**
   * An access token that is good for a while yet. `fresh`: the one given last was not taken; another is asked for, though at most one
   * in ten minutes, and otherwise the same is given again. Callers at the same time share one request, which goes on when they leave.
   * What the provider gave is stored before it is given away. Throws a temporary Fault:
   * - `signin.needed`: nobody has signed in yet. `signin.consent`: expired or revoked. `signin.client`: the provider does not take the
   *   application as it is configured. All three until `login`; the provider is asked again every ten minutes at most.
   * - `signin.provider`: the provider cannot be reached, or fails.
   * - `signin.key`: what is stored cannot be read with this key. `signin.store`: nothing can be stored.
   */
  readonly accessToken: (fresh: boolean, signal: AbortSignal) => Promise<string>;
  /** Asks a person, waits for the consent, and stores what was given. Throws a Fault as above, or permanent `signin.grant`. */
  readonly login: (ask: Ask, signal: AbortSignal) => Promise<void>;
  /** Waits a little for a request that is under way, for its answer may be the only copy of a token. Never rejects. */
  readonly close: () => Promise<void>;
};
