/** `billhook backfill` as its own process on a real Dovecot, with the daemon beside it and without. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openLedger } from "../../src/store/sql.ts";
import { type Stage, startStage } from "../e2e/stage.ts";
import { requireDovecot } from "../servers/dovecot.ts";
import { type Billhook, ENTRY } from "../servers/process.ts";
import { mail } from "../source/watching.ts";

const missing = requireDovecot();
const BULK = 200;
const OLDER = 3;
const YEAR = ["--since", "2026-01-01", "--until", "2026-06-30"] as const;

describe.skipIf(missing !== null)(`billhook backfill${missing === null ? "" : ` - skipped: ${missing}`}`, () => {
  let stage: Stage;
  let daemon: Billhook | null = null;

  beforeAll(async () => {
    const routes = ["- { name: bulk, when: { subject: bulk* }, ignore: for this test }"];
    stage = await startStage({
      start: "now",
      afterwards: "{ done: seen, failed: flag }",
      routes,
      more: ["limits: { runsPerDay: 50, maxBytes: 100KB }"],
    });
    const append = (what: string, day: string) => stage.dovecot.append("INBOX", mail(what), { receivedAt: new Date(`${day}T12:00:00Z`) });
    for (let number = 1; number <= OLDER; number++) await append(`older${number}`, "2025-12-31");
    for (let number = 1; number < BULK; number++) await append(`bulk${number}`, number % 2 === 0 ? "2026-01-01" : "2026-06-30");
    await stage.dovecot.append("INBOX", `${mail("bulk and large")}${"x".repeat(110_000)}`, {
      receivedAt: new Date("2026-03-01T00:00:00Z"),
    });
    await append("later", "2026-07-01");
    await startDaemon();
  });
  afterAll(async () => {
    await daemon?.kill();
    await stage?.stop();
  });

  async function startDaemon(): Promise<Billhook> {
    const started = stage.start("run");
    daemon = started;
    await started.logged((line) => line.event === "mailbox.watching");
    return started;
  }
  async function inLedger() {
    const ledger = await openLedger({ directory: stage.state, own: false, now: new Date() });
    try {
      const cursor = (await ledger.mailbox("invoices"))?.cursor;
      const uids = [...(await ledger.uids("invoices", cursor?.uidValidity ?? ""))].sort((a, b) => a - b);
      return { cursor, uids, counts: await ledger.counts() };
    } finally {
      await ledger.close();
    }
  }
  const upTo = (last: number) => Array.from({ length: last }, (_, index) => OLDER + 1 + index);

  it("says what it means, and asks nobody where there is nobody", async () => {
    const run = stage.start("backfill", "invoices", ...YEAR);
    expect(await run.ended).toBe(2);
    expect(run.out).toEqual([
      expect.stringMatching(
        /^mailbox {2}invoices: 200 messages since 2026-01-01 until 2026-06-30 to take in, 1\d\d KB; 0 more are in the ledger/,
      ),
      "runs     200 at most at cloudsquid: one for each mail",
      "limits   cloudsquid: half of its limits, 25 a day, is for them (0 used today); what is over waits: about 8 days for all of them",
      "limits   cloudsquid: 1 message above maxBytes, held until `billhook release`",
      "daemon   runs, and begins with them at once; new mail goes first",
    ]);
    expect(run.said.join("\n")).toMatch(/nobody can be asked here\n.*--yes/);
    expect((await inLedger()).uids).toEqual([]);
  });

  it.each([
    [["nowhere", "--since", "2026-01-01"], /has no mailbox nowhere; it has invoices/],
    [["invoices", "--since", "2026-02-30"], /--since: expected a day such as 2026-01-01 \(UTC\), found 2026-02-30/],
    [["invoices", "--since", "2026-02-02", "--until", "2026-02-01"], /--until 2026-02-01 is before --since 2026-02-02/],
    [["invoices"], /--since/],
  ])("%j is wrong use", async (args, said) => {
    const run = stage.start("backfill", ...args);
    expect(await run.ended).toBe(2);
    expect(run.said.join("\n")).toMatch(said);
  });

  /** With a terminal around it, as util-linux makes one, and the answer typed once it is asked for. */
  async function typed(answer: string, ...args: string[]): Promise<{ readonly code: number; readonly shown: string }> {
    const command = [process.execPath, ENTRY, "backfill", "invoices", ...args, "-c", stage.config].join(" ");
    const child = spawn("script", ["-qec", command, "/dev/null"], { env: { ...process.env, STAGE_PASSWORD: stage.dovecot.password } });
    let shown = "";
    child.stdout.on("data", (chunk) => {
      if (!/Type yes/.test(shown) && /Type yes/.test(shown + String(chunk))) child.stdin.write(`${answer}\n`);
      shown += String(chunk);
    });
    const [code] = await once(child, "close");
    return { code, shown };
  }

  it("takes nothing that was not agreed to by a typed yes", async () => {
    const day = ["--since", "2026-07-01", "--until", "2026-07-01"];
    const no = await typed("n", ...day);
    expect(no).toMatchObject({ code: 0, shown: expect.stringContaining("nothing was taken in") });
    expect((await inLedger()).uids).toEqual([]);
    const yes = await typed("yes", ...day);
    expect(yes).toMatchObject({ code: 0, shown: expect.stringContaining("1 messages taken in, 0 known already") });
    expect((await inLedger()).uids).toEqual([OLDER + BULK + 1]);
    await daemon?.logged((line) => line.event === "settle.done");
  });

  it("stopped in the middle, with no daemon there, it goes on where it was, beside one: nothing twice, and the cursor stays", async () => {
    expect(await daemon?.kill()).toBe(0);
    const before = await inLedger();

    const first = stage.start("backfill", "invoices", ...YEAR, "--yes");
    await once(first.child.stderr ?? first.child, "data");
    expect(await first.kill("SIGINT")).toBe(3);
    const reached = await inLedger();
    const taken = reached.uids.length - 1;
    expect(taken).toBeGreaterThan(0);
    expect(taken).toBeLessThan(BULK);
    expect(first.out).toContain("daemon   does not run: they wait for `billhook run`");
    expect(first.out.slice(-2)).toEqual([
      `${taken} messages taken in, 0 known already`,
      `stopped: ${BULK - taken} ${BULK - taken === 1 ? "message" : "messages"} left; the same command goes on from here`,
    ]);
    expect(reached.uids).toEqual([...upTo(taken), OLDER + BULK + 1]);
    expect(reached.cursor).toEqual(before.cursor);

    const second = stage.start("backfill", "invoices", ...YEAR, "--yes");
    const beside = await startDaemon();
    await stage.dovecot.append("INBOX", mail("bulk new"));
    expect(await second.ended).toBe(0);
    expect(second.out.at(-1)).toBe(`${BULK - taken} messages taken in, ${taken} known already`);
    const settled = new Set<unknown>();
    await beside.logged((line) => line.event === "settle.done" && settled.add(line.message).size === BULK + 1);

    const third = stage.start("backfill", "invoices", ...YEAR, "--yes");
    expect(await third.ended).toBe(0);
    expect(third.out).toEqual([expect.stringMatching(/: 0 messages .*; 200 more are in the ledger already$/)]);

    const after = await inLedger();
    expect(after.uids).toEqual([...upTo(BULK), OLDER + BULK + 1, OLDER + BULK + 2]);
    expect(after.cursor).toMatchObject({ uid: OLDER + BULK + 2, until: before.cursor?.until });
    expect(after.counts).toMatchObject({ messages: BULK + 2, unreadable: 0, open: 0 });
    // What was ignored is not told to the mailbox, and reading left no trace.
    const marked = (await stage.list("INBOX")).filter(({ flags }) => flags.some((flag) => flag !== "\\Recent"));
    expect(marked.map(({ uid }) => uid)).toEqual([OLDER + BULK + 1]);
    expect((await stage.counts()).runs).toBe(1);
  });

  it("says what keeps it from the mailbox", async () => {
    await stage.dovecot.stop();
    const lost = stage.start("backfill", "invoices", ...YEAR, "--yes");
    expect(await lost.ended).toBe(3);
    expect(lost.said.join("\n")).toMatch(/Could not connect to 127\.0\.0\.1/);
  });
});
