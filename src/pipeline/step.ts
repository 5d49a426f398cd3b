/** The contract of a step: one effect for one task, with what the daemon assembled. */
import type { Clock } from "../base/clock.ts";
import type { Extractor } from "../extractor/extractor.ts";
import type { Mapping } from "../mapping/mapping.ts";
import type { Sink } from "../sink/sink.ts";
import type { Source } from "../source/source.ts";
import type { Outcome, Task } from "../store/record.ts";
import type { Ledger, Spool } from "../store/store.ts";
import type { Gate, Limits } from "./limits.ts";
import type { RetryRule } from "./retry.ts";
import type { Routing } from "./route.ts";

/** An extraction service with what its owner decided about it. */
export type Service = {
  readonly extractor: Extractor;
  readonly limits: Limits;
  readonly mapping: Mapping;
  /** Since when the service has not taken our key; null, as when left out: it does, as far as is known. */
  readonly refusedSince?: () => Date | null;
};

/** A sink with what its owner decided about it. */
export type Outlet = { readonly sink: Sink; readonly retry: RetryRule };

/** What the steps work with. Every implementation is known by its role only. */
export type Works = {
  readonly ledger: Ledger;
  readonly spool: Spool;
  readonly sources: ReadonlyMap<string, Source>;
  readonly services: ReadonlyMap<string, Service>;
  readonly sinks: ReadonlyMap<string, Outlet>;
  readonly routing: Routing;
  readonly gate: Gate;
  readonly retry: RetryRule;
  readonly clock: Clock;
  /**
   * Told before an effect, around the intention to buy, after the effect, and after its save, and whose they are: where a crash campaign
   * kills. Absent in earnest.
   */
  readonly passing?: (point: string, subject: string) => void;
};

/** One effect for one task. What it throws goes to `retry`; an unknown error counts as temporary. */
export type Step = (task: Task, works: Works, signal: AbortSignal) => Promise<Outcome>;
