/** Files and directories that have their permissions and their owner before anybody can see them. */
import { constants, link, mkdir, open, rename, rm, stat } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { syncDirectory, temporaryName, writeThenPlace } from "../../base/files.ts";

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

type Bytes = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

/** Writes a file whole or not at all, replacing what stood there. One writer a path at a time. */
export async function writeWhole(path: string, bytes: Bytes, rights: Rights): Promise<void> {
  await write(path, bytes, rights, async () => path);
}

/** Writes a file whole or not at all, where nothing stands. False when something does, which is left as it is. One writer a path at a time. */
export async function writeNew(path: string, bytes: Bytes, rights: Rights): Promise<boolean> {
  let placed = true;
  await write(path, bytes, rights, async (unfinished) => {
    try {
      await link(unfinished, path);
    } catch (thrown) {
      const { code = "" } = thrown as NodeJS.ErrnoException;
      if (NO_LINKS.has(code) && !(await isThere(path))) return path;
      if (code !== "EEXIST" && !NO_LINKS.has(code)) throw thrown;
      placed = false;
    }
    return null;
  });
  if (placed) await syncDirectory(dirname(path));
  return placed;
}

/** For a file that is there already: whoever placed it may have died before its entry was durable, and left it its unfinished name too. */
export async function finish(path: string): Promise<void> {
  await rm(temporaryName(dirname(path), basename(path)), { force: true });
  await syncDirectory(dirname(path));
}

/** link(2) of file systems that have none, and of a file that was given to somebody else (fs.protected_hardlinks). */
const NO_LINKS = new Set(["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK"]);

/** `place` links the file itself (then null), or says where it is to be moved. */
async function write(path: string, bytes: Bytes, { mode, owner }: Rights, place: (unfinished: string) => Promise<string | null>) {
  const unfinished = temporaryName(dirname(path), basename(path));
  // A crash may have left it as another name of a file that was placed, which must not be written into.
  await rm(unfinished, { force: true });
  const settled = async () => {
    await settle(unfinished, mode, owner);
    return place(unfinished);
  };
  await writeThenPlace(unfinished, bytes, settled, mode ?? 0o640);
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
