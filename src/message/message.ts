/** The nouns of mail: a message's facts, its parts, and a piece of bytes that can be opened when it is needed. */
import type { FaultRecord } from "../base/errors.ts";

/** Bytes kept in the spool, named by their SHA-256 (lower-case hex). */
export type Blob = { readonly sha256: string; readonly size: number };

/** An address of RFC 5322 section 3.4, display name apart. */
export type Address = { readonly name: string; readonly address: string };

/** What the header of a message says (RFC 5322 section 3.6), decoded (RFC 2047). Missing or unreadable is null or empty. */
export type Facts = {
  /** msg-id with its angle brackets. */
  readonly messageId: string | null;
  readonly subject: string | null;
  readonly from: readonly Address[];
  readonly to: readonly Address[];
  readonly cc: readonly Address[];
  readonly replyTo: readonly Address[];
  /** ISO 8601, UTC. */
  readonly date: string | null;
  /** The msg-ids of References, else of In-Reply-To, oldest first. */
  readonly references: readonly string[];
  /** Address in Return-Path (RFC 5321 section 4.4): empty for the null sender of a bounce; null where the field is missing. */
  readonly returnPath: string | null;
  /** Addresses the mail was delivered to, as the servers noted it: Delivered-To, X-Original-To, Envelope-To, X-Envelope-To. */
  readonly deliveredTo: readonly string[];
  /** Auto-Submitted (RFC 3834 section 5): `auto-replied`, in lower case, without parameters. */
  readonly autoSubmitted: string | null;
  /** Precedence, in lower case: `bulk`, `list`, `junk`. */
  readonly precedence: string | null;
  /** List-Id (RFC 2919), else List-Post (RFC 2369); null for what came through no list. */
  readonly list: string | null;
  /** X-Auto-Response-Suppress of Exchange, in lower case. */
  readonly autoResponseSuppress: string | null;
  /** Content-Type of the whole message, in lower case, without parameters. */
  readonly contentType: string | null;
  /** Authentication-Results (RFC 8601) as they stand, topmost first: the first are of the servers nearest to us. */
  readonly authenticationResults: readonly string[];
};

/** A leaf of the MIME tree (RFC 2045/2046), after unpacking; or the text the parser made of the bodies. */
export type Part = {
  /** IMAP part number (RFC 9051 section 6.4.5.1): `2`, `2.1` inside a forwarded mail; `text` and `html` for the bodies. */
  readonly id: string;
  /** The id of the part this one was found in (message/rfc822, later winmail.dat, zip); null in the message itself. */
  readonly parent: string | null;
  /** `body` is what a mail program shows as the text of the mail; everything else is an `attachment`, whatever its disposition. */
  readonly role: "body" | "attachment";
  /** As the sender wrote it, decoded (RFC 2231, RFC 2047); never used as a path. */
  readonly filename: string | null;
  /** Content-Type as declared, lower case, without parameters. */
  readonly contentType: string;
  /** What the bytes look like; null when nothing is recognised. */
  readonly sniffedType: string | null;
  readonly disposition: "inline" | "attachment" | null;
  /** Content-ID without angle brackets (RFC 2392). */
  readonly contentId: string | null;
} & Blob;

/** What splitting a message gives. */
export type Split = {
  readonly facts: Facts;
  readonly text: string;
  readonly html: string;
  readonly parts: readonly Part[];
  /** What could not be read on the way; the rest is good. */
  readonly faults: readonly FaultRecord[];
};

/** Writes a stream of bytes where they are safe and says what they are; `head` is the first 4,100 bytes, for sniffing. */
export type Keep = (bytes: AsyncIterable<Uint8Array>) => Promise<Blob & { readonly head: Uint8Array }>;

/** A blob with a name and a type that can be read as often as needed. */
export type Piece = Blob & {
  readonly id: string;
  readonly filename: string;
  readonly contentType: string;
  readonly open: () => AsyncIterable<Uint8Array>;
};

/** What only says "text" or "a container" does not contradict a declared type that is a kind of it. */
const VAGUE: { readonly [sniffed: string]: RegExp } = {
  "text/plain": /^(text|message)\/|[/+](json|xml|edifact|edi-x12)$/,
  "application/zip": /^application\/(vnd\.|.*zip)/,
  "application/x-cfb": /^application\/(vnd\.ms-|msword|.*excel)/,
};

/** The type to trust: what the bytes look like, unless the declared one only says it more precisely. */
export function typeOf(part: Pick<Part, "contentType" | "sniffedType">): string {
  const { contentType, sniffedType } = part;
  return sniffedType === null || VAGUE[sniffedType]?.test(contentType) ? contentType : sniffedType;
}
