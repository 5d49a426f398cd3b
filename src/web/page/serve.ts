/** Parts of a mail as a browser gets them: inert. What it may show is known by its bytes; everything else is a file to be saved. */
import type { Desk } from "../../desk/desk.ts";
import type { Part } from "../../message/message.ts";
import type { Reply } from "../web.ts";
import { plain } from "./html.ts";

/** What browsers show without running anything of it. Not SVG, which is a document with scripts. */
const IMAGES = ["image/png", "image/jpeg", "image/gif", "image/webp"];
const PDF = "application/pdf";

/** How a part can be looked at; null: only saved. Of what a mail says of itself nothing counts but its word that it is text. */
export function looksOf({ sniffedType, contentType }: Pick<Part, "sniffedType" | "contentType">): "pdf" | "image" | "html" | "text" | null {
  if (sniffedType === PDF) return "pdf";
  if (sniffedType !== null && IMAGES.includes(sniffedType)) return "image";
  if (contentType === "text/html" && (sniffedType === null || sniffedType.startsWith("text/"))) return "html";
  if (sniffedType === null ? /^text\//.test(contentType) : /^text\/|[/+](xml|json)$/.test(sniffedType)) return "text";
  return null;
}

/**
 * A PDF is given nothing to load, and our own pages as its only frame. It is not put into a sandbox: Chromium's viewer starts in one, of
 * the others that is not known, and each of them is a sandbox by itself.
 */
const INERT = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";
const BOXED = `${INERT}; sandbox`;

/** Throws what `desk.part` throws. */
export async function servePart(desk: Desk, id: string, wanted: string): Promise<Reply> {
  const { part, bytes } = await desk.part(id, wanted);
  const looks = looksOf(part);
  const type = (looks === "pdf" || looks === "image" ? part.sniffedType : null) ?? "application/octet-stream";
  const disposition = type === "application/octet-stream" ? "attachment" : "inline";
  return file(bytes, { name: part.filename ?? `part-${part.id}`, size: part.size, type, disposition });
}

/** Throws what `desk.raw` throws. */
export async function serveRaw(desk: Desk, id: string): Promise<Reply> {
  return file(await desk.raw(id), { name: `mail-${id.slice(0, 16)}.eml`, type: "application/octet-stream", disposition: "attachment" });
}

type File = { readonly name: string; readonly size?: number; readonly type: string; readonly disposition: "inline" | "attachment" };

function file(bytes: AsyncIterable<Uint8Array>, { name, size, type, disposition }: File): Reply {
  return {
    status: 200,
    bytes,
    type,
    ...(size === undefined ? {} : { size }),
    headers: {
      "content-disposition": `${disposition}; ${filenames(name)}`,
      "content-security-policy": type === PDF ? INERT : BOXED,
      "referrer-policy": "no-referrer",
      "cross-origin-resource-policy": "same-origin",
    },
  };
}

/** RFC 6266 section 4.3: a name in ASCII, and the whole one as in RFC 8187; no path, and nothing that steers. */
function filenames(name: string): string {
  const bare = plain(name)
    .replace(/[/\\:\ufffd]/g, "_")
    .slice(-150)
    .toWellFormed();
  const ascii = bare.replace(/[^\w .()+-]/g, "_");
  const encoded = encodeURIComponent(bare).replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);
  return `filename="${ascii}"; filename*=UTF-8''${encoded}`;
}

/** The beginning of a part as text; HTML is to be made into text by who shows it. */
export async function beginningOf(
  desk: Desk,
  id: string,
  wanted: string,
  most: number,
): Promise<{ readonly text: string; readonly isWhole: boolean }> {
  const { bytes } = await desk.part(id, wanted);
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of bytes) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > most) break;
  }
  return { text: new TextDecoder().decode(Buffer.concat(chunks).subarray(0, most)), isWhole: size <= most };
}
