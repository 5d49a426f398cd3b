/** The encoder: one document as the JSON body of Cloudsquid's upload, streamed; what its documentation leaves open is an option here. */
import type { Piece } from "../message/message.ts";
import type { Document } from "./extractor.ts";

/**
 * `multipart`: a nested document for each body and attachment. GUESS: the documentation says only "Array of parts".
 * `rfc822`: the exact message as `binary`. GUESS: that the service unpacks it.
 * `attachments`: one attachment as `binary`, as documented.
 */
export type Encoding = "multipart" | "rfc822" | "attachments";

/** GUESS, all of it: names, nesting and types of the parts are nowhere documented. */
export type MultipartOptions = {
  readonly mimetype: "message/rfc822" | "multipart/related";
  /** What the fields of a part are called; `kind: null` leaves the `file_type` of parts out. */
  readonly fields: { readonly name: string; readonly type: string; readonly kind: string | null; readonly content: string };
  /** Which bodies go along. `text` and `html` fall back to the other one when the message has only that. */
  readonly body: "text" | "html" | "both" | "none";
};

export type Upload = {
  /** Bytes of the pieces before base64. */
  readonly size: number;
  /** Bytes of the JSON, exactly. */
  readonly length: number;
  readonly open: () => AsyncIterable<Uint8Array>;
};

/** The upload of a document, or null when nothing in it is of a type the service takes. */
export function encode(document: Document, encoding: Encoding, multipart: MultipartOptions): Upload | null {
  const token = document.message.slice(0, 16);
  if (encoding === "rfc822") {
    return upload(binary({ name: `${token}.eml`, type: "message/rfc822", piece: document.raw }, DOCUMENTED));
  }
  const attachments = document.parts.filter((part) => bodyKind(part) === null).flatMap(submittable);
  if (encoding === "attachments") {
    const [only] = attachments;
    return only ? upload(binary({ ...only, name: `${token}-${only.name}` }, DOCUMENTED)) : null;
  }
  const parts = [...bodies(document.parts, multipart.body), ...attachments];
  if (parts.length === 0) return null;
  const head = JSON.stringify({ filename: `${token}.eml`, mimetype: multipart.mimetype, file_type: "multipart" });
  const nested = parts.flatMap((part, index) => [index === 0 ? "" : ",", ...binary(part, multipart.fields)]);
  return upload([`${head.slice(0, -1)},"file":[`, ...nested, "]}"]);
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

/** The bodies of a message have the ids `text` and `html`; those of a forwarded one `2.text`, `2.html`. */
function bodyKind(piece: Piece): "text" | "html" | null {
  const last = piece.id.slice(piece.id.lastIndexOf(".") + 1);
  return last === "text" || last === "html" ? last : null;
}

function bodies(parts: readonly Piece[], wanted: MultipartOptions["body"]): Submitted[] {
  if (wanted === "none") return [];
  const found = parts.filter((part) => bodyKind(part) !== null);
  const messageOf = (part: Piece) => part.id.slice(0, part.id.lastIndexOf(".") + 1);
  const chosen = found.filter((part) => {
    if (wanted === "both" || bodyKind(part) === wanted) return true;
    return !found.some((other) => bodyKind(other) === wanted && messageOf(other) === messageOf(part));
  });
  return chosen.map((piece) => ({
    name: `${messageOf(piece).replace(/\.$/, "-")}body.${bodyKind(piece) === "html" ? "html" : "txt"}`,
    type: "text/plain",
    piece,
  }));
}

function submittable(piece: Piece): Submitted[] {
  const type = submittedType(piece.contentType, piece.filename);
  return type === null ? [] : [{ name: piece.filename, type, piece }];
}

/** The types of the service's closed list that a part of a message can have; a forwarded message is left out, its parts go by themselves. */
const TAKEN = new Set([
  "application/pdf",
  "application/json",
  "image/jpg",
  "image/jpeg",
  "image/png",
  "text/csv",
  "text/plain",
  "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
  "application/vnd.ms-excel",
  "video/mp4",
  "audio/mp3",
  "audio/wav",
  "audio/ogg",
]);

const ALIASES: { readonly [type: string]: string } = {
  "application/x-pdf": "application/pdf",
  "application/acrobat": "application/pdf",
  "image/pjpeg": "image/jpeg",
  "image/x-png": "image/png",
  "application/csv": "text/csv",
  "text/comma-separated-values": "text/csv",
  "application/x-msexcel": "application/vnd.ms-excel",
  "audio/mpeg": "audio/mp3",
  "audio/x-wav": "audio/wav",
  // XML and HTML are not in the list, but they are text, and the file's name keeps saying what it is.
  "application/xml": "text/plain",
  "text/xml": "text/plain",
  "text/html": "text/plain",
};

const UNTYPED = new Set(["", "application/octet-stream", "binary/octet-stream", "application/force-download", "application/x-download"]);

const BY_EXTENSION: { readonly [extension: string]: string } = {
  pdf: "application/pdf",
  png: "image/png",
  jpg: "image/jpeg",
  jpeg: "image/jpeg",
  csv: "text/csv",
  txt: "text/plain",
  xml: "text/plain",
  html: "text/plain",
  json: "application/json",
  xls: "application/vnd.ms-excel",
  xlsx: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
};

/** The type under which the service takes a part, or null when it takes it under none. */
export function submittedType(contentType: string, filename: string | null): string | null {
  const declared = (contentType.split(";", 1)[0] ?? "").trim().toLowerCase();
  const extension = filename?.slice(filename.lastIndexOf(".") + 1).toLowerCase() ?? "";
  const known = UNTYPED.has(declared) ? lookup(BY_EXTENSION, extension) : (lookup(ALIASES, declared) ?? declared);
  if (known === undefined) return null;
  if (/^application\/[a-z0-9.-]+\+xml$/.test(known)) return "text/plain";
  return TAKEN.has(known) ? known : null;
}

/** Names and types are whatever the sender wrote: `constructor` must not be found. */
function lookup(table: { readonly [key: string]: string }, key: string): string | undefined {
  return Object.hasOwn(table, key) ? table[key] : undefined;
}
