/** What follows when the list of runs does not show an order that may have been taken: the rule, pure. */

/**
 * The service has no idempotency keys, so an order that may have been taken is looked for by our key before it is sent again:
 * - Looks come at growing pauses. The second order is sent when a complete list does not show the run 30 s after the first. A list may
 *   lag further behind than that, so this order, like each further one, is counted as possibly twice before it is sent.
 * - An order that was put off after its look (a limit, a pause, a rest, a service out of credits) is looked for once more, right before it
 *   is sent.
 * - A list that does not show a run after 10 minutes, and twice as long each time, is taken as the truth. When the last order was
 *   answered with an error (5xx), which says that it was most likely not taken, it is sent again: an outage of orders costs patience,
 *   no documents and no money. When it was not answered at all, a person decides.
 * So a run is made exactly once while lists show it within 30 s, at most twice while they do within 10 minutes, and never more often than
 * twice by orders without an answer. GUESS: lists of the service are not later than that.
 */
export type Next =
  | { readonly is: "look"; readonly inMs: number }
  | { readonly is: "order" }
  /** A person has to look. */
  | { readonly is: "over" };

export const FIRST_LOOK_MS = 2_000;
/** For how long a look that showed nothing is good enough to order upon. */
export const LOOK_HOLDS_MS = 5_000;
const SECOND_ORDER_MS = 30_000;
const SETTLED_MS = 600_000;
const MOST_UNANSWERED = 2;
/** With pauses that double the last is sent ten hours after the first. */
const MOST_SENT = 8;

/** `sent` orders are in doubt, the last for `ageMs`, and the complete list shows none. */
export function nextAfterLook(sent: number, withError: boolean, ageMs: number): Next {
  const patienceMs = sent < 2 ? SECOND_ORDER_MS : SETTLED_MS * 2 ** (sent - 2);
  if (ageMs < patienceMs) return { is: "look", inMs: Math.min(Math.max(FIRST_LOOK_MS, ageMs), patienceMs - ageMs) };
  return sent < (withError ? MOST_SENT : MOST_UNANSWERED) ? { is: "order" } : { is: "over" };
}
