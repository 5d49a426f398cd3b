/** `billhook export`: everything about one mail as a zip; safe while the daemon runs. */
import { link, stat } from "node:fs/promises";
import { basename, dirname, resolve } from "node:path";
import { EXIT, Fault, permanent, reasonOf } from "../base/errors.ts";
import { syncDirectory, temporaryName, writeThenPlace } from "../base/files.ts";
import { exportLife } from "../desk/export.ts";
import { withDesk } from "./ledger.ts";
import { meant } from "./meant.ts";
import type { Terminal } from "./terminal.ts";
import { shortId } from "./words.ts";

type Options = { readonly config: string; readonly message: string; readonly out: string | null };

export function exportMail({ config, message, out: wanted }: Options, { out, stop }: Terminal): Promise<number> {
  return withDesk(config, async (desk) => {
    const life = await desk.show(await meant(desk, message));
    const path = resolve(wanted ?? `${shortId(life.id)}.zip`);
    if (await isThere(path)) throw taken(path);
    await writeNew(path, untilStopped(exportLife(desk, life), stop));
    out(`${shortId(life.id)}  is in ${path}, with all that the mail holds`);
    return EXIT.done;
  });
}

async function* untilStopped(bytes: AsyncIterable<Uint8Array>, stop: AbortSignal): AsyncGenerator<Uint8Array> {
  for await (const chunk of bytes) {
    if (stop.aborted) throw permanent("export.stopped", "stopped: nothing was written");
    yield chunk;
  }
}

/** Whole or not at all, where nothing stands; for its owner alone. */
async function writeNew(path: string, bytes: AsyncIterable<Uint8Array>): Promise<void> {
  const unfinished = temporaryName(dirname(path), basename(path));
  const place = async () => {
    try {
      await link(unfinished, path);
      return null;
    } catch {
      if (await isThere(path)) throw taken(path);
      // File systems that have no links.
      return path;
    }
  };
  try {
    await writeThenPlace(unfinished, bytes, place, 0o600);
    await syncDirectory(dirname(path));
  } catch (thrown) {
    throw thrown instanceof Fault
      ? thrown
      : permanent("export.write", `cannot write ${path}: ${reasonOf(thrown)}`, "say where with --out FILE");
  }
}

function taken(path: string): Fault {
  return permanent("config.usage", `${path} is there already, and nothing is overwritten`, "say where with --out FILE");
}

function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
