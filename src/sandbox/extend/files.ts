/** The files of the Extend half: which kinds it takes, and how they are written out. */
import type { SubmittedPiece } from "../answer.ts";
import type { Held } from "../files.ts";

/** A run that still waits for one that was deleted or forgotten fails. */
export type StoredFile = Held & { readonly name: string; readonly createdAt: Date };

type Kind = { readonly type: string | null; readonly mimetype: string };

const kinds = (extensions: string, type: string | null, mimetype: string) =>
  extensions.split(" ").map((extension): [string, Kind] => [extension, { type, mimetype }]);

/** The supported file types of the documentation. A mail has no type among the documented ones. */
const KINDS: ReadonlyMap<string, Kind> = new Map([
  ...kinds("pdf", "PDF", "application/pdf"),
  ...kinds("png jpg jpeg tiff tif svg heic heif bmp gif webp psd pcx", "IMG", "image/*"),
  ...kinds("xls xlsx xltm xltx ods", "EXCEL", "application/octet-stream"),
  ...kinds("docx doc wpd dotx odt pptx ppt ppm rtf", "DOCX", "application/octet-stream"),
  ...kinds("csv", "CSV", "text/csv"),
  ...kinds("txt lis md", "TXT", "text/plain"),
  ...kinds("html", "HTML", "text/html"),
  ...kinds("xml", "XML", "application/xml"),
  ...kinds("eml", null, "message/rfc822"),
]);

/** By the name alone, as at the service, which ignores the Content-Type it is sent; null: not supported. */
export function kindOf({ name }: Pick<StoredFile, "name">): Kind | null {
  return KINDS.get(/\.([^.]+)$/.exec(name)?.[1]?.toLowerCase() ?? "") ?? null;
}

export function pieceOf(file: StoredFile, bytes: Uint8Array): SubmittedPiece {
  return { filename: file.name, mimetype: kindOf(file)?.mimetype ?? "application/octet-stream", bytes };
}

export function summaryOf(file: StoredFile) {
  const at = file.createdAt.toISOString();
  const type = kindOf(file)?.type ?? null;
  return { object: "file", id: file.id, name: file.name, type, parentFileId: null, metadata: {}, createdAt: at, updatedAt: at } as const;
}
