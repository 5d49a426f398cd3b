/** Signatures of Standard Webhooks (https://www.standardwebhooks.com): HMAC-SHA256 over id, timestamp and the exact body. */
import { createHmac } from "node:crypto";
import { permanent } from "../../base/errors.ts";
import type { HttpBody } from "../../http/http.ts";

const PREFIX = "whsec_";
const FEWEST_BYTES = 24;
const MOST_BYTES = 64;

/** The keys in the secrets. Throws a permanent Fault `config.secret` that does not tell them. */
export function keysOf(sink: string, secrets: readonly string[]): readonly Buffer[] {
  return secrets.map((secret, at) => {
    const text = secret.startsWith(PREFIX) ? secret.slice(PREFIX.length) : "";
    const key = Buffer.from(text, "base64");
    const exact = key.toString("base64").replace(/=+$/, "") === text.replace(/=+$/, "");
    if (exact && key.length >= FEWEST_BYTES && key.length <= MOST_BYTES) return key;
    throw permanent(
      "config.secret",
      `sink ${sink}: secret ${at + 1} is not "${PREFIX}" and the base64 of ${FEWEST_BYTES} to ${MOST_BYTES} bytes`,
      `make one with: echo ${PREFIX}$(openssl rand -base64 32)`,
    );
  });
}

/**
 * `v1,<base64>` for each key, separated by spaces; null without keys. A body that is read while it is sent is read once before,
 * for this. The id holds full stops, which separate here: split another way, the timestamp would be one of 1970.
 */
export async function signatureOf(
  keys: readonly Buffer[],
  id: string,
  timestamp: string,
  body: HttpBody,
  signal: AbortSignal,
): Promise<string | null> {
  if (keys.length === 0) return null;
  const macs = keys.map((key) => createHmac("sha256", key).update(`${id}.${timestamp}.`));
  for await (const chunk of body instanceof Uint8Array ? [body] : body.open()) {
    signal.throwIfAborted();
    for (const mac of macs) mac.update(chunk);
  }
  return macs.map((mac) => `v1,${mac.digest("base64")}`).join(" ");
}
