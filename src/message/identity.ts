/** The Message-IDs billhook gives the mail it sends: made from a delivery's key, so that a repeated mail is the same mail. */
import { createHash } from "node:crypto";

const OURS = /^<[0-9a-f]{40}\.billhook@[^<>@\s]+>$/;

/** RFC 5322 section 3.6.4, with its angle brackets. */
export function messageIdOf(key: string, domain: string): string {
  const hash = createHash("sha256").update(key).digest("hex").slice(0, 40);
  return `<${hash}.billhook@${domain}>`;
}

/** Of this billhook or of another one. */
export function isOurs(messageId: string): boolean {
  return OURS.test(messageId);
}
