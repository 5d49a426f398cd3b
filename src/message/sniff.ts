/** What the first bytes of a file look like: file-type for what has a magic number, a few rules for what is text. */
import { fileTypeFromBuffer } from "file-type";

/** How many bytes are looked at. */
export const HEAD_BYTES = 4_100;

/** A media type in lower case, or null when nothing is recognised. Text is only called text when every byte of `head` can be. */
export async function sniff(head: Uint8Array, filename: string | null): Promise<string | null> {
  const bytes = head.subarray(0, HEAD_BYTES);
  if (bytes.length === 0) return null;
  if (isPdf(bytes)) return "application/pdf";
  if (isTnef(bytes)) return "application/ms-tnef";
  const extension = /\.([a-z0-9]{1,8})$/i.exec(filename ?? "")?.[1]?.toLowerCase() ?? "";
  if (isPkcs7(bytes)) return extension === "p7s" ? "application/pkcs7-signature" : "application/pkcs7-mime";
  const text = textOf(bytes);
  if (text !== null) {
    const type = textType(text, extension);
    if (type !== "text/plain") return type;
  }
  return (await magic(bytes)) ?? (text === null ? null : "text/plain");
}

async function magic(bytes: Uint8Array): Promise<string | null> {
  try {
    return (await fileTypeFromBuffer(bytes))?.mime.toLowerCase() ?? null;
  } catch {
    return null; // A damaged file may break the reader of its format; it is then simply not recognised.
  }
}

/** The PDF header may stand behind what another program put first; readers look for it (ISO 32000-1 annex H.3, note 13). */
function isPdf(bytes: Uint8Array): boolean {
  return /^(\xef\xbb\xbf)?[\s\0]{0,1024}%PDF-/.test(Buffer.from(bytes.subarray(0, 1_040)).toString("latin1"));
}

/** [MS-OXTNEF] section 2.1.3.1: the signature, little-endian. */
function isTnef(bytes: Uint8Array): boolean {
  return bytes[0] === 0x78 && bytes[1] === 0x9f && bytes[2] === 0x3e && bytes[3] === 0x22;
}

/** A DER or BER SEQUENCE that begins with an OBJECT IDENTIFIER 1.2.840.113549.1.7.x (RFC 5652 section 3, ContentInfo). */
function isPkcs7(bytes: Uint8Array): boolean {
  if (bytes[0] !== 0x30) return false;
  const length = bytes[1] ?? 0;
  const start = length > 0x80 && length <= 0x84 ? 2 + (length - 0x80) : 2;
  return [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07].every((byte, at) => bytes[start + at] === byte);
}

/** The head as text, or null when its bytes cannot be text: UTF-16 with a mark, UTF-8, or an 8-bit charset without control characters. */
function textOf(bytes: Uint8Array): string | null {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return new TextDecoder("utf-16le").decode(bytes);
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return new TextDecoder("utf-16be").decode(bytes);
  const text = new TextDecoder("utf-8").decode(bytes);
  return /[\0-\x08\x0e-\x1a\x1c-\x1f\x7f]/.test(text) ? null : text;
}

const HTML = /^<(!doctype\s+html|html|head|body|title|meta|style|script|div|span|table|p|br|b|i|a|font|center|h[1-6])[\s/>]/i;
const ELEMENT = /^<[a-z_][\w.-]*(:[a-z_][\w.-]*)?(\s[^<>]*)?\/?>/i;

function textType(text: string, extension: string): string {
  const start = text.trimStart();
  if (/^<\?xml\s/i.test(start)) return /<(!doctype\s+html|html)[\s>]/i.test(start) ? "text/html" : "application/xml";
  const root = start.replace(/^(<!--[\s\S]*?-->\s*)+/, "");
  if (HTML.test(root)) return "text/html";
  if (/^<svg[\s>]/i.test(root)) return "image/svg+xml";
  const element = ELEMENT.exec(root)?.[0];
  // `<name> text` is how people write; XML has a namespace, or an element inside the element.
  if (element !== undefined && (/\sxmlns[:=]/.test(element) || /^\s*</.test(root.slice(element.length)))) return "application/xml";
  if (isMessage(text, extension)) return "message/rfc822";
  if (extension === "csv") return "text/csv";
  return isTable(start) ? "text/csv" : "text/plain";
}

const FIELD = /^[\x21-\x39\x3b-\x7e]{1,76}:/;
const KNOWN_FIELD =
  /^(return-path|received|from|to|cc|subject|date|message-id|mime-version|content-type|content-transfer-encoding|sender|reply-to|delivered-to|dkim-signature|arc-seal|x-[a-z0-9-]{1,60}):/i;

/** RFC 5322 section 2.2: fields first. Three known ones in the first lines, or one where the name already says `.eml`. */
function isMessage(text: string, extension: string): boolean {
  let known = 0;
  for (const [at, line] of text.split(/\r?\n/, 60).entries()) {
    if (line === "") break;
    if (/^[ \t]/.test(line) && at > 0) continue;
    if (at === 0 && line.startsWith("From ")) continue;
    if (!FIELD.test(line)) break;
    if (KNOWN_FIELD.test(line)) known += 1;
  }
  return known >= (extension === "eml" || extension === "mht" ? 1 : 3);
}

/** At least three whole lines with the same number, one or more, of the same separator. */
function isTable(text: string): boolean {
  const lines = text
    .split(/\r?\n/, 12)
    .slice(0, -1)
    .filter((line) => line !== "");
  if (lines.length < 3) return false;
  return [";", "\t", ","].some((separator) => {
    const counts = new Set(lines.map((line) => line.replace(/"[^"]*"/g, "").split(separator).length - 1));
    return counts.size === 1 && !counts.has(0) && (separator !== "," || !counts.has(1));
  });
}
