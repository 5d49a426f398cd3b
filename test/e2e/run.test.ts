/** The whole job with real processes: Dovecot, the sandbox, and `billhook run` between them. */
import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { requireDovecot } from "../servers/dovecot.ts";
import { billhook } from "../servers/process.ts";
import { fixtures, invoicesIn, type Stage, startStage } from "./stage.ts";

const missing = requireDovecot();
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const settled = (count: number) => {
  const over = new Set<unknown>();
  return (line: { event: string; message?: string }) => {
    if (line.event === "settle.done") over.add(line.message);
    return over.size >= count;
  };
};

describe.skipIf(missing !== null)(`billhook run against Dovecot and the sandbox${missing === null ? "" : ` - skipped: ${missing}`}`, () => {
  let stage: Stage;
  beforeAll(async () => {
    stage = await startStage();
  });
  afterAll(() => stage.stop());

  it("takes every fixture from the mailbox to a file, and tells the mailbox", async () => {
    const mails = await fixtures();
    const half = Math.floor(mails.length / 2);
    for (const { raw } of mails.slice(0, half)) await stage.dovecot.append("INBOX", raw);
    const daemon = stage.start("run");
    const all = settled(mails.length);
    await daemon.logged((line) => line.event === "message.received");
    for (const { raw } of mails.slice(half)) await stage.dovecot.append("INBOX", raw);
    await daemon.logged(all);

    const began = performance.now();
    expect(await daemon.kill("SIGTERM")).toBe(0);
    expect(performance.now() - began).toBeLessThan(10_000);

    const written = await stage.written();
    const expected = mails.filter(({ expected }) => expected.settles === "done");
    expect([...written.keys()].sort()).toEqual(expected.map(({ raw }) => `${sha256(raw).slice(0, 16)}-1.json`).sort());
    for (const {
      raw,
      expected: { invoices },
    } of expected) {
      const found = invoicesIn(written.get(`${sha256(raw).slice(0, 16)}-1.json`) ?? "{}");
      expect(found).toEqual(invoices.map(({ invoice_number, gross_amount }) => ({ invoice_number, gross_amount })));
    }
    const { uploads, runs } = await stage.counts();
    expect({ uploads, runs }).toEqual({ uploads: mails.length, runs: mails.length });

    expect(await stage.list("Done")).toHaveLength(expected.length);
    const left = await stage.list("INBOX");
    expect(left).toHaveLength(mails.length - expected.length);
    for (const { flags } of left) {
      expect(flags).toContain("needs-a-person");
      expect(flags).not.toContain("\\Seen");
    }
  });

  it("knows the same bytes again: moved back, they are one message and one run", async () => {
    const before = await stage.counts();
    const [first] = await fixtures();
    await stage.dovecot.append("INBOX", first?.raw ?? "");
    const again = await stage.start("run", "--once");
    await again.logged((line) => line.event === "message.seen-again");
    await again.logged((line) => line.event === "settle.done");
    expect(await again.ended).toBe(0);
    expect((await stage.counts()).uploads).toBe(before.uploads);
  });

  it("refuses a second daemon on the same state with a clear line", async () => {
    const daemon = stage.start("run");
    await daemon.logged((line) => line.event === "daemon.started");
    const second = stage.start("run");
    expect(await second.ended).toBe(3);
    expect(second.said.join("\n")).toMatch(new RegExp(`another billhook already works on .*process ${daemon.child.pid} `));
    expect(await daemon.kill()).toBe(0);
  });

  it("says what failed, and that it lives, and puts back what failed", async () => {
    const daemon = stage.start("run");
    await daemon.logged((line) => line.event === "daemon.started");
    expect(await stage.start("status", "--alive").ended).toBe(0);
    const status = stage.start("status");
    expect(await status.ended).toBe(0);
    expect(status.out.join("\n")).toMatch(/failed +[0-9a-f]{16} {2}invoices UID \d+ {2}extract: /);

    const retry = stage.start("retry", "--failed");
    expect(await retry.ended).toBe(0);
    expect(retry.out).toHaveLength(2);
    await daemon.logged(settled(2));
    expect(await daemon.kill()).toBe(0);
    const stopped = stage.start("status", "--alive");
    expect(await stopped.ended).toBe(3);
    expect(stopped.out.join("\n")).toMatch(/not running: it was stopped at/);
  });

  it("check knocks on every door", async () => {
    const good = stage.start("check");
    expect(await good.ended).toBe(0);
    expect(good.out.filter((line) => / {2}ok/.test(line))).toHaveLength(4);
    const bad = await billhook(["check", "-c", stage.config], { STAGE_PASSWORD: "wrong" });
    expect(bad.code).toBe(3);
    expect(bad.out.join("\n")).toMatch(/mailbox +invoices +WRONG: /);
    expect(bad.out.join("\n")).not.toContain("wrong");
  });

  it("a service that is down is waited for, and nothing is lost", async () => {
    const { written } = stage;
    const before = (await written()).size;
    await stage.addFault({ call: "upload", status: 503 });
    await stage.addFault({ call: "projects", times: 3, status: 503 });
    const [first] = await fixtures();
    await stage.dovecot.append("INBOX", Buffer.concat([Buffer.from("X-Copy: 1\r\n"), first?.raw ?? Buffer.alloc(0)]));
    const daemon = stage.start("run");
    await daemon.logged((line) => line.event === "extract.retry");
    await daemon.logged((line) => line.event === "settle.done");
    expect(await daemon.kill()).toBe(0);
    expect((await written()).size).toBe(before + 1);
  });
});
