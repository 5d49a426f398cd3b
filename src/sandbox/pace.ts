/** How far a run has come: both services take their time, and only the clock says how much of it has passed. */
import type { Clock } from "../base/clock.ts";

/** How long a run waits, then how long it is worked on. */
export type Pace = { readonly pendingMs: number; readonly runningMs: number };

export type Phase = "pending" | "running" | "over";

export function phaseOf(pace: Pace, startedMs: number, clock: Clock): Phase {
  const passedMs = clock.now().getTime() - startedMs;
  if (passedMs < pace.pendingMs) return "pending";
  return passedMs < pace.pendingMs + pace.runningMs ? "running" : "over";
}
