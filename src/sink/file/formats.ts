/** How a delivery is written, as a file of its own or as lines of one that many share, and how it is known again. */
import { CSV_COLUMNS, csvHeader, csvRowsOf } from "../csv.ts";
import type { Delivered } from "../delivery.ts";

export type LineFormat = {
  /** The first line of a file, ended; empty where there is none. */
  readonly header: string;
  readonly end: "\n" | "\r\n";
  /** The lines of a delivery, ended; the same ones for the same delivery. */
  readonly linesOf: (delivered: Delivered) => readonly string[];
  /** What tells a line of ours from every other, from how it begins (its first 2,048 bytes are enough); null for a line of others. */
  readonly keyOf: (head: string) => string | null;
  readonly isHeader: (line: string) => boolean;
  /** Whether what stands without an end at the end of a file is the beginning of one of our lines, and not a whole one. */
  readonly isTorn: (rest: string) => boolean;
};

/** The key of a JSON text of ours, from how it begins; null for anything else. */
export function jsonKeyOf(head: string): string | null {
  const quoted = /^\s*\{\s*"format":\s*"billhook\.delivery\/v\d+",\s*"id":\s*("(?:[^"\\]|\\.)*")/.exec(head)?.[1];
  return quoted === undefined ? null : textOf(quoted);
}

/** The key first, so that nothing has to be read further to know it. */
export function jsonOf({ format, id, ...rest }: Delivered, space?: number): string {
  return `${JSON.stringify({ format, id, ...rest }, null, space)}\n`;
}

const OURS = '{"format":"billhook.delivery/';

const jsonl: LineFormat = {
  header: "",
  end: "\n",
  linesOf: (delivered) => [jsonOf(delivered)],
  keyOf: jsonKeyOf,
  isHeader: () => true,
  isTorn: (rest) => OURS.startsWith(rest.slice(0, OURS.length)) && !isJson(rest),
};

function isJson(text: string): boolean {
  return parsed(text) !== undefined;
}

function textOf(json: string): string | null {
  const value = parsed(json);
  return typeof value === "string" ? value : null;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The first three cells; a program that wrote the file again may have left out the quotation marks, or added some. */
const FIRST_CELLS = /^(?:"((?:[^"]|"")*)"|([^",]*)),"?(\d+)"?,"?(\d+)"?,/;
/** A row of ours begins with a key, a key with the SHA-256 of a message. */
const BEGUN = /^"([0-9a-f]{0,64}$|[0-9a-f]{64}\.)/;

const csv: LineFormat = {
  header: csvHeader,
  end: "\r\n",
  linesOf: csvRowsOf,
  keyOf: (head) => {
    const [, quoted, bare, position, invoice] = FIRST_CELLS.exec(head) ?? [];
    const id = quoted ?? bare;
    return id === undefined ? null : `${id} ${position} ${invoice}`;
  },
  isHeader: (line) => line.replace(/["\r\uFEFF]/g, "") === CSV_COLUMNS.join(","),
  isTorn: (rest) => csvHeader.startsWith(rest) || (BEGUN.test(rest) && !isRow(rest)),
};

/** Whether all cells are there, the last one with its closing quotation mark. */
function isRow(rest: string): boolean {
  const between = rest.split('"');
  const outside = between.filter((_, at) => at % 2 === 0);
  const commas = outside.reduce((count, text) => count + text.split(",").length - 1, 0);
  return between.length % 2 === 1 && /^\r?$/.test(outside.at(-1) ?? "x") && commas === CSV_COLUMNS.length - 1;
}

export const lineFormats = { jsonl, csv } as const;
