/** Who gets the mail, or why nobody does: answers go only to people who may have one, and never into a loop (RFC 3834). */
import { domainToASCII } from "node:url";
import { isLike } from "../../message/glob.ts";
import { isOurs } from "../../message/identity.ts";
import type { Facts } from "../../message/message.ts";
import { authenticated } from "./authentication.ts";

export type Recipients = {
  readonly to: "sender" | readonly string[];
  /** Globs (`*`, `?`) on the address in From, case-insensitive: who is answered without proof. */
  readonly allow: readonly string[];
  /** The authserv-id whose Authentication-Results are believed; null: nobody's. */
  readonly authserv: string | null;
  /** Addresses that are billhook itself: what the smtp sinks send from and the watched mailboxes. */
  readonly own: readonly string[];
};

/** `skipped` is the rest of a sentence: "no answer: …". */
export type Recipient = { readonly to: readonly string[] } | { readonly skipped: string };

export type Mailbox = { readonly address: string; readonly domain: string };

/** Names of programs, as local parts (RFC 3834 section 2, RFC 5321 section 4.5.5): nobody reads what they are sent. */
const PROGRAM =
  /^(mailer-daemon|postmaster|majordomo|listserv|(no|do-?not|never)[-_.]?reply|owner-.*|.*-(owner|request|bounces?)|bounces?)([+=].*)?$/;

export function recipientOf(facts: Facts, recipients: Recipients): Recipient {
  const { to } = recipients;
  const why = to === "sender" ? whyNoAnswer(facts, recipients) : whyNoNotice(facts, recipients);
  if (why !== null) return { skipped: why };
  return { to: to === "sender" ? [answered(facts)?.address ?? ""] : to };
}

/**
 * Of fixed addresses only what could go in circles is kept away: mail of a billhook, this one or another that sends here what we send
 * there, and what machines answered to it.
 */
function whyNoNotice(facts: Facts, { own }: Recipients): string | null {
  if (isBounce(facts)) return "the mail is a report of a mail server";
  const automatic = facts.autoSubmitted?.startsWith("auto-") || facts.precedence === "auto_reply";
  if (automatic && isOwn(facts, own)) return "the mail is one of our own";
  return automatic && facts.references.some(isOurs) ? "a machine answered a mail of ours" : null;
}

function whyNoAnswer(facts: Facts, { allow, authserv, own }: Recipients): string | null {
  if (isOwn(facts, own)) return "the mail is one of our own";
  if (isBounce(facts)) return "the mail is a report of a mail server";
  if (facts.list !== null) return "the mail came through a list";
  if (facts.autoSubmitted !== null && facts.autoSubmitted !== "no") return "the mail was sent by a machine (Auto-Submitted)";
  if (/^(bulk|list|junk|auto_reply)$/.test(facts.precedence ?? "")) return "the mail is bulk mail (Precedence)";
  if (/\b(all|autoreply|oof)\b/.test(facts.autoResponseSuppress ?? ""))
    return "the mail asks for no automatic answer (X-Auto-Response-Suppress)";
  const from = only(facts.from);
  if (from === null) return "the mail does not come from one address that can be written to";
  const target = answered(facts);
  if (target === null) return "the mail does not ask for the answer at one address that can be written to";
  if ([from, target].some(({ address }) => PROGRAM.test(address.slice(0, address.lastIndexOf("@")).toLowerCase())))
    return "nobody reads the address it came from";
  if (own.some((address) => isSame(address, target))) return "the answer would come back to us";
  const isAllowed = ({ address }: Mailbox) => allow.some((pattern) => isLike(address, pattern));
  if (!isAllowed(from) && (authserv === null || !authenticated(facts.authenticationResults, authserv, from.domain)))
    return authserv === null
      ? "the sender is not among those who may have an answer"
      : `the sender is not among those who may have an answer, and ${authserv} does not say that the mail is really from there`;
  if (target.domain !== from.domain && !isAllowed(target)) return "the mail asks for the answer elsewhere (Reply-To), where none may go";
  return null;
}

function answered(facts: Facts): Mailbox | null {
  return only(facts.replyTo.length > 0 ? facts.replyTo : facts.from);
}

function only(addresses: Facts["from"]): Mailbox | null {
  return addresses.length === 1 ? mailboxOf(addresses[0]?.address ?? "") : null;
}

function isOwn(facts: Facts, own: readonly string[]): boolean {
  const senders = facts.from.map(({ address }) => mailboxOf(address));
  return isOurs(facts.messageId ?? "") || own.some((address) => senders.some((sender) => sender !== null && isSame(address, sender)));
}

function isSame(address: string, other: Mailbox): boolean {
  return mailboxOf(address)?.address.toLowerCase() === other.address.toLowerCase();
}

/** The null sender (RFC 5321 section 4.5.5), and reports on delivery or reading (RFC 6522), whoever sent them. */
function isBounce({ returnPath, contentType }: Facts): boolean {
  return returnPath === "" || /^(multipart\/report|message\/(delivery-status|disposition-notification))$/.test(contentType ?? "");
}

const ATOMS = /^[\w!#$%&'*+/=?^`{|}~-]+(\.[\w!#$%&'*+/=?^`{|}~-]+)*$/;
const LABELS = /^(?!.*\.\d+$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/;

/**
 * An address as it can stand in an SMTP command of any server: dot-atom local part, domain in ASCII (RFC 5321 section 4.1.2,
 * within its limits of size). Null for anything else: quoted local parts, address literals, what hides a second address.
 */
export function mailboxOf(text: string): Mailbox | null {
  if (text.length > 254) return null;
  const at = text.lastIndexOf("@");
  const local = text.slice(0, Math.max(at, 0));
  const written = text.slice(at + 1);
  // Anything else domainToASCII would pass over, or end at.
  const domain = /^[\p{L}\p{M}\p{N}.-]+$/u.test(written) ? domainToASCII(written) : "";
  if (local.length > 64 || domain.length > 253 || !ATOMS.test(local) || !LABELS.test(domain)) return null;
  return { address: `${local}@${domain}`, domain };
}
