/** The house stands: the walls hold in the real tree, and each of them is seen to fall when it is broken. */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { crooked, type Tree } from "./house.ts";

const top = new URL("..", import.meta.url).pathname;

function realTree(): Tree {
  const listed = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard"], { cwd: top, encoding: "utf8" });
  const paths = listed.split("\n").filter((path) => path !== "" && existsSync(top + path));
  return new Map(paths.map((path) => [path, path.endsWith(".ts") ? readFileSync(top + path, "utf8") : ""]));
}

describe("the house", () => {
  it("has no crooked corner", () => {
    expect(crooked(realTree())).toEqual([]);
  });

  it("depends on nothing that has no line in DECISIONS.md", () => {
    const { dependencies } = JSON.parse(readFileSync(`${top}package.json`, "utf8")) as { dependencies: Record<string, string> };
    const decisions = readFileSync(`${top}DECISIONS.md`, "utf8");
    expect(Object.keys(dependencies).filter((name) => !decisions.includes(`**${name}**`))).toEqual([]);
  });

  it("pins every version exactly", () => {
    const { dependencies, devDependencies } = JSON.parse(readFileSync(`${top}package.json`, "utf8")) as Record<
      string,
      Record<string, string>
    >;
    expect(Object.entries({ ...dependencies, ...devDependencies }).filter(([, version]) => !/^\d/.test(version))).toEqual([]);
  });
});

describe("a broken wall is noticed", () => {
  const head = "/** A file of a test. */\n";
  const sound: readonly (readonly [string, string])[] = [
    ["src/base/errors.ts", head],
    ["src/sink/sink.ts", head],
    ["src/sink/file.ts", `${head}import { x } from "./sink.ts";\n`],
    ["src/store/store.ts", head],
  ];
  const broken: readonly (readonly [why: string, path: string, text: string, said: RegExp])[] = [
    [
      "a room imports to the left",
      "src/message/parse.ts",
      `${head}import { x } from "../pipeline/split.ts";\n`,
      /message may not know pipeline/,
    ],
    ["a role imports a role", "src/sink/http.ts", `${head}import type { L } from "../store/store.ts";\n`, /sink may not know store/],
    [
      "an implementation is named",
      "src/pipeline/deliver.ts",
      `${head}import { f } from "../sink/file.ts";\n`,
      /sink is known by sink\.ts, delivery\.ts only/,
    ],
    [
      "it is named by a lazy import",
      "src/pipeline/deliver.ts",
      `${head}const f = import("../sink/file.ts");\n`,
      /sink is known by sink\.ts, delivery\.ts only/,
    ],
    ["a package is used beside its door", "src/pipeline/split.ts", `${head}import { MailParser } from "mailparser";\n`, /whose door is/],
    [
      "the inside of another implementation",
      "src/sink/file.ts",
      `${head}import { x } from "./smtp/words.ts";\n`,
      /what is in src\/sink\/smtp\/ is for src\/sink\/smtp\.ts/,
    ],
    ["a package without a door", "src/http/http.ts", `${head}import left from "left-pad";\n`, /left-pad, which has no door/],
    ["configuration is read below the daemon", "src/sink/http.ts", `${head}const k = process.env.KEY;\n`, /reads the environment/],
    ["the clock is read below the daemon", "src/pipeline/retry.ts", `${head}const t = Date.now();\n`, /reads the clock/],
    ["a second class", "src/base/files.ts", `${head}export class File {}\n`, /the only class is Fault/],
    ["a name that says nothing", "src/base/utils.ts", head, /says nothing/],
    ["a barrel", "src/sink/index.ts", head, /says nothing/],
    ["no first sentence", "src/base/files.ts", "const x = 1;\n", /first line/],
    ["a file too long", "src/base/files.ts", head + "\n".repeat(300), /301 lines/],
    ["an unknown room", "src/lib/thing.ts", head, /not a room/],
    ["an unknown thing at the top", "notes.txt", "", /not a thing of the top level/],
    ["a test of no room", "test/lib/thing.test.ts", "", /there is no room lib/],
  ];
  it.each(broken)("%s", (_why, path, text, said) => {
    expect(crooked(new Map(sound))).toEqual([]);
    expect(crooked(new Map([...sound, [path, text]])).join("\n")).toMatch(said);
  });

  it("a circle, even of types", () => {
    const tree = new Map([
      ["src/base/a.ts", `${head}import type { B } from "./b.ts";\n`],
      ["src/base/b.ts", `${head}import type { A } from "./a.ts";\n`],
    ]);
    expect(crooked(tree)).toEqual(["a circle: src/base/a.ts -> src/base/b.ts -> src/base/a.ts"]);
  });
});
