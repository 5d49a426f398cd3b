/** The file sink: whole or not at all, each in its own place, whatever a crash, a person or a full disk has left there. */
import { execFileSync } from "node:child_process";
import { createReadStream, readFileSync } from "node:fs";
import {
  appendFile,
  chmod,
  link,
  mkdir,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  unlink,
  writeFile,
} from "node:fs/promises";
import { basename, join } from "node:path";
import { describe, expect, test } from "vitest";
import { Fault } from "../../src/base/errors.ts";
import { temporaryName } from "../../src/base/files.ts";
import type { Piece } from "../../src/message/message.ts";
import { csvHeader, csvRowsOf } from "../../src/sink/csv.ts";
import type { Delivered } from "../../src/sink/delivery.ts";
import { createKeys } from "../../src/sink/file/keys.ts";
import { writeNew } from "../../src/sink/file/rights.ts";
import { createFileSink, type FileSinkOptions } from "../../src/sink/file.ts";
import type { Sink } from "../../src/sink/sink.ts";
import { guardedDirectory, makeReadOnly, makeWritable, noDisk, smallDisk, temporaryDirectory } from "../store/disk.ts";
import { delivery, MESSAGE, piece } from "./deliveries.ts";

/** Null where a process can be given the one capability it needs. */
const noCapabilities: string | null = (() => {
  try {
    asNobody([process.execPath, "--version"]);
    return readFileSync("/proc/sys/fs/protected_hardlinks", "utf8").trim() === "1" ? null : "every file can be linked here";
  } catch {
    return "setpriv needs root";
  }
})();

const never = new AbortController().signal;
const KEY = `${MESSAGE}.1.files`;
const OTHER = `${MESSAGE}.2.files`;

/** Every implementation: how it is made, and what its other side has been given. */
const implementations = (["json", "jsonl"] as const).map((format) => ({
  format,
  make: (directory: string, options: Partial<FileSinkOptions> = {}): Sink =>
    createFileSink({ name: "files", directory, template: `all.${format}`, format, attachments: false, ...options }),
  read: async (directory: string): Promise<readonly Delivered[]> => {
    const texts = await Promise.all(
      (await files(directory)).filter((name) => name.includes(".json")).map((name) => readFile(join(directory, name), "utf8")),
    );
    const whole = format === "json" ? texts : texts.flatMap((text) => text.split("\n").slice(0, -1));
    return whole.map((text) => JSON.parse(text) as Delivered);
  },
}));

async function files(directory: string): Promise<readonly string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1))
    .toSorted();
}

async function contents(directory: string): Promise<Readonly<Record<string, string>>> {
  const names = await files(directory);
  return Object.fromEntries(await Promise.all(names.map(async (name) => [name, await readFile(join(directory, name), "utf8")])));
}

const byId = (all: readonly Delivered[]) => all.toSorted((a, b) => a.id.localeCompare(b.id));

describe.each(implementations)("a file sink writing $format", ({ format, make, read }) => {
  test("delivers, and its receipt says where", async () => {
    const directory = join(await temporaryDirectory(), "made", "for this");
    const receipt = await make(directory, { template: `{{date}}/{{message}}.${format}` }).deliver(delivery(KEY), KEY, never);
    const path = join(directory, "2026-03-02", `${MESSAGE.slice(0, 16)}.${format}`);
    const text = await readFile(path, "utf8");
    expect(receipt).toMatchObject({ path, bytes: text.length, attachments: 0 });
    expect(await read(directory)).toEqual([delivery(KEY).body]);
    expect(text.endsWith("}\n")).toBe(true);
  });

  test("a repeated key changes nothing: at once, later, and in a process that knows nothing", async () => {
    const directory = await temporaryDirectory();
    const given = delivery(KEY, { subject: "a line separator \u2028 and a\r\nline break" });
    const options = { attachments: true };
    const first = await make(directory, options).deliver(given, KEY, never);
    await make(directory, options).deliver(delivery(OTHER), OTHER, never);
    const before = await contents(directory);
    expect(await make(directory, options).deliver(given, KEY, never)).toEqual(first);
    // The last thing this process knew about the file is made stale, and it has to look again.
    await appendFile(join(directory, "all.jsonl"), format === "jsonl" ? "{}\n" : "");
    if (format === "json") await unlink(join(directory, "all.jsonl"));
    await make(directory, options).deliver(given, KEY, never);
    if (format === "jsonl") await truncate(join(directory, "all.jsonl"), Buffer.byteLength(before["all.jsonl"] ?? ""));
    expect(await contents(directory)).toEqual(before);
  });

  test("two deliveries whose names fall together are both kept", async () => {
    const directory = await temporaryDirectory();
    for (const key of [KEY, OTHER, KEY]) await make(directory).deliver(delivery(key), key, never);
    expect(byId(await read(directory))).toEqual([delivery(KEY).body, delivery(OTHER).body]);
  });

  test("30 deliveries at once, whose names fall together, are all kept, once", async () => {
    const directory = await temporaryDirectory();
    const keys = Array.from({ length: 30 }, (_, n) => `${MESSAGE}.${n}.files`);
    const sinks = [make(directory), make(directory)];
    await Promise.all([...keys, ...keys].map((key, n) => sinks[n % 2]?.deliver(delivery(key), key, never)));
    expect(byId(await read(directory))).toEqual(byId(keys.map((key) => delivery(key).body)));
  });

  test("attachments stand beside it, first", async () => {
    const directory = await temporaryDirectory();
    const attachments = [
      piece("2", "../Rechnung.pdf", "pdf"),
      piece("3", "Rechnung.pdf", "other"),
      piece("4", "CON", Buffer.alloc(300_000)),
    ];
    const sink = make(directory, { attachments: true });
    const receipt = await sink.deliver(delivery(KEY, { attachments }), KEY, never);
    expect(receipt).toMatchObject({ attachments: 3 });
    const stem = format === "json" ? "all" : KEY;
    const expected = [`${stem}.2._Rechnung.pdf`, `${stem}.3.Rechnung.pdf`, `${stem}.4._CON`, `all.${format}`];
    expect(await files(directory)).toEqual(expected.toSorted());
    expect(await readFile(join(directory, `${stem}.3.Rechnung.pdf`), "utf8")).toBe("other");

    const broken = { ...piece("5", "lost.pdf", "x"), open: () => missing() };
    const before = await contents(directory);
    const refused = delivery(OTHER, { attachments: [broken] });
    await expect(sink.deliver(refused, OTHER, never)).rejects.toMatchObject({ code: "spool.missing" });
    expect(await contents(directory)).toEqual(before);
  });

  test("attachments of two deliveries whose names have one stem are both kept, also when repeated", async () => {
    const directory = await temporaryDirectory();
    const sink = make(directory, { attachments: true, template: "{{subject}}" });
    const one = delivery(KEY, { subject: "Rechnung Nr. 4711.json", attachments: [piece("2", "Rechnung.pdf", "of 4711")] });
    const two = delivery(OTHER, { subject: "Rechnung Nr. 4711", attachments: [piece("2", "Rechnung.pdf", "of 4712")] });
    const three = delivery(`${OTHER}.x`, { subject: "Rechnung Nr. 4713", attachments: [piece("2", "Rechnung.pdf", "of 4713")] });
    const all = [one, two, three];
    await Promise.all([...all, ...all].map((given) => sink.deliver(given, given.body.id, never)));
    const found = Object.values(await contents(directory)).filter((text) => text.startsWith("of "));
    expect(found.toSorted()).toEqual(["of 4711", "of 4712", "of 4713"]);
  });

  test("a long subject, a long part id and a long file name are still one file name", async () => {
    const directory = await temporaryDirectory();
    const attachments = [piece("1.".repeat(60), `${"ü".repeat(300)}.pdf`, "pdf")];
    const sink = make(directory, { attachments: true, template: `{{subject}}.${format}` });
    for (const key of [KEY, OTHER]) await sink.deliver(delivery(key, { attachments, subject: "🧾".repeat(300) }), key, never);
    expect(await read(directory)).toHaveLength(2);
  });

  test("an aborted delivery writes nothing", async () => {
    const directory = await temporaryDirectory();
    const reason = new Error("stopped");
    const given = delivery(KEY, { attachments: [piece("2", "a.pdf", "pdf")] });
    await expect(make(directory, { attachments: true }).deliver(given, KEY, AbortSignal.abort(reason))).rejects.toBe(reason);
    await expect(make(directory).deliver(given, KEY, AbortSignal.abort(reason))).rejects.toBe(reason);
    expect(await files(directory)).toEqual([]);
  });

  test("directories that many deliveries and another sink want at once are made", async () => {
    const directory = await temporaryDirectory();
    const keys = Array.from({ length: 20 }, (_, n) => `${MESSAGE}.${n}.files`);
    const template = `{{date}}/{{mailbox}}/{{position}}/x-{{subject}}.${format}`;
    const sinks = [make(directory, { template }), make(join(directory, "2026-03-02", "invoices"), { template })];
    await Promise.all(keys.flatMap((key) => sinks.map((sink) => sink.deliver(delivery(key, { subject: key }), key, never))));
    expect(await files(directory)).toHaveLength(40);
  });

  test("a directory that cannot be written is a matter of time, and leaves nothing half", async () => {
    const directory = await guardedDirectory();
    const sink = make(directory, { attachments: true, template: `{{subject}}.${format}` });
    const given = delivery(KEY, { subject: "strictly confidential", attachments: [piece("2", "a.pdf", "pdf")] });
    await makeReadOnly(directory);
    const fault = await sink.deliver(given, KEY, never).catch((thrown: unknown) => thrown);
    expect(fault).toMatchObject({
      code: "file.unwritable",
      temporary: true,
      message: expect.stringContaining(`sink files cannot write to ${directory}: `),
    });
    expect((fault as Fault).message).not.toContain("confidential");
    await expect(sink.probe(never)).rejects.toMatchObject({ code: "file.unwritable" });
    await makeWritable(directory);
    expect(await files(directory)).toEqual([]);
    await sink.deliver(given, KEY, never);
    expect(await read(directory)).toEqual([given.body]);
  });

  const noRoom = noDisk === null ? "" : `: skipped, ${noDisk}`;
  test.skipIf(noDisk !== null)(`a full disk is a matter of time, and leaves nothing half${noRoom}`, async () => {
    const directory = await smallDisk("256k");
    const sink = make(directory, { attachments: true });
    await sink.deliver(delivery(OTHER), OTHER, never);
    const before = await contents(directory);
    const large = delivery(KEY, { data: { text: "x".repeat(100_000) } });
    await writeFile(join(directory, "ballast"), Buffer.alloc(180 * 1024));
    await expect(sink.deliver(large, KEY, never)).rejects.toMatchObject({ code: "file.full", temporary: true });
    const attached = delivery(KEY, { attachments: [piece("2", "a.pdf", Buffer.alloc(100_000))] });
    await expect(sink.deliver(attached, KEY, never)).rejects.toMatchObject({ code: "file.full", temporary: true });
    await rm(join(directory, "ballast"));
    expect(await contents(directory)).toEqual(before);
    await sink.deliver(large, KEY, never);
    expect(byId(await read(directory))).toEqual(byId([large.body, delivery(OTHER).body]));
  });

  test("knocking says whether it can be written, and leaves nothing behind", async () => {
    const directory = await temporaryDirectory();
    expect(await make(directory).probe(never)).toEqual({ said: `${directory} can be written` });
    expect(await make(join(directory, "a", "b")).probe(never)).toEqual({ said: `${join(directory, "a", "b")} can be made` });
    expect(await readdir(directory)).toEqual([]);
    await writeFile(join(directory, "file"), "", { mode: 0o777 });
    await expect(make(join(directory, "file")).probe(never)).rejects.toMatchObject({ code: "file.unwritable" });
    await expect(make(join(directory, "file", "below")).probe(never)).rejects.toMatchObject({ code: "file.unwritable" });
  });
});

async function* missing(): AsyncGenerator<Uint8Array> {
  yield Buffer.from("the begin");
  throw new Fault("spool.missing", "not there any more", { temporary: false });
}

/** Somebody else is quicker at this place. */
async function* overtaken(place: string, { open }: Piece): AsyncGenerator<Uint8Array> {
  yield* open();
  await writeFile(place, "somebody's");
}

describe("json", () => {
  const sink = (directory: string) =>
    createFileSink({ name: "files", directory, template: "all.json", format: "json", attachments: false });

  test("what is not this delivery's is never overwritten", async () => {
    const directory = await temporaryDirectory();
    await writeFile(join(directory, "all.json"), "somebody's notes");
    const { path } = await sink(directory).deliver(delivery(KEY), KEY, never);
    expect(path).toMatch(/\/all-[0-9a-f]{12}\.json$/);
    await writeFile(String(path), `{"id":"somebody else's"}`);
    await expect(sink(directory).deliver(delivery(KEY), KEY, never)).rejects.toMatchObject({ code: "file.taken", temporary: false });
    expect(await readFile(String(path), "utf8")).toBe(`{"id":"somebody else's"}`);
    expect(await readFile(join(directory, "all.json"), "utf8")).toBe("somebody's notes");
  });

  test("what comes to stand there while the attachments are written is not overwritten either", async () => {
    const directory = await temporaryDirectory();
    const pdf = piece("2", "a.pdf", "pdf");
    const meanwhile = (name: string) => ({ ...pdf, open: () => overtaken(join(directory, name), pdf) });
    const all = createFileSink({ name: "files", directory, template: "all.json", format: "json", attachments: true });
    const first = await all.deliver(delivery(KEY, { attachments: [meanwhile("all.json")] }), KEY, never);
    const marked = String(first.path).slice(directory.length + 1);
    expect(marked).toMatch(/^all-[0-9a-f]{12}\.json$/);
    const second = await all.deliver(delivery(OTHER, { attachments: [meanwhile("all-x.2.a.pdf")] }), OTHER, never);
    const found = await contents(directory);
    expect(found).toMatchObject({ "all.json": "somebody's", "all-x.2.a.pdf": "somebody's" });
    expect([found[marked], found[basename(String(second.path))]].map((text = "") => (JSON.parse(text) as Delivered).id)).toEqual([
      KEY,
      OTHER,
    ]);
    expect(found[marked.replace(".json", ".2.a.pdf")]).toBe("pdf");
    await all.deliver(delivery(KEY, { attachments: [pdf] }), KEY, never);
    expect(await contents(directory)).toEqual(found);
  });

  test("an attachment's place that is taken while it is written stays somebody else's", async () => {
    const directory = await temporaryDirectory();
    const pdf = piece("2", "a.pdf", "pdf");
    const all = createFileSink({ name: "files", directory, template: "all.json", format: "json", attachments: true });
    const given = delivery(KEY, { attachments: [{ ...pdf, open: () => overtaken(join(directory, "all.2.a.pdf"), pdf) }] });
    await all.deliver(given, KEY, never);
    const found = await contents(directory);
    expect(found["all.2.a.pdf"]).toBe("somebody's");
    expect(Object.entries(found).filter(([name, text]) => /^all-[0-9a-f]{12}\.2\.a\.pdf$/.test(name) && text === "pdf")).toHaveLength(1);
  });

  test("a repeated delivery is found where it stands, though the wanted place has become free", async () => {
    const directory = await temporaryDirectory();
    for (const key of [KEY, OTHER]) await sink(directory).deliver(delivery(key), key, never);
    await unlink(join(directory, "all.json"));
    const before = await contents(directory);
    await sink(directory).deliver(delivery(OTHER), OTHER, never);
    expect(await contents(directory)).toEqual(before);
  });

  test("what a crash left of the placing is no way into a file that has been fetched since", async () => {
    const directory = await temporaryDirectory();
    await sink(directory).deliver(delivery(KEY), KEY, never);
    // It died between link(2) and unlink(2).
    await link(join(directory, "all.json"), temporaryName(directory, "all.json"));
    await rename(join(directory, "all.json"), join(directory, "fetched.json"));
    await sink(directory).deliver(delivery(OTHER), OTHER, never);
    const found = await contents(directory);
    expect(Object.keys(found)).toEqual(["all.json", "fetched.json"]);
    expect(Object.values(found).map((text) => (JSON.parse(text) as Delivered).id)).toEqual([OTHER, KEY]);
  });

  test("a link to nowhere is somebody's too", async () => {
    const directory = await temporaryDirectory();
    await symlink("nowhere", join(directory, "all.json"));
    const { path } = await sink(directory).deliver(delivery(KEY), KEY, never);
    expect(path).toMatch(/all-[0-9a-f]{12}\.json$/);
    expect(await readlink(join(directory, "all.json"))).toBe("nowhere");
  });

  test("names that differ only in case do not race", async () => {
    const directory = await temporaryDirectory();
    await mkdir(join(directory, "ALL.json"));
    const upper = createFileSink({ name: "files", directory, template: "ALL.json", format: "json", attachments: false });
    const [one, two] = await Promise.all([
      upper.deliver(delivery(KEY), KEY, never),
      sink(directory).deliver(delivery(OTHER), OTHER, never),
    ]);
    expect(one?.path).toMatch(/ALL-[0-9a-f]{12}\.json$/);
    expect(two?.path).toBe(join(directory, "all.json"));
  });
});

describe("json lines", () => {
  const sink = (directory: string) =>
    createFileSink({ name: "files", directory, template: "all.jsonl", format: "jsonl", attachments: false });
  const line = (key: string) => `${JSON.stringify(delivery(key).body)}\n`;

  test("a line torn by a crash is cut off, and the repeated delivery writes it whole", async () => {
    for (const length of [1, 20, 29, 200, line(KEY).length - 2]) {
      const directory = await temporaryDirectory();
      await writeFile(join(directory, "all.jsonl"), line(OTHER) + line(KEY).slice(0, length));
      await sink(directory).deliver(delivery(KEY), KEY, never);
      expect(await readFile(join(directory, "all.jsonl"), "utf8")).toBe(line(OTHER) + line(KEY));
    }
  });

  test.each([
    ["somebody else's unfinished line", '{"note":"begun by hand'],
    ["no JSON at all", "total: 12"],
    ["bytes that are no text", "\u00ff\u0000"],
    ["a long one", "x".repeat(200_000)],
  ])("%s is ended, not destroyed", async (_what, foreign) => {
    const directory = await temporaryDirectory();
    await writeFile(join(directory, "all.jsonl"), line(OTHER) + foreign);
    await sink(directory).deliver(delivery(KEY), KEY, never);
    expect(await readFile(join(directory, "all.jsonl"), "utf8")).toBe(`${line(OTHER)}${foreign}\n${line(KEY)}`);
  });

  test("a whole line of ours that an editor left without its newline is kept, and not written again", async () => {
    const directory = await temporaryDirectory();
    await writeFile(join(directory, "all.jsonl"), (line(KEY) + line(OTHER)).trimEnd());
    // Not OTHER, which would write again what was cut off by mistake.
    await sink(directory).deliver(delivery(KEY), KEY, never);
    expect(await readFile(join(directory, "all.jsonl"), "utf8")).toBe(line(KEY) + line(OTHER));
  });

  test("a file that was moved away is begun anew", async () => {
    const directory = await temporaryDirectory();
    await sink(directory).deliver(delivery(KEY), KEY, never);
    await rm(join(directory, "all.jsonl"));
    await sink(directory).deliver(delivery(OTHER), OTHER, never);
    expect(await readFile(join(directory, "all.jsonl"), "utf8")).toBe(line(OTHER));
  });

  test("20 files in turn, more than are remembered, and lines longer than a read", async () => {
    const directory = await temporaryDirectory();
    const given = (key: string, n: number) => delivery(key, { subject: `file ${n}`, data: { text: "\u2028ü".repeat(60_000) } });
    const many = createFileSink({ name: "files", directory, template: "{{subject}}.jsonl", format: "jsonl", attachments: false });
    for (let round = 0; round < 2; round += 1)
      for (let n = 0; n < 20; n += 1) for (const key of [KEY, OTHER]) await many.deliver(given(key, n), key, never);
    for (let n = 0; n < 20; n += 1) {
      let lines = 0;
      for await (const chunk of createReadStream(join(directory, `file ${n}.jsonl`)))
        lines += chunk.toString("latin1").split("\n").length - 1;
      expect(lines).toBe(2);
    }
  });
});

describe("csv", () => {
  const sink = (directory: string, options: Partial<FileSinkOptions> = {}) =>
    createFileSink({ name: "files", directory, template: "all.csv", format: "csv", attachments: false, ...options });
  const given = (key: string) => delivery(key, { invoices: [{ number: "1", net: "-12.00" }, { number: '2 "b"' }] });
  const rows = (key: string) => csvRowsOf(given(key).body).join("");
  const path = (directory: string) => join(directory, "all.csv");

  test("torn anywhere by a crash, the repeated deliveries make it whole: header once, rows once", async () => {
    const directory = await temporaryDirectory();
    const whole = csvHeader + rows(OTHER) + rows(KEY);
    const ends = [...whole.matchAll(/\r\n/g)].map(({ index }) => index);
    const lengths = Array.from({ length: whole.length }, (_, n) => n).filter(
      (n) => n % 17 === 0 || ends.some((end) => Math.abs(end + 1 - n) < 4),
    );
    for (const length of lengths) {
      await writeFile(path(directory), whole.slice(0, length));
      for (const key of [OTHER, KEY]) await sink(directory).deliver(given(key), key, never);
      expect(await readFile(path(directory), "utf8")).toBe(whole);
    }
  });

  test.each([
    ["somebody's note", '"a note, begun by hand'],
    ["another note", "total,12"],
    ["a row without its end", rows(KEY).slice(0, rows(KEY).indexOf("\r\n"))],
    ["a row without the half of its end", rows(KEY).slice(0, rows(KEY).indexOf("\r\n") + 1)],
  ])("%s at the end is ended, not destroyed", async (_what, rest) => {
    const directory = await temporaryDirectory();
    await writeFile(path(directory), csvHeader + rest);
    await sink(directory).deliver(given(OTHER), OTHER, never);
    const ended = rest.endsWith("\r") ? `${rest}\n` : `${rest}\r\n`;
    expect(await readFile(path(directory), "utf8")).toBe(csvHeader + ended + rows(OTHER));
  });

  test("written again by a spreadsheet, with other quotation marks and a mark of byte order, it is still known", async () => {
    const directory = await temporaryDirectory();
    const again = `\uFEFF${csvHeader}${rows(KEY)}`.replaceAll(/"([\w.]*)"/g, "$1").replaceAll(/,1,(\d),/g, ',"1","$1",');
    expect(again).not.toBe(`\uFEFF${csvHeader}${rows(KEY)}`);
    await writeFile(path(directory), again);
    await sink(directory).deliver(given(KEY), KEY, never);
    await sink(directory).deliver(given(OTHER), OTHER, never);
    expect(await readFile(path(directory), "utf8")).toBe(again + rows(OTHER));
  });

  test("an empty file gets its header, a file that was moved away is begun anew", async () => {
    const directory = await temporaryDirectory();
    await writeFile(path(directory), "");
    for (const key of [KEY, OTHER, KEY]) await sink(directory).deliver(given(key), key, never);
    expect(await readFile(path(directory), "utf8")).toBe(csvHeader + rows(KEY) + rows(OTHER));
    await rename(path(directory), join(directory, "archived.csv"));
    await sink(directory).deliver(given(OTHER), OTHER, never);
    expect(await readFile(path(directory), "utf8")).toBe(csvHeader + rows(OTHER));
    expect(await readFile(join(directory, "archived.csv"), "utf8")).toBe(csvHeader + rows(KEY) + rows(OTHER));
  });

  test("a table of others is left alone, and the fault does not tell the name a mail chose", async () => {
    const directory = await temporaryDirectory();
    const named = sink(directory, { template: "{{subject}}.csv" });
    await writeFile(join(directory, "confidential.csv"), csvHeader.replace("payable", "paid"));
    const told = { ...given(KEY), body: delivery(KEY, { subject: "confidential" }).body };
    const fault = await named.deliver(told, KEY, never).catch((thrown: unknown) => thrown);
    expect(fault).toMatchObject({ code: "file.header", temporary: true, message: expect.stringContaining("{{subject}}.csv") });
    expect((fault as Fault).message).not.toContain("confidential");
    expect(await readFile(join(directory, "confidential.csv"), "utf8")).toBe(csvHeader.replace("payable", "paid"));
  });

  test("rows of others between ours, 300 deliveries, and a key that is asked for again later", async () => {
    const directory = await temporaryDirectory();
    const keys = Array.from({ length: 300 }, (_, n) => `${MESSAGE}.${n}.files`);
    for (const key of keys) await sink(directory).deliver(given(key), key, never);
    await appendFile(path(directory), "a,note,between\r\n");
    for (const key of [keys[299], keys[0], keys[150]]) if (key !== undefined) await sink(directory).deliver(given(key), key, never);
    expect(await readFile(path(directory), "utf8")).toBe(`${csvHeader}${keys.map(rows).join("")}a,note,between\r\n`);
  });

  test("what another process has appended in the meantime is seen", async () => {
    const directory = await temporaryDirectory();
    const late = `${MESSAGE}.77.files`;
    for (const key of [KEY, OTHER]) await sink(directory).deliver(given(key), key, never);
    await appendFile(path(directory), rows(late));
    await sink(directory).deliver(given(late), late, never);
    expect(await readFile(path(directory), "utf8")).toBe(csvHeader + rows(KEY) + rows(OTHER) + rows(late));
  });
});

describe("the message beside it", () => {
  const given = (key: string, subject: string, raw: string) =>
    delivery(key, { subject, raw, attachments: [piece("2", "a.pdf", `of ${raw}`)] });
  const sink = (directory: string, template: string, format: "json" | "jsonl" | "csv") =>
    createFileSink({ name: "files", directory, template, format, attachments: true, raw: true });

  test("stands next to the document, or under the delivery's key where many share a file", async () => {
    const directory = await temporaryDirectory();
    const receipt = await sink(directory, "{{number}}/{{subject}}.json", "json").deliver(given(KEY, "one", "raw one"), KEY, never);
    expect(receipt).toMatchObject({ path: join(directory, "unnumbered", "one.json"), raw: true, attachments: 1 });
    await sink(directory, "all.csv", "csv").deliver(given(KEY, "one", "raw one"), KEY, never);
    const beside = [`unnumbered/one.2.a.pdf`, "unnumbered/one.eml", "unnumbered/one.json"];
    expect(await files(directory)).toEqual(["all.csv", `${KEY}.2.a.pdf`, `${KEY}.eml`, ...beside].toSorted());
    expect(await readFile(join(directory, "unnumbered", "one.eml"), "utf8")).toBe("raw one");
  });

  test("never takes the document's place, nor another message's, also when repeated", async () => {
    const directory = await temporaryDirectory();
    const all = [
      given(KEY, "x.eml", "raw of 1"),
      given(OTHER, "x.EML", "raw of 2"),
      given(`${OTHER}.b`, "x.json", "raw of 3"),
      given(`${OTHER}.c`, "x", "raw of 4"),
    ];
    for (let round = 0; round < 3; round += 1)
      await Promise.all(all.map((each) => sink(directory, "{{subject}}", "json").deliver(each, each.body.id, never)));
    const found = await contents(directory);
    expect(Object.values(found).filter((text) => text.startsWith("raw of "))).toHaveLength(4);
    expect(Object.values(found).filter((text) => text.startsWith("of raw of "))).toHaveLength(4);
    const bodies = Object.values(found).filter((text) => text.startsWith("{"));
    expect(byId(bodies.map((text) => JSON.parse(text) as Delivered))).toEqual(byId(all.map(({ body }) => body)));
  });
});

describe("permissions and owner", () => {
  const sink = (directory: string, options: Partial<FileSinkOptions>) =>
    createFileSink({
      name: "files",
      directory,
      template: "a/b/{{document}}.json",
      format: "json",
      attachments: true,
      raw: true,
      ...options,
    });
  const given = delivery(KEY, { attachments: [piece("2", "a.pdf", "pdf")] });

  test.each(["json", "jsonl", "csv"] as const)("%s: as asked, whatever the umask, and what was there keeps its own", async (format) => {
    const directory = await temporaryDirectory();
    await mkdir(join(directory, "a"), { mode: 0o700 });
    await sink(directory, { mode: 0o604, directoryMode: 0o2775, format }).deliver(given, KEY, never);
    expect((await stat(join(directory, "a"))).mode & 0o7777).toBe(0o700);
    expect((await stat(join(directory, "a", "b"))).mode & 0o7777).toBe(0o2775);
    const made = await files(directory);
    expect(made).toHaveLength(3);
    for (const name of made) expect((await stat(join(directory, name))).mode & 0o7777).toBe(0o604);
  });

  const root = process.geteuid?.() === 0;

  test.skipIf(!root)("root gives files and directories away", async () => {
    const directory = await temporaryDirectory();
    const owned = sink(directory, { owner: { uid: 1234, gid: 2345 } });
    await owned.probe(never);
    expect(await readdir(directory)).toEqual([]);
    await owned.deliver(given, KEY, never);
    for (const name of ["a", "a/b", ...(await files(directory))])
      expect(await stat(join(directory, name))).toMatchObject({ uid: 1234, gid: 2345 });
  });

  test("who may not give files away is told so, by the delivery and by knocking, and nothing is left", async () => {
    const directory = await temporaryDirectory();
    await chmod(directory, 0o777);
    const owned = sink(directory, { owner: { uid: 1, gid: 1 }, template: "x.json" });
    if (root) process.seteuid?.(65_534);
    try {
      const expected = { code: "file.owner", temporary: true, message: expect.stringContaining(`a file in ${directory} to 1:1: `) };
      await expect(owned.deliver(given, KEY, never)).rejects.toMatchObject(expected);
      await expect(owned.probe(never)).rejects.toMatchObject(expected);
    } finally {
      if (root) process.seteuid?.(0);
    }
    expect(await files(directory)).toEqual([]);
  });

  test("a directory whose making a crash has interrupted is made", async () => {
    const directory = await temporaryDirectory();
    await mkdir(temporaryName(directory, "a"), { mode: 0o700 });
    await sink(directory, { directoryMode: 0o750 }).deliver(given, KEY, never);
    expect((await stat(join(directory, "a"))).mode & 0o7777).toBe(0o750);
    expect(await readdir(directory)).toEqual(["a"]);
  });
});

describe("a file where nothing stands", () => {
  const rights = { mode: 0o600, directoryMode: null, owner: null };

  test("is written whole, with its rights; where something stands, nothing is", async () => {
    const directory = await temporaryDirectory();
    const path = join(directory, "all.csv");
    expect(await writeNew(path, [Buffer.from("one")], rights)).toBe(true);
    expect((await stat(path)).mode & 0o7777).toBe(0o600);
    expect((await stat(path)).nlink).toBe(1);
    expect(await writeNew(path, [Buffer.from("two")], rights)).toBe(false);
    expect(await contents(directory)).toEqual({ "all.csv": "one" });
  });

  test.skipIf(noCapabilities !== null)(
    `also where it cannot be linked${noCapabilities === null ? "" : `: skipped, ${noCapabilities}`}`,
    async () => {
      const directory = await temporaryDirectory();
      await chmod(directory, 0o777);
      const path = join(directory, "all.json");
      const write = (text: string) =>
        `await writeNew(${JSON.stringify(path)}, [Buffer.from(${JSON.stringify(text)})], { mode: null, directoryMode: null, owner: { uid: 1, gid: 1 } })`;
      const script = `import { writeNew } from ${JSON.stringify(import.meta.resolve("../../src/sink/file/rights.ts"))};
      console.log(${write("one")}, ${write("two")});`;
      expect(asNobody([process.execPath, "--input-type=module", "--eval", script]).trim()).toBe("true false");
      expect(await contents(directory)).toEqual({ "all.json": "one" });
      expect((await stat(path)).uid).toBe(1);
    },
  );
});

/** Who may give files away, and may not link those of others (proc(5), protected_hardlinks). */
function asNobody(command: readonly string[]): string {
  const rights = ["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=+chown", "--ambient-caps=+chown"];
  return execFileSync("setpriv", [...rights, ...command], { encoding: "utf8", stdio: "pipe" });
}

test("a filter of keys forgets none, and takes few others for known", () => {
  const keys = createKeys();
  for (let n = 0; n < 100_000; n += 1) keys.add(`known ${n}`);
  let mistaken = 0;
  for (let n = 0; n < 100_000; n += 1) {
    if (!keys.mayHold(`known ${n}`)) throw new Error(`forgot ${n}`);
    if (keys.mayHold(`unknown ${n}`)) mistaken += 1;
  }
  expect(mistaken).toBeLessThan(30);
});

test("where it would go", async () => {
  const sink = createFileSink({
    name: "files",
    directory: "/out",
    template: "{{date}}/{{number}}.json",
    format: "json",
    attachments: false,
  });
  expect(sink.destination(delivery(KEY, { data: null }))).toBe("/out/2026-03-02/{{number}}.json");
});
