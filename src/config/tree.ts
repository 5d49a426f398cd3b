/** YAML text as a plain tree, with the place of every key and value in it, references filled in. */
import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument, type Scalar, type YAMLError } from "yaml";
import { fill, type Surroundings } from "./references.ts";

export type Path = readonly (string | number)[];

/** One thing that is wrong, and where. Line and column count from 1. */
export type Problem = { readonly path: string; readonly line: number; readonly column: number; readonly message: string };

export type Place = {
  /** Offset of the key, or of the value where there is no key. */
  readonly key: number;
  readonly value: number;
  readonly references: readonly string[];
  /** A reference could not be followed, so there is no value to judge. */
  readonly broken: boolean;
};

export type Tree = {
  readonly root: unknown;
  readonly placeOf: (path: Path) => Place | undefined;
  readonly problemAt: (path: Path, message: string, at?: "key" | "value") => Problem;
  readonly problems: readonly Problem[];
  /** False when the text is not YAML enough to go on. */
  readonly readable: boolean;
};

const MOST_NODES = 10_000;
// A JSON Schema, as the config of a run holds, takes two levels for each of its own.
const DEEPEST = 32;

export function readTree(text: string, surroundings: Surroundings): Tree {
  const counter = new LineCounter();
  // Whether keys are unique is for the walk to see: the parser compares each with each.
  const document = parseDocument(text, { lineCounter: counter, prettyErrors: false, uniqueKeys: false, logLevel: "error" });
  const problem = (offset: number, path: Path, message: string): Problem => {
    const { line, col } = counter.linePos(Math.min(offset, text.length));
    return { path: pathText(path), line: Math.max(1, line), column: Math.max(1, col), message };
  };
  const problems: Problem[] = [];
  const places = new Map<string, Place>();
  const exhausted = document.errors.find(({ code }) => code === "RESOURCE_EXHAUSTION");
  // What follows on the same line is mostly the same mistake.
  const byLine = new Map(document.errors.toReversed().map((error) => [counter.linePos(error.pos[0]).line, error]));
  for (const error of exhausted ? [exhausted] : byLine.values()) problems.push(problem(error.pos[0], [], SYNTAX[error.code]));
  const root = problems.length > 0 ? UNREADABLE : walk(document, surroundings, places, (...found) => problems.push(problem(...found)));
  const placeOf = (path: Path) => places.get(pathKey(path));
  return {
    root,
    placeOf,
    problems,
    readable: root !== UNREADABLE,
    // A key that is not there is told at the nearest mapping that should hold it.
    problemAt: (path, message, at = "value") => {
      for (let length = path.length; length > 0; length--) {
        const place = placeOf(path.slice(0, length));
        if (place) return problem(length === path.length ? place[at] : place.key, path, message);
      }
      return problem(0, path, message);
    },
  };
}

/** What stands at a path of a plain tree. */
export function valueAt(root: unknown, path: Path): unknown {
  return path.reduce<unknown>((value, step) => {
    return typeof value === "object" && value !== null && Object.hasOwn(value, step) ? (value as Record<string, unknown>)[step] : undefined;
  }, root);
}

const UNREADABLE = Symbol("unreadable");

type Tell = (offset: number, path: Path, message: string) => void;

/** Our own walk and not `toJS`: it bounds what aliases can grow to, and knows the place of a value that came through one. */
function walk(document: Document.Parsed, surroundings: Surroundings, places: Map<string, Place>, tell: Tell): unknown {
  let nodes = 0;
  let merges = 0;
  const anchors = new Map<string, Node>();
  const visit = (node: Node | null | undefined, path: Path, key: number, fallback: number): unknown => {
    if (++nodes > MOST_NODES || path.length > DEEPEST) throw UNREADABLE;
    const offset = node?.range?.[0] ?? fallback;
    const place = (references: readonly string[] = [], broken = false) =>
      places.set(pathKey(path), { key, value: offset, references, broken });
    if (isAlias(node)) {
      const target = anchors.get(node.source);
      const value = target ? visit(target, path, key, offset) : undefined;
      if (!target) tell(offset, path, "this * refers to an anchor (&) that is not set before it. Quote the value when it is a plain text.");
      const through = places.get(pathKey(path));
      place(through?.references, through?.broken ?? true);
      return value;
    }
    if (node?.anchor) anchors.set(node.anchor, node);
    if (node?.tag && !/^tag:yaml\.org,2002:(map|seq|str|int|float|bool|null)$/.test(node.tag)) {
      tell(offset, path, "expected no tag (!) here. Quote the value when it is a plain text.");
      place([], true);
      return undefined;
    }
    if (isMap(node)) {
      const merged = new Map<string, unknown>();
      for (const { key: keyNode, value } of node.items)
        if (isMergeKey(keyNode)) merge(merged, value as Node | null, path, keyNode.range?.[0] ?? offset);
      place();
      const entries = new Map<string, unknown>();
      for (const { key: keyNode, value } of node.items) {
        if (isMergeKey(keyNode)) continue;
        const at = (keyNode as Node | null)?.range?.[0] ?? offset;
        const name = isScalar(keyNode) ? String(keyNode.value) : "";
        const inner = [...path, name];
        if (name === "" || name === "__proto__") tell(at, path, `expected a key that is one plain word. ${QUOTE_SIGNS}`);
        else if (entries.has(name)) tell(at, inner, SYNTAX.DUPLICATE_KEY);
        else entries.set(name, visit(value as Node | null, inner, at, at));
      }
      return Object.fromEntries([...merged, ...entries]);
    }
    if (isSeq(node)) {
      place();
      return node.items.map((item, index) => {
        const at = (item as Node | null)?.range?.[0] ?? offset;
        return visit(item as Node, [...path, index], at, at);
      });
    }
    if (!isScalar(node) || typeof node.value !== "string") {
      place();
      return isScalar(node) ? node.value : null;
    }
    const { text, references, faults } = fill(node.value, surroundings);
    for (const fault of faults) tell(offset, path, fault);
    place(references, faults.length > 0);
    return text;
  };
  /** What is said of the mapping itself, or by one before, goes before it. */
  const merge = (into: Map<string, unknown>, node: Node | null, path: Path, at: number) => {
    if (++merges > DEEPEST) throw UNREADABLE;
    for (const one of isSeq(node) ? (node.items as Node[]) : [node]) {
      const value = visit(one, path, at, at);
      const isMapping = typeof value === "object" && value !== null && !Array.isArray(value);
      if (!isMapping) tell(at, path, "expected << to be followed by a mapping, such as *name of one that has &name before it.");
      else for (const [name, inner] of Object.entries(value)) if (!into.has(name)) into.set(name, inner);
    }
    merges--;
  };
  try {
    return visit(document.contents, [], 0, 0);
  } catch (thrown) {
    if (thrown !== UNREADABLE) throw thrown;
    tell(0, [], `more than ${MOST_NODES} values, or more than ${DEEPEST} levels, once every alias (*) is followed. Write the values out.`);
    return UNREADABLE;
  }
}

/** `<<` as YAML 1.1 has it, unquoted: still what people write who say the same of several. */
function isMergeKey(key: unknown): key is Scalar {
  return isScalar(key) && key.value === "<<" && key.type === "PLAIN";
}

function pathKey(path: Path): string {
  return JSON.stringify(path.map(String));
}

/** `mailboxes.invoices.port`; a key that is not made of words is left out, for `{password:secret}` is one key. */
function pathText(path: Path): string {
  return path.map((step) => (/^[\w .-]{1,60}$/.test(String(step)) ? step : "?")).join(".");
}

// The parser's own sentences quote the text they stumble over, and that text may be a password.
const QUOTE_SIGNS = 'Quote a value that begins with *, { or [, such as "*/5 * * * *" or "{{document}}.json".';
const QUOTE = "Quote the value when it is a plain text.";
const SYNTAX: { readonly [code in YAMLError["code"]]: string } = {
  ALIAS_PROPS: `not YAML: an alias (*) takes no anchor and no tag. ${QUOTE}`,
  BAD_ALIAS: `not YAML: this * or & is not followed by a name. ${QUOTE}`,
  BAD_COLLECTION_TYPE: "not YAML: the tag (!) does not fit what follows it. Remove the tag.",
  BAD_DIRECTIVE: `not YAML: a line that begins with % is a directive, and this one is not known. ${QUOTE}`,
  BAD_DQ_ESCAPE: "not YAML: a backslash in double quotes begins an escape, and this one is not known. Use single quotes.",
  BAD_INDENT: "not YAML: this line is not indented like its neighbours. Keys of one mapping begin in the same column.",
  BAD_PROP_ORDER: `not YAML: an anchor (&) or a tag (!) stands in the wrong place. ${QUOTE}`,
  BAD_SCALAR_START: `not YAML: a plain value cannot begin with this character. ${QUOTE}`,
  BLOCK_AS_IMPLICIT_KEY: 'not YAML: a second ": " on one line. Quote the value, or put the inner key on a line of its own.',
  BLOCK_IN_FLOW: "not YAML: lines by indentation inside { } or [ ]. Close the bracket, or write all of it by indentation.",
  DUPLICATE_KEY: "this key stands here a second time in the same mapping. Keep one of them.",
  IMPOSSIBLE: "not YAML: the parser could not make sense of this.",
  KEY_OVER_1024_CHARS: "not YAML: a key longer than 1024 characters. Is a quote not closed?",
  MISSING_CHAR: "not YAML: a character is missing: a colon and a space after a key, a closing quote, bracket or brace.",
  MULTILINE_IMPLICIT_KEY: "not YAML: a key that runs over several lines. Is a colon missing on the line before?",
  MULTIPLE_ANCHORS: `not YAML: two anchors (&) on one value. ${QUOTE}`,
  MULTIPLE_DOCS: "expected one YAML document; a second one begins here. Remove the --- line.",
  MULTIPLE_TAGS: `not YAML: two tags (!) on one value. ${QUOTE}`,
  NON_STRING_KEY: "not YAML: a key must be a text.",
  RESOURCE_EXHAUSTION: "nested too deeply to be read.",
  TAB_AS_INDENT: "not YAML: a tab in the indentation. Use spaces.",
  TAG_RESOLVE_FAILED: `expected no tag (!) here. ${QUOTE}`,
  UNEXPECTED_TOKEN: `not YAML: something is left over here. ${QUOTE_SIGNS}`,
};
