/** A state directory with mails at different points of their way, and commands run on it in the test's own process. */
import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { permanent } from "../../src/base/errors.ts";
import type { Terminal } from "../../src/cli/terminal.ts";
import type { Progress } from "../../src/extractor/extractor.ts";
import type { Works } from "../../src/pipeline/step.ts";
import { drain, extractorOf, sinkOf, sourceOf, worksIn } from "../pipeline/works.ts";
import { temporaryDirectory } from "../store/disk.ts";

/** A mail with a text and an attachment, and with what somebody may have thought up for its header. */
export function mailOf(subject: string, from = "Seilerei Kronau <rechnung@seilerei.example>", name = "RE-2026-0815.pdf"): Buffer {
  return Buffer.from(
    [
      `From: ${from}`,
      `Subject: ${subject}`,
      `Message-ID: <${createHash("sha256").update(subject).digest("hex").slice(0, 8)}@seilerei.example>`,
      "Date: Mon, 02 Mar 2026 10:00:00 +0000",
      'Content-Type: multipart/mixed; boundary="b"',
      "",
      "--b",
      "Content-Type: text/plain",
      "",
      "the invoice",
      "--b",
      "Content-Type: application/pdf",
      `Content-Disposition: attachment; filename="${name}"`,
      "",
      "%PDF-1.7 an invoice",
      "--b--",
      "",
    ].join("\r\n"),
  );
}

export type Counter = {
  readonly directory: string;
  readonly config: string;
  readonly works: Works;
  /** Takes a mail in, and works until nothing is left to do. Resolves with its id. */
  readonly take: (raw: Buffer) => Promise<string>;
  /** A mail the server will not give. Resolves with its name. */
  readonly refuse: () => Promise<string>;
  readonly drain: () => Promise<unknown>;
};

/** The service refuses mails whose subject says so, and finds the same invoice in the others. */
export async function openCounter(): Promise<Counter> {
  const directory = await temporaryDirectory();
  const config = join(directory, "config.yaml");
  await writeFile(
    config,
    `
state: { directory: ./state }
mailboxes: { invoices: { host: localhost, user: u, password: a-password-nobody-sees } }
services:
  service: { kind: extend, apiKey: a-key-nobody-sees, limits: { runsPerDay: 500 } }
  other: { kind: extend, apiKey: a-key-nobody-sees }
sinks: { files: { kind: file, directory: ./out } }
`,
  );
  const { extractor } = extractorOf(({ document }): Progress => {
    if (document.facts.subject?.includes("refuse"))
      return {
        is: "refused",
        memo: { runId: "run" },
        fault: permanent("service.refused", "service: the document cannot be read", "look at it"),
      };
    const data = { invoiceNumber: "RE-2026-0815", total: "119.00", sellerName: document.facts.from[0]?.name ?? "" };
    const answer = { runId: "run", data, credits: 2, reasoning: null, review: null, raw: { status: "done" } };
    return { is: "answered", memo: { runId: "run" }, answer };
  });
  const { works, clock } = await worksIn(join(directory, "state"), {
    extractor,
    sinks: [sinkOf("files").sink],
    source: sourceOf("invoices").source,
  });
  onTestFinished(() => works.ledger.close());
  let uid = 0;
  const place = () => {
    uid += 1;
    clock.set(new Date(clock.now().getTime() + 60_000));
    return { origin: { mailbox: "invoices", uidValidity: "1", uid }, cursor: { uidValidity: "1", uid, since: null, until: 0 } };
  };
  return {
    directory,
    config,
    works,
    take: async (raw) => {
      const { sha256, size } = await works.spool.keep("raw")([raw] as unknown as AsyncIterable<Uint8Array>);
      await works.ledger.receive({ blob: { sha256, size }, ...place(), receivedAt: null, now: clock.now() });
      await drain(works, clock);
      return sha256;
    },
    refuse: async () => {
      const { code, message, advice, temporary } = permanent(
        "imap.unreadable",
        "Message UID cannot be read",
        "`billhook retry u<number>` asks again",
      );
      await works.ledger.receiveUnreadable({ ...place(), fault: { code, message, advice, temporary }, now: clock.now() });
      const [first] = await works.ledger.unreadable();
      return `u${first?.id}`;
    },
    drain: () => drain(works, clock),
  };
}

/** `billhook list` without any wish. */
export const NOTHING = { state: null, since: null, from: null, mailbox: null, subject: null, limit: "100", json: false };

/** Runs a command; `answer` is what the person types when they are asked, null: nobody can be asked. */
export async function run(command: (terminal: Terminal) => Promise<number>, answer: string | null = null) {
  const lines: string[] = [];
  const said: string[] = [];
  const questions: string[] = [];
  const ask = async (question: string) => {
    questions.push(question);
    return answer ?? "";
  };
  const terminal: Terminal = {
    out: (line) => void lines.push(line),
    say: (line) => void said.push(line),
    stop: new AbortController().signal,
    ...(answer === null ? {} : { ask }),
  };
  const code = await command(terminal);
  return { code, lines, said, text: lines.join("\n"), questions };
}
