/** The spool: bytes in files named by their SHA-256, under two levels of directories, written whole or not at all. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, readdir, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Fault, permanent, reasonOf } from "../base/errors.ts";
import { isTemporaryName, makeDirectory, syncDirectory, temporaryName, writeThenPlace } from "../base/files.ts";
import type { Blob, Keep } from "../message/message.ts";
import type { Shelf, Spool } from "./store.ts";

const SHELVES: readonly Shelf[] = ["raw", "parts"];
const HEAD_BYTES = 4_100;

export async function openSpool(directory: string): Promise<Spool> {
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

  const keep =
    (shelf: Shelf): Keep =>
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
            await makeShard(dirname(target));
            if (!(await isWhole(target, size))) return target;
            // Whoever renamed it here may have died before its entry was durable.
            await syncDirectory(dirname(target));
            return null;
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
      if (found.code !== "ENOENT") throw new Fault("spool.unreadable", `cannot read ${file}: ${reasonOf(found)}`, { cause: found });
      throw permanent(
        "spool.missing",
        `${file} is not there any more`,
        "restore the spool from a backup, or let the mailbox give the message again",
      );
    }
    if (found.size !== blob.size) {
      throw permanent(
        "spool.damaged",
        `${file} has ${found.size} bytes where ${blob.size} were kept`,
        "restore the spool from a backup, or let the mailbox give the message again",
      );
    }
  }

  async function* open(shelf: Shelf, blob: Blob): AsyncIterable<Uint8Array> {
    await check(shelf, blob);
    yield* createReadStream(path(shelf, blob.sha256), { highWaterMark: 16 * 1024 }) as AsyncIterable<Uint8Array>;
  }

  return {
    keep,
    open,
    check,
    path,
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

async function isWhole(file: string, size: number): Promise<boolean> {
  return stat(file).then(
    (found) => found.size === size,
    () => false,
  );
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
    advice: "check the volume and its permissions; billhook goes on by itself",
    cause: thrown,
  });
}
