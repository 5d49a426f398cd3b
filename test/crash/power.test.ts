/** A power cut between any two system calls: bytes, their directory, the ledger, the delivery and its receipt, and only then what the mailbox is told. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { requireDovecot, startDovecot } from "../servers/dovecot.ts";
import { ENTRY } from "../servers/process.ts";
import { noStrace } from "../store/process.ts";
import { mailOf } from "./box.ts";
import { startWorld, type World } from "./world.ts";

const missing = requireDovecot() ?? (process.env.CI === "true" ? null : noStrace);

/** Seconds. */
type Call = { readonly name: string; readonly text: string; readonly begun: number; readonly ended: number };

const CALL = /^(?<begun>[\d.]+) (?<name>\w+)\((?<text>.*) = .* <(?<took>[\d.]+)>$/;

/** The system calls of one `run --once` that write, rename or sync, in order of their beginning. */
async function traced({ directory, config, environment }: World): Promise<readonly Call[]> {
  const traces = join(directory, "traces");
  await mkdir(traces);
  // A file for each thread, with the moment and the duration of each call: none is torn in two by another.
  const options = ["-ff", "-ttt", "-T", "-y", "-s", "5000", "-e", "trace=fsync,fdatasync,/^(rename|link),/^p?write,sendto,sendmsg"];
  const daemon = spawn("strace", [...options, "-o", join(traces, "thread"), process.execPath, ENTRY, "run", "--once", "-c", config], {
    env: { ...process.env, ...environment },
    stdio: ["ignore", "ignore", "inherit"],
  });
  expect(await once(daemon, "exit")).toEqual([0, null]);
  const texts = await Promise.all((await readdir(traces)).map((name) => readFile(join(traces, name), "utf8")));
  const lines = texts.flatMap((text) => text.split("\n")).map((line) => CALL.exec(line)?.groups);
  return lines
    .flatMap((call) =>
      call === undefined ? [] : [{ name: call.name ?? "", text: call.text ?? "", begun: Number(call.begun), took: Number(call.took) }],
    )
    .map(({ took, ...call }) => ({ ...call, ended: call.begun + took }))
    .sort((a, b) => a.begun - b.begun);
}

describe.skipIf(missing !== null)(`power loss${missing === null ? "" : ` - skipped: ${missing}`}`, () => {
  test("one ingestion, by its system calls", { timeout: 120_000 }, async () => {
    expect(noStrace).toBeNull();
    const dovecot = await startDovecot();
    onTestFinished(() => dovecot.stop());
    const world = await startWorld(dovecot, 0);
    onTestFinished(() => world.stop());
    const [mail] = await mailOf(["13"]);
    const id = mail?.id ?? "";
    await world.deliver(mail === undefined ? [] : [mail]);
    const calls = await traced(world);

    const raw = join(world.directory, "state/spool/raw");
    const out = join(world.directory, "out");
    const wal = `${join(world.directory, "state/ledger.sqlite-wal")}>`;
    const isSync = ({ name, text }: Call, path: string) => /^f(data)?sync$/.test(name) && text.includes(path);
    const isLogged = ({ name, text }: Call, what: string) => name.startsWith("pwrite") && text.includes(wal) && text.includes(what);
    const isNamed = ({ name, text }: Call, path: string) => /^(rename|link)/.test(name) && text.includes(path);
    const delivered = `${out}/${id.slice(0, 16)}-1.json`;
    // A sync is the next one; anything else is the first of its kind ever: it was not there before what must come before it.
    const steps: readonly (readonly [string, "first" | "next", (call: Call) => boolean])[] = [
      ["the bytes are synced", "first", (call) => isSync(call, `<${raw}/.billhook-`)],
      ["they get their name", "first", (call) => isNamed(call, `${id}.eml"`)],
      ["their directory is synced", "next", (call) => isSync(call, `<${raw}/${id.slice(0, 2)}>`)],
      ["the ledger takes the arrival", "first", (call) => isLogged(call, id)],
      ["the ledger is synced", "next", (call) => isSync(call, wal)],
      ["the delivery gets its name", "first", (call) => isNamed(call, `${delivered}"`)],
      ["its directory is synced", "next", (call) => isSync(call, `<${out}>`)],
      ["the ledger takes the receipt", "first", (call) => isLogged(call, delivered)],
      ["the ledger is synced again", "next", (call) => isSync(call, wal)],
      ["the mailbox is told", "first", ({ text }) => /UID (MOVE|COPY|STORE|EXPUNGE)/.test(text)],
    ];
    let after = 0;
    for (const [what, which, is] of steps) {
      const call = calls.find((one) => is(one) && (which === "first" || one.begun >= after));
      expect(call?.begun ?? Number.NaN, what).toBeGreaterThanOrEqual(after);
      after = call?.ended ?? after;
    }
  });
});
