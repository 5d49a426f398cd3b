/** Money with real processes: an account at its end, the kill switch, and limits, as a person at the command line meets them. */
import { readFile, writeFile } from "node:fs/promises";
import { afterEach, describe, expect, it } from "vitest";
import { openLedger } from "../../src/store/sql.ts";
import { requireDovecot } from "../servers/dovecot.ts";
import type { LogLine } from "../servers/process.ts";
import { type Counts, fixtures, type Stage, type StageOptions, startStage } from "./stage.ts";

const missing = requireDovecot();

type Status = {
  readonly counts: { readonly open: number; readonly held: number };
  readonly paused: readonly { readonly name: string; readonly why: string }[];
  readonly spending: readonly {
    readonly service: string;
    readonly mailbox: string;
    readonly runs: number;
    readonly credits: number | null;
  }[];
  readonly stuck: readonly { readonly id: string; readonly standing: string; readonly faults: readonly { readonly code: string }[] }[];
};

/** Counts the lines of this event, of different messages. */
function times(event: string, count: number): (line: LogLine) => boolean {
  const seen = new Set<unknown>();
  return (line) => {
    if (line.event === event) seen.add(line.message);
    return seen.size >= count;
  };
}

describe.skipIf(missing !== null)(`money at Extend, at the command line${missing === null ? "" : ` - skipped: ${missing}`}`, () => {
  let stage: Stage | null = null;
  afterEach(async () => {
    await stage?.stop();
    stage = null;
  });

  const begin = async (options: StageOptions): Promise<Stage> => {
    stage = await startStage({ service: "extend", ...options });
    return stage;
  };
  const command = async (at: Stage, ...args: string[]) => {
    const run = at.start(...args);
    const code = await run.ended;
    return { code, text: run.out.join("\n") };
  };
  const statusOf = async (at: Stage) => JSON.parse((await command(at, "status", "--json")).text) as Status;
  /** The same invoice in mails of different bytes. */
  const append = async (at: Stage, from: number, to: number) => {
    const xml = (await fixtures()).find(({ name }) => name.startsWith("04-"));
    for (let number = from; number < to; number += 1)
      await at.dovecot.append("INBOX", Buffer.concat([Buffer.from(`X-Number: ${number}\r\n`), xml?.raw ?? Buffer.alloc(0)]));
  };
  const runs = async (at: Stage) => (await at.counts()).extend.runs;

  it("out of credits: the service is paused and says why, nothing more is bought, and `resume` finishes", async () => {
    const at = await begin({ concurrency: 1 });
    await at.addFault({ call: "extend.create", times: 1, failureReason: "OUT_OF_CREDITS" });
    await append(at, 0, 1);
    const first = at.start("run", "--once");
    expect((await first.logged((line) => line.event === "extract.halted")).level).toBe("error");
    expect(await first.ended).toBe(3);
    expect(await runs(at)).toBe(1);

    await append(at, 1, 3);
    const daemon = at.start("run");
    await daemon.logged(times("split.done", 2));
    const { paused, stuck, spending } = await statusOf(at);
    expect(paused).toMatchObject([{ name: "extend", why: expect.stringContaining("OUT_OF_CREDITS") }]);
    expect(stuck).toMatchObject([{ standing: "waiting", faults: [{ code: expect.stringMatching(/^extend\./) }] }]);
    expect(spending).toMatchObject([{ service: "extend", mailbox: "invoices", runs: 1 }]);
    expect((await command(at, "status")).text).toMatch(/paused +extend since .*OUT_OF_CREDITS.*billhook resume extend/);
    expect(await runs(at)).toBe(1);

    const resumed = await command(at, "resume", "extend");
    expect([resumed.code, resumed.text]).toEqual([0, "extend goes on"]);
    await daemon.logged(times("settle.done", 3));
    expect(await daemon.kill()).toBe(0);
    expect(await runs(at)).toBe(4);
    expect((await at.written()).size).toBe(3);
    const after = await statusOf(at);
    const { extend } = (await at.counts()) as Counts & { readonly extend: { readonly credits: number } };
    expect(after).toMatchObject({ paused: [], stuck: [], spending: [{ runs: 4, credits: extend.credits }] });
    expect(extend.credits).toBeGreaterThan(0);
    expect((await command(at, "resume", "extend")).text).toBe("extend was not paused");
  });

  it("payment required: halted at the order; the others are not even tried, and nothing is counted against them", async () => {
    const at = await begin({ concurrency: 1 });
    await at.addFault({ call: "extend.create", times: 1, status: 402 });
    await append(at, 0, 2);
    const daemon = at.start("run");
    await daemon.logged((line) => line.event === "extract.halted");
    await daemon.logged(times("split.done", 2));
    expect(await statusOf(at)).toMatchObject({ paused: [{ name: "extend" }], spending: [], stuck: [{ standing: "waiting" }] });
    expect(await runs(at)).toBe(0);
    expect((await command(at, "resume", "extend")).code).toBe(0);
    await daemon.logged(times("settle.done", 2));
    expect(await daemon.kill()).toBe(0);
    expect(await runs(at)).toBe(2);
    expect(daemon.log.filter(({ event }) => event === "extract.halted")).toHaveLength(1);
    expect(daemon.log.filter(({ event }) => event === "extract.retry")).toEqual([]);
  });

  it("`pause` stops buying while the daemon runs; what was bought is finished; a pause outlives the daemon", async () => {
    const at = await begin({});
    const daemon = at.start("run");
    await append(at, 0, 1);
    await daemon.logged(times("settle.done", 1));
    expect((await command(at, "pause", "extend")).code).toBe(0);
    await append(at, 1, 3);
    await daemon.logged(times("split.done", 3));
    expect(await daemon.kill()).toBe(0);
    expect(await at.start("run", "--once").ended).toBe(3);
    expect(await runs(at)).toBe(1);
    expect((await statusOf(at)).paused).toMatchObject([{ name: "extend", why: "paused by hand" }]);

    const wrong = at.start("pause", "other");
    expect(await wrong.ended).toBe(2);
    expect(wrong.said.join("\n")).toMatch(/no service and no sink other; it has extend, files/);

    expect((await command(at, "resume", "extend")).code).toBe(0);
    expect(await at.start("run", "--once").ended).toBe(0);
    expect(await runs(at)).toBe(3);
  });

  it("`pause` reaches what already waits for its turn: eight orders in line, paused after the first, are one run", async () => {
    const at = await begin({ more: ["rates: { write: 100, run: 0.1 }"] });
    await append(at, 0, 8);
    const daemon = at.start("run");
    await daemon.logged((line) => String(line.note).includes("runId"));
    // The next turn is ten seconds away; by then, on a busy machine too, the others are decided upon and in line.
    const decided = new Set<unknown>();
    await daemon.logged((line) => String(line.note).includes("step order") && decided.add(line.message).size === 8);
    const ledger = await openLedger({ directory: at.state, own: false, now: new Date() });
    await ledger.pause("extend", "paused by hand", new Date());
    const refused = new Set<unknown>();
    await daemon.logged((line) => line.fault === "service.paused" && refused.add(line.message).size === 7);
    await daemon.logged(times("settle.done", 1));
    expect(await runs(at)).toBe(1);
    expect(await ledger.backlog()).toEqual({ open: 0, waiting: 7 });
    const { stuck } = await statusOf(at);
    expect(new Set(stuck.map(({ standing, faults }) => `${standing} ${faults[0]?.code}`))).toEqual(new Set(["waiting service.paused"]));

    await ledger.resume("extend", new Date());
    await ledger.close();
    await daemon.logged(times("settle.done", 2));
    expect(await daemon.kill()).toBe(0);
    expect(daemon.log.filter(({ event }) => event === "extract.retry" || event === "extract.failed")).toEqual([]);
    await writeFile(at.config, (await readFile(at.config, "utf8")).replace("run: 0.1", "run: 100"));
    expect(await at.start("run", "--once").ended).toBe(0);
    expect(await runs(at)).toBe(8);
  });

  it("runsPerHour of 2 and four mails: two runs, two that wait and say so", async () => {
    const at = await begin({ more: ["limits: { runsPerHour: 2 }"] });
    await append(at, 0, 4);
    expect(await at.start("run", "--once").ended).toBe(3);
    expect(await runs(at)).toBe(2);
    const { stuck, counts } = await statusOf(at);
    expect(stuck.map(({ standing, faults }) => [standing, faults.map(({ code }) => code)])).toEqual(
      Array(2).fill(["waiting", ["limit.runs"]]),
    );
    expect(counts).toMatchObject({ open: 2, held: 0 });
    expect((await command(at, "status")).text).toMatch(
      /waiting +[0-9a-f]{16} +invoices UID \d+ +extract: extend: limits\.runsPerHour of 2 is reached/,
    );
    expect((await at.written()).size).toBe(2);
  });

  it("maxBytes: held and visible, the mail stays where it is; `release` lets it go", async () => {
    const at = await begin({ more: ["limits: { maxBytes: 1KB }"] });
    await append(at, 0, 2);
    expect(await at.start("run", "--once").ended).toBe(0);
    expect(await runs(at)).toBe(0);
    expect([(await at.list("INBOX")).length, (await at.written()).size]).toEqual([2, 0]);
    const { stuck, counts } = await statusOf(at);
    expect(counts.held).toBe(2);
    expect(stuck.map(({ standing, faults }) => [standing, faults[0]?.code])).toEqual(Array(2).fill(["held", "limit.size"]));

    expect((await command(at, "release", "")).code).toBe(2);
    expect((await command(at, "release", "ffffffffffffffff")).code).toBe(2);
    expect((await statusOf(at)).counts.held).toBe(2);
    const { code, text } = await command(at, "release", stuck[0]?.id ?? "");
    expect(code).toBe(0);
    expect(text).toMatch(/^[0-9a-f]{16} {2}reading of document 1 goes on$/);
    expect(await at.start("run", "--once").ended).toBe(0);
    expect([await runs(at), (await at.list("INBOX")).length, (await at.written()).size]).toEqual([1, 1, 1]);
  });

  it("`cancel` asks the service to stop the runs of a message, and says when there is none", async () => {
    const at = await begin({});
    const slow = (await readFile(at.config, "utf8")).replace("poll: { first: 100ms, longest: 1s }", "poll: { first: 30s, longest: 30s }");
    await writeFile(at.config, slow);
    await append(at, 0, 1);
    const daemon = at.start("run");
    const { message } = await daemon.logged((line) => line.event === "extract.later" && String(line.note).includes("runId"));
    // Pausing must not keep one from cancelling.
    expect((await command(at, "pause", "extend")).code).toBe(0);
    expect(await command(at, "cancel", message ?? "")).toMatchObject({
      code: 0,
      text: expect.stringMatching(/run exr_[\w-]+: extend was asked to stop it/),
    });
    expect((await command(at, "cancel", "ffff")).code).toBe(2);
    expect(await daemon.kill()).toBe(0);
    expect((await command(at, "ignore", message ?? "", "--why", "ordered by mistake")).code).toBe(0);
    expect(await command(at, "cancel", message ?? "")).toMatchObject({ code: 2, text: expect.stringMatching(/no run of it is under way/) });
  });

  it("a web port that is taken ends the daemon with exit 3 and says what to do", async () => {
    const at = await begin({});
    const { port } = new URL(/url: (http:\S+)/.exec(await readFile(at.config, "utf8"))?.[1] ?? "");
    await writeFile(at.config, `${await readFile(at.config, "utf8")}web: { port: ${port} }\n`);
    const daemon = at.start("run");
    expect(await daemon.ended).toBe(3);
    expect(daemon.said.join("\n")).toMatch(new RegExp(`cannot listen on 127\\.0\\.0\\.1:${port}.*\\n.*web\\.port`));
  });
});
