/** Waiting for a ledger that another process has locked: without holding up this process, and not for ever. */
import type { Clock } from "../../base/clock.ts";

/** Milliseconds between two tries, the last of them again and again: another's save is over in a few. */
const PAUSES_MS = [1, 2, 5, 10, 20, 50] as const;
/** How long is waited in all. */
export const PATIENCE_MS = 5_000;

/**
 * Repeats `work` while it rejects with SQLITE_BUSY. Only for what may be repeated: a transaction that was not begun, or was rolled back.
 * SQLite's own waiting (`timeout`) would hold the event loop, and with it every mailbox and every answer over HTTP.
 */
export async function whenFree<T>(work: () => Promise<T>, sleep: Clock["sleep"]): Promise<T> {
  let waitedMs = 0;
  for (let tries = 0; ; tries += 1) {
    try {
      return await work();
    } catch (thrown) {
      if (!isBusy(thrown) || waitedMs >= PATIENCE_MS) throw thrown;
    }
    const pauseMs = PAUSES_MS[Math.min(tries, PAUSES_MS.length - 1)] ?? 0;
    await sleep(pauseMs);
    waitedMs += pauseMs;
  }
}

export function isBusy(thrown: unknown): boolean {
  return (thrown as { code?: string } | null)?.code?.startsWith("SQLITE_BUSY") === true;
}
