/** Everything about one mail as a zip: what is in it, what is not, and that it is written whole or not at all. */
import { createHash } from "node:crypto";
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { buffer, text } from "node:stream/consumers";
import { expect, it } from "vitest";
import { fromBuffer } from "yauzl";
import { permanent } from "../../src/base/errors.ts";
import { exportMail } from "../../src/cli/export.ts";
import type { Terminal } from "../../src/cli/terminal.ts";
import type { Life } from "../../src/desk/desk.ts";
import { exportLife } from "../../src/desk/export.ts";
import { mailOf, openCounter, run } from "./desk.ts";

/** Name -> text, as another program unpacks it, sizes and checksums verified. */
async function unzipped(zip: Buffer): Promise<ReadonlyMap<string, string>> {
  const files = new Map<string, string>();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  fromBuffer(zip, { lazyEntries: true, strictFileNames: true }, (failed, opened) => {
    if (failed) return reject(failed);
    opened.on("error", reject).on("end", resolve);
    opened.on("entry", (entry: { readonly fileName: string }) => {
      opened.openReadStream(entry as Parameters<typeof opened.openReadStream>[0], async (broken, stream) => {
        if (broken) return reject(broken);
        files.set(entry.fileName, await text(stream));
        opened.readEntry();
      });
    });
    opened.readEntry();
  });
  await promise;
  return files;
}

it("holds the mail, its parts, results, life and events, under names that are none of the mail's", async () => {
  const { config, directory, take } = await openCounter();
  const raw = mailOf("Rechnung", undefined, "../../../etc/passwd");
  const id = await take(raw);
  const path = join(directory, "mail.zip");
  const { code, lines } = await run((terminal) => exportMail({ config, message: id.slice(0, 8), out: path }, terminal));
  expect([code, lines]).toEqual([0, [`${id.slice(0, 16)}  is in ${path}, with all that the mail holds`]]);
  expect((await stat(path)).mode & 0o777).toBe(0o600);

  const files = await unzipped(await readFile(path));
  expect([...files.keys()]).toEqual([
    "raw.eml",
    "parts/text.txt",
    "parts/2.pdf",
    "results/document-1.json",
    "life.json",
    "events.txt",
    "README.txt",
  ]);
  expect(
    createHash("sha256")
      .update(files.get("raw.eml") ?? "")
      .digest("hex"),
  ).toBe(id);
  expect(files.get("parts/2.pdf")).toBe("%PDF-1.7 an invoice");
  expect(JSON.parse(files.get("results/document-1.json") ?? "")).toMatchObject({
    service: "service",
    data: { total: "119.00" },
    runs: [{ runId: "run", credits: 2 }],
    invoices: [{ invoice: { number: "RE-2026-0815", gross: "119.00" } }],
  });
  expect(JSON.parse(files.get("life.json") ?? "")).toMatchObject({ id, standing: "done" });
  expect(files.get("events.txt")?.split("\n")).toHaveLength(6);
  expect(files.get("events.txt")).toMatch(/^2026-05-04T10:01:00.000Z {2}received {2}invoices/);
  expect(files.get("README.txt")).toContain(`raw.eml  the mail as it arrived, SHA-256 ${id}`);
  for (const content of files.values()) expect(content).not.toContain("nobody-sees");
});

it("says which bytes are not there any more, and is good without them", async () => {
  const { config, directory, works, take } = await openCounter();
  const id = await take(mailOf("Rechnung"));
  await writeFile(works.spool.path("raw", id), "");
  const path = join(directory, "mail.zip");
  expect((await run((terminal) => exportMail({ config, message: id, out: path }, terminal))).code).toBe(0);
  const files = await unzipped(await readFile(path));
  expect([...files.keys()]).not.toContain("raw.eml");
  expect(files.get("README.txt")).toMatch(/^raw\.eml {2}NOT HERE: /m);
  expect(files.get("parts/2.pdf")).toBe("%PDF-1.7 an invoice");
});

it("overwrites nothing, and leaves nothing behind when it cannot go on or is stopped", async () => {
  const { config, directory, take } = await openCounter();
  const id = await take(mailOf("Rechnung"));
  const path = join(directory, "mail.zip");
  const go = (out: string | null, stop = new AbortController().signal) => {
    const terminal: Terminal = { out: () => {}, say: () => {}, stop };
    return exportMail({ config, message: id, out }, terminal);
  };
  await writeFile(path, "of somebody else");
  await expect(go(path)).rejects.toMatchObject({ code: "config.usage", message: expect.stringContaining("is there already") });
  expect(await readFile(path, "utf8")).toBe("of somebody else");

  const before = await readdir(directory);
  await expect(go(join(directory, "stopped.zip"), AbortSignal.abort())).rejects.toMatchObject({ code: "export.stopped" });
  await expect(go(join(directory, "nowhere", "mail.zip"))).rejects.toMatchObject({ code: "export.write" });
  expect(await readdir(directory)).toEqual(before);
});

it("fails as a whole when bytes break off, and ends when nobody takes it any more", async () => {
  const life = {
    id: "0".repeat(64),
    receivedAt: "2026-05-04T10:00:00.000Z",
    standing: "done",
    parts: [],
    documents: [],
    events: [],
  } as unknown as Life;
  const desk = (bytes: () => AsyncGenerator<Uint8Array>) => ({
    raw: async () => bytes(),
    part: () => Promise.reject(permanent("desk.unknown", "no part")),
  });
  const broken = desk(async function* () {
    yield Buffer.alloc(10);
    throw permanent("spool.damaged", "it ends too early");
  });
  await expect(buffer(exportLife(broken, life))).rejects.toMatchObject({ code: "spool.damaged" });

  let given = 0;
  let closed = false;
  const endless = desk(async function* () {
    try {
      for (;;) {
        given += 1;
        yield Buffer.alloc(64 * 1024, given);
      }
    } finally {
      closed = true;
    }
  });
  for await (const _ of exportLife(endless, life)) break;
  expect(closed).toBe(true);
  // Only as much is read as is taken, but for what stands in the pipes.
  expect(given).toBeLessThan(100);
});
