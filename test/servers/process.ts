/** Billhook as its own process, as a user starts it: its log lines are events a test waits for, and it can be killed. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export const ENTRY = fileURLToPath(new URL("../../src/billhook.js", import.meta.url));

export type LogLine = { readonly event: string; readonly message?: string; readonly [field: string]: unknown };

export type Billhook = {
  readonly child: ChildProcess;
  /** Every line of standard output so far. */
  readonly out: readonly string[];
  /** Every log line (JSON on standard error) so far; lines that are no JSON stand in `said`. */
  readonly log: readonly LogLine[];
  readonly said: readonly string[];
  /** Resolves with the first line, already there or yet to come, that fits. Rejects when the process ends without one. */
  readonly logged: (fits: (line: LogLine) => boolean) => Promise<LogLine>;
  readonly printed: (fits: (line: string) => boolean) => Promise<string>;
  /** Resolves with the exit code, or the signal's name. */
  readonly ended: Promise<number | NodeJS.Signals>;
  readonly kill: (signal?: NodeJS.Signals) => Promise<number | NodeJS.Signals>;
};

const running = new Set<ChildProcess>();
process.once("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

export function startBillhook(args: readonly string[], env: Readonly<Record<string, string>> = {}, cwd?: string): Billhook {
  const child = spawn(process.execPath, [ENTRY, ...args], { env: { ...process.env, ...env }, cwd, stdio: ["ignore", "pipe", "pipe"] });
  running.add(child);
  const out: string[] = [];
  const log: LogLine[] = [];
  const said: string[] = [];
  const listeners = new Set<() => void>();
  const changed = () => {
    for (const listener of [...listeners]) listener();
  };
  const readers = [
    createInterface({ input: child.stdout }).on("line", (line) => {
      out.push(line);
      changed();
    }),
    createInterface({ input: child.stderr }).on("line", (line) => {
      const entry = parsed(line);
      if (entry === null) said.push(line);
      else log.push(entry);
      changed();
    }),
  ];
  let over = false;
  const ended = (async () => {
    const [[code, signal]] = await Promise.all([once(child, "exit"), ...readers.map((reader) => once(reader, "close"))]);
    running.delete(child);
    over = true;
    changed();
    return (code ?? signal) as number | NodeJS.Signals;
  })();
  ended.catch(() => {});

  const seen = <T>(lines: readonly T[], fits: (line: T) => boolean): Promise<T> =>
    new Promise((resolve, reject) => {
      let from = 0;
      const look = () => {
        while (from < lines.length) {
          const line = lines[from++] as T;
          if (!fits(line)) continue;
          listeners.delete(look);
          return resolve(line);
        }
        if (!over) return;
        listeners.delete(look);
        reject(
          new Error(
            `billhook ${args.join(" ")} ended first:\n${[...said, ...log.map((l) => JSON.stringify(l)), ...out].slice(-30).join("\n")}`,
          ),
        );
      };
      listeners.add(look);
      look();
    });

  return {
    child,
    out,
    log,
    said,
    logged: (fits) => seen(log, fits),
    printed: (fits) => seen(out, fits),
    ended,
    kill: (signal = "SIGTERM") => {
      child.kill(signal);
      return ended;
    },
  };
}

/** Runs one command to its end. */
export async function billhook(args: readonly string[], env: Readonly<Record<string, string>> = {}, cwd?: string) {
  const run = startBillhook(args, env, cwd);
  const code = await run.ended;
  return { code, out: run.out, said: run.said, log: run.log };
}

function parsed(line: string): LogLine | null {
  try {
    const value = JSON.parse(line) as LogLine | null;
    return typeof value?.event === "string" ? value : null;
  } catch {
    return null;
  }
}
