/** What `npm pack` makes is a `billhook` that runs, from under node_modules, without TypeScript. */
import { execFileSync } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const top = fileURLToPath(new URL("../../", import.meta.url));

describe("the package", () => {
  let directory: string;
  let installed: string;
  const run = (...args: string[]) =>
    execFileSync(process.execPath, [join(installed, "dist/billhook.js"), ...args], { encoding: "utf8", cwd: directory });

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "billhook-pack-"));
    // Packed from a copy: `npm pack` builds, and another test may be reading this tree.
    const copy = join(directory, "tree");
    await mkdir(copy);
    for (const name of ["package.json", "tsconfig.json", ".ci", "src", "config", "fixtures", "LICENSE", "README.md"]) {
      await cp(join(top, name), join(copy, name), { recursive: true });
    }
    await symlink(join(top, "node_modules"), join(copy, "node_modules"));
    const [packed] = JSON.parse(
      execFileSync("npm", ["pack", "--json", "--pack-destination", directory], { cwd: copy, encoding: "utf8" }),
    ) as [{ filename: string }];
    installed = join(directory, "node_modules", "billhook");
    await mkdir(installed, { recursive: true });
    execFileSync("tar", ["-xzf", join(directory, packed?.filename ?? ""), "-C", installed, "--strip-components=1"]);
    await symlink(join(top, "node_modules"), join(installed, "node_modules"));
  }, 120_000);
  afterAll(() => rm(directory, { recursive: true, force: true }));

  it("says its version", async () => {
    const { version } = JSON.parse(await readFile(join(top, "package.json"), "utf8")) as { version: string };
    expect(run("--version").trim()).toBe(version);
  });

  it("splits a mail and reads a PDF in its worker thread: the demo runs whole", async () => {
    const last = run("demo", "--once", "--json", "--out", join(directory, "out")).trim().split("\n").at(-1) ?? "";
    const { messages, settled, failed, delivered } = JSON.parse(last) as Record<string, number>;
    expect({ messages, settled, failed, delivered }).toEqual({ messages: 18, settled: 18, failed: 2, delivered: 16 });
  });

  it("holds no TypeScript, no tests and no fixtures but the demo's mail", () => {
    const files = execFileSync("find", [".", "-type", "f", "-not", "-path", "./node_modules/*"], { cwd: installed, encoding: "utf8" })
      .trim()
      .split("\n");
    expect(files.filter((file) => /\.ts$|\/test\/|\/fixtures\/(?!mail\/)/.test(file))).toEqual([]);
  });
});
