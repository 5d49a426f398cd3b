/** What every view of the page is given. */
import type { Clock } from "../../base/clock.ts";
import type { Desk } from "../../desk/desk.ts";
import type { Ledger } from "../../store/store.ts";
import type { Look } from "../health.ts";

export type Means = {
  readonly desk: Desk;
  readonly ledger: Pick<Ledger, "queues" | "paused" | "pause" | "resume" | "spending" | "reopen" | "tally">;
  /** May be some seconds old. */
  readonly look: Look;
  readonly services: readonly string[];
  readonly sinks: readonly string[];
  readonly clock: Clock;
  /** Something is to be done that was not before. */
  readonly wake: () => void;
};

/** What the forms of a view carry: proof that they were sent by the page (`csrf`), and the way to sign out where there is one. */
export type Reader = { readonly csrf: string; readonly mayLeave: boolean };
