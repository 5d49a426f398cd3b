/** Extend's webhooks: events told to the endpoints that want them, signed, and told again until they answer 2xx. */
import { createHmac } from "node:crypto";
import type { Clock } from "../../base/clock.ts";
import { createHttp } from "../../http/http.ts";
import type { Faults } from "../faults.ts";
import type { Endpoint } from "./endpoints.ts";
import { newId } from "./reply.ts";

/** An event's payload, and the URL it can be had from for an hour. */
export type Payload = { readonly json: { readonly id: string; readonly metadata?: unknown }; readonly signedUrl: () => string };

export type WebhooksOptions = { readonly clock: Clock; readonly faults: Faults; readonly stopping: AbortSignal };

export type Webhooks = {
  /** Resolves when each was told or given up; never rejects. */
  readonly tell: (endpoints: readonly Endpoint[], eventType: string, payload: Payload) => Promise<void>;
  readonly close: () => Promise<void>;
};

/** GUESS: the schedule is not published; a second, two, four, … between the attempts. */
const ATTEMPTS = 6;
const FIRST_WAIT_MS = 1_000;
/** "Answer 2xx within 30 s." */
const ANSWER_MS = 30_000;

export function createWebhooks({ clock, faults, stopping }: WebhooksOptions): Webhooks {
  const http = createHttp({ name: "webhook", connections: 4, timeoutMs: ANSWER_MS });

  async function deliver(endpoint: Endpoint, eventType: string, payload: Payload): Promise<void> {
    const fault = faults.take("extend.webhook");
    if (fault?.delayMs) await clock.sleep(fault.delayMs, stopping);
    const event = JSON.stringify({ eventId: newId("event"), eventType, payload: payloadFor(endpoint, payload) });
    for (let deliveries = fault?.repeat ? 2 : 1; deliveries > 0; deliveries -= 1) await post(endpoint, Buffer.from(event));
  }

  async function post(endpoint: Endpoint, body: Uint8Array): Promise<void> {
    for (let attempt = 0; attempt < ATTEMPTS && !stopping.aborted; attempt += 1) {
      if (attempt > 0) await clock.sleep(FIRST_WAIT_MS * 2 ** (attempt - 1), stopping);
      const timestamp = String(Math.floor(clock.now().getTime() / 1_000));
      const headers = {
        ...endpoint.advancedOptions?.headers,
        "content-type": "application/json",
        "x-extend-request-timestamp": timestamp,
        "x-extend-request-signature": createHmac("sha256", endpoint.signingSecret).update(`v0:${timestamp}:`).update(body).digest("hex"),
      };
      const answer = await http.call({ method: "POST", url: endpoint.url, headers, body }, stopping).catch(() => null);
      if (answer !== null && answer.status >= 200 && answer.status <= 299) return;
    }
  }

  return {
    tell: async (endpoints, eventType, payload) => {
      await Promise.all(endpoints.map((endpoint) => deliver(endpoint, eventType, payload)));
    },
    close: http.close,
  };
}

/** In full; or, where the endpoint wants it so and it is large, as a URL to fetch it from. */
function payloadFor({ advancedOptions }: Endpoint, { json, signedUrl }: Payload): unknown {
  const { format, urlThresholdBytes = 0 } = advancedOptions?.payload ?? { format: "json" };
  if (format === "json" || Buffer.byteLength(JSON.stringify(json)) <= urlThresholdBytes) return json;
  return { object: "signed_data_url", id: json.id, data: signedUrl(), ...(json.metadata ? { metadata: json.metadata } : {}) };
}
