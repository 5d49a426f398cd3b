/** Files written whole or not at all, and file names that cannot choose a path. */
import { randomUUID } from "node:crypto";
import { mkdir, open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

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
  const first = await mkdir(directory, { recursive: true, mode });
  if (first === undefined) return;
  for (let made = directory; made.length >= first.length; made = dirname(made)) await syncDirectory(dirname(made));
}

/** Where an unfinished file stands: in the same directory, so that the rename cannot cross file systems. */
export function temporaryName(directory: string): string {
  return join(directory, `${TEMPORARY}${randomUUID()}.tmp`);
}

export function isTemporaryName(name: string): boolean {
  return basename(name).startsWith(TEMPORARY) && name.endsWith(".tmp");
}

/**
 * Writes `bytes` to a temporary file, syncs it and hands it to `place`, which says where it belongs (or null: not wanted).
 * The file is there whole, and durable, when this resolves; when it rejects nothing is left behind.
 */
export async function writeThenPlace(
  directory: string,
  bytes: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  place: () => Promise<string | null>,
  mode = 0o640,
): Promise<string | null> {
  const temporary = temporaryName(directory);
  const handle = await open(temporary, "wx", mode);
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

/** Writes a file whole or not at all, replacing what stood there. */
export async function writeWhole(path: string, bytes: Uint8Array | string, mode = 0o640): Promise<void> {
  const data = typeof bytes === "string" ? Buffer.from(bytes, "utf8") : bytes;
  await writeThenPlace(dirname(path), [data], async () => path, mode);
}

const RESERVED = /^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?$/i;
const MOST_BYTES = 120;

/**
 * One path segment made of any text: no separators, no control or format characters (RTL marks and the like), no leading dots,
 * no trailing dots or spaces, no name Windows reserves, at most 120 bytes of UTF-8 with the extension kept.
 */
export function safeSegment(text: string, fallback = "unnamed"): string {
  let name = text
    .normalize("NFC")
    .replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu, "")
    .replace(/[/\\:*?"<>|]/g, "_")
    .replace(/\s+/gu, " ")
    .replace(/^[.\s~-]+/, "")
    .replace(/[.\s]+$/, "");
  if (Buffer.byteLength(name) > MOST_BYTES) {
    const extension = /\.[A-Za-z0-9]{1,8}$/.exec(name)?.[0] ?? "";
    name = cut(name.slice(0, name.length - extension.length), MOST_BYTES - extension.length).replace(/[.\s]+$/, "") + extension;
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
