/** What of the daemon can be asked after over HTTP: its health and, where their readers are known, its metrics. */
import type { Clock } from "../base/clock.ts";
import { isLoopback } from "../config/broken.ts";
import type { Config } from "../config/schema.ts";
import { examine } from "../pipeline/examine.ts";
import type { Works } from "../pipeline/step.ts";
import { healthRoutes, sparingly } from "../web/health.ts";
import type { Metrics } from "../web/metrics.ts";
import type { Route } from "../web/web.ts";

export type Watched = Pick<Metrics, "tell" | "swept"> & { readonly routes: readonly Route[] };

const UNWATCHED: Watched = { routes: [], tell: () => {}, swept: () => {} };

/**
 * Metrics and reasons name mailboxes, services and sinks: they are told on loopback, and elsewhere when `web.metrics` says so. Without
 * `web` nobody can ask, and nothing is counted.
 */
export async function watched({ web, state, mailboxes }: Config, works: Works, clock: Clock): Promise<Watched> {
  if (web === null) return UNWATCHED;
  const names = Object.keys(mailboxes);
  const patient = { ledger: works.ledger, directory: state.directory, mailboxes: names, minFreeBytes: state.minFree };
  const look = sparingly((at) => examine(patient, at), clock);
  const open = web.metrics ?? isLoopback(web.host);
  const health = healthRoutes({ look, open });
  if (!open) return { ...UNWATCHED, routes: health };
  // Only by those who use it.
  const { createMetrics } = await import("../web/metrics.ts");
  const places = { services: [...works.services.keys()], sinks: [...works.sinks.keys()] };
  const { route, tell, swept } = createMetrics({ look, ledger: works.ledger, mailboxes: names, ...places });
  return { routes: [...health, route], tell, swept };
}
