/** Webhooks of the services: a genuine one makes the next poll of its run due now, and nothing else. */
import type { Clock } from "../base/clock.ts";
import { asFault } from "../base/errors.ts";
import type { Fields, Logger } from "../base/logger.ts";
import type { Works } from "../pipeline/step.ts";
import type { Route } from "./web.ts";

export type WebhookOptions = {
  readonly works: Pick<Works, "ledger" | "services" | "clock">;
  readonly log: Logger;
  /** A poll became due. */
  readonly wake: () => void;
};

/**
 * `POST /webhooks/<service>`. 200 for every genuine one, repeats and unknown runs included, so that the service stops sending it;
 * 401 when it is not genuine, 503 when what it points to could not be fetched now. Nothing is read for a service that is not here.
 */
export function webhookRoute({ works, log, wake }: WebhookOptions): Route {
  const warn = sparing(log, works.clock);
  return {
    method: "POST",
    path: "/webhooks/",
    answer: async ({ rest: service, headers, body }, signal) => {
      const verify = works.services.get(service)?.extractor.verifyWebhook;
      if (verify === undefined) return { status: 404, json: { error: "no service here takes webhooks under this name" } };
      const single = Object.fromEntries(
        Object.entries(headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(",") : value]),
      );
      let heard: { readonly eventId: string; readonly runId: string | null };
      try {
        heard = await verify({ headers: single, body, isRepeat: (eventId) => works.ledger.heard(service, eventId) }, signal);
      } catch (thrown) {
        const fault = asFault(thrown, "webhook.failed");
        warn("webhook.refused", { service, fault: fault.code, why: fault.message });
        return fault.temporary ? { status: 503, json: { error: "try again later" } } : { status: 401, json: { error: "not genuine" } };
      }
      const meaning = await works.ledger.hear({ service, ...heard, now: works.clock.now() });
      log.event("info", "webhook.heard", { service, run: heard.runId, meaning });
      if (meaning === "due") wake();
      return { status: 200, json: { heard: meaning } };
    },
  };
}

const QUIET_MS = 60_000;

/** Anyone who can reach the port can be refused: at most one line a minute, which says how many were left out before it. */
function sparing(log: Logger, clock: Clock): (name: string, fields: Fields) => void {
  let saidAt = Number.NEGATIVE_INFINITY;
  let leftOut = 0;
  return (name, fields) => {
    const now = clock.now().getTime();
    // A clock that was set back must not silence it for longer.
    if (Math.abs(now - saidAt) < QUIET_MS) {
      leftOut += 1;
      return;
    }
    log.event("warn", name, leftOut === 0 ? fields : { ...fields, leftOut });
    saidAt = now;
    leftOut = 0;
  };
}
