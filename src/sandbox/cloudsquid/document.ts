/** What may be uploaded: Cloudsquid's Document schema, checked as strictly as its documentation is written, and its pieces. */
import type { Submission, SubmittedPiece } from "../answer.ts";

/** The closed list of the documentation. */
const MIMETYPES = new Set([
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
  "multipart/related",
  "message/rfc822",
]);

/** What a URL opens; null for one that is not the sandbox's own, or has expired. */
export type Open = (url: string) => Uint8Array | null;

/** The submission, or the sentence that says what is wrong with it. GUESS: the parts of a `multipart` are Documents themselves. */
export function readDocument(json: unknown, open: Open): Submission | string {
  const head = readHead(json, "");
  if (typeof head === "string") return head;
  if (head.fileType !== "multipart") {
    const piece = pieceOf(head, open);
    return typeof piece === "string" ? piece : { filename: head.filename, pieces: [piece], size: piece.bytes.length };
  }
  if (!Array.isArray(head.file) || head.file.length === 0) return "file: expected an array of parts";
  const pieces: SubmittedPiece[] = [];
  for (const [index, value] of head.file.entries()) {
    const part = readHead(value, `file[${index}].`);
    if (typeof part === "string") return part;
    const bytes = part.fileType === "binary" ? decoded(part.file) : null;
    if (bytes === null) return `file[${index}]: expected file_type binary and base64`;
    pieces.push({ filename: part.filename, mimetype: part.mimetype, bytes });
  }
  return { filename: head.filename, pieces, size: pieces.reduce((sum, piece) => sum + piece.bytes.length, 0) };
}

/** The same for what is to be a file, which is of one piece. GUESS: that it cannot be `multipart`. */
export function readFile(json: unknown, open: Open): SubmittedPiece | string {
  const head = readHead(json, "");
  if (typeof head === "string") return head;
  return head.fileType === "multipart" ? "file_type: expected uri or binary, a file has no parts" : pieceOf(head, open);
}

function pieceOf({ filename, mimetype, fileType, file }: Head, open: Open): SubmittedPiece | string {
  if (fileType === "binary") {
    const bytes = decoded(file);
    return bytes === null ? "file: expected base64" : { filename, mimetype, bytes };
  }
  const bytes = typeof file === "string" ? open(file) : null;
  return bytes === null
    ? "file: expected a signed URL of this sandbox that has not expired; it fetches nothing from elsewhere"
    : { filename, mimetype, bytes };
}

type Head = {
  readonly filename: string;
  readonly mimetype: string;
  readonly fileType: "uri" | "binary" | "multipart";
  readonly file: unknown;
};

function readHead(json: unknown, at: string): Head | string {
  if (typeof json !== "object" || json === null || Array.isArray(json)) return `${at || "body"}: expected an object`;
  const { filename, mimetype, file_type: fileType, file } = json as { readonly [field: string]: unknown };
  if (typeof filename !== "string" || filename === "") return `${at}filename: expected text`;
  if (typeof mimetype !== "string" || !MIMETYPES.has(mimetype)) return `${at}mimetype: not one of the types taken`;
  if (fileType !== "uri" && fileType !== "binary" && fileType !== "multipart") return `${at}file_type: expected uri, binary or multipart`;
  if (file === undefined) return `${at}file: missing`;
  return { filename, mimetype, fileType, file };
}

function decoded(file: unknown): Uint8Array | null {
  if (typeof file !== "string" || file.length % 4 !== 0 || /[^A-Za-z0-9+/=]/.test(file)) return null;
  const padding = file.indexOf("=");
  if (padding !== -1 && !/^={1,2}$/.test(file.slice(padding))) return null;
  return Buffer.from(file, "base64");
}
