/** How long to wait before asking after a run again: growing, and jittered, so that runs begun together drift apart. */

export type Polling = { readonly firstMs: number; readonly longestMs: number };

/** What is particular to a service: how many waits stay at the first before they grow, and by what factor. */
export type Growth = { readonly steady: number; readonly factor: number };

/** Milliseconds after `polls` answers that the run is not over; up to a quarter more or less by `random` in [0, 1). */
export function pollWaitMs(polls: number, { firstMs, longestMs }: Polling, { steady, factor }: Growth, random: number): number {
  const plain = Math.min(longestMs, firstMs * factor ** Math.min(Math.max(0, polls - steady), 1_000));
  return Math.min(longestMs, plain * (0.75 + random / 2));
}
