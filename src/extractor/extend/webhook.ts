/** Extend's webhooks: whether one is genuine, and which run it speaks of. */
import { createHmac, timingSafeEqual } from "node:crypto";
import { type Fault, permanent } from "../../base/errors.ts";
import type { WebhookRequest } from "../extractor.ts";
import { idOf, type JsonObject, object, parsedObject, shortText } from "../json.ts";

export type Event = {
  readonly eventId: string;
  readonly runId: string | null;
  /** Where the payload is to be fetched, when it was too large to be sent. */
  readonly payloadUrl: string | null;
};

const OLDEST_S = 300;
/** Their clock may be ahead of ours. */
const NEWEST_S = 60;

/**
 * Verifies as Extend's own client does: HMAC-SHA256 of `v0:timestamp:body`, the secret taken as text; the body is not read for headers
 * that cannot be genuine. Throws a permanent `extend.webhook`.
 */
export async function verified(
  request: Pick<WebhookRequest, "headers" | "body">,
  secret: string,
  now: Date,
  loopbackToo = false,
): Promise<Event> {
  const timestamp = request.headers["x-extend-request-timestamp"] ?? "";
  const signature = request.headers["x-extend-request-signature"] ?? "";
  if (!/^\d{1,12}$/.test(timestamp) || !/^[0-9a-f]{64}$/i.test(signature)) {
    throw refused("it carries no usable x-extend-request-timestamp and x-extend-request-signature");
  }
  const ageS = Math.floor(now.getTime() / 1_000) - Number(timestamp);
  if (ageS > OLDEST_S || ageS < -NEWEST_S) throw refused(`it was signed ${ageS} s ago`, "check the clock of this machine");
  const body = await request.body();
  const expected = createHmac("sha256", secret).update(`v0:${timestamp}:`).update(body).digest();
  if (!timingSafeEqual(expected, Buffer.from(signature, "hex"))) {
    throw refused("its signature does not match", "check webhookSecret: it is shown once, when the endpoint is made");
  }
  const event = parsedObject(Buffer.from(body).toString("utf8"));
  const eventId = shortText(event?.eventId, 200);
  if (event === null || eventId === null) throw refused("its body is no event with an eventId");
  const payload = object(event.payload);
  if (payload.object !== "signed_data_url") return { eventId, runId: runIdOf(payload), payloadUrl: null };
  return { eventId, runId: null, payloadUrl: fetchable(payload.data, loopbackToo) };
}

/** The id when the payload is an extract run; the service tells of many other things. */
export function runIdOf(payload: JsonObject): string | null {
  return payload.object === "extract_run" ? idOf(payload.id) : null;
}

/** Whether a URL is one of this machine: the sandbox, never the service. */
export function isLoopback(url: string): boolean {
  return ["127.0.0.1", "[::1]", "localhost"].includes(URL.parse(url)?.hostname ?? "");
}

function fetchable(url: unknown, loopbackToo: boolean): string {
  const parsed = typeof url === "string" ? URL.parse(url) : null;
  const loopback = loopbackToo && parsed !== null && isLoopback(parsed.href);
  const secret = parsed !== null && parsed.username + parsed.password !== "";
  if (parsed === null || secret || !(parsed.protocol === "https:" || (parsed.protocol === "http:" && loopback))) {
    throw refused("the URL of its payload is not https");
  }
  return parsed.href;
}

function refused(why: string, advice?: string): Fault {
  return permanent("extend.webhook", `extend: a webhook was not accepted: ${why}`, advice);
}
