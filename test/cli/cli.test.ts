/** The command line: help loads nothing heavy, wrong use is exit code 2, an old Node is told in one line. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { ailmentsOf } from "../../src/cli/status.ts";
import { billhook, ENTRY } from "../servers/process.ts";

const exec = promisify(execFile);

describe("billhook", () => {
  it("--help lists the commands and exits 0", async () => {
    const { code, out } = await billhook(["--help"]);
    expect(code).toBe(0);
    for (const command of ["run", "check", "status", "retry", "split", "sandbox", "demo", "config"])
      expect(out.join("\n")).toMatch(new RegExp(`^ {2}${command} `, "m"));
  });

  it("--help opens none of the doors", async () => {
    const hook = `import { registerHooks } from "node:module"; registerHooks({ load(url, context, next) { if (/node_modules/.test(url)) console.error("LOADED " + url); return next(url, context); } });`;
    const { stderr } = await exec(process.execPath, ["--import", `data:text/javascript,${encodeURIComponent(hook)}`, ENTRY, "--help"]);
    const loaded = stderr.split("\n").filter((line) => line.startsWith("LOADED "));
    expect(loaded.length).toBeGreaterThan(0);
    expect(loaded.filter((line) => !line.includes("/commander/"))).toEqual([]);
  });

  it.each([[["nonsense"]], [["run", "--nonsense"]], [["split"]], [["sandbox", "--port", "x"]], [["config"]], [["retry", "-c", "x"]]])(
    "%j is wrong use: exit 2",
    async (args) => {
      expect((await billhook(args)).code).toBe(2);
    },
  );

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

describe("status --alive", () => {
  const now = new Date("2026-03-01T12:00:00Z");
  const beat = (seconds: number, missedSweeps: number) => ({
    at: new Date(now.getTime() - seconds * 1_000).toISOString(),
    alive: true,
    pid: 1,
    mailboxes: [
      {
        mailbox: "invoices",
        sweptAt: "2026-03-01T11:59:00Z",
        missedSweeps,
        trouble: { code: "imap.login", message: "login refused", advice: null, temporary: true },
      },
    ],
  });
  it.each([
    ["no daemon was ever here", null, ["invoices"], /never been seen/],
    ["the daemon is silent", beat(61, 0), ["invoices"], /last seen alive 61 s ago/],
    ["a mailbox missed three sweeps", beat(5, 3), ["invoices"], /invoices has not been read since 2026-03-01T11:59:00Z: login refused/],
    ["a mailbox is not watched", beat(5, 0), ["invoices", "other"], /other is not being watched/],
  ] as const)("is red when %s", (_why, pulse, mailboxes, said) => {
    expect(ailmentsOf(pulse, mailboxes, now).join("\n")).toMatch(said);
  });
  it("is green while sweeps come in, though one is late", () => {
    expect(ailmentsOf(beat(5, 2), ["invoices"], now)).toEqual([]);
  });
});
