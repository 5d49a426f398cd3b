/** A machine that turns hostile, for real: another process that locks the ledger, system calls that fail, too few files, a clock that leaps. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createReadStream } from "node:fs";
import { open, readdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import Database from "better-sqlite3";
import { expect, onTestFinished } from "vitest";
import { LEDGER_FILE } from "../../src/store/sql.ts";

export type Actor = {
  readonly pid: number;
  /** What it says next; null when it has ended. */
  readonly line: () => Promise<unknown>;
  readonly tell: (line: string) => void;
  readonly kill: () => Promise<void>;
};

export function startActor(what: "lock" | "write", path: string): Actor {
  const program = new URL("actor.ts", import.meta.url).pathname;
  const child = spawn(process.execPath, [program, what, path], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const kill = () => ended(child, "SIGKILL");
  onTestFinished(kill);
  return {
    pid: child.pid ?? 0,
    line: async () => {
      const next = await lines.next();
      return next.done === true ? null : JSON.parse(next.value);
    },
    tell: (line) => void child.stdin.write(`${line}\n`),
    kill,
  };
}

/** Another process has the ledger locked from when this resolves until what it resolves with has. */
export async function lockLedger(directory: string): Promise<() => Promise<void>> {
  const locker = startActor("lock", join(directory, LEDGER_FILE));
  expect(await locker.line()).toBe("locked");
  return locker.kill;
}

export type Trouble = {
  readonly pid: number;
  readonly calls: readonly string[];
  readonly error: string;
  /** Only there; everywhere without. */
  readonly paths?: readonly string[];
  /** Calls that go well, and are seen. */
  readonly watched?: readonly string[];
};

/** System calls of a process fail from when this resolves until what it resolves with has: with the calls that were made meanwhile. */
export async function failing({ pid, calls, error, paths = [], watched = [] }: Trouble): Promise<() => Promise<readonly string[]>> {
  const names = calls.join(",");
  const only = paths.flatMap((path) => ["-P", path]);
  const options = [
    "-f",
    "-y",
    "-e",
    `trace=${[...calls, ...watched].join(",")}`,
    "-e",
    `inject=${names}:error=${error}`,
    ...only,
    "-p",
    String(pid),
  ];
  const strace = spawn("strace", options, { stdio: ["ignore", "ignore", "pipe"] });
  const seen: string[] = [];
  const attached = Promise.withResolvers<void>();
  createInterface({ input: strace.stderr }).on("line", (line) => {
    seen.push(line);
    if (/ attached/.test(line)) attached.resolve();
  });
  onTestFinished(() => ended(strace, "SIGKILL"));
  await attached.promise;
  return async () => {
    await ended(strace, "SIGTERM");
    return seen.filter((line) => line.includes(" = "));
  };
}

async function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, "exit");
  child.kill(signal);
  await exit;
}

/** How many files the process may have open; none at all, not even for a moment, is `0`. */
export function limitFiles(pid: number, most: number): void {
  execFileSync("prlimit", ["--pid", String(pid), `--nofile=${most}:`]);
}

/** Writes until the disk takes no more. */
export async function fill(path: string): Promise<void> {
  const file = await open(path, "w");
  try {
    for (const piece of [64 * 1024, 512]) await fillBy(file, Buffer.alloc(piece));
  } finally {
    await file.close();
  }
}

async function fillBy(file: Awaited<ReturnType<typeof open>>, piece: Buffer): Promise<void> {
  try {
    for (;;) await file.write(piece);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== "ENOSPC") throw thrown;
  }
}

/** The ledger is whole, every file of the spool holds the bytes it is named by, and nothing unfinished is left. */
export async function expectSound(state: string): Promise<void> {
  const ledger = new Database(join(state, LEDGER_FILE));
  try {
    expect(ledger.pragma("integrity_check", { simple: true })).toBe("ok");
    expect(ledger.pragma("foreign_key_check")).toEqual([]);
  } finally {
    ledger.close();
  }
  for (const entry of await readdir(join(state, "spool"), { recursive: true, withFileTypes: true }).catch(() => [])) {
    if (!entry.isFile()) continue;
    const hash = createHash("sha256");
    for await (const chunk of createReadStream(join(entry.parentPath, entry.name))) hash.update(chunk);
    expect(hash.digest("hex")).toBe(basename(entry.name, ".eml"));
  }
}
