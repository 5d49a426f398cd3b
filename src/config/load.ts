/** The configuration from its file: text, YAML, references, schema, rules; every fault at once. */
import { closeSync, openSync, readSync } from "node:fs";
import { dirname, resolve } from "node:path";
import type { z } from "zod";
import { permanent } from "../base/errors.ts";
import type { Broken } from "./broken.ts";
import { brokenExpressions, type Compile } from "./expressions.ts";
import { keep } from "./keep.ts";
import { mailbox } from "./mailbox.ts";
import { brokenPems } from "./pem.ts";
import { type Surroundings, whyUnreadable } from "./references.ts";
import { retry } from "./retry.ts";
import { rule } from "./route.ts";
import { brokenRules, type Readable } from "./rules.ts";
import { type Config, schema } from "./schema.ts";
import { problemsOf } from "./sentences.ts";
import { service } from "./service.ts";
import { type Sink, sink } from "./sink.ts";
import { type Problem, readTree, type Tree, valueAt } from "./tree.ts";

export type { Config } from "./schema.ts";
export type { Problem } from "./tree.ts";

export type Reading = { readonly config: Config } | { readonly problems: readonly Problem[] };

const LARGEST = 256 * 1024;
const MOST_TOLD = 100;

/**
 * Throws one Fault: `config.missing` or `config.unreadable` when there is no text, `config.invalid` with one line for each problem.
 * Without `compile` the JSONata in it is left for others to judge.
 */
export async function loadConfig(path: string, env: Surroundings["env"], compile?: Compile): Promise<Config> {
  let text: string;
  try {
    text = readText(path);
  } catch (thrown) {
    const missing = (thrown as NodeJS.ErrnoException).code === "ENOENT";
    throw permanent(
      missing ? "config.missing" : "config.unreadable",
      `${path}: the configuration cannot be read: ${whyUnreadable(thrown)}.`,
      missing
        ? "Copy config/example.yaml there and fill it in, or say where it is with -c."
        : "Give the user billhook runs as a file it can read.",
      thrown,
    );
  }
  const reading = readConfig(text, { path, env, readFile: readText, ...(compile && { compile }) });
  if ("config" in reading) return reading.config;
  const lines = reading.problems
    .slice(0, MOST_TOLD)
    .map((it) => `${path}:${it.line}:${it.column}  ${it.path && `${it.path}: `}${it.message}`);
  if (reading.problems.length > MOST_TOLD) lines.push(`${path}: and ${reading.problems.length - MOST_TOLD} more`);
  throw permanent("config.invalid", lines.join("\n"), "Mend these lines; config/reference.md tells what every key expects.");
}

/** `readFile` gives the text of a file by its absolute path. */
export function readConfig(
  text: string,
  { path, env, readFile, compile }: Surroundings & { readonly path: string; readonly compile?: Compile },
): Reading {
  const absolute = (relative: string) => resolve(dirname(path), relative);
  const tree = readTree(text, { env, readFile: (name) => readFile(absolute(name)) });
  if (!tree.readable) return { problems: sorted(tree.problems) };
  if (tree.root === null || tree.root === undefined)
    return { problems: [tree.problemAt([], "the configuration is empty. Copy config/example.yaml and fill it in.")] };

  const parsed = parse(tree);
  const readable = readableParts(tree.root);
  const problems = [
    ...tree.problems,
    ...(parsed.success ? [] : problemsOf(parsed.error.issues, tree)),
    ...[
      ...brokenRules(readable),
      ...brokenPems(readable, (name) => readFile(absolute(name))),
      ...(compile ? brokenExpressions(readable, compile, (path) => tree.placeOf(path)?.references.length !== 0) : []),
    ].flatMap((broken) => placed(broken, tree)),
  ];
  return parsed.success && problems.length === 0 ? { config: withPaths(parsed.data, absolute) } : { problems: sorted(problems) };
}

function placed({ path, message }: Broken, tree: Tree): readonly Problem[] {
  // A text may stand where a list of one is meant.
  const standing = tree.placeOf(path) === undefined && /^\d+$/.test(path.at(-1) ?? "") ? path.slice(0, -1) : path;
  if (tree.placeOf(standing)?.broken) return [];
  return [tree.problemAt(standing, message, standing.length > 2 ? "value" : "key")];
}

/** A reference always brings in a text; where the schema wants a number or a truth, that is what it becomes. */
function parse(tree: Tree): z.ZodSafeParseResult<Config> {
  const first = schema.safeParse(tree.root);
  let changed = false;
  for (const issue of first.error?.issues ?? []) {
    const path = issue.path.map(String);
    const [holder, value] = [valueAt(tree.root, path.slice(0, -1)), valueAt(tree.root, path)];
    if (issue.code !== "invalid_type" || typeof value !== "string" || !tree.placeOf(path)?.references.length) continue;
    const meant =
      issue.expected === "boolean" ? { true: true, false: false }[value] : /^\d{1,15}(\.\d{1,3})?$/.test(value) ? Number(value) : undefined;
    if (meant === undefined) continue;
    Object.assign(holder as object, { [path.at(-1) ?? ""]: meant });
    changed = true;
  }
  return changed ? schema.safeParse(tree.root) : first;
}

/** Rules are checked on all that is right by itself, so that one wrong key does not hide them. */
function readableParts(root: unknown): Readable {
  const entries = (section: string) => {
    const value = valueAt(root, [section]);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? Object.entries(value) : null;
  };
  const right = <S extends z.ZodType>(section: string, kind: S): { readonly [name: string]: z.output<S> } =>
    Object.fromEntries(
      (entries(section) ?? []).flatMap(([name, value]) => {
        const parsed = kind.safeParse(value);
        return parsed.success ? [[name, parsed.data]] : [];
      }),
    );
  const names = (section: string) => entries(section)?.map(([name]) => name) ?? null;
  const written = valueAt(root, ["routes"]);
  const rules: readonly unknown[] = Array.isArray(written) ? written : [];
  return {
    keep: keep.safeParse(valueAt(root, ["keep"]) ?? {}).data ?? null,
    retry: retry("3d").safeParse(valueAt(root, ["retry"]) ?? {}).data ?? null,
    mailboxes: right("mailboxes", mailbox),
    services: right("services", service),
    sinks: right("sinks", sink),
    routes: rules.map((it) => rule.safeParse(it).data ?? null),
    web: valueAt(root, ["web"]) !== undefined,
    key: valueAt(root, ["secrets", "key"]) !== undefined,
    names: { mailboxes: names("mailboxes"), services: names("services"), sinks: names("sinks") },
  };
}

function withPaths(config: Config, absolute: (path: string) => string): Config {
  const each = <T>(entries: { readonly [name: string]: T }, change: (entry: T) => T) =>
    Object.fromEntries(Object.entries(entries).map(([name, entry]) => [name, change(entry)]));
  const orNull = (path: string | null) => (path === null ? null : absolute(path));
  return {
    ...config,
    state: { ...config.state, directory: absolute(config.state.directory) },
    mailboxes: each(config.mailboxes, (it) => ({ ...it, ca: orNull(it.ca) })),
    sinks: each(config.sinks, (it): Sink => {
      if (it.kind === "file") return { ...it, directory: absolute(it.directory) };
      if (it.kind === "smtp") return { ...it, ca: orNull(it.ca) };
      return { ...it, ca: orNull(it.ca), certificate: orNull(it.certificate), key: orNull(it.key) };
    }),
  };
}

/** By place; the same sentence at the same place once. */
function sorted(problems: readonly Problem[]): readonly Problem[] {
  const unique = new Map(problems.map((it) => [JSON.stringify(it), it]));
  return [...unique.values()].sort((a, b) => a.line - b.line || a.column - b.column);
}

/** A text file of at most 256 KB: a device without end must not fill the memory. */
export function readText(path: string): string {
  const file = openSync(path, "r");
  try {
    const bytes = Buffer.alloc(LARGEST + 1);
    let size = 0;
    for (let read = -1; read !== 0 && size < bytes.length; size += read) read = readSync(file, bytes, size, bytes.length - size, null);
    if (size > LARGEST) throw new RangeError("it is larger than 256 KB");
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(0, size));
  } finally {
    closeSync(file);
  }
}
