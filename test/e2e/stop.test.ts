/** How it ends: in time whatever hangs, by itself when its ledger is beyond use, and without pretending to be alive. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { requireDovecot } from "../servers/dovecot.ts";
import { startProxy, type TcpProxy } from "../servers/proxy.ts";
import { fixtures, type Stage, startStage } from "./stage.ts";

const missing = requireDovecot();

describe.skipIf(missing !== null)(`the end of a daemon${missing === null ? "" : ` - skipped: ${missing}`}`, () => {
  let stage: Stage;
  let proxy: TcpProxy;
  beforeEach(async () => {
    stage = await startStage();
    proxy = await startProxy({ host: stage.dovecot.host, port: stage.dovecot.tlsPort });
    const config = await readFile(stage.config, "utf8");
    await writeFile(stage.config, config.replace(`port: ${stage.dovecot.tlsPort}`, `port: ${proxy.port}`));
    const mails = await fixtures();
    await stage.dovecot.append("INBOX", mails.find(({ name }) => name.startsWith("04-"))?.raw ?? "");
  });
  afterEach(async () => {
    await proxy.stop();
    await stage.stop();
  });

  it("SIGTERM ends it within 10 s although the mailbox hangs while it is being told", async () => {
    const daemon = stage.start("run");
    await daemon.logged((line) => line.event === "split.done");
    proxy.freeze();
    await daemon.logged((line) => line.event === "deliver.done");
    const began = performance.now();
    expect(await daemon.kill("SIGTERM")).toBe(0);
    expect(performance.now() - began).toBeLessThan(10_000);
  });

  it("a ledger beyond use ends it, with the reason", async () => {
    const daemon = stage.start("run");
    await daemon.logged((line) => line.event === "settle.done");
    // A single row that cannot be read is set aside (test/daemon/worker.test.ts); here the whole table is out of reach.
    const ledger = new Database(join(stage.state, "ledger.sqlite")).unsafeMode();
    const version = Number(ledger.pragma("schema_version", { simple: true }));
    ledger.pragma("writable_schema = ON");
    ledger.prepare("UPDATE sqlite_master SET rootpage = 999999 WHERE name = 'task'").run();
    ledger.pragma(`schema_version = ${version + 1}`);
    ledger.close();
    expect(await daemon.ended).toBe(3);
    expect(daemon.said.join("\n")).toMatch(/ledger\.sqlite is damaged: /);
  });

  it("killed, it is told dead at once", async () => {
    const daemon = stage.start("run");
    await daemon.logged((line) => line.event === "settle.done");
    expect(await stage.start("status", "--alive").ended).toBe(0);
    await daemon.kill("SIGKILL");
    const status = stage.start("status", "--alive");
    expect(await status.ended).toBe(3);
    expect(status.out.join("\n")).toMatch(/not running: it was last seen alive at/);
  });

  it("a mailbox that cannot be read is told by `status` at once, not after three sweeps", async () => {
    proxy.refuse(true);
    const daemon = stage.start("run");
    await daemon.logged((line) => line.event === "mailbox.trouble");
    let told = "";
    // The daemon's pulse tells it, within ten seconds.
    while (!/^trouble +invoices: /m.test(told)) {
      const status = stage.start("status");
      expect(await status.ended).toBe(0);
      told = status.out.join("\n");
    }
    expect(told).not.toContain("every mailbox is being read");
    expect(await daemon.kill()).toBe(0);
  });

  it("--once does not wait for a mailbox that cannot be read", async () => {
    proxy.refuse(true);
    const once = stage.start("run", "--once");
    expect(await once.ended).toBe(3);
    expect(once.log.map(({ event }) => event)).toContain("mailbox.trouble");
  });
});
