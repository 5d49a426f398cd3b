/** Everything billhook has of one mail as one zip: for support, or for an auditor. */
import { type PassThrough, Readable } from "node:stream";
import { finished } from "node:stream/promises";
import { ZipFile } from "yazl";
import { asFault, Fault } from "../base/errors.ts";
import { type Part, typeOf } from "../message/message.ts";
import type { Desk, Life } from "./desk.ts";

type Piece = { readonly name: string; readonly what: string; readonly open: () => Promise<AsyncIterable<Uint8Array>> };

/**
 * The bytes of the zip, made as they are taken, one file after the other. Bytes that are not there any more are left out, and README.txt
 * says why. Rejects when bytes break off in the middle. Names in it are made here, never taken from the mail; nothing of the configuration
 * is in it.
 */
export async function* exportLife(desk: Pick<Desk, "raw" | "part">, life: Life): AsyncGenerator<Uint8Array> {
  const zip = new ZipFile();
  const output = zip.outputStream as PassThrough;
  const ended = new AbortController();
  const filling = fill(zip, desk, life, ended.signal).catch((thrown: unknown) => void output.destroy(asFault(thrown, "export.failed")));
  try {
    yield* output;
  } finally {
    ended.abort();
    await filling;
  }
}

async function fill(zip: ZipFile, desk: Pick<Desk, "raw" | "part">, life: Life, signal: AbortSignal): Promise<void> {
  const options = { mtime: new Date(life.receivedAt), mode: 0o100600 };
  const text = (name: string, what: string) => zip.addBuffer(Buffer.from(what), name, options);
  const said: string[] = [];
  for (const { name, what, open } of piecesOf(desk, life)) {
    const bytes = await open().catch(missing);
    if (bytes instanceof Fault) {
      said.push(`${name}  NOT HERE: ${bytes.message}`);
      continue;
    }
    const stream = Readable.from(bytes, { objectMode: false, signal });
    zip.addReadStream(stream, name, options);
    await finished(stream);
    said.push(`${name}  ${what}`);
  }
  for (const { record, runs, result, invoices } of life.documents) {
    if (result === null) continue;
    const name = `results/document-${record.position}.json`;
    text(name, json({ ...result, runs, invoices }));
    said.push(`${name}  what ${plain(result.service)} found in document ${record.position}, as it said it, and the invoices made of it`);
  }
  text("life.json", json(life));
  text("events.txt", life.events.map((event) => eventLine(event)).join(""));
  text("README.txt", readme(life, said));
  zip.end();
}

/** Only what says that bytes are gone; anything else is a failure of the whole. */
function missing(thrown: unknown): Fault {
  if (thrown instanceof Fault && !thrown.temporary) return thrown;
  throw thrown;
}

function piecesOf(desk: Pick<Desk, "raw" | "part">, life: Life): readonly Piece[] {
  const parts = life.parts.map((part, at) => ({
    name: `parts/${/^\w+(\.\w+)*$/.test(part.id) ? part.id : `part-${at + 1}`}.${extensionOf(part)}`,
    what: `part ${plain(part.id)}, ${part.role}, SHA-256 ${part.sha256}`,
    open: async () => (await desk.part(life.id, part.id)).bytes,
  }));
  return [{ name: "raw.eml", what: `the mail as it arrived, SHA-256 ${life.id}`, open: () => desk.raw(life.id) }, ...parts];
}

const EXTENSIONS: Readonly<Record<string, string>> = {
  "application/json": "json",
  "application/pdf": "pdf",
  "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
  "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
  "application/xml": "xml",
  "application/zip": "zip",
  "image/gif": "gif",
  "image/jpeg": "jpg",
  "image/png": "png",
  "image/tiff": "tif",
  "image/webp": "webp",
  "message/rfc822": "eml",
  "text/csv": "csv",
  "text/html": "html",
  "text/plain": "txt",
  "text/xml": "xml",
};

function extensionOf(part: Part): string {
  return EXTENSIONS[typeOf(part)] ?? "bin";
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

function eventLine({ at, what, mailbox, subject, note, faultCode }: Life["events"][number]): string {
  const told = [at, what, mailbox, subject, note, faultCode === null ? null : `[${faultCode}]`];
  return `${plain(told.filter((text) => text !== null).join("  "))}\n`;
}

function readme(life: Life, said: readonly string[]): string {
  return [
    `Message ${life.id}, received ${life.receivedAt}, ${life.standing}.`,
    "",
    "This is everything billhook has of one mail. It holds what is in the mail: hand it to nobody who may not read that.",
    "The parts are as their sender made them: open them as carefully as any attachment.",
    "",
    ...said,
    "life.json  all that is remembered of it: parts, documents, runs, invoices, deliveries with their receipts, tasks, events",
    "events.txt  what happened, when; a line each",
    "",
  ].join("\n");
}

function plain(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, " ");
}
