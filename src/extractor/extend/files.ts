/** What of a mail is uploaded to Extend, under which name, and as which bytes (multipart/form-data, RFC 7578). */

import { type Fault, permanent } from "../../base/errors.ts";
import { type Form, formOf } from "../../message/form.ts";
import type { Piece } from "../../message/message.ts";
import { type BodyChoice, bodyKind, chosenBodies } from "../bodies.ts";
import type { Document } from "../extractor.ts";

export type FileOptions = {
  /** `parts`: body and attachments as files of one run. `eml`: the exact mail. GUESS: that the service looks into the attachments of one. */
  readonly submit: "parts" | "eml";
  readonly body: Exclude<BodyChoice, "both">;
};

export type Plan = {
  readonly files: readonly NamedFile[];
  /** Ids of the attachments the service has no reader for. */
  readonly unsupported: readonly string[];
};

export type NamedFile = { readonly name: string; readonly piece: Piece };

/**
 * Body first, attachments in message order. Empty parts are left out, and so are those that were opened: what they held is there by itself.
 * A name holds nothing of the mail but is the same each time: beginning of the message's SHA-256, part number, and the extension by
 * which the service tells the type.
 */
export function planOf(document: Document, options: FileOptions): Plan {
  const token = document.message.slice(0, 16);
  if (options.submit === "eml") return { files: [{ name: `${token}.eml`, piece: document.raw }], unsupported: [] };
  const { parts } = document;
  const attachments = parts.filter(
    (part) => bodyKind(part) === null && part.size > 0 && !parts.some((it) => it.id.startsWith(`${part.id}.`)),
  );
  const named = (piece: Piece, extension: string) => ({ name: `${token}-${piece.id.replace(/[^\w.-]/g, "_")}.${extension}`, piece });
  const bodies = chosenBodies(parts, options.body).filter((body) => body.size > 0);
  return {
    files: [
      ...bodies.map((body) => named(body, bodyKind(body) === "html" ? "html" : "txt")),
      ...attachments.flatMap((part) => {
        const extension = extensionOf(part.contentType, part.filename);
        return extension === null ? [] : [named(part, extension)];
      }),
    ],
    unsupported: attachments.filter((part) => extensionOf(part.contentType, part.filename) === null).map((part) => part.id),
  };
}

/** Bytes of all files together. */
export function sizeOf(plan: Plan): number {
  return plan.files.reduce((sum, { piece }) => sum + piece.size, 0);
}

export type FileLimits = {
  readonly name: string;
  /** What to do with an attachment the service has no reader for. */
  readonly unsupported: "skip" | "refuse";
  /** Largest document: the bytes of its files together. */
  readonly maxBytes: number;
};

const MOST_FILES = 50;

/** Why a plan cannot be carried out; null when it can. */
export function objectionTo(plan: Plan, { name, unsupported, maxBytes }: FileLimits): Fault | null {
  if (unsupported === "refuse" && plan.unsupported.length > 0) {
    return permanent(
      "extend.unsupported",
      `${name}: the service cannot read the types of these parts: ${plan.unsupported.join(", ")}`,
      "set `unsupported: skip` to send the others, then run `billhook retry`",
    );
  }
  if (plan.files.length === 0)
    return permanent(
      "extend.nothing-to-send",
      `${name}: no part is of a type the service takes`,
      "`billhook ignore` gives the mail up; a route can ignore such mail",
    );
  if (plan.files.length > MOST_FILES) {
    return permanent(
      "extend.too-many-files",
      `${name}: the mail makes ${plan.files.length} files, a run takes at most ${MOST_FILES}`,
      "ask the sender for several mails, or `billhook ignore` gives it up",
    );
  }
  if (sizeOf(plan) <= maxBytes) return null;
  return permanent(
    "extend.too-large",
    `${name}: the submission is ${sizeOf(plan)} bytes long, the limit is ${maxBytes}`,
    "raise maxBytes of the service if it takes more, then run `billhook retry`",
  );
}

/** The documentation's list of supported file types. */
const SUPPORTED = new Set(
  (
    "pdf png jpg jpeg tiff tif svg heic heif bmp gif webp psd xls xlsx xltm xltx ods docx doc wpd dotx odt pptx ppt ppm " +
    "csv txt html xml rtf lis md eml pcx"
  ).split(" "),
);

const OFFICE = "application/vnd.openxmlformats-officedocument";

const BY_TYPE: ReadonlyMap<string, string> = new Map([
  ["application/pdf", "pdf"],
  ["application/x-pdf", "pdf"],
  ["application/acrobat", "pdf"],
  ["image/png", "png"],
  ["image/x-png", "png"],
  ["image/jpeg", "jpg"],
  ["image/jpg", "jpg"],
  ["image/pjpeg", "jpg"],
  ["image/tiff", "tiff"],
  ["image/svg+xml", "svg"],
  ["image/heic", "heic"],
  ["image/heif", "heif"],
  ["image/bmp", "bmp"],
  ["image/x-ms-bmp", "bmp"],
  ["image/gif", "gif"],
  ["image/webp", "webp"],
  ["image/vnd.adobe.photoshop", "psd"],
  ["application/vnd.ms-excel", "xls"],
  ["application/x-msexcel", "xls"],
  [`${OFFICE}.spreadsheetml.sheet`, "xlsx"],
  [`${OFFICE}.spreadsheetml.template`, "xltx"],
  ["application/vnd.oasis.opendocument.spreadsheet", "ods"],
  [`${OFFICE}.wordprocessingml.document`, "docx"],
  [`${OFFICE}.wordprocessingml.template`, "dotx"],
  ["application/msword", "doc"],
  ["application/vnd.oasis.opendocument.text", "odt"],
  [`${OFFICE}.presentationml.presentation`, "pptx"],
  ["application/vnd.ms-powerpoint", "ppt"],
  ["text/csv", "csv"],
  ["application/csv", "csv"],
  ["text/comma-separated-values", "csv"],
  ["text/html", "html"],
  ["application/xml", "xml"],
  ["text/xml", "xml"],
  ["application/rtf", "rtf"],
  ["text/rtf", "rtf"],
  ["text/markdown", "md"],
  ["message/rfc822", "eml"],
]);

/** Types that say so little that the file's name knows better. */
const VAGUE = new Set([
  "",
  "text/plain",
  "application/octet-stream",
  "binary/octet-stream",
  "application/force-download",
  "application/x-download",
  "application/zip",
  "application/x-cfb",
]);

/** The extension under which the service takes a part, or null when it takes it under none. */
export function extensionOf(contentType: string, filename: string | null): string | null {
  const type = (contentType.split(";", 1)[0] ?? "").trim().toLowerCase();
  const known = BY_TYPE.get(type);
  if (known !== undefined) return known;
  if (type.startsWith("application/") && type.endsWith("+xml")) return "xml";
  if (!VAGUE.has(type)) return null;
  const extension = filename?.slice(filename.lastIndexOf(".") + 1).toLowerCase() ?? "";
  if (SUPPORTED.has(extension)) return extension;
  return type === "text/plain" ? "txt" : null;
}

/** A form with one field, `file`. The service ignores its type and goes by the extension. */
export function fileForm({ name, piece: { size, sha256, open } }: NamedFile): Form {
  return formOf([{ name: "file", filename: name, contentType: "application/octet-stream", size, sha256, open }]);
}
