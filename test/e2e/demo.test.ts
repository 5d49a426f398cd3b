/** The README's first command, as a newcomer meets it: everything settles, what fails was made to fail, and it stays up when asked. */
import { copyFile, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import nodemailer from "nodemailer";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { billhook, startBillhook } from "../servers/process.ts";
import { fixtures, invoicesIn, MAIL } from "./stage.ts";

describe("billhook demo", () => {
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "billhook-demo-test-"));
  });
  afterAll(() => rm(directory, { recursive: true, force: true }));

  it("--once --json settles every fixture and leaves each invoice in demo-out", async () => {
    const mails = await fixtures();
    const { code, out } = await billhook(["demo", "--once", "--json"], {}, directory);
    expect(code).toBe(0);
    const failed = mails.filter(({ expected }) => expected.settles === "failed").length;
    expect(JSON.parse(out.at(-1) ?? "")).toMatchObject({
      messages: mails.length,
      settled: mails.length,
      failed,
      delivered: mails.length - failed,
    });

    const files = (await readdir(join(directory, "demo-out"), { recursive: true })).filter((name) => name.endsWith(".json"));
    const found = (await Promise.all(files.map((name) => readFile(join(directory, "demo-out", name), "utf8")))).flatMap(invoicesIn);
    const expected = mails.flatMap(({ expected }) =>
      expected.invoices.map(({ invoice_number, gross_amount }) => ({ invoice_number, gross_amount })),
    );
    const byNumber = (a: { invoice_number: string }, b: { invoice_number: string }) => (a.invoice_number < b.invoice_number ? -1 : 1);
    expect(found.sort(byNumber)).toEqual(expected.sort(byNumber));
  });

  it("prints a table whose rows a person can read", async () => {
    const { code, out, said } = await billhook(["demo", "--once", "--out", join(directory, "table")], {}, directory);
    expect(code).toBe(0);
    expect(said.filter((line) => /^(done|FAILED) /.test(line))).toHaveLength((await fixtures()).length);
    expect(out.join("\n")).toMatch(/RE2026-00815, 2142\.95 EUR/);
  });

  it("stays up without --once: mail by SMTP and a dropped file are picked up", async () => {
    const demo = startBillhook(["demo", "--out", join(directory, "live")], {}, directory);
    const heard = (fits: (line: string) => boolean) => waitFor(() => demo.said.find(fits), demo);
    const address = await heard((line) => line.startsWith("send mail to smtp://"));
    const [, port, drop] = /smtp:\/\/127\.0\.0\.1:(\d+), or drop an \.eml file into (.+)$/.exec(address) ?? [];
    const total = (await fixtures()).length;
    await waitFor(() => demo.said.filter((line) => /^(done|FAILED) /.test(line)).length >= total || undefined, demo);

    const raw = (await readFile(new URL("04-xml-only.eml", MAIL), "latin1")).replaceAll("SWB-26-0002917", "SWB-26-0009999");
    const mailer = nodemailer.createTransport({ host: "127.0.0.1", port: Number(port), secure: false, ignoreTLS: true });
    await mailer.sendMail({ envelope: { from: "a@example.com", to: "invoices@example.com" }, raw: Buffer.from(raw, "latin1") });
    await copyFile(new URL("14-credit-note.eml", MAIL), join(directory, "new.eml"));
    await copyFile(join(directory, "new.eml"), join(drop ?? "", "again.eml"));
    await waitFor(() => demo.said.filter((line) => /^(done|FAILED) /.test(line)).length >= total + 2 || undefined, demo);
    expect(await demo.kill("SIGINT")).toBe(0);
  });
});

/** The first value `look` gives, tried at every new line the process writes. */
function waitFor<T>(look: () => T | undefined, { child, ended }: ReturnType<typeof startBillhook>): Promise<T> {
  return new Promise((resolve, reject) => {
    const again = () => {
      const value = look();
      if (value === undefined) return;
      child.stderr?.off("data", later);
      resolve(value);
    };
    // The line reader gets the same chunk; it is asked after it has.
    const later = () => setImmediate(again);
    child.stderr?.on("data", later);
    ended.then(
      () => reject(new Error("the demo ended first")),
      () => {},
    );
    again();
  });
}
