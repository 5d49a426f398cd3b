/** Which media types Cloudsquid takes: its list is closed, and what a mail calls its parts is not. */

/**
 * What happens to a part whose type is not on the list. `map`: XML and HTML go as text/plain, which they are; anything else is left
 * out. `skip`: left out. `refuse`: the whole document is refused.
 */
export type Unsupported = "map" | "skip" | "refuse";

/** The types of the list that a part can have; mails themselves are on it too, but their parts go by themselves. */
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

/** Other names of the same types. */
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
};

/** Not on the list, but text; the file's name keeps saying what it is. */
const TEXTUAL = /^(application\/xml|application\/[a-z0-9.-]+\+xml|text\/xml|text\/html)$/;

const UNTYPED = new Set(["", "application/octet-stream", "binary/octet-stream", "application/force-download", "application/x-download"]);

const BY_EXTENSION: { readonly [extension: string]: string } = {
  pdf: "application/pdf",
  png: "image/png",
  jpg: "image/jpeg",
  jpeg: "image/jpeg",
  csv: "text/csv",
  txt: "text/plain",
  xml: "application/xml",
  html: "text/html",
  json: "application/json",
  xls: "application/vnd.ms-excel",
  xlsx: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
};

/** The type under which a part is submitted, or null when it is under none. */
export function submittedType(contentType: string, filename: string | null, unsupported: Unsupported = "map"): string | null {
  const declared = (contentType.split(";", 1)[0] ?? "").trim().toLowerCase();
  const extension = filename?.slice(filename.lastIndexOf(".") + 1).toLowerCase() ?? "";
  const known = UNTYPED.has(declared) ? lookup(BY_EXTENSION, extension) : (lookup(ALIASES, declared) ?? declared);
  if (known === undefined) return null;
  if (TEXTUAL.test(known)) return unsupported === "map" ? "text/plain" : null;
  return TAKEN.has(known) ? known : null;
}

/** Names and types are whatever the sender wrote: `constructor` must not be found. */
function lookup(table: { readonly [key: string]: string }, key: string): string | undefined {
  return Object.hasOwn(table, key) ? table[key] : undefined;
}
