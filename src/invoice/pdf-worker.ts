/** A thread that opens one PDF and posts what it finds, piece by piece: the one door to unpdf. */
import { parentPort, workerData } from "node:worker_threads";
import { getDocumentProxy } from "unpdf";

export type PdfFile = { readonly name: string; readonly bytes: Uint8Array };
export type PdfPost =
  | { readonly is: "opened" }
  | { readonly is: "file"; readonly file: PdfFile }
  /** The text of one page, line by line as a person sees it; a tab between columns. */
  | { readonly is: "page"; readonly text: string }
  | { readonly is: "refused"; readonly why: "locked" | "damaged" };

const MOST_FILES = 20;
const MOST_PAGES = 30;
const MOST_TEXT = 200_000;

const post = (said: PdfPost) => parentPort?.postMessage(said);

async function serve(bytes: Uint8Array): Promise<void> {
  let document: Awaited<ReturnType<typeof getDocumentProxy>>;
  try {
    document = await getDocumentProxy(bytes, { verbosity: 0 });
  } catch (thrown) {
    return post({ is: "refused", why: thrown instanceof Error && thrown.name === "PasswordException" ? "locked" : "damaged" });
  }
  post({ is: "opened" });
  await files(document).catch(() => {});
  let length = 0;
  for (let number = 1; number <= Math.min(document.numPages, MOST_PAGES) && length < MOST_TEXT; number += 1) {
    const text = await pageText(document, number).catch(() => "");
    length += text.length;
    post({ is: "page", text: text.slice(0, MOST_TEXT) });
  }
}

type Document = Awaited<ReturnType<typeof getDocumentProxy>>;

async function files(document: Document): Promise<void> {
  const listed = [...((await document.getAttachments()) ?? [])];
  for (const [id, { filename }] of listed.filter(([, file]) => /\.xml$/i.test(file.filename)).slice(0, MOST_FILES)) {
    const bytes = await document.getAttachmentContent(id).catch(() => null);
    if (bytes !== null) post({ is: "file", file: { name: filename, bytes } });
  }
}

type Placed = { readonly text: string; readonly x: number; readonly y: number; readonly width: number; readonly size: number };

async function pageText(document: Document, number: number): Promise<string> {
  const content = await (await document.getPage(number)).getTextContent();
  const placed: Placed[] = [];
  for (const item of content.items) {
    if (!("str" in item) || item.str.trim() === "") continue;
    const [, , c = 0, d = 0, x = 0, y = 0] = item.transform.map(Number);
    placed.push({ text: item.str.trim(), x, y, width: item.width, size: Math.hypot(c, d) || 10 });
  }
  return linesOf(placed).map(lineText).join("\n");
}

/** Top to bottom by baseline, whatever order the file draws in. */
function linesOf(placed: Placed[]): Placed[][] {
  const lines: Placed[][] = [];
  let line: Placed[] = [];
  for (const item of placed.sort((a, b) => b.y - a.y)) {
    const first = line[0];
    if (first === undefined || first.y - item.y > first.size / 2) {
      line = [];
      lines.push(line);
    }
    line.push(item);
  }
  return lines;
}

function lineText(line: Placed[]): string {
  let text = "";
  let end = 0;
  for (const item of line.sort((a, b) => a.x - b.x)) {
    const gap = item.x - end;
    if (text !== "") text += gap > item.size ? "\t" : gap > item.size / 8 ? " " : "";
    text += item.text;
    end = item.x + item.width;
  }
  return text;
}

await serve(workerData);
