/** Builds small real PDFs for tests: pages of Helvetica text, and one embedded file as Factur-X wants it. */

export type PdfContent = {
  /** One line of text each; characters outside Windows-1252 become `?`. */
  readonly text: readonly string[];
  readonly attachment?: { readonly name: string; readonly bytes: Uint8Array; readonly mime: string };
};

const LINES_A_PAGE = 50;
const FIRST_PAGE_OBJECT = 8;

/** A PDF 1.7 file (ISO 32000-1) with a correct cross-reference table; the same content gives the same bytes. */
export function buildPdf(content: PdfContent): Uint8Array {
  const pages = pagesOf(content.text);
  const objects = new Map<number, Buffer>();
  const kids = pages.map((_, at) => `${FIRST_PAGE_OBJECT + 2 * at} 0 R`);
  const files = content.attachment === undefined ? "" : " /Names << /EmbeddedFiles 4 0 R >> /AF [5 0 R]";
  objects.set(1, plain(`<< /Type /Catalog /Pages 2 0 R${files} >>`));
  objects.set(2, plain(`<< /Type /Pages /Kids [${kids.join(" ")}] /Count ${pages.length} >>`));
  objects.set(3, plain("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>"));
  if (content.attachment !== undefined) {
    const { name, bytes, mime } = content.attachment;
    objects.set(4, plain(`<< /Names [${literal(name)} 5 0 R] >>`));
    const entries = `/F ${literal(name)} /UF ${literal(name)} /EF << /F 6 0 R /UF 6 0 R >>`;
    objects.set(5, plain(`<< /Type /Filespec ${entries} /AFRelationship /Alternative /Desc (Invoice) >>`));
    objects.set(6, stream(Buffer.from(bytes), `/Type /EmbeddedFile /Subtype /${mime.replaceAll("/", "#2F")}`));
  }
  for (const [at, lines] of pages.entries()) {
    const page = FIRST_PAGE_OBJECT + 2 * at;
    const resources = "/Resources << /Font << /F1 3 0 R >> >>";
    objects.set(page, plain(`<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] ${resources} /Contents ${page + 1} 0 R >>`));
    objects.set(page + 1, stream(Buffer.from(drawing(lines), "latin1"), ""));
  }
  return assemble(objects);
}

function pagesOf(text: readonly string[]): string[][] {
  const pages: string[][] = [];
  for (let at = 0; at === 0 || at < text.length; at += LINES_A_PAGE) pages.push(text.slice(at, at + LINES_A_PAGE));
  return pages;
}

function drawing(lines: readonly string[]): string {
  return `BT /F1 10 Tf 15 TL 50 800 Td ${lines.map((line) => `${literal(line)} Tj T*`).join("\n")} ET`;
}

/** A literal string in Windows-1252, every byte outside printable ASCII as an octal escape. */
function literal(text: string): string {
  const bytes = [...text].map((character) => {
    const code = character === "€" ? 0x80 : (character.codePointAt(0) ?? 0);
    if (code > 0xff) return "?";
    return /[\\()]/.test(character) || code < 0x20 || code > 0x7e ? `\\${code.toString(8).padStart(3, "0")}` : character;
  });
  return `(${bytes.join("")})`;
}

function plain(text: string): Buffer {
  return Buffer.from(text, "latin1");
}

function stream(bytes: Buffer, entries: string): Buffer {
  return Buffer.concat([plain(`<< ${entries} /Length ${bytes.length} >>\nstream\n`), bytes, plain("\nendstream")]);
}

function assemble(objects: ReadonlyMap<number, Buffer>): Uint8Array {
  const chunks = [Buffer.from("%PDF-1.7\n%âãÏÓ\n", "latin1")];
  let length = chunks[0]?.length ?? 0;
  const size = Math.max(...objects.keys()) + 1;
  const rows = ["0000000000 65535 f \n"];
  for (let number = 1; number < size; number += 1) {
    const body = objects.get(number);
    rows.push(body === undefined ? "0000000000 00001 f \n" : `${String(length).padStart(10, "0")} 00000 n \n`);
    if (body === undefined) continue;
    const chunk = Buffer.concat([plain(`${number} 0 obj\n`), body, plain("\nendobj\n")]);
    chunks.push(chunk);
    length += chunk.length;
  }
  const trailer = `trailer\n<< /Size ${size} /Root 1 0 R >>\nstartxref\n${length}\n%%EOF\n`;
  return new Uint8Array(Buffer.concat([...chunks, plain(`xref\n0 ${size}\n${rows.join("")}${trailer}`)]));
}
