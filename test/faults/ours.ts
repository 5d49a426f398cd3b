/** Faults of our own side: the disk of the spool is full. */
import { rm, statfs, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Scripted } from "./play.ts";

/** A disk that is full while mail comes in, and then is not. `directory` is a small file system of its own. */
export function fullDisk(directory: string): Scripted {
  return {
    name: "the disk of the spool is full",
    tells: ["spool.full"],
    spoolIn: directory,
    script: async (stage) => {
      await stage.until("it is swept", stage.isWell);
      const filler = join(directory, "filler");
      const { bavail, bsize } = await statfs(directory);
      await writeFile(filler, Buffer.alloc(bavail * bsize));
      await stage.deliver(2);
      await stage.until("it says so", () => stage.told().includes("spool.full"));
      stage.mark();
      await rm(filler);
    },
  };
}
