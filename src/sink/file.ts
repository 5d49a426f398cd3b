/** The file sink: a JSON file a delivery, or lines of a JSON Lines or CSV file, with attachments and message beside it when asked. */
import { createHash } from "node:crypto";
import { access, constants, open, rm, stat } from "node:fs/promises";
import { dirname, extname, join } from "node:path";
import { getSystemErrorMessage } from "node:util";
import { Fault, reasonOf } from "../base/errors.ts";
import { safeSegment, temporaryName } from "../base/files.ts";
import { type Beside, markOf, taken, writeAttachments, writeRaw } from "./file/beside.ts";
import { jsonKeyOf, jsonOf, lineFormats } from "./file/formats.ts";
import { appendOnce } from "./file/lines.ts";
import { expectedName, fileName } from "./file/name.ts";
import { isThere, makeDirectory, type Rights, writeNew, writeWhole } from "./file/rights.ts";
import type { Delivery, Receipt, Sink } from "./sink.ts";
import { inTurn } from "./turn.ts";

export type FileSinkOptions = {
  readonly name: string;
  /** Absolute. */
  readonly directory: string;
  /** Template of the path below the directory, for example `{{issueDate}}/{{seller}}-{{number}}.json`. */
  readonly template: string;
  readonly format: "json" | "jsonl" | "csv";
  readonly attachments: boolean;
  /** The message beside it, as `.eml`. */
  readonly raw?: boolean;
  /** Permissions of files, exactly; left out: 0640 as the umask leaves it. What is there already keeps its own. */
  readonly mode?: number | null;
  /** Permissions of the directories it makes; left out: 0750 as the umask leaves it. */
  readonly directoryMode?: number | null;
  /** Of files and of directories it makes; only root may give files away. */
  readonly owner?: Rights["owner"];
};

export function createFileSink(options: FileSinkOptions): Sink {
  const { name, directory, template, format, attachments, raw = false, mode = null, directoryMode = null, owner = null } = options;
  const rights: Rights = { mode, directoryMode, owner };
  const called = join(directory, template);

  /** Before the document itself: where its file stands, they stand too. */
  const writeBeside = async (beside: Beside, delivery: Delivery, signal: AbortSignal): Promise<void> => {
    if (attachments) await writeAttachments(beside, delivery.attachments, signal);
    if (raw) await writeRaw(beside, delivery.raw, signal);
    signal.throwIfAborted();
  };

  /** A file of its own, over nothing but itself; and where that is. */
  const writeOwn = async (wanted: string, bytes: Uint8Array, delivery: Delivery, key: string, signal: AbortSignal): Promise<string> => {
    for (const path of await placesFor(wanted, key)) {
      if ((await isThere(path)) && !(await isOurs(path, key))) continue;
      const stem = path.slice(0, path.length - extname(path).length);
      await writeBeside({ path, stem, key, rights, called }, delivery, signal);
      // Looked at again, because that took its time.
      if (await isOurs(path, key)) await writeWhole(path, [bytes], rights);
      else if (!(await writeNew(path, [bytes], rights))) continue;
      return path;
    }
    throw taken(called, key);
  };

  const write = async (wanted: string, delivery: Delivery, key: string, signal: AbortSignal): Promise<Receipt> => {
    // In turn, so that nobody takes a directory for durable that somebody else has made and not yet synced.
    await inTurn("making directories", () => makeDirectory(dirname(wanted), rights));
    const receiptOf = (path: string, bytes: Uint8Array): Receipt => {
      const sha256 = createHash("sha256").update(bytes).digest("hex");
      return { path, bytes: bytes.length, sha256, attachments: attachments ? delivery.attachments.length : 0, raw };
    };
    if (format === "json") {
      const bytes = Buffer.from(jsonOf(delivery.body, 2));
      return receiptOf(await writeOwn(wanted, bytes, delivery, key, signal), bytes);
    }
    const lines = lineFormats[format].linesOf(delivery.body);
    const stem = join(dirname(wanted), safeSegment(key));
    await writeBeside({ path: wanted, stem, key, rights, called }, delivery, signal);
    await appendOnce(wanted, { format: lineFormats[format], lines, rights, called }, signal);
    return receiptOf(wanted, Buffer.from(lines.join("")));
  };

  const deliver: Sink["deliver"] = async (delivery, key, signal) => {
    const wanted = join(directory, fileName(template, delivery.body));
    try {
      // Some file systems hold `A.json` and `a.json` for one name.
      return await inTurn(wanted.toLowerCase(), () => write(wanted, delivery, key, signal));
    } catch (thrown) {
      throw thrown instanceof Fault || signal.aborted ? thrown : cannotWrite(options, thrown);
    }
  };

  const probe: Sink["probe"] = async () => {
    try {
      const standing = await nearest(directory);
      // The dot: a file of that name is no directory.
      await access(`${standing}/.`, constants.W_OK | constants.X_OK);
      if (owner !== null) await tryRights(standing, rights);
      return { said: standing === directory ? `${directory} can be written` : `${directory} can be made` };
    } catch (thrown) {
      throw cannotWrite(options, thrown);
    }
  };

  return { name, deliver, probe, destination: ({ body }) => join(directory, expectedName(template, body)) };
}

/** Whether files can be given away is only known by giving one away. */
async function tryRights(directory: string, rights: Rights): Promise<void> {
  const path = temporaryName(directory);
  await writeWhole(path, [], rights);
  await rm(path, { force: true });
}

/** The directory itself, or what stands of the way to it. */
async function nearest(directory: string): Promise<string> {
  return (await isThere(directory)) || dirname(directory) === directory ? directory : nearest(dirname(directory));
}

/** The wanted path, then the one with this delivery's own mark; but first the one where it stands already. */
async function placesFor(wanted: string, key: string): Promise<readonly string[]> {
  const extension = extname(wanted);
  const marked = `${wanted.slice(0, wanted.length - extension.length)}-${markOf(key)}${extension}`;
  return (await isOurs(marked, key)) && !(await isOurs(wanted, key)) ? [marked, wanted] : [wanted, marked];
}

const HEAD = 2_048;

/** Ours are whole whenever they are there, so how they begin is enough. */
async function isOurs(path: string, key: string): Promise<boolean> {
  if (!(await isThere(path)) || !(await stat(path)).isFile()) return false;
  const handle = await open(path, "r");
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(HEAD), 0, HEAD, 0);
    return jsonKeyOf(buffer.toString("utf8", 0, bytesRead)) === key;
  } finally {
    await handle.close();
  }
}

function cannotWrite({ name, directory, owner }: FileSinkOptions, thrown: unknown): Fault {
  const { code, errno, syscall } = thrown as NodeJS.ErrnoException;
  // The system's own message names the file, and with it a subject or a sender.
  const why = errno === undefined ? reasonOf(thrown) : `${getSystemErrorMessage(errno)} (${code})`;
  if (syscall === "fchown" && owner) {
    return new Fault("file.owner", `sink ${name} cannot give a file in ${directory} to ${owner.uid}:${owner.gid}: ${why}`, {
      advice: "run billhook as root (CAP_CHOWN), or leave `owner` out; billhook goes on by itself",
      cause: thrown,
    });
  }
  const full = code === "ENOSPC" || code === "EDQUOT";
  return new Fault(full ? "file.full" : "file.unwritable", `sink ${name} cannot write to ${directory}: ${full ? "no space left" : why}`, {
    advice: "mend the directory; billhook goes on by itself",
    cause: thrown,
  });
}
