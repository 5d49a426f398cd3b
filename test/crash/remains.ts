/** What a world holds when its daemon is at rest, as lines that can be compared with another world's. */
import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import Database from "better-sqlite3";
import { fetchAll } from "../e2e/stage.ts";
import type { Cut } from "./points.ts";
import type { World } from "./world.ts";

type Row = { readonly [column: string]: unknown };
type File = { readonly path: string; readonly bytes: Buffer };

export type Remains = {
  readonly ledger: readonly { readonly table: string; readonly row: Row }[];
  readonly spool: readonly File[];
  readonly out: readonly File[];
  readonly mail: readonly { readonly message: string; readonly isMoved: boolean; readonly flags: readonly string[] }[];
  /** Requests the receiver took, in order. */
  readonly told: readonly { readonly key: string; readonly document: string; readonly body: string }[];
  /** What the services say they made, by document: Cloudsquid's rows and the runs of both. */
  readonly uploads: ReadonlyMap<string, number>;
  readonly runs: ReadonlyMap<string, number>;
};

/** The pulse is of the process, not of the mail. */
const NOT_MAIL = /^(sqlite_|kysely_|pulse$)/;

export async function remainsOf(world: World): Promise<Remains> {
  const { dovecot, folders, sandbox, erp, directory } = world;
  const ledger = rowsIn(join(directory, "state/ledger.sqlite"));
  const documents = ledger.flatMap(({ table, row }) => (table === "document" ? [String(row.id)] : []));
  const [inbox, moved] = await Promise.all(folders.map((folder) => fetchAll(dovecot, folder, { source: true, flags: true })));
  const mail = [inbox ?? [], moved ?? []].flatMap((messages, nth) =>
    messages.map(({ source, flags }) => ({ message: hash(source ?? ""), isMoved: nth === 1, flags: [...(flags ?? [])].sort() })),
  );
  const { rows, extend } = sandbox.counts();
  const uploads = new Map<string, number>();
  const runs = new Map<string, number>();
  for (const document of documents) {
    const made = rows.filter(({ filename }) => filename === `${document.slice(0, 16)}.eml`);
    uploads.set(document, made.length);
    const ordered = extend.made.filter(({ key }) => key === document).length;
    runs.set(
      document,
      made.reduce((sum, row) => sum + row.runs, ordered),
    );
  }
  const told = erp.taken.map(({ id, body }) => {
    const { document } = JSON.parse(body.toString()) as { document: { id: string } };
    return { key: id, document: document.id, body: body.toString() };
  });
  return {
    ledger,
    spool: await filesIn(join(directory, "state/spool")),
    out: await filesIn(join(directory, "out")),
    mail,
    told,
    uploads,
    runs,
  };
}

function rowsIn(path: string): Remains["ledger"] {
  const database = new Database(path);
  try {
    const tables = database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").pluck().all() as string[];
    return tables
      .filter((table) => !NOT_MAIL.test(table))
      .flatMap((table) => (database.prepare(`SELECT * FROM "${table}"`).all() as Row[]).map((row) => ({ table, row })));
  } finally {
    database.close();
  }
}

async function filesIn(directory: string): Promise<readonly File[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return Promise.all(paths.sort().map(async (path) => ({ path: path.slice(directory.length + 1), bytes: await readFile(path) })));
}

function hash(bytes: Uint8Array | string): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Where two worlds differ although nothing happened: times, ids a service chose, names of places, how often a run was asked after. */
const THEIR_OWN: readonly (readonly [RegExp, string])[] = [
  [/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, "<time>"],
  [/[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}/g, "<id>"],
  [/\b(exr|file|pr)_[\w-]+/g, "<id>"],
  [/\bbillhook-crash-\w+/g, "<here>"],
  [/\bRound\d+/g, "<folder>"],
  [/http:\/\/127\.0\.0\.1:[^"\\]+/g, "<url>"],
  [/\\"polls\\":\d+|\\"phase\\":\\"\w+\\"/g, "<asked>"],
];

function plain(text: string): string {
  return THEIR_OWN.reduce((so, [own, word]) => so.replace(own, word), text);
}

/** All that two worlds must have in common, sorted; what `cut` excuses is left out, and what speaks of one of the messages `given` to a person. */
export function linesOf(remains: Remains, cut: Cut, given: readonly string[] = []): readonly string[] {
  return written(remains, (table, row) => excused(table, row, cut))
    .filter((line) => !given.some((message) => line.includes(message.slice(0, 16))))
    .map(plain)
    .sort();
}

/** All of one world that must not move, to the last bit, when its daemon runs again. */
export function exactLinesOf(remains: Remains): readonly string[] {
  const calls = [...remains.uploads, ...remains.runs, ["requests taken", remains.told.length]].map((call) => call.join(" "));
  const still = (table: string, row: Row) => (table === "mailbox" ? { ...row, swept_at: null } : row);
  return [...written(remains, still), ...calls].sort();
}

function written({ ledger, spool, out, mail, told }: Remains, rowOf: (table: string, row: Row) => Row | null): readonly string[] {
  return [
    ...ledger.flatMap(({ table, row }) => {
      const left = rowOf(table, row);
      return left === null ? [] : [`ledger.${table} ${JSON.stringify(left)}`];
    }),
    ...spool.map(({ path, bytes }) => `spool ${path} ${basename(path, ".eml") === hash(bytes) ? "whole" : "not what its name says"}`),
    ...out.flatMap(({ path, bytes }) => {
      const lines = () => bytes.toString().split(/\r?\n/);
      // Rows come in the order of their deliveries.
      if (path.endsWith(".csv")) return lines().map((line) => `out ${path} ${line}`);
      if (path.endsWith(".json")) return lines().map((line, nth) => `out ${path} ${nth} ${line}`);
      return [`out ${path} ${hash(bytes)}`];
    }),
    ...mail.map(({ message, isMoved, flags }) => `mail ${message} ${isMoved ? "moved" : "there"} ${flags.join(" ")}`),
    ...new Set(told.map(({ key, body }) => `told ${key} ${body}`)),
  ];
}

/** The columns two worlds need not have in common: what they number in their own order, and proofs of files that hold a run's id. */
function shared(table: string, row: Row): Row {
  const { id, uid_validity, until, ...rest } = row;
  const named = typeof id === "string" ? { id, ...rest } : rest;
  if (table !== "receipt") return named;
  return { ...named, receipt: String(row.receipt).replace(/"sha256":"[0-9a-f]{64}"/, '"sha256":"…"') };
}

/**
 * The exceptions, by name. A purchase that was cut is looked for or made once more, told, and counted as possibly twice: its events, its
 * memo and that count differ. A mailbox that was told before the end and is told again has its mail moved already. And news of a run that
 * is still being read is told as often as it is asked after.
 */
function excused(table: string, row: Row, { purchases, intentions, settlings }: Cut): Row | null {
  const one = shared(table, row);
  if (table === "event" && row.what === "extract.later" && /^status [^,]*$/.test(String(row.note))) return null;
  if (table === "event" && row.what === "settle.done" && settlings.includes(String(row.subject))) return { ...one, note: null };
  if (![...purchases, ...intentions].includes(String(row.document ?? row.subject))) return one;
  if (table === "event" && String(row.what).startsWith("extract.")) return null;
  if (table === "run") return { ...one, possibly_twice: null };
  if (table === "task" && row.kind === "extract") return { ...one, memo: null };
  return one;
}

const MOST_TOLD = 6;
const BEGINNING = 100;
const DIFFERING = 300;

/** What is in one and not in the other, the first few of it. Of two lines that begin alike: how they begin, and from where they differ. */
export function differences(expected: readonly string[], found: readonly string[]): readonly string[] {
  const missing = without(expected, found);
  const beyond = without(found, expected);
  const told = (line: string, others: readonly string[]) => {
    const from = Math.max(0, ...others.map((other) => sharedLength(line, other)));
    return from < BEGINNING
      ? line.slice(0, BEGINNING + DIFFERING)
      : `${line.slice(0, BEGINNING)} … ${line.slice(from - 40, from + DIFFERING)}`;
  };
  return [
    ...missing.slice(0, MOST_TOLD).map((line) => `missing: ${told(line, beyond)}`),
    ...beyond.slice(0, MOST_TOLD).map((line) => `beyond:  ${told(line, missing)}`),
  ];
}

/** As often as they are in one more than in the other. */
function without(lines: readonly string[], others: readonly string[]): readonly string[] {
  const left = Map.groupBy(others, (line) => line);
  return lines.filter((line) => left.get(line)?.pop() === undefined);
}

function sharedLength(one: string, other: string): number {
  let at = 0;
  while (at < one.length && one[at] === other[at]) at += 1;
  return at;
}
