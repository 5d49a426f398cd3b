/** Live by server-sent events (WHATWG HTML, 9.2): whoever listens is told that something changed, and looks at the page again. */
import type { Clock } from "../../base/clock.ts";

export type Live = {
  /** Something changed. */
  readonly tell: () => void;
  /** Until `gone`; null when enough listen already. */
  readonly listen: (gone: AbortSignal) => AsyncIterable<Uint8Array> | null;
};

/** Of the 32 connections of the server, so that there is room for pages and webhooks. */
const MOST = 16;
/** At most one a second. */
const REST_MS = 1_000;
/** What no event tells of (times, health, other processes) is looked at again after this; it keeps the connection alive too. */
const LOOK_MS = 15_000;
/** How long a browser waits before it comes back. */
const BEGIN = Buffer.from("retry: 5000\n\n");
const CHANGED = Buffer.from("data: changed\n\n");

export function createLive(clock: Clock): Live {
  let listeners = 0;
  let changes = 0;
  const alarms = new Set<AbortController>();

  async function* ticks(gone: AbortSignal): AsyncIterable<Uint8Array> {
    yield BEGIN;
    for (let seen = changes; !gone.aborted; ) {
      if (seen === changes) await nap(gone);
      if (gone.aborted) return;
      seen = changes;
      yield CHANGED;
      await clock.sleep(REST_MS, gone);
    }
  }

  /** Until something changes, or it is time to look anyway. */
  const nap = async (gone: AbortSignal) => {
    const alarm = new AbortController();
    const ring = () => alarm.abort();
    alarms.add(alarm);
    gone.addEventListener("abort", ring, { once: true });
    await clock.sleep(LOOK_MS, alarm.signal);
    gone.removeEventListener("abort", ring);
    alarms.delete(alarm);
  };

  return {
    tell: () => {
      changes += 1;
      for (const alarm of alarms) alarm.abort();
    },
    listen: (gone) => {
      if (listeners >= MOST || gone.aborted) return null;
      listeners += 1;
      gone.addEventListener("abort", () => (listeners -= 1), { once: true });
      return ticks(gone);
    },
  };
}
