/** How long to wait before asking after a run again: growing, and jittered, so that runs begun together drift apart; and what of the wait counts. */

export type Polling = { readonly firstMs: number; readonly longestMs: number };

/** What is particular to a service: how many waits stay at the first before they grow, and by what factor. */
export type Growth = { readonly steady: number; readonly factor: number };

/** Milliseconds after `polls` answers that the run is not over; up to a quarter more or less by `random` in [0, 1). */
export function pollWaitMs(polls: number, { firstMs, longestMs }: Polling, { steady, factor }: Growth, random: number): number {
  const plain = Math.min(longestMs, firstMs * factor ** Math.min(Math.max(0, polls - steady), 1_000));
  return Math.min(longestMs, plain * (0.75 + random / 2));
}

/** Since when a run is in its phase, and when a question after it was answered last; ISO 8601. A memo of an earlier version has no answer. */
export type Asked = { readonly since: string; readonly answeredAt?: string };

/**
 * A question was answered now. Of the time since the last one that was, no more than two of the longest waits count towards a deadline:
 * while nobody answers, or nobody asks, a run is not late. Pure.
 */
export function answered({ since, answeredAt = since }: Asked, longestMs: number, now: Date): Required<Asked> {
  const unansweredMs = Math.max(0, now.getTime() - Date.parse(answeredAt) - 2 * longestMs);
  return { since: new Date(Date.parse(since) + unansweredMs).toISOString(), answeredAt: now.toISOString() };
}
