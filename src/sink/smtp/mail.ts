/** The mail itself: its header fields, its text, what is attached. The same delivery always gives the same mail, its Date apart. */
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import type { Attachment, MailComposerOptions } from "nodemailer";
import MailComposer from "nodemailer/lib/mail-composer";
import { safeSegment } from "../../base/files.ts";
import { messageIdOf } from "../../message/identity.ts";
import type { Address, Facts, Piece } from "../../message/message.ts";
import { csvHeader, csvRowsOf } from "../csv.ts";
import { entriesOf } from "../delivery.ts";
import type { Delivery } from "../sink.ts";
import { plain, summaryOf, wordsOf } from "./words.ts";

export type Attach = { readonly json: boolean; readonly csv: boolean; readonly originals: boolean };

/** Opened anew, it is read anew. */
export type Mail = { readonly messageId: string; readonly open: () => Readable };

/** In bytes, before base64 makes them a third larger: most servers take mails of 25 MB. */
const MOST_ATTACHED = 15 * 1024 * 1024;
const LONGEST_SUBJECT = 400;
const MEDIA_TYPE = /^[a-z0-9][\w!#$&^.+-]{0,126}\/[a-z0-9][\w!#$&^.+-]{0,126}$/i;
const MSG_ID = /^<[\x21-\x3b\x3d\x3f-\x7e]{1,250}>$/;

export type Composition = {
  readonly from: Address;
  /** The domain of `from`, ASCII. */
  readonly domain: string;
  readonly to: readonly string[];
  /** In reply to the sender of the message; otherwise a notice to people its owner named. */
  readonly isAnswer: boolean;
  readonly attach: Attach;
  readonly date: Date;
};

export function compose(delivery: Delivery, key: string, composition: Composition): Mail {
  const { from, domain, to, isAnswer, date } = composition;
  const { enclosed, leftOut } = enclosuresOf(delivery, composition.attach);
  const messageId = messageIdOf(key, domain);
  const names = enclosed.map(({ filename }) => filename);
  const options: MailComposerOptions = {
    from: { name: plain(from.name), address: from.address },
    to: to.map((address) => ({ name: "", address })),
    subject: subjectOf(delivery, isAnswer),
    date,
    messageId,
    ...(isAnswer ? threadOf(delivery.facts) : {}),
    // RFC 3834 section 5; the other is what Exchange heeds.
    headers: { "Auto-Submitted": isAnswer ? "auto-replied" : "auto-generated", "X-Auto-Response-Suppress": "OOF, AutoReply" },
    ...wordsOf(delivery, isAnswer, names, leftOut.map(sizeInWords)),
    baseBoundary: createHash("sha256").update(key).digest("hex").slice(0, 40),
    newline: "windows",
    disableFileAccess: true,
    disableUrlAccess: true,
  };
  return {
    messageId,
    open: () => new MailComposer({ ...options, attachments: enclosed.map(({ attachment }) => attachment()) }).compile().createReadStream(),
  };
}

/** RFC 5322 section 3.6.4: the parent's References and its Message-ID, as far as they are sound. */
function threadOf({ messageId, references }: Facts): Pick<MailComposerOptions, "inReplyTo" | "references"> {
  const parent = messageId !== null && MSG_ID.test(messageId) ? [messageId] : [];
  const thread = [...references.filter((id) => MSG_ID.test(id) && id !== parent[0]), ...parent];
  return { ...(parent[0] === undefined ? {} : { inReplyTo: parent[0] }), ...(thread.length === 0 ? {} : { references: thread }) };
}

/** Section 3.6.5: `Re: ` once, whatever languages have put there before. */
function subjectOf({ body }: Delivery, isAnswer: boolean): string {
  // What looks like an encoded word (RFC 2047) would be decoded by whoever reads it, line breaks and all.
  const subject = plain(body.message.subject ?? "", LONGEST_SUBJECT).replaceAll("=?", "= ?");
  if (isAnswer) return `Re: ${subject.replace(/^((re|aw|antw|sv|vs) ?(\[\d{1,3}\])? ?: ?)+/i, "")}`.trimEnd();
  return subject === "" ? summaryOf(entriesOf(body)) : `${summaryOf(entriesOf(body))}: ${subject}`;
}

type Enclosure = { readonly filename: string; readonly size: number; readonly attachment: () => Attachment };

/** What is too large for one mail is named instead: the data first, then the files in their order while there is room. */
function enclosuresOf(
  delivery: Delivery,
  attach: Attach,
): { readonly enclosed: readonly Enclosure[]; readonly leftOut: readonly Enclosure[] } {
  const { body } = delivery;
  const wanted = [
    ...(attach.json ? [written("billhook.json", "application/json", `${JSON.stringify(body, null, 2)}\n`)] : []),
    ...(attach.csv ? [written("billhook.csv", "text/csv; charset=utf-8; header=present", csvHeader + csvRowsOf(body).join(""))] : []),
    ...(attach.originals ? delivery.attachments.map(original) : []),
  ];
  let room = MOST_ATTACHED;
  const [enclosed, leftOut]: [Enclosure[], Enclosure[]] = [[], []];
  for (const one of wanted) {
    const fits = one.size <= room;
    (fits ? enclosed : leftOut).push(one);
    if (fits) room -= one.size;
  }
  return { enclosed, leftOut };
}

const AS_BYTES = { contentDisposition: "attachment", contentTransferEncoding: "base64" } as const;

function written(filename: string, contentType: string, text: string): Enclosure {
  const content = Buffer.from(text);
  return { filename, size: content.length, attachment: () => ({ filename, contentType, content, ...AS_BYTES }) };
}

/** Read from the spool only while it is sent. A message inside would have to stay unencoded (RFC 2046 section 5.2.1): it is sent as bytes. */
function original({ filename: given, contentType, size, open }: Piece): Enclosure {
  const filename = safeSegment(given, "unnamed", 120);
  const sound = MEDIA_TYPE.test(contentType) && !/^(message|multipart)\//i.test(contentType);
  const type = sound ? contentType : "application/octet-stream";
  return { filename, size, attachment: () => ({ filename, contentType: type, content: Readable.from(open()), ...AS_BYTES }) };
}

function sizeInWords({ filename, size }: Enclosure): string {
  return `${filename} (${(size / 1024 / 1024).toFixed(1)} MB)`;
}
