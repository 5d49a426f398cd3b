/** Starts processes for tests of the store, traced by strace(1) when their system calls are the proof. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { onTestFinished } from "vitest";
import { temporaryDirectory } from "./disk.ts";

const program = new URL("child.ts", import.meta.url).pathname;

export type Child = { readonly line: () => Promise<unknown>; readonly kill: () => Promise<void>; readonly pid: number };

/** `line` is the next thing it says, or null when it has ended. */
export function startChild(...args: readonly string[]): Child {
  const child = spawn(process.execPath, [program, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const kill = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
  };
  onTestFinished(kill);
  return { pid: child.pid ?? 0, kill, line: async () => said(await lines.next()) };
}

function said(next: IteratorResult<string>): unknown {
  return next.done === true ? null : JSON.parse(next.value);
}

/** Why system calls cannot be traced here; null when they can. Installs strace where that is allowed. */
export const noStrace: string | null = (() => {
  const works = () => execFileSync("strace", ["-o", "/dev/null", "true"], { stdio: "pipe" });
  try {
    works();
    return null;
  } catch {
    // Not there, or not allowed to trace.
  }
  try {
    execFileSync("apt-get", ["install", "-y", "--no-install-recommends", "strace"], { stdio: "pipe", timeout: 60_000 });
    works();
    return null;
  } catch {
    return "needs strace: apt-get install strace";
  }
})();

export type Call = { readonly name: string; readonly text: string; readonly begun: number; readonly ended: number };

/** The system calls of one run, in order of their beginning; `begun` and `ended` are moments on one scale. */
export async function traced(calls: readonly string[], ...args: readonly string[]): Promise<readonly Call[]> {
  const file = join(await temporaryDirectory(), "trace");
  const options = ["-f", "-y", "-s", "200", "-e", `trace=${calls.join(",")}`, "-o", file];
  const child: ChildProcess = spawn("strace", [...options, process.execPath, program, ...args], { stdio: ["ignore", "ignore", "inherit"] });
  const [code] = await once(child, "exit");
  if (code !== 0) throw new Error(`strace ended with ${code}`);
  return callsOf(await readFile(file, "utf8"));
}

function callsOf(trace: string): readonly Call[] {
  const calls: { name: string; text: string; begun: number; ended: number }[] = [];
  const unfinished = new Map<string, (typeof calls)[number]>();
  for (const [moment, line] of trace.split("\n").entries()) {
    const [, thread = "", text = ""] = /^(\d+)\s+(.*)$/.exec(line) ?? [];
    const resumed = /^<\.\.\. \w+ resumed>/.test(text);
    const begun = unfinished.get(thread);
    if (resumed && begun !== undefined) begun.ended = moment;
    const name = /^(\w+)\(/.exec(text)?.[1];
    if (name === undefined) continue;
    const call = { name, text, begun: moment, ended: moment };
    calls.push(call);
    if (text.includes("<unfinished ...>")) unfinished.set(thread, call);
  }
  return calls;
}
