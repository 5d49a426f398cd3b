/** The command line: help loads nothing heavy, wrong use is exit code 2, an old Node is told in one line. */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { status } from "../../src/cli/status.ts";
import { openLedger } from "../../src/store/sql.ts";
import { billhook, ENTRY } from "../servers/process.ts";
import { temporaryDirectory } from "../store/disk.ts";
import { id, receive, splitDone, taskOf } from "../store/ledgers/story.ts";

const exec = promisify(execFile);

describe("billhook", () => {
  it("--help lists the commands and exits 0", async () => {
    const { code, out } = await billhook(["--help"]);
    expect(code).toBe(0);
    const commands = ["run", "check", "status", "list", "show", "retry", "release", "ignore", "reextract", "export", "replay"];
    for (const command of [...commands, "split", "sandbox", "demo", "config"])
      expect(out.join("\n")).toMatch(new RegExp(`^ {2}${command} `, "m"));
  });

  it("--help opens none of the doors", async () => {
    const hook = `import { registerHooks } from "node:module"; registerHooks({ load(url, context, next) { if (/node_modules/.test(url)) console.error("LOADED " + url); return next(url, context); } });`;
    const { stderr } = await exec(process.execPath, ["--import", `data:text/javascript,${encodeURIComponent(hook)}`, ENTRY, "--help"]);
    const loaded = stderr.split("\n").filter((line) => line.startsWith("LOADED "));
    expect(loaded.length).toBeGreaterThan(0);
    expect(loaded.filter((line) => !line.includes("/commander/"))).toEqual([]);
  });

  it.each([
    [["nonsense"]],
    [["run", "--nonsense"]],
    [["split"]],
    [["sandbox", "--port", "x"]],
    [["config"]],
    [["retry", "-c", "x"]],
    [["show"]],
    [["ignore", "abcd"]],
    [["list", "--limit", "x"]],
  ])("%j is wrong use: exit 2", async (args) => {
    expect((await billhook(args)).code).toBe(2);
  });

  it.each([[["--help"]], [["config", "--reference"]], [["sandbox", "--port", "0"]]])("%j ends well when nobody reads on", async (args) => {
    const child = spawn(process.execPath, [ENTRY, ...args], { stdio: ["ignore", "pipe", "pipe"] });
    child.stdout.destroy();
    const said = text(child.stderr);
    expect(await once(child, "close")).toEqual([0, null]);
    expect(await said).toBe("");
  });

  it("a port that is none is told", async () => {
    const { code, said } = await billhook(["sandbox", "--port", "99999"]);
    expect(code).toBe(2);
    expect(said.join("\n")).toMatch(/--port.*99999.*from 0 to 65535/);
  });

  it("a demo that has nowhere to write says so: exit 2", async () => {
    const { code, said } = await billhook(["demo", "--once", "--out", ENTRY]);
    expect(code).toBe(2);
    expect(said.join("\n")).toMatch(/cannot make the directory .*\n.*--out/);
  });

  it("a configuration that is not there is exit 2, with what to do", async () => {
    const { code, said } = await billhook(["run", "-c", "/nowhere/config.yaml"]);
    expect(code).toBe(2);
    expect(said.join("\n")).toMatch(/\/nowhere\/config\.yaml.*\n.*example\.yaml/);
  });

  it("an old Node is told in one line before anything newer is read", async () => {
    const older = "Object.defineProperty(process.versions, 'node', { value: '20.20.2' })";
    const failed = await exec(process.execPath, ["--import", `data:text/javascript,${encodeURIComponent(older)}`, ENTRY, "--help"]).catch(
      (thrown: unknown) => thrown,
    );
    expect(failed).toMatchObject({ code: 2, stdout: "" });
    expect((failed as { stderr: string }).stderr.trim()).toBe(
      "billhook needs Node 24 or newer; this is Node 20.20.2. Install Node 24 (https://nodejs.org) or use the container.",
    );
  });
});

describe("status tells what was spent", () => {
  const DAY_MS = 86_400_000;

  it("today and on each of the six days before, as text and as JSON", async () => {
    const directory = await temporaryDirectory();
    const config = join(directory, "config.yaml");
    await writeFile(
      config,
      `
state: { directory: ./state }
mailboxes: { invoices: { host: localhost, user: u, password: p } }
services: { extend: { kind: extend, apiKey: some-key } }
sinks: { files: { kind: file, directory: ./out } }
`,
    );
    const ledger = await openLedger({ directory: join(directory, "state"), own: true, now: new Date() });
    await receive(ledger, "a", 11);
    await ledger.save(await taskOf(ledger, "a", "split"), splitDone("a"), new Date());
    const spend = async (daysAgo: number, credits: number | null, possiblyTwice = 0) => {
      const run = { document: `${id("a")}.1`, service: "extend", mailbox: "invoices", runId: `r${daysAgo}`, credits, possiblyTwice };
      const at = new Date(Date.now() - daysAgo * DAY_MS);
      await ledger.save(await taskOf(ledger, "a", "extract"), { is: "later", at, memo: null, run }, at);
      return at.toISOString().slice(0, 10);
    };
    const [today, yesterday, sixth] = [await spend(0, 3), await spend(1, null, 1), await spend(6, 2.5)];
    await spend(7, 9);
    await ledger.close();

    const said = async (json: boolean) => {
      const lines: string[] = [];
      const terminal = { out: (line: string) => void lines.push(line), say: () => {}, stop: new AbortController().signal };
      expect(await status({ config, alive: false, json }, terminal)).toBe(0);
      return lines;
    };
    const lines = await said(false);
    expect(lines.filter((line) => line.includes("extend: "))).toEqual([
      "today     extend: 1 runs, 3 credits for invoices",
      `${yesterday} extend: 1 runs for invoices, 1 possibly twice`,
      `${sixth} extend: 1 runs, 2.5 credits for invoices`,
    ]);
    const { spending, week } = JSON.parse((await said(true)).join("")) as { spending: unknown; week: { day: string }[] };
    expect(spending).toMatchObject([{ day: today, runs: 1, credits: 3 }]);
    expect(week.map(({ day }) => day)).toEqual([today, yesterday, sixth]);
    expect(week[0]).toEqual((spending as unknown[])[0]);
  });
});
