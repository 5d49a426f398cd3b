/** Lines that a repeated delivery cannot double and a crash cannot tear, in a file of any length: each key once, synced. */
import { constants, type FileHandle, open } from "node:fs/promises";
import { Fault } from "../../base/errors.ts";
import type { LineFormat } from "./formats.ts";
import { createKeys, type Keys } from "./keys.ts";
import { finish, type Rights, writeNew } from "./rights.ts";

/** What each file held when we last wrote to it, so that it is read again only when somebody else changed it. The last few files. */
const known = new Map<string, { readonly mark: string; readonly keys: Keys }>();
const MOST_KNOWN = 8;

type Lines = {
  readonly format: LineFormat;
  readonly lines: readonly string[];
  readonly rights: Rights;
  /** What the file is called in a fault: its own name may hold what a mail says. */
  readonly called: string;
};

/**
 * Appends those of the lines that the file does not have. A file that is not there is made with its header. Callers take turns for
 * one path. Throws a temporary Fault `file.header` when the file is there and is another table.
 */
export async function appendOnce(path: string, { format, lines, rights, called }: Lines, signal: AbortSignal): Promise<void> {
  const handle = (await openThere(path)) ?? (await make(path, Buffer.from(format.header + lines.join("")), rights));
  if (handle === null) return;
  try {
    const last = known.get(path);
    known.delete(path);
    const wanted = new Map(lines.map((line) => [format.keyOf(line) ?? line, line]));
    const names = [...wanted.keys()];
    const fresh = last?.mark === (await markOf(handle)) && !names.some(last.keys.mayHold);
    const keys = fresh ? last.keys : await survey(handle, { format, called }, (key) => wanted.delete(key), signal);
    if (wanted.size > 0) await append(handle, format, [...wanted.values()].join(""));
    // What was there already may not be durable yet either.
    await handle.sync();
    if (!fresh) await finish(path);
    for (const key of names) keys.add(key);
    known.set(path, { mark: await markOf(handle), keys });
    for (const oldest of known.keys()) if (known.size > MOST_KNOWN) known.delete(oldest);
  } finally {
    await handle.close();
  }
}

/** Null when it was made; otherwise somebody else was quicker. */
async function make(path: string, bytes: Uint8Array, rights: Rights): Promise<FileHandle | null> {
  return (await writeNew(path, [bytes], rights)) ? null : open(path, constants.O_RDWR | constants.O_APPEND);
}

async function openThere(path: string): Promise<FileHandle | null> {
  // Without O_CREAT, which would make a file without a header where one was just moved away.
  return open(path, constants.O_RDWR | constants.O_APPEND).catch((thrown: NodeJS.ErrnoException) => {
    if (thrown.code === "ENOENT") return null;
    throw thrown;
  });
}

async function markOf(handle: FileHandle): Promise<string> {
  const { dev, ino, size, mtimeNs } = await handle.stat({ bigint: true });
  return `${dev} ${ino} ${size} ${mtimeNs}`;
}

async function append(handle: FileHandle, format: LineFormat, text: string): Promise<void> {
  const { size } = await handle.stat();
  const bytes = Buffer.from(size === 0 ? format.header + text : text);
  try {
    await handle.writeFile(bytes);
  } catch (thrown) {
    await takeBack(handle, size, bytes).catch(() => {});
    throw thrown;
  }
}

/** What of `bytes` was written is cut off again, unless somebody else has written too; then the next survey mends it. */
async function takeBack(handle: FileHandle, size: number, bytes: Buffer): Promise<void> {
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(bytes.length + 1), 0, bytes.length + 1, size);
  const written = buffer.subarray(0, bytesRead);
  if (written.equals(bytes.subarray(0, bytesRead))) await handle.truncate(size);
}

/** Reads the file once and tells each key it holds. What a crash left at its end is mended. */
async function survey(
  handle: FileHandle,
  { format, called }: Pick<Lines, "format" | "called">,
  tell: (key: string) => void,
  signal: AbortSignal,
): Promise<Keys> {
  const keys = createKeys();
  const note = (head: string, from: number) => {
    if (from === 0 && !format.isHeader(head)) throw otherTable(called);
    const key = format.keyOf(head);
    if (key === null) return;
    keys.add(key);
    tell(key);
  };
  const rest = await eachLine(handle, note, signal);
  if (rest !== null && (await mend(handle, format, rest))) note(rest.head, rest.from);
  return keys;
}

function otherTable(called: string): Fault {
  return new Fault("file.header", `${called} is there and does not begin with the header of billhook's CSV: its rows would not fit`, {
    advice: "move that file away or give it back its first line; billhook goes on by itself",
  });
}

/** An unended last line: where it begins, how it begins, and how many bytes it has. */
type Rest = { readonly from: number; readonly head: string; readonly length: number };

const LONGEST_REST = 64 * 1024 * 1024;

/**
 * The beginning of one of our lines is cut off (it has no receipt); anything else, a line of ours that lacks only its end included,
 * is ended. True when it stays.
 */
async function mend(handle: FileHandle, format: LineFormat, { from, head, length }: Rest): Promise<boolean> {
  const { buffer } = length > LONGEST_REST ? { buffer: Buffer.from(head) } : await handle.read(Buffer.alloc(length), 0, length, from);
  const text = buffer.toString("utf8");
  const torn = format.isTorn(text);
  if (torn) await handle.truncate(from);
  else await handle.writeFile(text.endsWith("\r") && format.end === "\r\n" ? "\n" : format.end);
  return !torn;
}

const CHUNK = 256 * 1024;
const HEAD = 2_048;

/** Calls `note` with the beginning of each ended line and its place. Not readline, which keeps whole lines and ends them at U+2028 too. */
async function eachLine(handle: FileHandle, note: (head: string, from: number) => void, signal: AbortSignal): Promise<Rest | null> {
  const buffer = Buffer.alloc(CHUNK);
  let head = Buffer.alloc(0);
  let from = 0;
  for (let at = 0; ; ) {
    signal.throwIfAborted();
    const { bytesRead } = await handle.read(buffer, 0, CHUNK, at);
    if (bytesRead === 0) return from < at ? { from, head: head.toString("utf8"), length: at - from } : null;
    const chunk = buffer.subarray(0, bytesRead);
    let begin = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, begin)) {
      note(Buffer.concat([head, chunk.subarray(begin, Math.min(end, begin + HEAD))]).toString("utf8", 0, HEAD), from);
      head = Buffer.alloc(0);
      begin = end + 1;
      from = at + begin;
    }
    if (head.length < HEAD) head = Buffer.concat([head, chunk.subarray(begin, begin + HEAD)]);
    at += bytesRead;
  }
}
