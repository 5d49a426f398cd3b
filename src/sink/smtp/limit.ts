/** At most so many answers to one address in an hour: of the answers of other lives the ledger knows, of this one's we do. */
import type { Clock } from "../../base/clock.ts";
import { inTurn } from "../turn.ts";

const HOUR_MS = 3_600_000;

export type Limit = {
  readonly perHour: number;
  /** How many answers this sink has sent to the address since then, as far as their receipts are saved. */
  readonly sentTo: (address: string, since: Date) => Promise<number>;
};

/** Sends, one after the other for an address, unless it has had its share; then null. `wasSent` says of a failed try whether it may have arrived. */
export type Within = <T>(address: string, key: string, send: () => Promise<T>, wasSent: (thrown: unknown) => boolean) => Promise<T | null>;

export function createLimit({ perHour, sentTo }: Limit, scope: string, clock: Clock): Within {
  const begun = clock.now();
  /** Address -> key -> when. A receipt is saved only after its delivery is over, so the ledger alone would count too few. */
  const sent = new Map<string, Map<string, Date>>();

  /** Of all addresses: most are written to once and never again. */
  const forget = (before: Date): void => {
    for (const [address, times] of sent) {
      for (const [key, at] of times) if (at < before) times.delete(key);
      if (times.size === 0) sent.delete(address);
    }
  };
  const ofThisLife = (address: string, key: string): number => {
    const times = sent.get(address);
    return times === undefined ? 0 : times.size - (times.has(key) ? 1 : 0);
  };
  const ofOtherLives = async (address: string, since: Date): Promise<number> =>
    since >= begun ? 0 : (await sentTo(address, since)) - (await sentTo(address, begun));

  const within = async <T>(
    address: string,
    key: string,
    send: () => Promise<T>,
    wasSent: (thrown: unknown) => boolean,
  ): Promise<T | null> => {
    const now = clock.now();
    const since = new Date(now.getTime() - HOUR_MS);
    forget(since);
    if ((await ofOtherLives(address, since)) + ofThisLife(address, key) >= perHour) return null;
    const note = () => sent.set(address, (sent.get(address) ?? new Map<string, Date>()).set(key, now));
    try {
      const receipt = await send();
      note();
      return receipt;
    } catch (thrown) {
      if (wasSent(thrown)) note();
      throw thrown;
    }
  };
  return (address, key, send, wasSent) => inTurn(`smtp:${scope}:${address}`, () => within(address, key, send, wasSent));
}
