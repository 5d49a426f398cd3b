/** Answers through a real Postfix into the mailbox that is watched: threads as a person sees them, and no loop. */
import { readFile, writeFile } from "node:fs/promises";
import { simpleParser } from "mailparser";
import { describe, expect, it } from "vitest";
import { requireDovecot } from "../servers/dovecot.ts";
import { requirePostfix, startPostfix } from "../servers/postfix.ts";
import { fixture } from "./outlets.ts";
import { startStage } from "./stage.ts";

const missing = requireDovecot() ?? requirePostfix();

describe.skipIf(missing !== null)(`answers through Postfix${missing === null ? "" : ` - skipped: ${missing}`}`, () => {
  it.each([
    { routes: [], split: "ignored by rule returned mail (built in): our own mail come back, or a bounce", said: [null], runs: 1 },
    {
      routes: ["- { name: read it too, when: { returned: true }, sinks: reply }"],
      split: expect.stringContaining("rule read it too"),
      said: [null, "nothing sent: the mail is one of our own"],
      runs: 2,
    },
  ])("stand in the thread of the question; our own answer, back in the mailbox, is not answered: routes $routes", async (one) => {
    const stage = await startStage({ afterwards: "{ done: none, failed: none }", routes: one.routes });
    const postfix = await startPostfix(stage.dovecot);
    try {
      const { host, port, domain } = postfix;
      const reply = `reply: { kind: smtp, host: ${host}, port: ${port}, tls: starttls, ca: ./ca.pem, from: invoices@example.com, to: sender, allow: "*@${domain}" }`;
      await writeFile(stage.config, (await readFile(stage.config, "utf8")).replace("sinks:\n", `sinks:\n  ${reply}\n`));
      const text = (await fixture("04")).raw.toString("latin1").replaceAll("no-reply@stadtwerke-birkenau.example", `anna@${domain}`);
      await stage.dovecot.append("INBOX", Buffer.from(text, "latin1"));

      const daemon = stage.start("run");
      // Postfix puts the answer where the question came from.
      const settled = new Set<unknown>();
      await daemon.logged(({ event, message }) => event === "settle.done" && settled.add(message).size === 2);
      expect(await daemon.kill()).toBe(0);
      const notes = (wanted: string, of?: string) =>
        daemon.log.flatMap(({ event, task, note }) => (event === wanted && task === of ? [note ?? null] : []));
      expect(notes("split.done").at(-1)).toEqual(one.split);
      expect(notes("deliver.done", "reply")).toEqual(one.said);
      expect((await stage.counts()).runs).toBe(one.runs);

      const [question, answer, ...more] = await Promise.all((await stage.read("INBOX")).map(({ raw }) => simpleParser(raw)));
      expect(more).toEqual([]);
      expect(answer).toMatchObject({
        ...{ inReplyTo: question?.messageId, references: question?.messageId },
        subject: `Re: ${question?.subject}`,
      });
      expect(answer?.text).toContain("SWB-26-0002917");
    } finally {
      await postfix.stop();
      await stage.stop();
    }
  });
});
