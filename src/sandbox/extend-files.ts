/** The files of the Extend half: kept until they are deleted, or until there are too many and the oldest is forgotten. */
import type { Clock } from "../base/clock.ts";
import type { SubmittedPiece } from "./answer.ts";
import { newId } from "./extend-reply.ts";

export type StoredFile = {
  readonly id: string;
  readonly name: string;
  readonly createdAt: Date;
  /** Null once it was deleted or forgotten: a run that still waits for it fails. */
  bytes: Uint8Array | null;
};

export type Files = {
  readonly add: (name: string, bytes: Uint8Array) => StoredFile;
  readonly get: (id: string) => StoredFile | null;
  readonly remove: (file: StoredFile) => void;
  /** Earliest first. */
  readonly all: () => readonly StoredFile[];
};

export function createFiles(options: { readonly clock: Clock; readonly mostKept: number; readonly mostBytes: number }): Files {
  const files = new Map<string, StoredFile>();
  let heldBytes = 0;

  function remove(file: StoredFile): void {
    heldBytes -= file.bytes?.length ?? 0;
    file.bytes = null;
    files.delete(file.id);
  }

  return {
    add: (name, bytes) => {
      const file: StoredFile = { id: newId("file"), name, createdAt: options.clock.now(), bytes };
      files.set(file.id, file);
      heldBytes += bytes.length;
      for (const oldest of files.values()) {
        if (files.size <= options.mostKept && heldBytes <= options.mostBytes) break;
        remove(oldest);
      }
      return file;
    },
    get: (id) => files.get(id) ?? null,
    remove,
    all: () => [...files.values()],
  };
}

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
