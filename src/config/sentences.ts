/** What the schema found wrong, as sentences for people: what was expected, what was found, what to do. */
import type { z } from "zod";
import { entryAt } from "./document.ts";
import { type Path, type Problem, type Tree, valueAt } from "./tree.ts";
import { alternatives } from "./values.ts";

type Issue = z.core.$ZodIssue;

const SECRET = new Set([
  "password",
  "apiKey",
  "webhookSecret",
  "auth",
  "bearer",
  "headers",
  "secrets",
  "key",
  "oauth2",
  "clientSecret",
  "refreshToken",
]);
const LONGEST_SHOWN = 40;

export function problemsOf(issues: readonly Issue[], tree: Tree): readonly Problem[] {
  return issues.flatMap((issue) => {
    const path = issue.path.map(String);
    if (tree.placeOf(path)?.broken) return [];
    if (issue.code === "unrecognized_keys")
      return issue.keys.map((key) => tree.problemAt([...path, key], unknownKey(path, key, tree), "key"));
    if (issue.code === "invalid_key") {
      const expected = issue.issues[0]?.message ?? issue.message;
      const found = isSecret(path) ? "" : `, found ${shown(path.at(-1))}`;
      return [tree.problemAt(path, `expected ${expected}${found}. Choose another name.`, "key")];
    }
    const meant = issue.code === "invalid_union" ? meantAlternative(issue.errors) : undefined;
    if (meant)
      return problemsOf(
        meant.map((inner) => ({ ...inner, path: [...path, ...inner.path] })),
        tree,
      );
    return [tree.problemAt(path, `expected ${issue.message}, found ${foundAt(path, tree)}. ${advice(path, tree)}`)];
  });
}

/** The alternative whose keys are there, with nothing wrong but what stands under them. */
function meantAlternative(alternatives: readonly (readonly Issue[])[]): readonly Issue[] | undefined {
  return alternatives.find((issues) => issues.length > 0 && issues.every((issue) => issue.path.length > 0));
}

/** Names of the owner's own stand above. */
function isSecret(path: Path): boolean {
  return path[0] === "secrets" || path.join(".") === "web.token" || path.slice(2).some((step) => SECRET.has(String(step)));
}

/** What stands there, unless it may be a secret: under a secret's key, in a URL with a password or a query, or brought in by a reference. */
function foundAt(path: Path, tree: Tree): string {
  const value = valueAt(tree.root, path);
  const references = tree.placeOf(path)?.references ?? [];
  if (references.length > 0) return value === "" ? `nothing in ${references.join("")}` : `the value of ${references.join(" ")} (not shown)`;
  const secret = isSecret(path) || (typeof value === "string" && value.includes("://") && /[@?]/.test(value));
  const empty = value === undefined || value === null || value === "";
  return secret && !empty && typeof value !== "object"
    ? `a ${typeof value === "string" ? "text" : typeof value} (not shown)`
    : shown(value);
}

function shown(value: unknown): string {
  if (value === undefined || value === null) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "a mapping";
  if (typeof value !== "string") return String(value);
  return value.length > LONGEST_SHOWN ? `${JSON.stringify(value.slice(0, LONGEST_SHOWN))}…` : JSON.stringify(value);
}

function advice(path: Path, tree: Tree): string {
  if (tree.placeOf(path)?.references.length) return "Put such a value there.";
  const value = valueAt(tree.root, path);
  const verb = value === undefined ? "Add" : value === null ? "Fill" : "Write";
  const entry = entryAt(path, tree.root);
  const example = entry?.examples?.[0] ?? entry?.default;
  if (example === undefined || example === null || typeof example === "object")
    return { Add: "Add it.", Fill: "Fill it in.", Write: "Change it." }[verb];
  const written = /^[*{]/.test(String(example)) ? JSON.stringify(example) : String(example);
  return `${verb === "Add" ? "Add" : "Write"}, for example, ${path.at(-1)}: ${written}`;
}

function unknownKey(path: Path, key: string, tree: Tree): string {
  const entry = entryAt(path, tree.root);
  const known = [entry, ...(entry?.anyOf ?? [])].flatMap((it) => Object.keys(it?.properties ?? {})).filter((it) => it !== key);
  const close = nearest(key, known);
  if (close) return `unknown key. Did you mean ${close}?`;
  return `unknown key, expected ${alternatives(known)}. Remove it.`;
}

/** The known key a slip of the fingers away: letters changed, added, dropped or swapped; case and separators do not count. */
function nearest(key: string, known: readonly string[]): string | undefined {
  const plain = (text: string) => text.toLowerCase().replace(/[-_ ]/g, "");
  const wanted = plain(key);
  if (wanted.length > 40) return undefined;
  const ranked = known.map((name) => ({ name, distance: distance(wanted, plain(name)) })).sort((a, b) => a.distance - b.distance);
  const best = ranked[0];
  return best && best.distance <= Math.max(1, Math.floor(best.name.length / 3)) ? best.name : undefined;
}

/** Optimal string alignment distance. */
function distance(a: string, b: string): number {
  let older: number[] = [];
  let above = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const changed = a[row - 1] === b[column - 1] ? 0 : 1;
      let least = Math.min((above[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1, (above[column - 1] ?? 0) + changed);
      if (row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1])
        least = Math.min(least, (older[column - 2] ?? 0) + 1);
      current.push(least);
    }
    [older, above] = [above, current];
  }
  return above[b.length] ?? 0;
}
