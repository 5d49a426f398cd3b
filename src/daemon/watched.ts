/** What of the daemon can be asked after over HTTP: its health and, where their readers are known, its metrics and its page. */
import type { Clock } from "../base/clock.ts";
import { isLoopback } from "../config/broken.ts";
import type { Config } from "../config/schema.ts";
import { examine } from "../pipeline/examine.ts";
import type { Works } from "../pipeline/step.ts";
import type { Look } from "../web/health.ts";
import { healthRoutes, sparingly } from "../web/health.ts";
import type { Metrics } from "../web/metrics.ts";
import type { Page } from "../web/page.ts";
import { forLoopback } from "../web/rebinding.ts";
import type { Route } from "../web/web.ts";
import { assembleDesk } from "./state.ts";

export type Watched = Pick<Metrics, "tell" | "swept"> & { readonly routes: readonly Route[] };

const UNWATCHED: Watched = { routes: [], tell: () => {}, swept: () => {} };

/**
 * Metrics and reasons name mailboxes, services and sinks: they are told on loopback, and elsewhere when `web.metrics` says so. Without
 * `web` nobody can ask, and nothing is counted. `wake`: a person put something back.
 */
export async function watched(config: Config, works: Works, clock: Clock, wake: () => void): Promise<Watched> {
  const { web, state, mailboxes } = config;
  if (web === null) return UNWATCHED;
  const names = Object.keys(mailboxes);
  const patient = { ledger: works.ledger, directory: state.directory, mailboxes: names, minFreeBytes: state.minFree };
  const look = sparingly((at) => examine(patient, at), clock);
  const open = web.metrics ?? isLoopback(web.host);
  // What nobody has opened on purpose is open to this machine only, not to a name that leads to it.
  const onlyHere = web.metrics === null;
  const health = healthRoutes({ look, open, onlyHere });
  const page = await pageOf(config, works, clock, look, wake);
  const routes = [...health, ...(page?.routes ?? [])];
  if (!open) return { ...UNWATCHED, routes, tell: () => page?.tell() };
  // Only by those who use it.
  const { createMetrics } = await import("../web/metrics.ts");
  const places = { services: [...works.services.keys()], sinks: [...works.sinks.keys()] };
  const metrics = createMetrics({ look, ledger: works.ledger, mailboxes: names, ...places });
  return {
    routes: [...routes, onlyHere ? forLoopback(metrics.route) : metrics.route],
    swept: metrics.swept,
    tell: (event, tookMs) => {
      metrics.tell(event, tookMs);
      page?.tell();
    },
  };
}

/** The page holds mail: it is open on loopback only, and elsewhere there is none without a token. */
async function pageOf(config: Config, works: Works, clock: Clock, look: Look, wake: () => void): Promise<Page | null> {
  const { web } = config;
  if (web === null || (web.token === null && !isLoopback(web.host))) return null;
  const { createPage } = await import("../web/page.ts");
  const desk = await assembleDesk(config, works.ledger, clock);
  const places = { services: [...works.services.keys()], sinks: [...works.sinks.keys()] };
  return createPage({ desk, ledger: works.ledger, look, ...places, clock, wake, token: web.token });
}
