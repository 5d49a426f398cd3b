/** A lease: one at a time, and none that outlives the process it was given to. */
import { spawnSync } from "node:child_process";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import { type Clock, systemClock } from "../../src/base/clock.ts";
import { takeLease } from "../../src/signin/lease.ts";
import { temporaryDirectory } from "../store/disk.ts";

let directory: string;
let path: string;
beforeEach(async () => {
  directory = await temporaryDirectory();
  path = join(directory, "invoices.lease");
});

const left = (more: object) =>
  writeFile(path, JSON.stringify({ id: "x", life: "y", pid: 1, host: hostname(), since: Date.now(), ...more }));
/** Waiting is passing over time. */
function hasty() {
  let ahead = 0;
  const start = Date.now();
  const clock: Clock = {
    ...systemClock,
    now: () => new Date(start + ahead),
    sleep: async (milliseconds) => {
      ahead += milliseconds;
    },
  };
  return { clock, waited: () => ahead };
}

test("one at a time, in any number, and nothing is left behind", async () => {
  const quick: Clock = { ...systemClock, sleep: () => systemClock.sleep(1) };
  let inside = 0;
  const work = Array.from({ length: 12 }, async () => {
    const giveBack = await takeLease(path, quick);
    inside++;
    await systemClock.sleep(1);
    expect(inside).toBe(1);
    inside--;
    await giveBack();
  });
  await Promise.all(work);
  expect(await readdir(directory)).toEqual([]);
});

test("one that a dead process left is taken over at once", async () => {
  const { clock, waited } = hasty();
  const { pid } = spawnSync("true");
  for (const holder of [{ pid }, { pid: process.pid, life: "of the process that had this number before" }]) {
    await left(holder);
    await (await takeLease(path, clock))();
  }
  await writeFile(path, '{"id":');
  await (await takeLease(path, clock))();
  expect(waited()).toBe(0);
  expect(await readdir(directory)).toEqual([]);
});

test("one of a living process, or of another machine, is believed for a minute", async () => {
  for (const holder of [{ pid: process.ppid }, { pid: process.pid, host: "another" }]) {
    const { clock, waited } = hasty();
    await left(holder);
    const giveBack = await takeLease(path, clock);
    expect(waited()).toBeGreaterThan(59_000);
    expect(waited()).toBeLessThan(62_000);
    await giveBack();
  }
});

test("whoever came too late to give it back leaves the next one's alone", async () => {
  const giveBack = await takeLease(path, systemClock);
  await left({ id: "of the next one" });
  await giveBack();
  expect(await readFile(path, "utf8")).toContain("of the next one");
});
