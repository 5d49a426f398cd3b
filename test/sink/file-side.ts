/** A directory as the other side of the file sink, in each of its formats. */
import { mkdir, readdir, readFile, rename, rm, statfs, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { createFileSink, type FileSinkOptions } from "../../src/sink/file.ts";
import type { Failure, OtherSide, Received, SinkUnderTest } from "../contract/sinks.ts";
import { makeReadOnly, makeWritable, noDisk, smallDisk, temporaryDirectory } from "../store/disk.ts";
import { isFormula, readCsv, readTable } from "./table.ts";

type Format = FileSinkOptions["format"];

const TEMPLATE: Readonly<Record<Format, string>> = {
  json: "{{subject}}/{{seller}}-{{number}} {{data.total}}.json",
  jsonl: "{{mailbox}}/all.jsonl",
  csv: "{{mailbox}}/all.csv",
};

const FAILURES: readonly (Failure & { readonly only?: Format })[] = [
  { what: "a disk that is read-only", code: "file.unwritable", temporary: true, knocked: true },
  { what: "a file where the directory should be", code: "file.unwritable", temporary: true, knocked: true },
  { what: "a full disk", code: "file.full", temporary: true, cannot: noDisk },
  { what: "another table in its place", code: "file.header", temporary: true, only: "csv" },
];

export const fileSides: readonly SinkUnderTest[] = (["json", "jsonl", "csv"] as const).map((format) => ({
  name: `file, ${format}`,
  attachments: true,
  repeats: "kept",
  failures: FAILURES.filter(({ only = format }) => only === format),
  silences: [],
  secrets: [],
  start: () => start(format),
}));

async function start(format: Format): Promise<OtherSide> {
  const disk = noDisk === null ? await smallDisk("32m") : await temporaryDirectory();
  const directory = join(disk, "out");
  await mkdir(directory);

  const files = async () => {
    const entries = await readdir(disk, { recursive: true, withFileTypes: true });
    return entries.filter((entry) => !entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name));
  };

  const received = async () => {
    const texts = await Promise.all((await files()).map((path) => readFile(path, "utf8")));
    if (format === "csv") return texts.filter((text) => text.startsWith('"delivery"')).flatMap(rowsOf);
    if (format === "json") return texts.filter((text) => text.startsWith('{\n  "format":')).map(receivedOf);
    return texts.filter((text) => text.startsWith('{"format":')).flatMap((text) => text.split("\n").slice(0, -1).map(receivedOf));
  };

  return {
    make: () => createFileSink({ name: "files", directory, template: TEMPLATE[format], format, attachments: true, raw: true }),
    received,
    strays: async () => {
      const all = await files();
      const entries = await readdir(directory, { recursive: true });
      const formulas = format === "csv" ? (await tables(all)).flatMap(readCsv).flat().filter(isFormula) : [];
      return [
        ...(await readdir(disk)).filter((name) => name !== "out"),
        ...entries.filter((entry) => entry.split("/").length > 2 || !isSafe(basename(entry))),
        ...formulas,
      ];
    },
    break: async (what) => {
      switch (what) {
        case "a disk that is read-only":
          await makeReadOnly(noDisk === null ? disk : directory);
          return () => makeWritable(noDisk === null ? disk : directory);
        case "a file where the directory should be":
          await rename(directory, join(disk, "kept"));
          await writeFile(directory, "", { mode: 0o777 });
          return () => rm(directory).then(() => rename(join(disk, "kept"), directory));
        case "a full disk": {
          const { bavail, bsize } = await statfs(disk);
          await writeFile(join(disk, "ballast"), Buffer.alloc((bavail - 5) * bsize));
          return () => rm(join(disk, "ballast"));
        }
        default: {
          const path = join(directory, "invoices", "all.csv");
          await mkdir(join(directory, "invoices"));
          await writeFile(path, "name;amount\r\nx;1\r\n");
          return () => rm(path);
        }
      }
    },
    stop: async () => {},
  };
}

async function tables(paths: readonly string[]): Promise<readonly string[]> {
  return Promise.all(paths.filter((path) => path.endsWith("/all.csv")).map((path) => readFile(path, "utf8")));
}

function receivedOf(text: string): Received {
  return { id: (JSON.parse(text) as { id: string }).id, text };
}

/** A delivery's rows are one thing received; a row that is there twice is one received twice. */
function rowsOf(text: string): readonly Received[] {
  const rows = readTable(text);
  const ids = [...new Set(rows.map((row) => row.delivery ?? ""))];
  return ids.flatMap((id) => {
    const own = rows.filter((row) => row.delivery === id);
    const places = new Set(own.map(({ position, invoice }) => `${position} ${invoice}`));
    const received = { id, text: own.map((row) => Object.values(row).join(" ")).join("\n") };
    return places.size === own.length ? [received] : [received, received];
  });
}

/** What any file system takes and nobody's shell, screen or eye mistakes. */
export function isSafe(segment: string): boolean {
  return (
    !/^$|^[.~ -]|[. ]$|[\\/:*?"<>|]|[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(segment) &&
    !/^(con|prn|aux|nul|com[\d¹²³]|lpt[\d¹²³])(\.|$)/i.test(segment) &&
    Buffer.byteLength(segment) <= 255 &&
    segment.isWellFormed()
  );
}
