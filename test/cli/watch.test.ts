/** `billhook status --watch`: again every two seconds by the clock, in place on a terminal, a line of JSON each otherwise, until it is stopped. */
import { rename } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { Clock } from "../../src/base/clock.ts";
import { frameOf } from "../../src/cli/screen.ts";
import { status } from "../../src/cli/status.ts";
import type { Terminal } from "../../src/cli/terminal.ts";
import { billhook, startBillhook } from "../servers/process.ts";
import { mailOf, openCounter } from "./desk.ts";

/** Runs it for so many looks; `between` is called before each wait is over. */
async function watch(
  config: string,
  looks: number,
  json: boolean,
  size: Terminal["size"] | null,
  between: (look: number) => Promise<unknown>,
) {
  const stop = new AbortController();
  const written: string[] = [];
  const slept: number[] = [];
  const clock: Clock = {
    now: () => new Date(Date.parse("2026-05-04T12:00:00Z") + slept.length * 2_000),
    random: () => 0,
    sleep: async (milliseconds) => {
      slept.push(milliseconds);
      await between(slept.length);
      if (slept.length === looks) stop.abort();
    },
  };
  const terminal: Terminal = { out: (text) => void written.push(text), say: () => {}, stop: stop.signal, ...(size ? { size } : {}) };
  const code = await status({ config, alive: false, watch: true, json }, terminal, clock);
  return { code, written, slept };
}

describe("status --watch", () => {
  it("writes one picture over the other, each in one piece, and none larger than the terminal", async () => {
    const { config, take } = await openCounter();
    const size = { columns: 60, rows: 30 };
    const first = await watch(
      config,
      3,
      false,
      () => size,
      async (look) => (look === 1 ? take(mailOf("refuse")) : null),
    );
    expect(first).toMatchObject({ code: 0, slept: [2_000, 2_000, 2_000] });
    expect(first.written).toHaveLength(3);
    for (const [at, frame] of first.written.entries()) {
      expect(frame).toMatch(/^\x1b\[H2026-05-04T12:00:0\d/);
      expect(frame.endsWith("\x1b[K\x1b[J")).toBe(true);
      expect(/failed +[0-9a-f]{16}/.test(frame)).toBe(at > 0);
      const lines = frame.split("\n").map((line) => line.replaceAll(/\x1b\[[HJK]/g, ""));
      expect(lines.length).toBeLessThan(size.rows);
      for (const line of lines) expect(line.length).toBeLessThan(size.columns);
    }
  });

  it("with --json it is a line each, and goes on while the ledger cannot be asked", async () => {
    const { config, directory, take } = await openCounter();
    await take(mailOf("refuse"));
    const [state, away] = [join(directory, "state"), join(directory, "away")];
    const { code, written } = await watch(config, 3, true, null, async (look) => {
      if (look === 1) await rename(state, away);
      if (look === 2) await rename(away, state);
    });
    const told = written.map((line) => JSON.parse(line) as { stuck?: unknown[]; reasons: { code: string }[] });
    expect([code, told.length]).toEqual([0, 3]);
    expect([told[0]?.stuck?.length, told[2]?.stuck?.length]).toEqual([1, 1]);
    expect(told[1]).toMatchObject({ alive: false, reasons: [{ about: "ledger" }] });
  });

  it("ends at the first Ctrl-C with exit 0, as a process too", async () => {
    const { config } = await openCounter();
    const watching = startBillhook(["status", "--watch", "--json", "-c", config]);
    await watching.printed((line) => line.startsWith("{"));
    expect(await watching.kill("SIGINT")).toBe(0);
    expect((await billhook(["status", "--watch", "-c", "/nowhere.yaml"])).code).toBe(2);
  });
});

describe("a frame", () => {
  it("says how many lines there was no room for", () => {
    const lines = ["a", "b", "c", "d", "e"];
    expect(frameOf(lines, { columns: 80, rows: 4 })).toBe("\x1b[Ha\x1b[K\nb\x1b[K\n… and 3 more lines\x1b[K\x1b[J");
    expect(frameOf(lines, { columns: 80, rows: 6 })).toBe(`\x1b[H${lines.join("\x1b[K\n")}\x1b[K\x1b[J`);
    expect(frameOf(["äöü€𝒳z"], { columns: 6, rows: 9 })).toBe("\x1b[Häöü€𝒳\x1b[K\x1b[J");
    for (const size of [
      { columns: 0, rows: 0 },
      { columns: 1, rows: 1 },
    ])
      expect(frameOf(lines, size)).toContain("a");
  });
});
