/** Directories for tests: one that goes away again, and disks that are small, full or read-only. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";

export async function temporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "billhook-test-"));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** Why a file system of its own cannot be had here; null when it can. */
export const noDisk: string | null = (() => {
  const directory = mkdtempSync(join(tmpdir(), "billhook-disk-"));
  try {
    mount(directory, "64k");
    execFileSync("umount", [directory], { stdio: "pipe" });
    return null;
  } catch {
    return "mounting a tmpfs needs root";
  } finally {
    rmSync(directory, { recursive: true });
  }
})();

function mount(directory: string, size: string): void {
  execFileSync("mount", ["-t", "tmpfs", "-o", `size=${size},mode=0700`, "tmpfs", directory], { stdio: "pipe" });
}

/** The same on a directory that is there already, until what this returns is called. */
export function mountDisk(directory: string, size: string): () => void {
  mount(directory, size);
  return () => void execFileSync("umount", ["--lazy", directory], { stdio: "pipe" });
}

/** A file system of this size (`512k`). */
export async function smallDisk(size: string): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "billhook-disk-"));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  mount(directory, size);
  onTestFinished(() => void execFileSync("umount", ["--lazy", directory], { stdio: "pipe" }));
  return directory;
}

/** A directory that can be made read-only, for root too: on a disk of its own where that can be had. */
export function guardedDirectory(): Promise<string> {
  return noDisk === null ? smallDisk("1m") : temporaryDirectory();
}

export async function makeReadOnly(directory: string): Promise<void> {
  if (noDisk === null) execFileSync("mount", ["-o", "remount,ro", directory], { stdio: "pipe" });
  else await chmod(directory, 0o500);
}

export async function makeWritable(directory: string): Promise<void> {
  if (noDisk === null) execFileSync("mount", ["-o", "remount,rw", directory], { stdio: "pipe" });
  else await chmod(directory, 0o700);
}
