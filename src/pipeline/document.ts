/** Documents: how a message becomes what runs read, and how a remembered document becomes bytes that can be opened. */
import { permanent } from "../base/errors.ts";
import type { Document, Extractor } from "../extractor/extractor.ts";
import { type Blob, type Facts, type Part, type Piece, typeOf } from "../message/message.ts";
import type { MessageRecord } from "../store/mail.ts";
import type { DocumentRecord, TaskMemo } from "../store/record.ts";
import type { Spool } from "../store/store.ts";
import { goneFault } from "../store/upkeep.ts";
import type { Works } from "./step.ts";

/**
 * One document for the whole mail, or one for each attachment the service takes. Never none: a mail without such an attachment is
 * a document the service will refuse, so that it fails visibly instead of being settled as done. `from` is the position of the first. Pure.
 */
export function documentsOf(
  message: string,
  parts: readonly Part[],
  service: string,
  extractor: Extractor,
  from = 1,
): readonly DocumentRecord[] {
  const all = parts.map((part) => part.id);
  const attachments =
    extractor.grain === "message"
      ? []
      : parts.filter((part) => part.role === "attachment" && extractor.accepts(typeOf(part), part.filename)).map((part) => [part.id]);
  const whole = attachments.length === 0;
  return (whole ? [all] : attachments).map((ids, index) => ({
    id: `${message}.${from + index}`,
    message,
    position: from + index,
    service,
    whole,
    parts: ids,
  }));
}

export type Opened = {
  readonly record: DocumentRecord;
  readonly message: MessageRecord;
  /** As remembered, in message order. */
  readonly parts: readonly Part[];
  /** How many parts the whole message has. */
  readonly partsInMessage: number;
  readonly document: Document;
};

/** A remembered document with its bytes within reach. Throws `document.missing` when the ledger does not know it, `kept.gone` when it was removed. */
export async function openDocument(id: string, works: Pick<Works, "ledger" | "spool">): Promise<Opened> {
  const record = await works.ledger.document(id);
  const message = record === null ? null : await works.ledger.message(record.message);
  const gone = message === null || message.facts !== null ? null : goneFault(message, "raw");
  if (gone !== null) throw gone;
  if (record === null || message === null || message.facts === null) {
    throw permanent("document.missing", `the ledger does not know document ${id}`, "restore the ledger from a backup");
  }
  const wanted = new Set(record.parts);
  const all = await works.ledger.parts(message.id);
  const parts = all.filter((part) => wanted.has(part.id));
  return {
    record,
    message,
    parts,
    partsInMessage: all.length,
    document: documentOf(record, { ...message, facts: message.facts }, parts, unlessGone(message, works.spool.open)),
  };
}

type Open = Spool["open"];

/** What was removed on purpose is not missing. */
function unlessGone(message: MessageRecord, open: Open): Open {
  return async function* (shelf, blob) {
    const gone = goneFault(message, shelf);
    if (gone !== null) throw gone;
    yield* open(shelf, blob);
  };
}

/** A document of these parts; `open` is asked for its bytes when they are needed. */
export function documentOf(
  record: DocumentRecord,
  message: Blob & { readonly facts: Facts },
  parts: readonly Part[],
  open: Open,
): Document {
  return {
    id: record.id,
    message: record.message,
    facts: message.facts,
    whole: record.whole,
    raw: rawPiece(message, open),
    parts: parts.map((part) => pieceOf(part, open)),
  };
}

/** The ids of the parts that the service was not given, as the memo of the document's run says. Pure. */
export function skippedOf(memo: TaskMemo | null): readonly string[] {
  const skipped = memo?.skipped;
  return Array.isArray(skipped) ? skipped.filter((id) => typeof id === "string") : [];
}

function rawPiece({ sha256, size }: Blob, open: Open): Piece {
  return {
    id: "raw",
    filename: `${sha256.slice(0, 16)}.eml`,
    contentType: "message/rfc822",
    sha256,
    size,
    open: () => open("raw", { sha256, size }),
  };
}

function pieceOf(part: Part, open: Open): Piece {
  const { id, sha256, size } = part;
  return {
    id,
    filename: part.filename ?? defaultName(part),
    contentType: typeOf(part),
    sha256,
    size,
    open: () => open("parts", { sha256, size }),
  };
}

const EXTENSIONS: Readonly<Record<string, string>> = {
  "application/pdf": "pdf",
  "application/xml": "xml",
  "text/xml": "xml",
  "text/plain": "txt",
  "text/html": "html",
  "image/png": "png",
  "image/jpeg": "jpg",
  "message/rfc822": "eml",
};

function defaultName(part: Part): string {
  const stem = part.role === "body" ? "body" : `part-${part.id}`;
  return `${stem}.${EXTENSIONS[typeOf(part)] ?? "bin"}`;
}
