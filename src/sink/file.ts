/** The file sink: one JSON file a document, or one line of a JSON Lines file, with the attachments beside it when asked. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { access, constants, readFile, stat } from "node:fs/promises";
import { dirname, extname, join } from "node:path";
import { getSystemErrorMessage } from "node:util";
import { Fault, permanent, reasonOf } from "../base/errors.ts";
import { makeDirectory, safeSegment, writeWhole } from "../base/files.ts";
import type { Piece } from "../message/message.ts";
import type { Delivered } from "./delivery.ts";
import { appendOnce } from "./file-lines.ts";
import { fileName } from "./file-name.ts";
import { inTurn } from "./file-turn.ts";
import type { Delivery, Receipt, Sink } from "./sink.ts";

export type FileSinkOptions = {
  readonly name: string;
  readonly directory: string;
  /** Template of the path below the directory, for example `{{date}}/{{message}}-{{position}}.json`. */
  readonly template: string;
  readonly format: "json" | "jsonl";
  readonly attachments: boolean;
};

export function createFileSink(options: FileSinkOptions): Sink {
  const { name, directory, template, format, attachments } = options;

  const write = async (wanted: string, delivery: Delivery, key: string, signal: AbortSignal): Promise<Receipt> => {
    // In turn, so that nobody takes a directory for durable that somebody else has made and not yet synced.
    await inTurn(`${directory}/`, () => makeDirectory(dirname(wanted)));
    const path = format === "json" ? await freePath(wanted, key) : wanted;
    const stem = format === "json" ? path.slice(0, path.length - extname(path).length) : join(dirname(path), safeSegment(key));
    const copies = attachments ? await writeAttachments(stem, delivery, key, signal) : 0;
    const text = format === "json" ? `${JSON.stringify(delivery.body, null, 2)}\n` : `${JSON.stringify(delivery.body)}\n`;
    signal.throwIfAborted();
    if (format === "json") await writeWhole(path, [Buffer.from(text)]);
    else await appendOnce(path, key, text);
    return { path, bytes: Buffer.byteLength(text), sha256: createHash("sha256").update(text).digest("hex"), attachments: copies };
  };

  const deliver: Sink["deliver"] = async (delivery, key, signal) => {
    const wanted = join(directory, fileName(template, delivery.body));
    try {
      // Some file systems hold `A.json` and `a.json` for one name.
      return await inTurn(wanted.toLowerCase(), () => write(wanted, delivery, key, signal));
    } catch (thrown) {
      throw thrown instanceof Fault || signal.aborted ? thrown : cannotWrite(name, directory, thrown);
    }
  };

  const probe: Sink["probe"] = async () => {
    try {
      const standing = await nearest(directory);
      // The dot: a file of that name is no directory.
      await access(`${standing}/.`, constants.W_OK | constants.X_OK);
      return { said: standing === directory ? `${directory} can be written` : `${directory} can be made` };
    } catch (thrown) {
      throw cannotWrite(name, directory, thrown);
    }
  };

  return { name, deliver, probe, destination: ({ body }) => join(directory, fileName(template, body)) };
}

/** The directory itself, or what stands of the way to it. */
async function nearest(directory: string): Promise<string> {
  return (await isThere(directory)) || dirname(directory) === directory ? directory : nearest(dirname(directory));
}

/** The wanted path, unless another delivery already stands there: then one with this delivery's own mark. Nothing else is overwritten. */
async function freePath(wanted: string, key: string): Promise<string> {
  const extension = extname(wanted);
  const marked = `${wanted.slice(0, wanted.length - extension.length)}-${markOf(key)}${extension}`;
  for (const path of [wanted, marked]) if (!(await isThere(path)) || (await isOurs(path, key))) return path;
  throw taken(marked);
}

async function isOurs(path: string, key: string): Promise<boolean> {
  if (!(await stat(path)).isFile()) return false;
  const text = await readFile(path, "utf8");
  try {
    return (JSON.parse(text) as Delivered | null)?.id === key;
  } catch {
    return false;
  }
}

/**
 * Before the document itself: where its file stands, its attachments stand too. `<stem>.<part>.<file name>`: the part id keeps
 * two attachments of one name apart, the mark those of two deliveries whose names have one stem.
 */
async function writeAttachments(stem: string, delivery: Delivery, key: string, signal: AbortSignal): Promise<number> {
  for (const piece of delivery.attachments) {
    signal.throwIfAborted();
    const end = `.${safeSegment(piece.id, "part", 36)}.${safeSegment(piece.filename, "unnamed", 64)}`;
    const wanted = `${stem}${end}`;
    const marked = `${stem}-${markOf(key)}${end}`;
    await inTurn(wanted.toLowerCase(), async () => {
      const path = await placeFor(piece, [wanted, marked]);
      if (path !== null) await writeWhole(path, piece.open());
    });
  }
  return delivery.attachments.length;
}

/** The first of the paths that is free; null when these bytes stand there already. */
async function placeFor(piece: Piece, paths: readonly string[]): Promise<string | null> {
  for (const path of paths) {
    if (!(await isThere(path))) return path;
    if (await holds(path, piece)) return null;
  }
  throw taken(paths.at(-1) ?? "");
}

async function holds(path: string, piece: Piece): Promise<boolean> {
  const found = await stat(path);
  if (!found.isFile() || found.size !== piece.size) return false;
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) hash.update(chunk);
  return hash.digest("hex") === piece.sha256;
}

function markOf(key: string): string {
  return createHash("sha256").update(key).digest("hex").slice(0, 12);
}

async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (thrown: NodeJS.ErrnoException) => {
      if (thrown.code === "ENOENT") return false;
      throw thrown;
    },
  );
}

function taken(path: string): Fault {
  return permanent(
    "file.taken",
    `${path} is there already and is not this delivery`,
    "move that file away, or choose another name template",
  );
}

function cannotWrite(sink: string, directory: string, thrown: unknown): Fault {
  const { code, errno } = thrown as NodeJS.ErrnoException;
  const full = code === "ENOSPC" || code === "EDQUOT";
  // The system's own message names the file, and with it a subject or a sender.
  const why = full ? "no space left" : errno === undefined ? reasonOf(thrown) : `${getSystemErrorMessage(errno)} (${code})`;
  return new Fault(full ? "file.full" : "file.unwritable", `sink ${sink} cannot write to ${directory}: ${why}`, {
    advice: "mend the directory; billhook goes on by itself",
    cause: thrown,
  });
}
