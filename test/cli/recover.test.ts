/** `billhook recover` and `status --verify` as processes, on a real Dovecot and the sandbox: nothing is bought twice, what was open goes on. */
import { closeSync, openSync, readdirSync, rmSync, truncateSync, writeSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { LEDGER_FILE } from "../../src/store/sql.ts";
import { fixtures, type Stage, startStage } from "../e2e/stage.ts";
import { requireDovecot } from "../servers/dovecot.ts";

const missing = requireDovecot();

describe.skipIf(missing !== null)(`billhook recover${missing === null ? "" : ` - skipped: ${missing}`}`, () => {
  let stage: Stage;
  afterEach(() => stage.stop());

  const ledger = () => join(stage.state, LEDGER_FILE);
  const run = async (...args: string[]) => {
    const process = stage.start(...args);
    const code = await process.ended;
    return { code, out: process.out.join("\n"), said: process.said.join("\n"), log: process.log };
  };
  const rawFiles = () =>
    readdirSync(join(stage.state, "spool/raw"), { recursive: true, withFileTypes: true }).flatMap((entry) =>
      entry.isFile() ? [join(entry.parentPath, entry.name)] : [],
    );

  /** Three mails read and delivered, the mailbox left as it was. */
  async function worked() {
    stage = await startStage({ afterwards: "{ done: none, failed: none }" });
    const mails = (await fixtures()).filter(({ expected }) => expected.settles === "done").slice(0, 3);
    for (const { raw } of mails) await stage.dovecot.append("INBOX", raw);
    expect((await run("run", "--once")).code).toBe(0);
    const { runs } = await stage.counts();
    expect(runs).toBe(mails.length);
    expect(await run("status", "--verify")).toMatchObject({ code: 0, out: expect.stringMatching(/^sound: \d+ files of the spool read$/) });
    return runs;
  }

  it("a lost ledger: the daemon refuses to begin anew, and after the recovery buys nothing that it has read before", async () => {
    const runs = await worked();
    rmSync(ledger());
    const refused = await run("run", "--once");
    expect(refused.code).toBe(3);
    expect(refused.said).toMatch(/there is no ledger at .*\n.*billhook recover/);
    expect(await run("status", "--verify")).toMatchObject({ code: 3, out: expect.stringContaining("there is no ledger at") });

    expect(await run("recover")).toMatchObject({ code: 2, said: expect.stringMatching(/nobody can be asked here/) });
    expect(readdirSync(stage.state)).not.toContain(LEDGER_FILE);
    const done = await run("recover", "--yes");
    expect(done.code).toBe(0);
    expect(done.out).toMatch(/3 mails in the spool that the ledger does not know become messages/);
    expect(done.out).toMatch(/mailbox {2}invoices: how far it was read is not known; it is watched from its present end on \(UID 3\)/);
    expect(done.out).toMatch(/3 in it are not in the ledger; `billhook backfill invoices --since \d{4}-\d\d-\d\d`/);
    expect(done.out).toMatch(/every service and sink is paused until `billhook resume`/);
    expect((await run("status", "--verify")).code).toBe(0);

    for (const name of ["cloudsquid", "files"]) expect((await run("resume", name)).code).toBe(0);
    const [, , , later] = (await fixtures()).filter(({ expected }) => expected.settles === "done");
    await stage.dovecot.append("INBOX", later?.raw ?? "");
    await run("run", "--once");
    expect((await stage.counts()).runs).toBe(runs + 1);
    expect((await run("list", "--state", "held", "--json")).out.split("\n")).toHaveLength(3);

    // Seen again in the mailbox they are known, and still held.
    expect((await run("backfill", "invoices", "--since", "2020-01-01", "--yes")).code).toBe(0);
    await run("run", "--once");
    expect((await stage.counts()).runs).toBe(runs + 1);
  });

  it("a damaged page and damaged mails: named, refused while a daemon runs, mended from the mailbox, and sound", async () => {
    const runs = await worked();
    const [lost = "", cut = ""] = rawFiles();
    rmSync(lost);
    truncateSync(cut, 10);
    const daemon = stage.start("run");
    await daemon.logged(({ event }) => event === "mailbox.watching");
    const found = await run("status", "--verify", "--json");
    expect(found.code).toBe(3);
    const lines = found.out.split("\n").map((line) => JSON.parse(line) as { code?: string; advice?: string; sound?: boolean });
    expect(lines.flatMap(({ code }) => code ?? []).sort()).toEqual(["verify.damaged", "verify.missing"]);
    expect(lines.at(-1)).toEqual({ sound: false, findings: 2, files: expect.any(Number) });
    expect(await run("recover", "--yes")).toMatchObject({ code: 3, said: expect.stringMatching(/another billhook already works on/) });
    await daemon.kill();

    // Somewhere among the first pages of the tables and indexes.
    const handle = openSync(ledger(), "r+");
    writeSync(handle, Buffer.alloc(4_096, 1), 0, 4_096, 23 * 4_096);
    closeSync(handle);
    expect((await run("status", "--verify")).code).toBe(3);
    const done = await run("recover", "--yes");
    expect(done).toMatchObject({ code: 0, out: expect.stringMatching(/2 fetched again/) });
    expect(await run("status", "--verify")).toMatchObject({ code: 0 });
    await run("run", "--once");
    expect((await stage.counts()).runs).toBe(runs);
    expect(readdirSync(stage.state).filter((name) => name.startsWith("damaged-"))).toHaveLength(1);
  });
});
