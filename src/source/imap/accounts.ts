/** All accounts of one process: those with the same door are one, they do not connect all at once, and share the memory for bodies. */
import type { Clock } from "../../base/clock.ts";
import { type SharedAccount, shareAccount } from "./account.ts";
import type { Account } from "./connect.ts";

export type Accounts = {
  /** The account behind this door, for one more who releases it. */
  readonly of: (account: Account) => SharedAccount;
  /** Somebody begins to fetch; the result ends it. */
  readonly fetching: () => () => void;
  /** What one of those who fetch now may fetch at once, where it wants this many bytes. */
  readonly share: (bytes: number) => number;
};

/** A TLS handshake costs some milliseconds of computing: a hundred accounts begin within two seconds, whether they can be reached or not. */
const BETWEEN_MS = 20;
/** All bodies that are fetched and not yet handed over. */
const BODIES_BYTES = 32_000_000;
const LEAST_SHARE_BYTES = 1_000_000;

export function createAccounts(clock: Clock): Accounts {
  const shared = new Map<string, ReturnType<typeof shareAccount>>();
  let next = 0;
  let fetching = 0;

  function pause(): number {
    const now = clock.now().getTime();
    // The same: a clock that was set back.
    const at = Math.max(now, Math.min(next, now + BETWEEN_MS * (shared.size + 1)));
    next = at + BETWEEN_MS;
    return at - now;
  }
  return {
    of: (account) => {
      const { host, port, tls, user, password, ca, connectTimeoutMs, idleMs, socketTimeoutMs, mechanism } = account;
      const key = JSON.stringify([host, port, tls, user, password, ca, connectTimeoutMs, idleMs, socketTimeoutMs, mechanism]);
      const known = shared.get(key) ?? shareAccount(account, clock, pause, () => void shared.delete(key));
      shared.set(key, known);
      return known.hold();
    },
    fetching: () => {
      fetching++;
      return () => {
        fetching--;
      };
    },
    share: (bytes) => Math.min(bytes, Math.max(LEAST_SHARE_BYTES, Math.floor(BODIES_BYTES / Math.max(1, fetching)))),
  };
}
