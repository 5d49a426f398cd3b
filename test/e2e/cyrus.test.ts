/** The whole job on Cyrus, as Debian sets it up (folders below INBOX, separated by full stops): a second opinion on what Dovecot agrees to. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ImapFlow } from "imapflow";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Cyrus, requireCyrus, startCyrus } from "../servers/cyrus.ts";
import { type Billhook, startBillhook } from "../servers/process.ts";
import { type Counts, fixtures } from "./stage.ts";

const missing = requireCyrus();
const KEY = "cyrus-key";

/** `idle` is told of new mail by IDLE only: its next sweep is on New Year's Day. `swept` is swept every second. */
function configuration({ host, port, user }: Cyrus, url: string): string {
  return `
state: { directory: ./state }
log: { format: json }
mailboxes:
  idle:
    { host: ${host}, port: ${port}, tls: starttls, ca: ./ca.pem, user: ${user}, password: "\${CYRUS_PASSWORD}", start: all, sweep: "0 0 1 1 *",
      afterwards: { done: { move: Done/2026 } } }
  swept:
    { host: ${host}, port: ${port}, tls: none, user: ${user}, password: "\${CYRUS_PASSWORD}", start: all, sweep: "* * * * * *",
      folder: Rechnungen, afterwards: { done: flag, failed: { keyword: needs-a-person } } }
services:
  cloudsquid:
    { kind: cloudsquid, apiKey: ${KEY}, url: "${url}", project: stage, table: 3c90c3cc-0d44-4b50-8888-8dd25736052a, poll: { first: 100ms, longest: 1s } }
sinks: { files: { kind: file, directory: ./out } }
`;
}

describe.skipIf(missing !== null)(`billhook run against Cyrus${missing === null ? "" : ` - skipped: ${missing}`}`, () => {
  let cyrus: Cyrus;
  let person: ImapFlow;
  let directory: string;
  let sandbox: Billhook;
  let daemon: Billhook;
  let url = "";
  let good: Buffer;
  let bad: Buffer;

  beforeAll(async () => {
    cyrus = await startCyrus({ folders: "below INBOX" });
    person = await cyrus.client();
    await cyrus.createFolder("Rechnungen");
    directory = await mkdtemp(join(tmpdir(), "billhook-on-cyrus-"));
    sandbox = startBillhook(["sandbox", "--port", "0", "--key", KEY]);
    url = (await sandbox.printed((line) => line.startsWith("url: "))).slice("url: ".length);
    await writeFile(join(directory, "ca.pem"), cyrus.ca);
    await writeFile(join(directory, "config.yaml"), configuration(cyrus, url));
    const mails = await fixtures();
    const first = (settles: string) => mails.find(({ expected }) => expected.settles === settles)?.raw ?? Buffer.alloc(0);
    [good, bad] = [first("done"), first("failed")];
    daemon = startBillhook(["run", "-c", join(directory, "config.yaml")], { CYRUS_PASSWORD: cyrus.password });
    await Promise.all(["idle", "swept"].map((mailbox) => daemon.logged((line) => watches(line, mailbox))));
  });
  afterAll(async () => {
    await daemon?.kill();
    await sandbox?.kill();
    person?.close();
    await cyrus?.stop();
    if (directory !== undefined) await rm(directory, { recursive: true, force: true });
  });

  const watches = (line: { event: string; mailbox?: unknown }, mailbox: string) =>
    line.event === "mailbox.watching" && line.mailbox === mailbox;
  /** The same mail as far as a reader is concerned, and another one for who counts bytes. */
  const copy = (raw: Buffer, name: string) => Buffer.concat([Buffer.from(`X-Copy: ${name}\r\n`), raw]);
  /** What is told of the next line like this: those that are there already do not count. */
  function next(event: string, fits: (line: Billhook["log"][number]) => boolean = () => true) {
    const seen = new Set(daemon.log);
    return daemon.logged((line) => !seen.has(line) && line.event === event && fits(line));
  }
  async function flagsIn(folder: string): Promise<readonly (readonly string[])[]> {
    const { exists } = await person.mailboxOpen(folder, { readOnly: true });
    const rows = exists === 0 ? [] : await person.fetchAll("1:*", { flags: true });
    await person.mailboxClose();
    return rows.map(({ flags }) => [...(flags ?? [])].filter((flag) => flag !== "\\Recent"));
  }
  async function runs(): Promise<number> {
    return ((await (await fetch(`${url.replace(/\/api$/, "")}/_sandbox/counts`)).json()) as Counts).runs;
  }

  it("mail that IDLE tells of is settled by a move to a folder that was not there", async () => {
    for (const name of ["one", "two"]) {
      const settled = next("settle.done");
      await cyrus.append("INBOX", copy(good, name));
      await settled;
    }
    expect(await flagsIn("INBOX")).toEqual([]);
    expect(await flagsIn("INBOX.Done.2026")).toEqual([[], []]);
  });

  it("mail that the sweep finds is settled by a flag, and by a keyword when it failed", async () => {
    for (const raw of [copy(good, "three"), bad]) {
      const settled = next("settle.done");
      await cyrus.append("INBOX.Rechnungen", raw);
      await settled;
    }
    expect(await flagsIn("INBOX.Rechnungen")).toEqual([["\\Flagged"], ["needs-a-person"]]);
  });

  it("a renamed folder is told, and read on when it has its name again", async () => {
    const told = next("mailbox.trouble");
    await person.mailboxRename("INBOX.Rechnungen", "INBOX.Old");
    expect(await told).toMatchObject({ mailbox: "swept", fault: "imap.folder" });
    await cyrus.append("INBOX.Old", copy(good, "four"));
    const settled = next("settle.done");
    await person.mailboxRename("INBOX.Old", "INBOX.Rechnungen");
    await settled;
    expect(await flagsIn("INBOX.Rechnungen")).toEqual([["\\Flagged"], ["needs-a-person"], ["\\Flagged"]]);
  });

  it("a deleted folder is told; made again it has another UIDVALIDITY, and what is known is not bought again", async () => {
    const before = await runs();
    const told = next("mailbox.trouble");
    await person.mailboxDelete("INBOX.Rechnungen");
    expect(await told).toMatchObject({ mailbox: "swept", fault: "imap.folder" });
    const renumbered = next("mailbox.renumbered");
    const again = next("message.seen-again");
    const received = next("message.received");
    await cyrus.createFolder("INBOX.Rechnungen");
    await cyrus.append("INBOX.Rechnungen", copy(good, "three"));
    await cyrus.append("INBOX.Rechnungen", copy(good, "five"));
    const { message } = await received;
    await Promise.all([renumbered, again, next("settle.done", (line) => line.message === message)]);
    expect(await flagsIn("INBOX.Rechnungen")).toEqual([["\\Flagged"], ["\\Flagged"]]);
    expect(await runs()).toBe(before + 1);
  });
});
