/** Health of the real daemon as seen from outside: `status --alive` and /readyz name the culprit and the reason, and go green by themselves. */
import { execFileSync } from "node:child_process";
import { open, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { type Dovecot, requireDovecot, startDovecot } from "../servers/dovecot.ts";
import { freePort } from "../servers/ports.ts";
import { billhook, startBillhook } from "../servers/process.ts";
import { makeReadOnly, makeWritable, noDisk, smallDisk, temporaryDirectory } from "../store/disk.ts";

const missing = requireDovecot();
const why = [missing, noDisk].filter((reason) => reason !== null).join("; ");

type Reason = { readonly about: string; readonly name: string | null; readonly code: string; readonly message: string };

async function stage(dovecot: Dovecot, state: string) {
  const directory = await temporaryDirectory();
  const config = join(directory, "config.yaml");
  const port = await freePort();
  const key = "status-key";
  await writeFile(join(directory, "ca.pem"), dovecot.ca);
  await writeFile(
    config,
    `
state: { directory: ${state}, minFree: 1MB }
log: { format: json }
retry: { first: 200ms, longest: 1s }
mailboxes:
  invoices: { host: ${dovecot.host}, port: ${dovecot.tlsPort}, ca: ./ca.pem, user: ${dovecot.user}, password: ${dovecot.password}, start: all, sweep: "*/2 * * * * *" }
services: { extend: { kind: extend, apiKey: ${key}, url: "http://127.0.0.1:9" } }
sinks: { files: { kind: file, directory: ./out } }
web: { port: ${port} }
`,
  );
  const status = async (...more: string[]) => {
    const { code, out } = await billhook(["status", ...more, "-c", config]);
    return { code, out };
  };
  /** The two must be of one mind: what the daemon says of itself, and what is said from outside. */
  const alive = async () => {
    const { code, out } = await status("--alive", "--json");
    const { alive, ailments, reasons } = JSON.parse(out[0] ?? "") as { alive: boolean; ailments: string[]; reasons: Reason[] };
    expect([code === 0, ailments]).toEqual([alive, reasons.map(({ message }) => message)]);
    return reasons;
  };
  const ready = async () => {
    const answer = await fetch(`http://127.0.0.1:${port}/readyz`);
    const { ready, ailments } = (await answer.json()) as { ready: boolean; ailments: Reason[] };
    expect(answer.status).toBe(ready ? 200 : 503);
    return ailments;
  };
  const metric = async (line: RegExp) => line.exec(await (await fetch(`http://127.0.0.1:${port}/metrics`)).text())?.[1];
  return { config, status, alive, ready, metric, start: () => startBillhook(["run", "-c", config]) };
}

/** Asks until it fits. */
async function until<T>(ask: () => Promise<T>, fits: (found: T) => boolean): Promise<T> {
  const look = async () => {
    const found = await ask();
    return fits(found) ? { found } : null;
  };
  return (await vi.waitUntil(look, { timeout: 50_000, interval: 200 })).found;
}
const isWell = (reasons: readonly Reason[]) => reasons.length === 0;
const isAbout = (about: string) => (reasons: readonly Reason[]) => reasons.some((reason) => reason.about === about);

describe.skipIf(why !== "")(`health of a real daemon${why === "" ? "" : ` - skipped: ${why}`}`, () => {
  let dovecot: Dovecot;
  beforeAll(async () => {
    dovecot = await startDovecot();
  });
  afterAll(() => dovecot.stop());

  test("a mailbox that cannot log in is red after three sweeps, with its name and why, and green when the password is right", async () => {
    const { start, alive, ready, status, metric } = await stage(dovecot, await temporaryDirectory());
    const password = (word: string) => writeFile(join(dovecot.directory, "users"), `${dovecot.user}:{PLAIN}${word}\n`);
    await password("another");
    onTestFinished(() => password(dovecot.password));
    const daemon = start();
    onTestFinished(() => void daemon.child.kill("SIGKILL"));
    await daemon.logged(({ event }) => event === "mailbox.trouble");

    const red = {
      about: "mailbox",
      name: "invoices",
      code: "imap.login",
      message: expect.stringMatching(/^mailbox invoices has not been read since .* does not let a…@example.com in: /),
    };
    expect(await until(ready, isAbout("mailbox"))).toMatchObject([red]);
    expect(await alive()).toMatchObject([red]);
    expect(await metric(/^billhook_mailbox_trouble\{mailbox="invoices"\} (\d)$/m)).toBe("1");
    const told = (await status()).out.join("\n");
    expect(told).toMatch(/^mailbox +RED: mailbox invoices has not been read/m);
    expect(told).toMatch(/^mailbox +invoices {2}never swept, \d+ missed since$/m);
    expect(told).not.toContain(dovecot.password);

    await password(dovecot.password);
    await until(ready, isWell);
    expect(await alive()).toEqual([]);
    expect((await status("--alive")).out).toEqual(["alive"]);
    expect(await metric(/^billhook_sweeps_total\{mailbox="invoices"\} (\d+)$/m)).not.toBe("0");
    const well = (await status()).out.join("\n");
    expect(well).toMatch(/^daemon +alive, every mailbox is being read$/m);
    expect(well).toMatch(/^mailbox +invoices {2}last swept \d+ s ago/m);
    expect(await daemon.kill()).toBe(0);
  });

  test("a full disk, and a ledger that takes nothing, are red at once, and green when there is room again; nothing is lost", async () => {
    const state = await smallDisk("8m");
    const { start, alive, ready, status, metric } = await stage(dovecot, state);
    const daemon = start();
    onTestFinished(() => void daemon.child.kill("SIGKILL"));
    await daemon.logged(({ event }) => event === "mailbox.watching");
    await until(ready, isWell);

    const ballast = join(state, "ballast");
    await fill(ballast);
    await dovecot.append("INBOX", `Subject: while it is full\r\n\r\n${"x".repeat(100_000)}\r\n`);
    await daemon.logged(({ event, fault }) => event === "receive.trouble" && fault === "spool.low");
    const full = { about: "disk", name: state, code: "disk.low", message: expect.stringContaining("left, and 1.0 MB is wanted") };
    expect(await until(ready, isAbout("disk"))).toContainEqual(expect.objectContaining(full));
    expect(await alive()).toContainEqual(expect.objectContaining(full));
    expect(await metric(/^billhook_ready (\d)$/m)).toBe("0");
    await rm(ballast);
    await daemon.logged(({ event }) => event === "message.received");
    await until(ready, isWell);
    expect(await alive()).toEqual([]);

    // As a volume that became read-only: the kernel refuses every write to a file by this process.
    const limit = (bytes: string) => execFileSync("prlimit", ["--pid", String(daemon.child.pid), `--fsize=${bytes}`]);
    limit("0:unlimited");
    expect(await until(ready, isAbout("ledger"))).toMatchObject([{ about: "ledger", message: expect.stringContaining("ledger.sqlite") }]);
    expect(await metric(/^billhook_ledger_writable (\d)$/m)).toBe("0");
    limit("unlimited:unlimited");
    await until(ready, isWell);
    expect(await metric(/^billhook_ledger_writable (\d)$/m)).toBe("1");

    // The service is not there: what waits for it is told.
    const told = (await status()).out.join("\n");
    expect(told).toMatch(/^service +extend {2}(1 failing|1 waiting|1 due)/m);
    expect(told).toMatch(/^sink +files {2}nothing to do$/m);
    expect(told).toMatch(/^disk +\d.*MB of 8.0 MB free for state and spool/m);
    expect(await daemon.kill()).toBe(0);

    expect(await alive()).toMatchObject([{ about: "daemon", code: "daemon.stopped" }]);
    await makeReadOnly(state);
    const [first] = await alive();
    expect(first).toMatchObject({ about: "ledger", message: expect.stringContaining(join(state, "ledger.sqlite")) });
    await makeWritable(state);
    const again = start();
    onTestFinished(() => void again.child.kill("SIGKILL"));
    await until(alive, isWell);
    expect(await again.kill()).toBe(0);
  });
});

test("a ledger that was never made is an answer of --alive too, and exit 3", async () => {
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
  const { code, out } = await billhook(["status", "--alive", "--json", "-c", config]);
  expect(code).toBe(3);
  expect(JSON.parse(out[0] ?? "")).toMatchObject({ alive: false, reasons: [{ about: "ledger", code: "ledger.missing" }] });
  const said = await billhook(["status", "--alive", "-c", config]);
  expect([said.code, said.out.join("\n")]).toEqual([3, expect.stringMatching(/there is no ledger at .* - check state.directory/)]);
});

/** Writes until the disk takes no more. */
async function fill(path: string): Promise<void> {
  const file = await open(path, "w");
  try {
    for (;;) await file.write(Buffer.alloc(64 * 1024));
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== "ENOSPC") throw thrown;
  } finally {
    await file.close();
  }
}
