/** JSON Lines that a repeated delivery cannot double and a crash cannot tear: one line a key, synced. */
import { createReadStream } from "node:fs";
import { type FileHandle, open, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { syncDirectory } from "../base/files.ts";

type Known = { readonly size: number; readonly keys: Set<string> };

/** What each file held when we last wrote to it, so that it is read again only when somebody else changed it. The last few files. */
const known = new Map<string, Known>();
const MOST_KNOWN = 16;

/** Appends `line` (ending in a newline) unless a line with this `id` is already there. Callers take turns for one path. */
export async function appendOnce(path: string, key: string, line: string): Promise<void> {
  const { size, keys } = await linesOf(path);
  if (!keys.has(key)) await append(path, line, size);
  keys.add(key);
  known.set(path, { size: await sizeOf(path), keys });
  for (const oldest of known.keys()) if (known.size > MOST_KNOWN) known.delete(oldest);
}

async function append(path: string, line: string, size: number): Promise<void> {
  const handle = await open(path, "a", 0o640);
  try {
    await handle.writeFile(line);
    await handle.sync();
  } catch (thrown) {
    await mend(path).catch(() => {});
    throw thrown;
  } finally {
    await handle.close();
  }
  if (size === 0) await syncDirectory(dirname(path));
}

async function linesOf(path: string): Promise<Known> {
  const last = known.get(path);
  known.delete(path);
  const found = await sizeOf(path);
  if (last?.size === found) return last;
  if (found === 0) return { size: 0, keys: new Set() };
  await mend(path);
  return { size: await sizeOf(path), keys: await keysOf(path) };
}

const LONGEST_LINE = 64 * 1024 * 1024;
const OURS = '{"format":"billhook.delivery/';

/**
 * What a crash left is made sound and durable. A last line without its newline: the beginning of one of ours is cut off (it has
 * no receipt), anything else, a line of ours that lacks only its newline included, is ended.
 */
async function mend(path: string): Promise<void> {
  const handle = await open(path, "r+");
  try {
    const { size } = await handle.stat();
    const tail = await lastLine(handle, size);
    if (tail.length > 0) {
      const torn = OURS.startsWith(tail.subarray(0, OURS.length).toString("latin1")) && idOf(tail) === null;
      if (torn) await handle.truncate(size - tail.length);
      else await handle.write("\n", size);
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
  await syncDirectory(dirname(path));
}

async function lastLine(handle: FileHandle, size: number): Promise<Buffer> {
  for (let length = 64 * 1024; ; length *= 4) {
    const from = Math.max(0, size - Math.min(length, LONGEST_LINE));
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(size - from), 0, size - from, from);
    const newline = buffer.subarray(0, bytesRead).lastIndexOf(10);
    if (newline !== -1 || from === 0 || length >= LONGEST_LINE) return buffer.subarray(newline + 1, bytesRead);
  }
}

/** The keys in a file. Not readline: it also ends lines at U+2028, which JSON leaves as it is, and it does not report read errors. */
async function keysOf(path: string): Promise<Set<string>> {
  const keys = new Set<string>();
  let begun: Buffer[] = [];
  let size = 0;
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    let from = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, from)) {
      const key = idOf(Buffer.concat([...begun, chunk.subarray(from, end)]));
      if (key !== null) keys.add(key);
      begun = [];
      size = 0;
      from = end + 1;
    }
    size += chunk.length - from;
    if (size > LONGEST_LINE) begun = [];
    else begun.push(chunk.subarray(from));
  }
  return keys;
}

/** The key of a whole line of ours; null for anything else. */
function idOf(line: Buffer): string | null {
  if (line.subarray(0, OURS.length).toString("latin1") !== OURS) return null;
  try {
    const { id } = JSON.parse(line.toString("utf8")) as { id?: unknown };
    return typeof id === "string" ? id : null;
  } catch {
    return null;
  }
}

async function sizeOf(path: string): Promise<number> {
  return stat(path).then(
    (found) => found.size,
    (thrown: NodeJS.ErrnoException) => {
      if (thrown.code === "ENOENT") return 0;
      throw thrown;
    },
  );
}
