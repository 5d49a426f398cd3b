/** Faults of our own side: the disk of the spool is full, or nearly. */
import { rm, statfs, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { rewriting } from "./meddlers.ts";
import type { Scripted } from "./play.ts";

/** The disk fills up while mail comes in, but for so many bytes, and then does not. `directory` is a small file system of its own. */
function filled(directory: string, left: number, code: string): Pick<Scripted, "tells" | "spoolIn" | "sweepEveryMs" | "script"> {
  return {
    tells: [code],
    spoolIn: directory,
    sweepEveryMs: 1_000,
    script: async (stage) => {
      await stage.until("it is swept", stage.isWell);
      const filler = join(directory, "filler");
      const { bavail, bsize } = await statfs(directory);
      await writeFile(filler, Buffer.alloc(bavail * bsize - left));
      await stage.deliver(2);
      await stage.until("it says so", () => stage.told().includes(code) && stage.trouble() === code);
      stage.mark();
      await rm(filler);
    },
  };
}

/** A message whose size the server does not tell is begun, and cannot be finished. */
export const fullDisk = (directory: string): Scripted => ({
  name: "the disk of the spool is full",
  meddler: () => rewriting((line) => line.replace(/ RFC822\.SIZE \d+/, "")),
  ...filled(directory, 0, "spool.full"),
});

/** There would be room for the message, and not for much else. */
export const lowDisk = (directory: string): Scripted => ({
  name: "the disk of the spool has less than minFree left",
  minFree: 80_000,
  ...filled(directory, 40_000, "spool.low"),
});
