/** Files written whole or not at all, and file names that cannot choose a path. */
import { createHash, randomUUID } from "node:crypto";
import { constants, mkdir, open, rename, rm } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";

const { O_WRONLY, O_CREAT, O_TRUNC, O_NOFOLLOW } = constants;

const TEMPORARY = ".billhook-";

/** Makes a directory's entries durable (fsync(2) on the directory). */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes a directory and its missing parents; each new entry is durable when this resolves. */
export async function makeDirectory(directory: string, mode = 0o750): Promise<void> {
  const absolute = resolve(directory);
  const first = await mkdir(absolute, { recursive: true, mode });
  if (first === undefined) return;
  for (let made = absolute; made.length >= first.length; made = dirname(made)) await syncDirectory(dirname(made));
}

/**
 * Where an unfinished file stands: in the same directory, so that the rename cannot cross file systems. With the name it will
 * have, the place is always the same: what a crash left is written over when the same file is written again.
 */
export function temporaryName(directory: string, finalName?: string): string {
  const mark = finalName === undefined ? randomUUID() : createHash("sha256").update(finalName).digest("hex").slice(0, 24);
  return join(directory, `${TEMPORARY}${mark}.tmp`);
}

export function isTemporaryName(name: string): boolean {
  return basename(name).startsWith(TEMPORARY) && name.endsWith(".tmp");
}

/**
 * Writes `bytes` to a temporary file, syncs it and asks `place` where it belongs (null: not wanted).
 * The file is there whole, and durable, when this resolves; when it rejects nothing is left behind.
 */
export async function writeThenPlace(
  temporary: string,
  bytes: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  place: () => Promise<string | null>,
  mode = 0o640,
): Promise<string | null> {
  // The name can be guessed where others write too: never through a link.
  const handle = await open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode);
  try {
    try {
      for await (const chunk of bytes) if (chunk.length > 0) await handle.writeFile(chunk);
      await handle.sync();
    } finally {
      await handle.close();
    }
    const target = await place();
    if (target === null) {
      await rm(temporary, { force: true });
      return null;
    }
    await rename(temporary, target);
    await syncDirectory(dirname(target));
    return target;
  } catch (thrown) {
    await rm(temporary, { force: true }).catch(() => {});
    throw thrown;
  }
}

/** Writes a file whole or not at all, replacing what stood there. One writer a path at a time. */
export async function writeWhole(path: string, bytes: AsyncIterable<Uint8Array> | Iterable<Uint8Array>, mode = 0o640): Promise<void> {
  await writeThenPlace(temporaryName(dirname(path), basename(path)), bytes, async () => path, mode);
}

const RESERVED = /^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?$/i;
const MOST_BYTES = 120;
/** Longer texts keep this many characters of their beginning, and the extension: what follows takes quadratic time at worst. */
const MOST_CHARACTERS = 1_000;

/**
 * One path segment made of any text: no separators, no control or format characters (RTL marks and the like), no leading dots,
 * no trailing dots or spaces, no name Windows reserves, at most `most` bytes of UTF-8 with the extension kept.
 */
export function safeSegment(text: string, fallback = "unnamed", most = MOST_BYTES): string {
  const bounded = text.length > MOST_CHARACTERS ? text.slice(0, MOST_CHARACTERS) + text.slice(-10) : text;
  let name = bounded
    .normalize("NFC")
    .replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu, "")
    .replace(/[/\\:*?"<>|]/g, "_")
    .replace(/\s+/gu, " ")
    .replace(/^[.\s~-]+/, "")
    .replace(/[.\s]+$/, "");
  if (Buffer.byteLength(name) > most) {
    const extension = /\.[A-Za-z0-9]{1,8}$/.exec(name)?.[0] ?? "";
    name = cut(name.slice(0, name.length - extension.length), most - extension.length).replace(/[.\s]+$/, "") + extension;
  }
  if (name === "") return fallback;
  return RESERVED.test(name) ? `_${name}` : name;
}

function cut(text: string, bytes: number): string {
  let kept = "";
  let size = 0;
  for (const character of text) {
    size += Buffer.byteLength(character);
    if (size > bytes) break;
    kept += character;
  }
  return kept;
}
