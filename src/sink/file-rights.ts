/** Files and directories that have their permissions and their owner before anybody can see them. */
import { constants, mkdir, open, rename, stat } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { syncDirectory, temporaryName, writeThenPlace } from "../base/files.ts";

/** Null: as the process has it (umask, its own user). */
export type Rights = {
  readonly mode: number | null;
  readonly directoryMode: number | null;
  readonly owner: { readonly uid: number; readonly gid: number } | null;
};

/** Makes a directory and its missing parents; each new entry is durable when this resolves. What is there is left as it is. */
export async function makeDirectory(directory: string, rights: Rights): Promise<void> {
  if (await isThere(directory)) return;
  await makeDirectory(dirname(directory), rights);
  const unfinished = temporaryName(dirname(directory), basename(directory));
  await mkdir(unfinished, { mode: rights.directoryMode ?? 0o750 }).catch((thrown: NodeJS.ErrnoException) => {
    // Left by a crash.
    if (thrown.code !== "EEXIST") throw thrown;
  });
  await settle(unfinished, rights.directoryMode, rights.owner);
  await rename(unfinished, directory);
  await syncDirectory(dirname(directory));
}

/** Writes a file whole or not at all, replacing what stood there. One writer a path at a time. */
export async function writeWhole(
  path: string,
  bytes: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  { mode, owner }: Rights,
): Promise<void> {
  const unfinished = temporaryName(dirname(path), basename(path));
  const place = async () => {
    await settle(unfinished, mode, owner);
    return path;
  };
  await writeThenPlace(unfinished, bytes, place, mode ?? 0o640);
}

async function settle(unfinished: string, mode: number | null, owner: Rights["owner"]): Promise<void> {
  if (mode === null && owner === null) return;
  const handle = await open(unfinished, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    // First the owner: a change of owner takes set-user-ID and set-group-ID away (chown(2)).
    if (owner !== null) await handle.chown(owner.uid, owner.gid);
    if (mode !== null) await handle.chmod(mode);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

export async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (thrown: NodeJS.ErrnoException) => {
      if (thrown.code === "ENOENT") return false;
      throw thrown;
    },
  );
}
