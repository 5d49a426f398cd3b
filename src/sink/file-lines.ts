/** JSON Lines that a repeated delivery cannot double and a crash cannot tear: one line a key, synced. */
import { createReadStream } from "node:fs";
import { open, stat, truncate } from "node:fs/promises";
import { dirname } from "node:path";
import { createInterface } from "node:readline";
import { syncDirectory } from "../base/files.ts";

type Known = { readonly size: number; readonly keys: Set<string> };

/** What each file held when we last wrote to it, so that it is read again only when somebody else changed it. */
const known = new Map<string, Known>();

/** Appends `line` (ending in a newline) unless a line with this `id` is already there. Callers take turns for one path. */
export async function appendOnce(path: string, key: string, line: string): Promise<void> {
  const { size, keys } = await linesOf(path);
  if (keys.has(key)) return;
  known.delete(path);
  const handle = await open(path, "a", 0o640);
  try {
    await handle.writeFile(line);
    await handle.sync();
  } finally {
    await handle.close();
  }
  if (size === 0) await syncDirectory(dirname(path));
  keys.add(key);
  known.set(path, { size: size + Buffer.byteLength(line), keys });
}

async function linesOf(path: string): Promise<Known> {
  const found = await sizeOf(path);
  const last = known.get(path);
  if (last?.size === found) return last;
  await mendTail(path, found);
  const size = await sizeOf(path);
  const keys = new Set<string>();
  if (size > 0) {
    for await (const line of createInterface({ input: createReadStream(path) })) {
      const id = idOf(line);
      if (id !== null) keys.add(id);
    }
  }
  return { size, keys };
}

const LONGEST_TAIL = 64 * 1024 * 1024;
const OURS = '{"format":"billhook.delivery/';

/** A last line without its newline: what a crash left of our own append is cut off (it has no receipt), anything else is ended. */
async function mendTail(path: string, size: number): Promise<void> {
  if (size === 0) return;
  const handle = await open(path, "r+");
  try {
    const tail = await lastLine(handle, size);
    if (tail.length === 0) return;
    const start = tail.subarray(0, OURS.length).toString("latin1");
    if (OURS.startsWith(start)) await truncate(path, size - tail.length);
    else await handle.write("\n", size);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function lastLine(handle: Awaited<ReturnType<typeof open>>, size: number): Promise<Buffer> {
  for (let length = 64 * 1024; ; length *= 4) {
    const from = Math.max(0, size - Math.min(length, LONGEST_TAIL));
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(size - from), 0, size - from, from);
    const newline = buffer.subarray(0, bytesRead).lastIndexOf(10);
    if (newline !== -1 || from === 0 || length >= LONGEST_TAIL) return buffer.subarray(newline + 1, bytesRead);
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

function idOf(line: string): string | null {
  try {
    const { id } = JSON.parse(line) as { id?: unknown };
    return typeof id === "string" ? id : null;
  } catch {
    return null;
  }
}
