/** The file sink: one JSON file a document, or one line of a JSON Lines file, with the attachments beside it when asked. */
import { createHash } from "node:crypto";
import { access, constants, readFile, stat } from "node:fs/promises";
import { dirname, extname, join } from "node:path";
import { Fault, permanent, reasonOf } from "../base/errors.ts";
import { makeDirectory, safeSegment, writeThenPlace, writeWhole } from "../base/files.ts";
import { appendOnce } from "./file-lines.ts";
import { fileName } from "./file-name.ts";
import { inTurn } from "./file-turn.ts";
import type { Delivered, Delivery, Receipt, Sink } from "./sink.ts";

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
    await makeDirectory(dirname(wanted));
    const path = format === "json" ? await freePath(wanted, key) : wanted;
    const stem = format === "json" ? path.slice(0, path.length - extname(path).length) : join(dirname(path), safeSegment(key));
    const copies = attachments ? await writeAttachments(stem, delivery, signal) : 0;
    const text = format === "json" ? `${JSON.stringify(delivery.body, null, 2)}\n` : `${JSON.stringify(delivery.body)}\n`;
    signal.throwIfAborted();
    if (format === "json") await writeWhole(path, text);
    else await appendOnce(path, key, text);
    return { path, bytes: Buffer.byteLength(text), sha256: createHash("sha256").update(text).digest("hex"), attachments: copies };
  };

  const deliver: Sink["deliver"] = async (delivery, key, signal) => {
    const wanted = join(directory, fileName(template, delivery.body));
    try {
      return await inTurn(wanted, () => write(wanted, delivery, key, signal));
    } catch (thrown) {
      throw thrown instanceof Fault || signal.aborted ? thrown : cannotWrite(name, directory, thrown);
    }
  };

  const probe: Sink["probe"] = async () => {
    try {
      await makeDirectory(directory);
      await access(directory, constants.W_OK | constants.X_OK);
    } catch (thrown) {
      throw cannotWrite(name, directory, thrown);
    }
    return { said: `${directory} can be written` };
  };

  return { name, deliver, probe };
}

/** The wanted path, unless another delivery already stands there: then one with this delivery's own mark. Nothing else is overwritten. */
async function freePath(wanted: string, key: string): Promise<string> {
  if (await isOurs(wanted, key)) return wanted;
  const extension = extname(wanted);
  const mark = createHash("sha256").update(key).digest("hex").slice(0, 12);
  const marked = `${wanted.slice(0, wanted.length - extension.length)}-${mark}${extension}`;
  if (await isOurs(marked, key)) return marked;
  throw permanent(
    "file.taken",
    `${marked} is there already and is not this delivery`,
    "move that file away, or choose another name template",
  );
}

async function isOurs(path: string, key: string): Promise<boolean> {
  const found = await stat(path).catch((thrown: NodeJS.ErrnoException) => {
    if (thrown.code === "ENOENT") return null;
    throw thrown;
  });
  if (found === null) return true;
  if (!found.isFile()) return false;
  try {
    return (JSON.parse(await readFile(path, "utf8")) as Delivered | null)?.id === key;
  } catch {
    return false;
  }
}

/** `<stem>.<part>.<file name>`: the part id keeps two attachments of one name apart. */
async function writeAttachments(stem: string, delivery: Delivery, signal: AbortSignal): Promise<number> {
  for (const piece of delivery.attachments) {
    signal.throwIfAborted();
    await writeThenPlace(dirname(stem), piece.open(), async () => `${stem}.${safeSegment(piece.id)}.${safeSegment(piece.filename)}`);
  }
  return delivery.attachments.length;
}

function cannotWrite(sink: string, directory: string, thrown: unknown): Fault {
  const code = (thrown as NodeJS.ErrnoException).code;
  const why = code === "ENOSPC" || code === "EDQUOT" ? "no space left" : reasonOf(thrown);
  return new Fault(code === "ENOSPC" ? "file.full" : "file.unwritable", `sink ${sink} cannot write to ${directory}: ${why}`, {
    advice: "mend the directory; billhook goes on by itself",
    cause: thrown,
  });
}
