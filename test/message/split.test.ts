/** `billhook split`: one line a file for machines, a tree for people, and the exit code. */
import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { split } from "../../src/cli/split.ts";

let directory = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "billhook-split-"));
});
afterAll(() => rm(directory, { recursive: true }));

const run = async (files: readonly string[], json: boolean) => {
  const lines: string[] = [];
  const code = await split(files, { json }, (line) => lines.push(line));
  return { code, lines };
};

const MESSAGE = [
  "From: Ada <ada@x.example>",
  "To: bob@x.example",
  "Date: Sun, 22 Nov 2026 10:00:00 +0000",
  "Message-ID: <1@x.example>",
  "Subject: =?utf-8?Q?red=1B=5B31m?=",
  "Content-Type: multipart/mixed; boundary=b",
  "",
  "--b",
  "",
  "hello",
  "--b",
  "Content-Type: message/rfc822",
  "",
  "Subject: inner",
  "Content-Type: application/octet-stream; name=a.pdf",
  "Content-Disposition: attachment",
  "",
  "%PDF-1.4",
  "--b--",
  "",
].join("\r\n");

test("JSON: the fields and nothing else, attachments only", async () => {
  const file = join(directory, "a.eml");
  await writeFile(file, MESSAGE);
  const { code, lines } = await run([file], true);
  expect(code).toBe(0);
  expect(lines.map((line) => JSON.parse(line))).toEqual([
    {
      file,
      subject: "red\u001b[31m",
      from: [{ name: "Ada", address: "ada@x.example" }],
      to: [{ name: "", address: "bob@x.example" }],
      date: "2026-11-22T10:00:00.000Z",
      messageId: "<1@x.example>",
      text: "hello",
      html: "",
      parts: [
        {
          id: "2",
          parent: null,
          filename: null,
          contentType: "message/rfc822",
          sniffedType: "text/plain",
          disposition: null,
          size: 111,
          sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
        },
        {
          id: "2.1",
          parent: "2",
          filename: "a.pdf",
          contentType: "application/octet-stream",
          sniffedType: "application/pdf",
          disposition: "attachment",
          size: 8,
          sha256: createHash("sha256").update("%PDF-1.4").digest("hex"),
        },
      ],
    },
  ]);
});

test("a file that cannot be read is said so, the others go on, and the exit code is 3", async () => {
  const good = join(directory, "b.eml");
  await writeFile(good, MESSAGE);
  const { code, lines } = await run([join(directory, "missing.eml"), directory, good], true);
  expect(code).toBe(3);
  const answers = lines.map((line) => JSON.parse(line) as { file: string; error?: string });
  expect(answers.map(({ error }) => error)).toEqual([expect.stringContaining("ENOENT"), expect.stringContaining("EISDIR"), undefined]);
});

test("a tree for people, which cannot steer their terminal", async () => {
  const file = join(directory, "c.eml");
  await writeFile(file, MESSAGE);
  const { lines } = await run([file], false);
  expect(lines.slice(1)).toEqual([
    "  subject  red\\u{1b}[31m",
    "  from     Ada <ada@x.example>",
    "  to       bob@x.example",
    "  date     2026-11-22T10:00:00.000Z",
    "  ├─ text  text/plain  5 bytes",
    "  └─ 2  (no name)  message/rfc822  111 bytes",
    "     └─ 2.1  a.pdf  application/octet-stream (looks like application/pdf)  8 bytes",
  ]);
});
