/** The smtp sink against a real Postfix, and its answers read back over IMAP, as a person's mail program does. */
import { ImapFlow } from "imapflow";
import { type ParsedMail, simpleParser } from "mailparser";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { SmtpSinkOptions } from "../../src/sink/smtp.ts";
import { type Dovecot, requireDovecot, startDovecot } from "../servers/dovecot.ts";
import { type Postfix, requirePostfix, startPostfix } from "../servers/postfix.ts";
import { delivery, MESSAGE, piece } from "./deliveries.ts";
import { smtpSink } from "./smtp-side.ts";

const why = requireDovecot() ?? requirePostfix();
const never = new AbortController().signal;
const keyOf = (n: number) => `${MESSAGE}.${n}.reply`;
const QUESTION = `From: Anna <anna@seilerei.example>
To: invoices@example.com
Subject: =?utf-8?Q?Rechnung_f=C3=BCr_M=C3=A4rz?=
Message-ID: <question@seilerei.example>
References: <earlier@seilerei.example>
Date: Mon, 02 Mar 2026 10:00:00 +0000

Anbei.
`.replaceAll("\n", "\r\n");

describe.skipIf(why !== null)(`through Postfix into a mailbox${why === null ? "" : ` (${why})`}`, () => {
  let dovecot: Dovecot;
  let postfix: Postfix;
  let client: ImapFlow;
  let read = 0;

  beforeAll(async () => {
    dovecot = await startDovecot();
    postfix = await startPostfix(dovecot);
    const { host, port, user, password } = dovecot;
    client = new ImapFlow({ host, port, auth: { user, pass: password }, secure: false, doSTARTTLS: false, logger: false });
    await client.connect();
    await client.mailboxOpen("INBOX");
  });
  afterAll(async () => {
    client?.close();
    await postfix?.stop();
    await dovecot?.stop();
  });

  const sinkOf = (options: Partial<SmtpSinkOptions> = {}) => {
    const server = { ...postfix, user: null, password: null };
    return smtpSink(server, { tls: "starttls", ...options });
  };

  /** The next mails in the inbox, once they are there; with each answer the server tells how many it has. */
  async function arrived(many: number): Promise<readonly ParsedMail[]> {
    while ((client.mailbox ? client.mailbox.exists : 0) < read + many) await client.noop();
    const found: ParsedMail[] = [];
    for await (const { source } of client.fetch(`${read + 1}:${read + many}`, { source: true }))
      found.push(await simpleParser(source ?? ""));
    read += many;
    return found;
  }

  test("the answer stands in the thread of the question", async () => {
    await dovecot.append("INBOX", QUESTION);
    await arrived(1);
    const facts = {
      from: [{ name: "Anna", address: "anna@seilerei.example" }],
      messageId: "<question@seilerei.example>",
      references: ["<earlier@seilerei.example>"],
    };
    const given = delivery(keyOf(1), {
      subject: "Rechnung für März",
      facts,
      invoices: [{ number: "RE-4711", seller: { name: "Seilerei Huber & Söhne", vatId: null } }],
      attachments: [piece("2", "Größe.pdf", Buffer.alloc(100_000, 7))],
    });
    const receipt = await sinkOf({ attach: { json: true, csv: true, originals: true } }).deliver(given, keyOf(1), never);
    expect(receipt).toMatchObject({ to: "anna@seilerei.example", response: expect.stringMatching(/^250 2\.0\.0 Ok: queued as \w+$/) });
    const [answer] = await arrived(1);
    expect(answer).toMatchObject({
      messageId: receipt.messageId,
      inReplyTo: "<question@seilerei.example>",
      references: ["<earlier@seilerei.example>", "<question@seilerei.example>"],
      subject: "Re: Rechnung für März",
      from: { text: '"Invoices" <invoices@example.com>' },
      text: expect.stringContaining("Seilerei Huber & Söhne"),
    });
    expect(answer?.headers.get("return-path")).toMatchObject({ value: [{ address: "invoices@example.com" }] });
    expect(answer?.headers.get("auto-submitted")).toBe("auto-replied");
    expect(answer?.attachments.map(({ filename }) => filename)).toEqual(["billhook.json", "billhook.csv", "Größe.pdf"]);
    expect(answer?.attachments[2]?.content.equals(Buffer.alloc(100_000, 7))).toBe(true);
    // RFC 5256: the server's own opinion on which mails belong together.
    const threads: string[] = [];
    const words = ["REFERENCES", "UTF-8", "ALL"].map((value) => ({ type: "ATOM", value }));
    const untagged = { THREAD: async (line: { readonly attributes: unknown }) => void threads.push(JSON.stringify(line.attributes)) };
    const response = await (client as unknown as Exec).exec("THREAD", words, { untagged });
    response.next();
    expect(threads).toHaveLength(1);
    expect(threads[0]?.match(/"value":"(\d)"/g)).toEqual(['"value":"1"', '"value":"2"']);
    expect(JSON.parse(threads[0] ?? "")).toHaveLength(1);
  });

  test("sent again, it is the same mail to whoever looks at its Message-ID", async () => {
    const given = delivery(keyOf(2), { facts: { from: [{ name: "", address: "anna@seilerei.example" }] } });
    await sinkOf().deliver(given, keyOf(2), never);
    await sinkOf().deliver(given, keyOf(2), never);
    const [first, second] = await arrived(2);
    expect(second?.messageId).toBe(first?.messageId);
    expect(second?.html).toBe(first?.html);
  });

  test("what it refuses, it refuses for good: strangers' domains, mails that are too long", async () => {
    const to = ["books@elsewhere.example"];
    await expect(sinkOf({ to }).deliver(delivery(keyOf(3)), keyOf(3), never)).rejects.toMatchObject({
      code: "smtp.refused",
      temporary: false,
      message: expect.stringContaining("554 5.7.1 <…>: Relay access denied"),
    });
    const long = delivery(keyOf(4), { attachments: [piece("2", "a.pdf", Buffer.alloc(postfix.longest))] });
    const options = { to: [`books@${postfix.domain}`], attach: { json: true, csv: false, originals: true } };
    await expect(sinkOf(options).deliver(long, keyOf(4), never)).rejects.toMatchObject({ code: "smtp.refused", temporary: false });
  });

  test("without encryption it takes nothing, and the sink waits for a person", async () => {
    await expect(
      sinkOf({ tls: "none" }).deliver(
        delivery(keyOf(5), { facts: { from: [{ name: "", address: "anna@seilerei.example" }] } }),
        keyOf(5),
        never,
      ),
    ).rejects.toMatchObject({
      code: "smtp.login",
      halts: true,
    });
    expect(await sinkOf().probe(never)).toEqual({ said: `127.0.0.1:${postfix.port} answers` });
  });
});

type Exec = {
  readonly exec: (command: string, attributes: object[], options: object) => Promise<{ readonly next: () => void }>;
};
