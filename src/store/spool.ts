/** The spool: bytes in files named by their SHA-256, under two levels of directories, written whole or not at all. */
import { createHash } from "node:crypto";
import { createReadStream, renameSync, statSync, unlinkSync } from "node:fs";
import { mkdir, readdir, rm, stat, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Fault, permanent, reasonOf } from "../base/errors.ts";
import { isTemporaryName, makeDirectory, syncDirectory, temporaryName, writeThenPlace } from "../base/files.ts";
import type { Blob, Keep } from "../message/message.ts";
import type { Shelf, Spool } from "./store.ts";

const SHELVES: readonly Shelf[] = ["raw", "parts"];
const HEAD_BYTES = 4_100;
const MB = 1024 ** 2;

/** `minFree`: so many bytes of the disk are left to what is under way already. */
export async function openSpool(directory: string, minFree = 0): Promise<Spool> {
  try {
    for (const shelf of SHELVES) await makeDirectory(join(directory, shelf), 0o700);
  } catch (thrown) {
    throw cannotWrite(directory, thrown);
  }

  /** Shards whose own entry is durable. Finding one is not enough: whoever made it may not have synced its parent yet. */
  const durable = new Set<string>();
  const makeShard = async (shard: string) => {
    const made = await mkdir(shard, { recursive: true, mode: 0o700 });
    if (made === undefined && durable.has(shard)) return;
    await syncDirectory(dirname(shard));
    durable.add(shard);
  };

  const path = (shelf: Shelf, sha256: string) => join(directory, shelf, sha256.slice(0, 2), shelf === "raw" ? `${sha256}.eml` : sha256);

  /** What somebody keeps whose rows are still to be saved. */
  const keeping = new Map<string, Set<string>>();

  const keep =
    (shelf: Shelf, by?: string): Keep =>
    async (bytes) => {
      const hash = createHash("sha256");
      let size = 0;
      let head = Buffer.alloc(0);
      let sha256 = "";
      let failed: unknown;
      async function* measured() {
        try {
          for await (const chunk of bytes) {
            hash.update(chunk);
            size += chunk.length;
            if (head.length < HEAD_BYTES) head = Buffer.concat([head, chunk.subarray(0, HEAD_BYTES - head.length)]);
            yield chunk;
          }
        } catch (thrown) {
          failed = thrown;
          throw thrown;
        }
      }
      try {
        await writeThenPlace(
          temporaryName(join(directory, shelf)),
          measured(),
          async () => {
            sha256 = hash.digest("hex");
            const target = path(shelf, sha256);
            // Before it stands there: from now on it is not removed.
            if (by !== undefined) keeping.set(by, (keeping.get(by) ?? new Set()).add(target));
            await makeShard(dirname(target));
            // Whatever stands there, whole or damaged, is replaced by bytes that are known to be on the disk.
            return target;
          },
          0o600,
        );
      } catch (thrown) {
        if (failed !== undefined) throw failed;
        throw cannotWrite(directory, thrown);
      }
      return { sha256, size, head };
    };

  async function check(shelf: Shelf, blob: Blob): Promise<void> {
    const file = path(shelf, blob.sha256);
    const found = await stat(file).catch((thrown: NodeJS.ErrnoException) => thrown);
    if (found instanceof Error) {
      if (found.code !== "ENOENT") throw unreadable(file, found);
      throw permanent(
        "spool.missing",
        `${file} is not there any more`,
        "restore the spool from a backup, or let the mailbox give the message again",
      );
    }
    if (found.size !== blob.size) {
      throw damaged(`${file} has ${found.size} bytes where ${blob.size} were kept`);
    }
  }

  async function* open(shelf: Shelf, blob: Blob): AsyncIterable<Uint8Array> {
    await check(shelf, blob);
    const file = path(shelf, blob.sha256);
    const hash = createHash("sha256");
    // Given when all are known to be good: who counts bytes must not take damaged ones for whole.
    let held: Uint8Array | null = null;
    try {
      for await (const chunk of createReadStream(file, { highWaterMark: 16 * 1024 }) as AsyncIterable<Uint8Array>) {
        hash.update(chunk);
        if (held !== null) yield held;
        held = chunk;
      }
    } catch (thrown) {
      throw unreadable(file, thrown);
    }
    if (hash.digest("hex") !== blob.sha256) throw damaged(`${file} does not hold the bytes that were kept`);
    if (held !== null) yield held;
  }

  return {
    keep,
    open,
    check,
    path,
    left: (by) => void keeping.delete(by),
    remove: async (shelf, sha256, before) => {
      const file = path(shelf, sha256);
      if ([...keeping.values()].some((kept) => kept.has(file))) return null;
      try {
        return removed(file, temporaryName(join(directory, shelf)), before);
      } catch (thrown) {
        if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return null;
        throw cannotWrite(directory, thrown);
      }
    },
    list: async (shelf, digits) => {
      const shard = join(directory, shelf, digits);
      const names = await readdir(shard).catch((thrown: NodeJS.ErrnoException) => {
        if (thrown.code === "ENOENT") return [];
        throw unreadable(shard, thrown);
      });
      return names.flatMap((name) => /^([0-9a-f]{64})(\.eml)?$/.exec(name)?.[1] ?? []);
    },
    room: async (bytes) => {
      const { bavail, bsize } = await statfs(directory).catch((thrown) => Promise.reject(cannotWrite(directory, thrown)));
      const [free, wanted] = [bavail * bsize, minFree + bytes];
      if (free >= wanted) return null;
      const left = `has ${Math.floor(free / MB)} MB left, and ${Math.ceil(wanted / MB)} MB are wanted for the next message and state.minFree`;
      return new Fault("spool.low", `the disk of ${directory} ${left}`, { advice: "free disk space; billhook goes on by itself" });
    },
    clean: async () => {
      let removed = 0;
      for (const shelf of SHELVES) {
        for (const name of await readdir(join(directory, shelf))) {
          if (!isTemporaryName(name)) continue;
          await rm(join(directory, shelf, name), { force: true });
          removed += 1;
        }
      }
      return removed;
    },
  };
}

/**
 * All in one turn of the event loop: who keeps the same bytes in this process does so before, and is seen, or after, and puts them there
 * anew. Another process may put them there at any moment: once it is aside, the file says whether that was just now, and goes back.
 */
function removed(file: string, aside: string, before: Date | undefined): number | null {
  if (before !== undefined && statSync(file).mtimeMs >= before.getTime()) return null;
  renameSync(file, aside);
  const { size, mtimeMs } = statSync(aside);
  if (before !== undefined && mtimeMs >= before.getTime()) {
    renameSync(aside, file);
    return null;
  }
  unlinkSync(aside);
  return size;
}

function damaged(what: string): Fault {
  return permanent("spool.damaged", what, "restore the spool from a backup, or let the mailbox give the message again");
}

function unreadable(file: string, thrown: unknown): Fault {
  const advice = isOutOfFiles(thrown) ? RAISE_FILES : "check the disk and its permissions; billhook goes on by itself";
  return new Fault("spool.unreadable", `cannot read ${file}: ${reasonOf(thrown)}`, { advice, cause: thrown });
}

const RAISE_FILES = "raise the limit of open files (ulimit -n, LimitNOFILE); billhook goes on by itself";

function isOutOfFiles(thrown: unknown): boolean {
  return ["EMFILE", "ENFILE"].includes((thrown as NodeJS.ErrnoException).code ?? "");
}

function cannotWrite(directory: string, thrown: unknown): Fault {
  const code = (thrown as NodeJS.ErrnoException).code;
  if (code === "ENOSPC" || code === "EDQUOT") {
    return new Fault("spool.full", `no space left for the spool in ${directory}`, {
      advice: "free disk space; billhook goes on by itself",
      cause: thrown,
    });
  }
  return new Fault("spool.unwritable", `cannot write to the spool in ${directory}: ${reasonOf(thrown)}`, {
    advice: isOutOfFiles(thrown) ? RAISE_FILES : "check the volume and its permissions; billhook goes on by itself",
    cause: thrown,
  });
}
