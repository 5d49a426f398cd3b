/** The mail others collected: `billhook split` survives every file, and finds at least the shares mailparser is known for. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { split } from "../../src/cli/split.ts";

const root = new URL("../../", import.meta.url).pathname;
const corpus = join(root, "../shared/corpus");
const missing = !existsSync(corpus);
const score = async (...options: string[]) => {
  const tool = [
    join(corpus, "tool/score.mjs"),
    "--adapter",
    `'${process.execPath}' '${join(root, "test/message/adapter.ts")}'`,
    ...options,
  ];
  const { stdout } = await promisify(execFile)(process.execPath, tool, { env: { ...process.env, CORPUS: corpus, NO_COLOR: "1" } });
  const rows = stdout.split("\n").filter((line) => line.includes("│"));
  const cells = (row: string) =>
    row
      .split("│")
      .slice(1, -1)
      .map((cell) => cell.trim().replaceAll("'", ""));
  const [head = [], ...body] = rows.map(cells);
  return body.map((row) => Object.fromEntries(row.map((cell, at) => [head[at] ?? "", cell])));
};

describe.skipIf(missing)(`corpus${missing ? " (skipped: no ../shared/corpus beside the project)" : ""}`, () => {
  test("every file gives one line, without a fault of the parser", { timeout: 120_000 }, async () => {
    const entries = await readdir(corpus, { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
    const lines: string[] = [];
    expect(await split(files, { json: true }, (line) => lines.push(line))).toBe(0);
    const answers = lines.map((line) => JSON.parse(line) as { file: string; faults?: { code: string }[] });
    expect(answers.map(({ file }) => file)).toEqual(files);
    const broken = /^message\.(unparsable|stalled|part-cut)$/;
    expect(answers.filter(({ faults = [] }) => faults.some(({ code }) => broken.test(code)))).toEqual([]);
  });

  test("the shares found", async () => {
    const sets = ["--sets", "mime4j-testmsgs,stalwart-rfc,stalwart-thirdparty,cons-enmime,cons-ruby-mail,cons-mailparser,cons-postal-mime"];
    const all = await score(...sets);
    const settled = await score(...sets, "--exclude-disputed");
    const shares = (rows: typeof all) => Object.fromEntries(rows.map((row) => [row.set, Number(row["content%"])]));
    const least = {
      "mime4j-testmsgs": 96.7,
      "stalwart-rfc": 100,
      "stalwart-thirdparty": 100,
      "cons-enmime": 98.9,
      "cons-ruby-mail": 98.2,
      "cons-mailparser": 93.8,
      "cons-postal-mime": 100,
    };
    for (const [set, share] of Object.entries(least)) expect(shares(all)[set], set).toBeGreaterThanOrEqual(share);
    expect(shares(settled)["mime4j-testmsgs"]).toBe(100);
    for (const row of all) expect([row.errors, row.crashes, row.hangs], row.set).toEqual(["0", "0", "0"]);
  });

  test("the robust list, in another process", async () => {
    const rows = await score("--robust");
    const listed = (await readFile(join(corpus, "oracle/robust.list"), "utf8")).trim().split("\n");
    expect(rows.reduce((sum, row) => sum + Number(row.msgs), 0)).toBe(listed.length);
    for (const row of rows) expect([row.errors, row.crashes, row.hangs], row.set).toEqual(["0", "0", "0"]);
  });
});
