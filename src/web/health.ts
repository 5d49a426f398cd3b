/** Health over HTTP: whether the process lives, and whether it is ready, from what `billhook status --alive` is judged by. */
import type { Clock } from "../base/clock.ts";
import { type Ailment, ailmentsOf, type Condition } from "../pipeline/health.ts";
import { isAskedAsLoopback } from "./rebinding.ts";
import type { Route } from "./web.ts";

export type HealthOptions = {
  readonly look: Look;
  /** Whether whoever can ask may be told the names of mailboxes, services and sinks, and what is wrong with them. */
  readonly open: boolean;
  /** True: they are told only to who asked for this machine by a name of its own. */
  readonly onlyHere?: boolean;
};

export type Look = () => Promise<Condition>;

/** What is told may be this old: nobody can have the disk written to more often by asking more often. */
const FRESH_MS = 5_000;

/** The same examination for everybody who asks while it is going on, or has not grown old. */
export function sparingly(examine: (at: Date) => Promise<Condition>, clock: Clock): Look {
  let last: { readonly at: number; readonly found: Promise<Condition> } | null = null;
  return () => {
    const now = clock.now();
    // A clock that was set back must not keep it for longer.
    if (last === null || Math.abs(now.getTime() - last.at) >= FRESH_MS) last = { at: now.getTime(), found: examine(now) };
    return last.found;
  };
}

/**
 * `GET /healthz`: 200 while the event loop answers, and nothing else is looked at: who starts the process anew by it must not do so for a
 * mailbox that cannot be reached. `GET /readyz`: 200 when all is well, otherwise 503, with the reasons where they may be told.
 */
export function healthRoutes({ look, open, onlyHere = false }: HealthOptions): readonly Route[] {
  return [
    { method: "GET", path: "/healthz", answer: async () => ({ status: 200, json: { alive: true } }) },
    {
      method: "GET",
      path: "/readyz",
      answer: async ({ headers }) => {
        const found = await look();
        const ailments = ailmentsOf(found);
        const ready = ailments.length === 0;
        return {
          status: ready ? 200 : 503,
          json: open && (!onlyHere || isAskedAsLoopback(headers)) ? { ready, ...reasons(found, ailments) } : { ready },
        };
      },
    },
  ];
}

/** What is paused is told, though it is none of the reasons. */
function reasons({ at, paused }: Condition, ailments: readonly Ailment[]) {
  return { at, ailments, paused };
}
