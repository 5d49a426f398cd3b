/** `billhook explain` as a person calls it: it says before what the daemon does after, leaves no trace, and shows nothing that steers a terminal. */
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { fixtures, MAIL, startStage } from "../e2e/stage.ts";
import { requireDovecot } from "../servers/dovecot.ts";
import { billhook } from "../servers/process.ts";
import { temporaryDirectory } from "../store/disk.ts";

const fixture = new URL("../../fixtures/mail/09-inline-logo.eml", import.meta.url).pathname;
const missing = requireDovecot();

async function configured(mailboxes: readonly string[] = ["invoices"], routes = "[]") {
  const directory = await temporaryDirectory();
  const path = join(directory, "config.yaml");
  // Port 1: nobody answers there.
  const mailbox = (name: string) => `${name}: { host: 127.0.0.1, port: 1, tls: none, user: a, password: b, folder: ${name} }`;
  await writeFile(
    path,
    `
state: { directory: ./state }
mailboxes:
${mailboxes.map((name) => `  ${mailbox(name)}`).join("\n")}
services:
  extend: { kind: extend, url: "http://127.0.0.1:1", apiKey: sk_test_0123456789, extractor: { id: ex_1 } }
sinks:
  files: { kind: file, directory: ./out, name: "{{message}}-{{position}}.json" }
  all: { kind: file, directory: ./all, name: "{{message}}.json", per: message }
routes: ${routes}
`,
  );
  return { directory, path };
}

describe("billhook explain", () => {
  test("a file: what is sent, paid, delivered and told; nobody is asked and nothing is left behind", async () => {
    const { directory, path } = await configured();
    const { code, out, said } = await billhook(["explain", fixture, "-c", path]);
    expect(said).toEqual([]);
    expect(code).toBe(0);
    const text = out.join("\n");
    expect(text).toMatch(/^from {9}Owen Pike <accounts@saltmarsh-print\.example>$/m);
    expect(text).toMatch(/^route {8}no rule matches: read by extend, delivered to files, all$/m);
    expect(text).toMatch(/^ {13}part 2: SP-10982\.pdf, application\/pdf, 2853 bytes, sent as [0-9a-f]{16}-2\.pdf$/m);
    expect(text).toMatch(/^ {13}part html: text\/html, 225 bytes, left out: the other body is sent$/m);
    expect(text).toMatch(/^paid {9}1 run at extend$/m);
    expect(text).toMatch(new RegExp(`^delivery {5}files, document 1: ${directory}/out/[0-9a-f]{16}-1\\.json$`, "m"));
    expect(text).toMatch(/^mailbox {6}it stays as it is; when it fails, it is flagged$/m);
    expect(await readdir(directory)).toEqual(["config.yaml"]);
  });

  test("the rules of the configuration, each with why it does or does not match", async () => {
    const { directory, path } = await configured(
      ["invoices", "orders"],
      `
  - { name: orders, when: { mailbox: orders }, hold: somebody looks at it }
  - { name: print, when: { from: "*@saltmarsh-*", attachments: { name: "*.pdf" } }, sinks: all, afterwards: { done: delete } }
  - { name: spam, when: { list: true }, ignore: nobody bills us so }`,
    );
    const taken = (await billhook(["explain", fixture, "-c", path])).out.join("\n");
    expect(taken).toMatch(/^rule {9}orders does not match; mailbox: invoices is not orders$/m);
    expect(taken).toMatch(/^rule {9}print decides; from: .* is like \*@saltmarsh-\*; attachments: part 2 is one: SP-10982\.pdf, /m);
    expect(taken).toMatch(/^rule {9}spam does not match; list: nothing says that it came through a list$/m);
    expect(taken).toMatch(new RegExp(`^delivery {5}all, the whole message: ${directory}/all/[0-9a-f]{16}\\.json$`, "m"));
    expect(taken).not.toMatch(/^delivery {5}files/m);
    expect(taken).toMatch(/^mailbox {6}it is deleted; when it fails, it is flagged$/m);
    const held = (await billhook(["explain", fixture, "--mailbox", "orders", "-c", path])).out.join("\n");
    expect(held).toMatch(/^route {8}orders: held, somebody looks at it; /m);
    expect(held).not.toMatch(/^(paid|delivery)/m);
  });

  test("a hostile mail cannot steer the terminal, as text or as JSON", async () => {
    const { directory, path } = await configured();
    const file = join(directory, "hostile.eml");
    const evil = "\x1b[2J\x9b31m\u202egnp.exe\u200b\x07\u{e0041}";
    const encoded = `=?utf-8?B?${Buffer.from(evil).toString("base64")}?=`;
    const name = `filename*=utf-8''${encodeURIComponent(evil)}`;
    await writeFile(
      file,
      `From: ${encoded} <a@example.com>\r\nSubject: ${encoded}\r\nList-Id: ${evil}\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; ${name}\r\n\r\n%PDF-1.4\r\n`,
    );
    const text = await billhook(["explain", file, "-c", path]);
    const json = await billhook(["explain", file, "-c", path, "--json"]);
    expect([text.code, json.code]).toEqual([0, 0]);
    for (const { out } of [text, json]) expect(out.join("")).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
    expect(text.out.join("\n")).toMatch(/subject {6}\\u\{1b\}\[2J\\u\{9b\}31m\\u\{202e\}gnp\.exe\\u\{200b\}\\u\{7\}\\u\{e0041\}/);
    expect(JSON.parse(json.out.join("\n"))).toMatchObject({ facts: { subject: evil }, paid: { runs: 1 } });
  });

  test.each([
    [[], /billhook explain FILE/],
    [[fixture, "--uid", "1"], /billhook explain FILE/],
    [["--uid", "1"], /--mailbox: invoices, orders/],
    [["--uid", "1", "--mailbox", "nobody"], /no mailbox nobody; it has invoices, orders/],
    [["--uid", "0", "--mailbox", "orders"], /a UID from 1 to 4294967295/],
    [["--uid", "1:*", "--mailbox", "orders"], /a UID from 1 to 4294967295/],
    [["--uid", "4294967296", "--mailbox", "orders"], /a UID from 1 to 4294967295/],
  ])("%j is wrong use: exit 2, and says what is right", async (args, right) => {
    const { path } = await configured(["invoices", "orders"]);
    const { code, out, said } = await billhook(["explain", ...args, "-c", path]);
    expect(code).toBe(2);
    expect(said.join("\n")).toMatch(right);
    expect(out).toEqual([]);
  });

  test("a file or a server that is not there: exit 3", async () => {
    const { path } = await configured();
    const missing = await billhook(["explain", "/nowhere.eml", "-c", path]);
    expect([missing.code, missing.said.join("\n")]).toEqual([3, expect.stringMatching(/cannot be read: .*ENOENT/)]);
    const refused = await billhook(["explain", "--uid", "1", "-c", path]);
    expect([refused.code, refused.said.join("\n")]).toEqual([3, expect.stringMatching(/Could not connect to 127\.0\.0\.1:1/)]);
  });
});

type Told = {
  readonly message: { readonly id: string };
  readonly paid: { readonly runs: number };
  readonly deliveries: readonly { readonly destination: string }[];
};

describe.skipIf(missing !== null)(`billhook explain --uid, on Dovecot ${missing ?? ""}`, () => {
  test("says before what the daemon does after, and leaves no trace", async () => {
    const stage = await startStage({ encoding: "attachments" });
    try {
      const mails = (await fixtures()).filter(({ name }) => /^0[126]/.test(name));
      for (const { raw } of mails) await stage.dovecot.append("INBOX", raw);
      const told: Told[] = [];
      for (const at of mails.keys()) {
        const run = stage.start("explain", "--uid", String(at + 1), "--json");
        expect(await run.ended).toBe(0);
        expect(JSON.parse(run.out.join("\n"))).toMatchObject({ known: null });
        told.push(JSON.parse(run.out.join("\n")) as Told);
      }
      const gone = stage.start("explain", "--uid", "99");
      expect([await gone.ended, gone.said[0]]).toEqual([3, "there is no message with the UID 99 in mailbox invoices"]);
      // Whoever had opened the folder to change it would have taken \Recent away.
      expect(await stage.list("INBOX")).toEqual(mails.map((_, at) => ({ uid: at + 1, flags: ["\\Recent"] })));
      expect(await readdir(stage.directory)).not.toContain("state");
      expect(await stage.counts()).toMatchObject({ uploads: 0, runs: 0 });

      expect(await stage.start("run", "--once").ended).toBe(0);
      const written = [...(await stage.written()).keys()].map((name) => join(stage.results, name));
      expect(told.flatMap(({ deliveries }) => deliveries.map(({ destination }) => destination)).toSorted()).toEqual(written.toSorted());
      expect(told.reduce((sum, { paid }) => sum + paid.runs, 0)).toBe((await stage.counts()).runs);
      for (const name of written) {
        const { message } = JSON.parse(await readFile(name, "utf8")) as Told;
        expect(told.map((one) => one.message.id)).toContain(message.id);
      }
      const again = stage.start("explain", new URL(mails[0]?.name ?? "", MAIL).pathname);
      expect(await again.ended).toBe(0);
      expect(again.out.join("\n")).toMatch(/^known +since 20\d\d-.*neither read nor paid for/m);
    } finally {
      await stage.stop();
    }
  });
});
