/** Where results go, with real processes: files, webhooks, forms and answers at once, routes, and `billhook explain`, which knew it all before. */
import { createHash } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type ParsedMail, simpleParser } from "mailparser";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Delivered, delivered, type Entry } from "../../src/sink/delivery.ts";
import { requireDovecot } from "../servers/dovecot.ts";
import type { Taken } from "../servers/receiver.ts";
import { readTable } from "../sink/table.ts";
import { fixture, type Mail, mailOf, type Outlets, startOutlets } from "./outlets.ts";

const missing = requireDovecot();
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

const startingWith = (text: string) => expect.stringMatching(new RegExp(`^${text.replace(/[.*+?]/g, "\\$&")}`));

const ROUTES = [
  "- { name: newsletters, when: { list: true, plus: news }, ignore: nobody bills us by newsletter }",
  "- { name: strangers, when: { from: '*@stranger.example' }, hold: a person looks first }",
  "- { name: to the books, when: { plus: books }, sinks: [table, erp], afterwards: { done: { move: Books } } }",
];

/** RFC 3462: what a mail server says of a mail that could not be delivered, with an invoice in it. */
const REPORT = `Return-Path: <>
From: Mail Delivery System <mailer-daemon@mx.kranich-it.example>
To: invoices@billing.example
Subject: Undelivered Mail Returned to Sender
Message-ID: <report-1@mx.kranich-it.example>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b

The mail could not be delivered.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.kranich-it.example

Final-Recipient: rfc822; a@kranich-it.example
Action: failed
Status: 5.1.1
--b
Content-Type: text/plain; name=invoice.txt
Content-Disposition: attachment; filename=invoice.txt

Invoice number: B-1, gross amount: 119.00 EUR
--b--
`;

describe.skipIf(missing !== null)(`every kind of sink, and the ways to them${missing === null ? "" : ` - skipped: ${missing}`}`, () => {
  let outlets: Outlets;
  beforeAll(async () => {
    outlets = await startOutlets({ routes: ROUTES });
  });
  afterAll(() => outlets.stop());

  /** Puts the mails into the mailbox and works until nothing is left to do. */
  async function work(...mails: readonly Mail[]) {
    for (const { raw } of mails) await outlets.stage.dovecot.append("INBOX", raw);
    const daemon = outlets.stage.start("run", "--once");
    expect(await daemon.ended, daemon.said.join("\n")).toBe(0);
    return daemon;
  }
  async function run(...args: string[]) {
    const command = outlets.stage.start(...args);
    const code = await command.ended;
    return { code, text: command.out.join("\n"), said: command.said.join("\n") };
  }
  const toErp = ({ id }: Mail) => outlets.erp.taken.filter((one) => one.id.startsWith(id));
  const toArchive = ({ id }: Mail) => outlets.archive.taken.filter((one) => one.id.startsWith(id));
  const answersTo = async (address: string): Promise<readonly ParsedMail[]> =>
    Promise.all(outlets.smtp.taken.filter(({ to }) => to.includes(address)).map(({ raw }) => simpleParser(Buffer.from(raw, "latin1"))));
  const file = async ({ id }: Mail) => (await outlets.stage.written()).get(`${id.slice(0, 16)}-1.json`);
  const rows = async ({ id }: Mail) =>
    readTable((await outlets.stage.written()).get("all.csv") ?? "").filter((row) => row.document?.startsWith(id));

  it("what was read is everywhere at once, and is everywhere the same", async () => {
    const mails = await Promise.all(["01", "02", "03", "07"].map((number) => fixture(number)));
    await work(...mails);
    for (const mail of mails) {
      const whole = delivered.parse(JSON.parse((await file(mail)) ?? "null")) as Delivered & Entry;
      const { document, extraction, invoices, data } = whole;
      expect(invoices.length).toBeGreaterThan(0);

      const [json, ...others] = toErp(mail);
      expect(others).toEqual([]);
      // The receiver has verified both signatures, or it would not have taken it.
      expect(json?.headers).toMatchObject({
        "idempotency-key": `${mail.id}.1.erp`,
        // Without full stops, which separate what is signed.
        "webhook-id": expect.stringMatching(/^[0-9a-f]{64}[^.]1[^.]erp$/),
        authorization: "Bearer erp-token",
        "x-invoice": invoices[0]?.invoice.number,
      });
      expect(JSON.parse(String(json?.body))).toEqual({ ...whole, id: `${mail.id}.1.erp` });

      const [form] = toArchive(mail);
      const fields = await formIn(form);
      expect(JSON.parse(String(fields.get("delivery")))).toEqual({
        ...{ format: whole.format, id: `${mail.id}.archive`, per: "message", message: whole.message },
        documents: [{ document, extraction, invoices, data }],
      });
      expect(sha256(fields.get("raw") ?? Buffer.alloc(0))).toBe(mail.id);
      const attachments = document.parts.filter(({ id }) => !["text", "html"].includes(id) && fields.has(`part-${id}`));
      expect(attachments.length).toBeGreaterThan(0);
      expect([...fields.keys()].sort()).toEqual(["delivery", "raw", ...attachments.map(({ id }) => `part-${id}`)].sort());
      for (const { id, sha256: hash } of attachments) expect(sha256(fields.get(`part-${id}`) ?? Buffer.alloc(0))).toBe(hash);

      expect((await rows(mail)).map(({ number, gross }) => ({ number, gross }))).toEqual(
        invoices.map(({ invoice: { number, gross } }) => ({ number, gross })),
      );

      const { from, messageId, subject } = whole.message;
      const [answer, ...more] = await answersTo(from[0]?.address ?? "");
      expect(more).toEqual([]);
      expect(answer).toMatchObject({ inReplyTo: messageId, subject: `Re: ${subject}` });
      for (const { invoice } of invoices) expect(answer?.text).toContain(invoice.number);
      const originals = attachments.map(({ sha256 }) => sha256).sort();
      expect(answer?.attachments.map(({ filename }) => filename).slice(0, 2)).toEqual(["billhook.json", "billhook.csv"]);
      expect(
        answer?.attachments
          .slice(2)
          .map(({ content }) => sha256(content))
          .sort(),
      ).toEqual(originals);
    }
    expect(await outlets.stage.list("Done")).toHaveLength(mails.length);
    expect(await outlets.stage.list("INBOX")).toEqual([]);
  });

  it("what could not be read is told to those who asked for failures, and to nobody else", async () => {
    const mail = await fixture("17");
    await work(mail);
    expect(toErp(mail)).toEqual([]);
    expect(toArchive(mail)).toEqual([]);
    expect(await file(mail)).toBeUndefined();
    expect(await rows(mail)).toMatchObject([{ status: "failed", number: "", faultCode: expect.stringMatching(/^\w+\.[\w-]+$/) }]);
    const [answer, ...more] = await answersTo("disposition@uferlos-spedition.example");
    expect(more).toEqual([]);
    expect(answer?.subject).toBe("Re: Frachtrechnung");
    expect(answer?.text).toMatch(/^Your mail “Frachtrechnung”: 1 document could not be read\.$/m);
    expect(answer?.text).toMatch(/Could not be read, because \S+/);
    const [left] = await outlets.stage.list("INBOX");
    expect(left?.flags).toContain("needs-a-person");
  });

  it("machines and lists are read, and not answered; a bounce is not even read", async () => {
    const bounce = await fixture("01", "Return-Path: <>");
    const list = await fixture("01", "List-Id: <suppliers.hollerbusch-papier.example>");
    const machine = await fixture("01", "Auto-Submitted: auto-generated");
    const report = mailOf(Buffer.from(REPORT.replaceAll("\n", "\r\n")));
    const before = outlets.smtp.taken.length;
    const { runs } = await outlets.stage.counts();
    const { log } = await work(bounce, list, machine, report);
    expect((await outlets.stage.counts()).runs).toBe(runs + 3);
    expect([toErp(report), toArchive(report), await rows(report)]).toEqual([[], [], []]);
    for (const mail of [bounce, list, machine]) expect([toErp(mail).length, toArchive(mail).length]).toEqual([1, 1]);
    expect(outlets.smtp.taken).toHaveLength(before);
    const notes = [bounce, list, machine].map(
      ({ id }) =>
        log.find(({ event, task, message }) => event === "deliver.done" && task === "reply" && id.startsWith(message ?? "?"))?.note,
    );
    expect(notes).toEqual([
      "nothing sent: the mail is a report of a mail server",
      "nothing sent: the mail came through a list",
      "nothing sent: the mail was sent by a machine (Auto-Submitted)",
    ]);
  });

  it("rules ignore, hold until a person lets go, and choose sinks and folder", async () => {
    const ignored = await fixture("01", "List-Id: <n>", "Delivered-To: ap+news@example.com");
    const held = mailOf(
      Buffer.from(String((await fixture("04")).raw).replaceAll("no-reply@stadtwerke-birkenau.example", "me@stranger.example")),
    );
    const booked = await fixture("03", "Delivered-To: ap+books@example.com");
    const before = {
      runs: (await outlets.stage.counts()).runs,
      answers: outlets.smtp.taken.length,
      left: (await outlets.stage.list("INBOX")).length,
    };
    await work(ignored, held, booked);
    expect((await outlets.stage.counts()).runs).toBe(before.runs + 1);
    for (const mail of [ignored, held])
      expect([toErp(mail), toArchive(mail), await rows(mail), await file(mail)]).toEqual([[], [], [], undefined]);
    expect([toErp(booked).length, toArchive(booked).length, (await rows(booked)).length, await file(booked)]).toEqual([1, 0, 1, undefined]);
    expect(outlets.smtp.taken).toHaveLength(before.answers);
    expect(await outlets.stage.list("Books")).toHaveLength(1);
    expect(await outlets.stage.list("INBOX")).toHaveLength(before.left + 2);

    const id = held.id.slice(0, 16);
    expect((await run("status")).text).toMatch(
      new RegExp(
        `^held +${id}  invoices UID \\d+  split: held by rule strangers: a person looks first - \`billhook release ${id}\` lets it go$`,
        "m",
      ),
    );
    expect(await run("release", id)).toMatchObject({ code: 0, text: `${id}  splitting goes on` });
    await work();
    expect([toErp(held).length, toArchive(held).length, (await rows(held)).length]).toEqual([1, 1, 1]);
    expect(await answersTo("me@stranger.example")).toHaveLength(1);
    expect(await outlets.stage.list("INBOX")).toHaveLength(before.left + 1);
  });

  it("explain says before, of a file and of a UID, what happens after", { timeout: 120_000 }, async () => {
    const mails = await Promise.all([
      fixture("02", "X-Again: 1"),
      fixture("07", "Precedence: list"),
      fixture("09", "Delivered-To: ap+books@example.com"),
      fixture("12", "Return-Path: <>"),
      fixture("01", "List-Id: <n>", "Delivered-To: ap+NEWS@example.com"),
    ]);
    for (const { raw } of mails) await outlets.stage.dovecot.append("INBOX", raw);
    const inbox = await outlets.stage.read("INBOX");
    const asked = async () => [
      outlets.erp.asked.length,
      outlets.archive.asked.length,
      outlets.smtp.logins(),
      (await outlets.stage.counts()).uploads,
    ];
    const untouched = await asked();
    const told: Told[] = [];
    for (const [at, { id, raw }] of mails.entries()) {
      // One half as files, the other where it lies.
      const path = join(outlets.stage.directory, "shown.eml");
      await writeFile(path, raw);
      const uid = String(inbox.find((one) => sha256(one.raw) === id)?.uid);
      const { code, text } = await run("explain", ...(at % 2 === 0 ? ["--uid", uid] : [path]), "--json");
      expect(code).toBe(0);
      told.push(JSON.parse(text) as Told);
    }
    const before = (await outlets.stage.counts()).runs;
    const boxes = async () => ({ Done: (await outlets.stage.list("Done")).length, Books: (await outlets.stage.list("Books")).length });
    const old = await boxes();
    const answers = outlets.smtp.taken.length;
    expect(await asked()).toEqual(untouched);

    const { log } = await work();
    for (const [at, mail] of mails.entries()) {
      const expected =
        told[at]?.deliveries.map(({ sink, document, destination }) => [document === null ? sink : `${document}.${sink}`, destination]) ??
        [];
      const done = log.filter(({ event, message }) => event === "deliver.done" && mail.id.startsWith(message ?? "?"));
      expect(done.map(({ task }) => task).sort()).toEqual(expected.map(([task]) => task).sort());
      for (const [task, destination = ""] of expected) {
        const note = done.find((one) => one.task === task)?.note ?? null;
        expect(note).toBe(destination.startsWith("no answer: ") ? destination.replace("no answer", "nothing sent") : null);
        if (task === "1.erp")
          expect([toErp(mail).length, destination]).toEqual([1, startingWith(`POST ${new URL(outlets.erp.url).origin}`)]);
        if (task === "archive")
          expect([toArchive(mail).length, destination]).toEqual([1, startingWith(`PUT ${new URL(outlets.archive.url).origin}`)]);
        if (task === "1.json") expect(await readFile(destination, "utf8")).toContain(mail.id);
      }
    }
    const replies = told.flatMap(({ deliveries }) =>
      deliveries.flatMap(({ destination }) => /^a mail to (.+) in reply$/.exec(destination)?.[1] ?? []),
    );
    expect(
      outlets.smtp.taken
        .slice(answers)
        .flatMap(({ to }) => to)
        .sort(),
    ).toEqual(replies.sort());
    expect(told.reduce((sum, { paid }) => sum + paid.runs, 0)).toBe((await outlets.stage.counts()).runs - before);
    const moved = told.map(({ afterwards }) => afterwards?.done.folder);
    expect(moved).toEqual(["Done", "Done", "Books", "Done", undefined]);
    const count = (folder: string) => moved.filter((one) => one === folder).length;
    expect(await boxes()).toEqual({ Done: old.Done + count("Done"), Books: old.Books + count("Books") });
  });

  it("replay delivers once more, under a key of its own, to the sink that is named", async () => {
    const mail = await fixture("02");
    const answers = outlets.smtp.taken.length;
    const short = mail.id.slice(0, 16);
    expect(await run("replay", short, "--to", "nobody")).toMatchObject({
      code: 2,
      said: expect.stringMatching(/json, table, erp, archive, reply/),
    });
    expect(await run("replay", short, "--to", "erp")).toMatchObject({ code: 0, text: expect.stringContaining(`${mail.id}.1.erp~2`) });
    await work();
    const [first, second, ...more] = toErp(mail);
    expect(more).toEqual([]);
    expect([first, second].map((one) => one?.headers["idempotency-key"])).toEqual([`${mail.id}.1.erp`, `${mail.id}.1.erp~2`]);
    expect(second?.headers["webhook-id"]).toBe(`${first?.headers["webhook-id"]}~2`);
    expect(JSON.parse(String(second?.body))).toEqual({ ...JSON.parse(String(first?.body)), id: `${mail.id}.1.erp~2` });
    expect([toArchive(mail).length, outlets.smtp.taken.length]).toEqual([1, answers]);
  });
});

type Told = {
  readonly paid: { readonly runs: number };
  readonly deliveries: readonly { readonly sink: string; readonly document: number | null; readonly destination: string }[];
  readonly afterwards: { readonly done: { readonly folder?: string } } | null;
};

/** The fields of a form, as the platform's own reader has them. */
async function formIn(taken: Taken | undefined): Promise<ReadonlyMap<string, Buffer>> {
  const response = new Response(new Uint8Array(taken?.body ?? []), { headers: { "content-type": String(taken?.headers["content-type"]) } });
  const fields = new Map<string, Buffer>();
  for (const [name, value] of await response.formData()) {
    fields.set(name, typeof value === "string" ? Buffer.from(value) : Buffer.from(await value.arrayBuffer()));
  }
  return fields;
}
