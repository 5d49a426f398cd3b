/** The whole job at Extend with real processes: every fixture, the normalised invoices, credits, and webhooks that make it quick. */
import { createHash } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Delivered, Entry } from "../../src/sink/delivery.ts";
import { requireDovecot } from "../servers/dovecot.ts";
import { freePort } from "../servers/ports.ts";
import type { Billhook, LogLine } from "../servers/process.ts";
import { type Counts, fixtures, type Stage, startStage } from "./stage.ts";

const missing = requireDovecot();
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
/** Nothing is asked after again on its own within this test. */
const SELDOM = "poll: { first: 30s, longest: 30s }";
const KEY = "stage-key";

type Expected = Readonly<Record<string, string | null>>;
/** The terms of EN 16931 as the fixtures name them. */
const termsOf = ({
  number,
  issueDate,
  dueDate,
  seller,
  currency,
  net,
  tax,
  gross,
  iban,
}: Entry["invoices"][number]["invoice"]): Expected => ({
  invoice_number: number,
  issue_date: issueDate,
  due_date: dueDate,
  seller_name: seller.name,
  currency,
  net_amount: net,
  tax_amount: tax,
  gross_amount: gross,
  iban,
});

const settled = (count: number) => {
  const over = new Set<unknown>();
  return (line: LogLine) => {
    if (line.event === "settle.done") over.add(line.message);
    return over.size >= count;
  };
};

describe.skipIf(missing !== null)(`billhook run with Extend${missing === null ? "" : ` - skipped: ${missing}`}`, () => {
  let stage: Stage;
  let port = 0;
  beforeAll(async () => {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: a reference as the configuration writes it
    stage = await startStage({ service: "extend", more: ["webhookSecret: ${STAGE_WEBHOOK_SECRET}"] });
    port = await freePort();
    const text = await readFile(stage.config, "utf8");
    await writeFile(stage.config, `${text.replace(/poll: \{.*\}/, SELDOM)}web: { port: ${port} }\n`);
    const url = /url: (http:\S+)/.exec(text)?.[1];
    const answer = await fetch(`${url}/webhook_endpoints`, {
      method: "POST",
      headers: { authorization: `Bearer ${KEY}`, "x-extend-api-version": "2026-02-09", "content-type": "application/json" },
      body: JSON.stringify({
        url: `http://127.0.0.1:${port}/webhooks/extend`,
        name: "billhook",
        enabledEvents: ["extract_run.processed", "extract_run.failed"],
        apiVersion: "2026-02-09",
        // A large run comes as a URL to fetch it from.
        advancedOptions: { payload: { format: "url", urlThresholdBytes: 3_000 } },
      }),
    });
    const { signingSecret } = (await answer.json()) as { signingSecret: string };
    process.env.STAGE_WEBHOOK_SECRET = signingSecret;
  });
  afterAll(async () => {
    delete process.env.STAGE_WEBHOOK_SECRET;
    await stage.stop();
  });

  let daemon: Billhook;

  it("takes every fixture from the mailbox to a file, woken by webhooks alone", async () => {
    const mails = await fixtures();
    for (const { raw } of mails) await stage.dovecot.append("INBOX", raw);
    await stage.addFault({ call: "extend.webhook", times: 2, repeat: true });
    const began = performance.now();
    daemon = stage.start("run");
    await daemon.logged(settled(mails.length));
    expect(performance.now() - began).toBeLessThan(25_000);
    const heard = daemon.log.filter(({ event }) => event === "webhook.heard").map(({ meaning }) => meaning);
    expect(heard.filter((meaning) => meaning === "due")).toHaveLength(mails.length);
    expect(heard.filter((meaning) => meaning === "repeat")).toHaveLength(2);
    const { extend } = await stage.counts();
    expect(extend.runs).toBe(mails.length);
    expect(new Set(extend.made.map(({ key }) => key))).toEqual(new Set(mails.map(({ raw }) => `${sha256(raw)}.1`)));

    const done = mails.filter(({ expected }) => expected.settles === "done");
    expect(done).toHaveLength(16);
    const written = await stage.written();
    expect([...written.keys()].sort()).toEqual(done.map(({ raw }) => `${sha256(raw).slice(0, 16)}-1.json`).sort());
    for (const { name, raw, expected } of done) {
      const body = JSON.parse(written.get(`${sha256(raw).slice(0, 16)}-1.json`) ?? "{}") as Delivered & Entry;
      expect(
        body.invoices.map(({ invoice }) => termsOf(invoice)),
        name,
      ).toEqual(expected.invoices);
    }
    expect([(await stage.list("Done")).length, (await stage.list("INBOX")).length]).toEqual([done.length, mails.length - done.length]);
  });

  it("knows what it cost: the credits of the service, run by run, are the ledger's", async () => {
    const status = stage.start("status", "--json");
    expect(await status.ended).toBe(0);
    const { spending } = JSON.parse(status.out.join("\n")) as { spending: unknown };
    const { extend } = (await stage.counts()) as Counts & { readonly extend: { readonly credits: number } };
    const { runs, credits } = extend;
    expect(credits).toBeGreaterThan(0);
    const day = new Date().toISOString().slice(0, 10);
    expect(spending).toEqual([{ day, service: "extend", mailbox: "invoices", runs, credits, possiblyTwice: 0 }]);
  });

  it("has nothing of the invoices and no secret in its log", () => {
    const logged = JSON.stringify([daemon.log, daemon.said]);
    for (const secret of ["DE90999000100000147001", "HP-2026-0147", "wss_", KEY]) expect(logged).not.toContain(secret);
  });

  it("a webhook that is not genuine is refused, and the daemon goes on", async () => {
    const answer = await fetch(`http://127.0.0.1:${port}/webhooks/extend`, { method: "POST", body: '{"eventId":"e"}' });
    expect(answer.status).toBe(401);
    await daemon.logged((line) => line.event === "webhook.refused");
    expect(await daemon.kill()).toBe(0);
    await expect(fetch(`http://127.0.0.1:${port}/`)).rejects.toThrow();
  });
});
