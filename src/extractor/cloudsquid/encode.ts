/** The encoder: one document as the JSON body of Cloudsquid's upload, streamed; what its documentation leaves open is an option here. */
import type { Piece } from "../../message/message.ts";
import { type BodyChoice, bodyKind, chosenBodies, messageOf } from "../bodies.ts";
import type { Document } from "../extractor.ts";
import { submittedType, type Unsupported } from "./media.ts";

/**
 * `multipart`: a nested document for each body and attachment. GUESS: the documentation says only "Array of parts".
 * `rfc822`: the exact message as `binary`. GUESS: that the service unpacks it.
 * `uri`: the same, put among the project's files first and named by its signed URL. GUESS: as for `rfc822`.
 * `attachments`: one attachment as `binary`, as documented.
 */
export type Encoding = "multipart" | "rfc822" | "uri" | "attachments";

/** GUESS, all of it: names, nesting and types of the parts are nowhere documented. */
export type MultipartOptions = {
  readonly mimetype: "message/rfc822" | "multipart/related";
  /** What the fields of a part are called; `kind: null` leaves the `file_type` of parts out. */
  readonly fields: { readonly name: string; readonly type: string; readonly kind: string | null; readonly content: string };
  /** Which bodies go along. */
  readonly body: BodyChoice;
};

export type Upload = {
  /** Bytes of the pieces before base64. */
  readonly size: number;
  /** Bytes of the JSON, exactly. */
  readonly length: number;
  readonly open: () => AsyncIterable<Uint8Array>;
};

/** The upload of a document, or null when nothing in it is of a type the service takes. */
export function encode(
  document: Document,
  encoding: Encoding,
  multipart: MultipartOptions,
  unsupported: Unsupported = "map",
): Upload | null {
  const token = tokenOf(document);
  if (encoding === "rfc822" || encoding === "uri") {
    return upload(binary({ name: `${token}.eml`, type: "message/rfc822", piece: document.raw }, DOCUMENTED));
  }
  if (encoding === "attachments") {
    const [only] = sort(document, "none", unsupported).sent;
    return only ? upload(binary({ ...only, name: `${token}-${only.name}` }, DOCUMENTED)) : null;
  }
  const { sent } = sort(document, multipart.body, unsupported);
  if (sent.length === 0) return null;
  const head = JSON.stringify({ filename: `${token}.eml`, mimetype: multipart.mimetype, file_type: "multipart" });
  const nested = sent.flatMap((part, index) => [index === 0 ? "" : ",", ...binary(part, multipart.fields)]);
  return upload([`${head.slice(0, -1)},"file":[`, ...nested, "]}"]);
}

/** The parts that do not go along because of their type, in message order within bodies and attachments. */
export function leftOut(document: Document, encoding: Encoding, multipart: MultipartOptions, unsupported: Unsupported): readonly Piece[] {
  if (encoding === "rfc822" || encoding === "uri") return [];
  return sort(document, encoding === "attachments" ? "none" : multipart.body, unsupported).left;
}

/** The parts that do go along, in that order, and their types as the service is told them. */
export function submittedAs(
  document: Document,
  encoding: Encoding,
  multipart: MultipartOptions,
  unsupported: Unsupported = "map",
): readonly { readonly part: string; readonly as: string }[] {
  if (encoding === "rfc822" || encoding === "uri") return [{ part: document.raw.id, as: "message/rfc822" }];
  const { sent } = sort(document, encoding === "attachments" ? "none" : multipart.body, unsupported);
  return sent.map(({ piece, type }) => ({ part: piece.id, as: type }));
}

/** The same for the same message, and nothing of the mail can be read in it: by it a person finds a row, and a file again. */
export function tokenOf(document: Document): string {
  return document.message.slice(0, 16);
}

/** The exact message, where it can be fetched. */
export function byUrl(document: Document, url: string): Uint8Array {
  return Buffer.from(JSON.stringify({ filename: `${tokenOf(document)}.eml`, mimetype: "message/rfc822", file_type: "uri", file: url }));
}

type Submitted = { readonly name: string; readonly type: string; readonly piece: Piece };

const DOCUMENTED: MultipartOptions["fields"] = { name: "filename", type: "mimetype", kind: "file_type", content: "file" };

/** A Document of the service's documentation, its content still to be read. */
function binary({ name, type, piece }: Submitted, fields: MultipartOptions["fields"]): (string | Piece)[] {
  const head = { [fields.name]: name, [fields.type]: type, ...(fields.kind === null ? {} : { [fields.kind]: "binary" }) };
  return [`${JSON.stringify(head).slice(0, -1)},${JSON.stringify(fields.content)}:"`, piece, '"}'];
}

function upload(segments: readonly (string | Piece)[]): Upload {
  let size = 0;
  let length = 0;
  for (const segment of segments) {
    if (typeof segment !== "string") size += segment.size;
    length += typeof segment === "string" ? Buffer.byteLength(segment) : 4 * Math.ceil(segment.size / 3);
  }
  return {
    size,
    length,
    open: async function* () {
      for (const segment of segments) {
        if (typeof segment === "string") yield Buffer.from(segment);
        else yield* base64(segment.open());
      }
    },
  };
}

/** Bytes encoded at a time; a multiple of 3, so that only the last step pads. */
const STEP = 48 * 1024;

/** Base64 (RFC 4648 section 4) of a stream, whatever the sizes of its chunks. */
export async function* base64(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let rest = Buffer.alloc(0);
  for await (const chunk of chunks) {
    let bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    if (rest.length > 0) {
      const missing = bytes.subarray(0, 3 - rest.length);
      bytes = bytes.subarray(missing.length);
      rest = Buffer.concat([rest, missing]);
      if (rest.length < 3) continue;
      yield encoded(rest);
    }
    const whole = bytes.length - (bytes.length % 3);
    for (let at = 0; at < whole; at += STEP) yield encoded(bytes.subarray(at, Math.min(at + STEP, whole)));
    // A copy: the source may use its buffer again.
    rest = Buffer.from(bytes.subarray(whole));
  }
  if (rest.length > 0) yield encoded(rest);
}

function encoded(bytes: Buffer): Buffer {
  return Buffer.from(bytes.toString("base64"), "latin1");
}

/** Names of forwarded mails' bodies begin with their part number. */
function bodyName(body: Piece): string {
  return `${messageOf(body).replace(/\.$/, "-")}body.${bodyKind(body) === "html" ? "html" : "txt"}`;
}

/** What of a document goes along in which order, and what is left out because of its type: bodies first, then attachments. */
function sort(document: Document, body: BodyChoice, unsupported: Unsupported): { sent: readonly Submitted[]; left: readonly Piece[] } {
  const sent: Submitted[] = [];
  const left: Piece[] = [];
  for (const piece of chosenBodies(document.parts, body)) {
    const type = submittedType(bodyKind(piece) === "html" ? "text/html" : "text/plain", null, unsupported);
    if (type === null) left.push(piece);
    else sent.push({ name: bodyName(piece), type, piece });
  }
  const opened = new Set(document.parts.flatMap(({ id }) => [...id.matchAll(/\./g)].map((dot) => id.slice(0, dot.index))));
  for (const piece of document.parts) {
    if (bodyKind(piece) !== null) continue;
    const type = submittedType(piece.contentType, piece.filename, unsupported);
    if (type !== null) sent.push({ name: piece.filename, type, piece });
    // What was opened (a forwarded mail) goes along by what it held.
    else if (!opened.has(piece.id)) left.push(piece);
  }
  return { sent, left };
}
