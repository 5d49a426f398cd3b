/** The daemon as it is published: compiled, started by its own first line, and looked at from outside (Linux). */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { chmodSync, copyFileSync, readFileSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
/** USER_HZ, which is 100 wherever Node runs. */
const TICKS_PER_S = 100;

export type Daemon = {
  /** Resolves when it has logged this event so many times; rejects when it ends before. */
  readonly logged: (event: string, times: number) => Promise<void>;
  /** Bytes in memory now, and at most so far. */
  readonly rss: () => { readonly now: number; readonly most: number };
  /** Of one CPU, all its threads, since it was started. */
  readonly cpuSeconds: () => number;
  readonly kill: () => Promise<void>;
};

/** Compiles it into the directory; the path of its entry. */
export function publish(directory: string): string {
  const dist = join(directory, "dist");
  copyFileSync(join(ROOT, "package.json"), join(directory, "package.json"));
  symlinkSync(join(ROOT, "node_modules"), join(directory, "node_modules"));
  const tsc = join(ROOT, "node_modules/typescript/bin/tsc");
  spawnSync(process.execPath, [tsc, "-p", join(ROOT, ".ci/tsconfig.build.json"), "--outDir", dist], { stdio: "inherit" });
  const entry = join(dist, "billhook.js");
  chmodSync(entry, 0o755);
  return entry;
}

export function startDaemon(entry: string, config: string): Daemon {
  const child: ChildProcess = spawn(entry, ["run", "-c", config], {
    // Whatever this process was told of Node is not for the daemon; only that it is this Node.
    env: { ...process.env, NODE_OPTIONS: "", PATH: `${dirname(process.execPath)}:${process.env.PATH}` },
    stdio: ["ignore", "ignore", "pipe"],
  });
  const seen = new Map<string, number>();
  const waiting = new Set<() => void>();
  const said: string[] = [];
  let over = false;
  const changed = () => {
    for (const look of [...waiting]) look();
  };
  child.once("exit", () => {
    over = true;
    changed();
  });
  if (child.stderr !== null) {
    createInterface({ input: child.stderr }).on("line", (line) => {
      const event = /"event":"([\w.-]+)"/.exec(line)?.[1] ?? "";
      seen.set(event, (seen.get(event) ?? 0) + 1);
      if (event === "" || line.includes('"level":"error"')) said.push(line);
      changed();
    });
  }
  const proc = (file: string) => readFileSync(`/proc/${child.pid}/${file}`, "utf8");
  return {
    logged: (event, times) =>
      new Promise((resolve, reject) => {
        const look = () => {
          if ((seen.get(event) ?? 0) >= times) resolve();
          else if (over) reject(new Error(`the daemon ended before ${event}: ${said.join("\n")}`));
          else return;
          waiting.delete(look);
        };
        waiting.add(look);
        look();
      }),
    rss: () => {
      const status = proc("status");
      const bytes = (field: string) => Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1]) * 1_024;
      return { now: bytes("VmRSS"), most: bytes("VmHWM") };
    },
    cpuSeconds: () => {
      // proc_pid_stat(5): utime and stime are the 14th and 15th field; the second may hold spaces and ends with the last bracket.
      const fields = proc("stat").split(") ").at(-1)?.split(" ") ?? [];
      return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_S;
    },
    kill: async () => {
      if (over) return;
      child.kill("SIGKILL");
      await new Promise<void>((resolve) => child.once("exit", () => resolve()));
    },
  };
}
