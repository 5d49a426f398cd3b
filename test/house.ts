/** The walls of the house as pure checks: a tree of files in, what is crooked out. */

/** Path from the top of the repository -> text. */
export type Tree = ReadonlyMap<string, string>;

/** What each room may import besides itself; everything further right is allowed by naming it. */
const ROOMS: Readonly<Record<string, readonly string[]>> = {
  "": ["cli"],
  cli: [
    "daemon",
    "web",
    "desk",
    "sandbox",
    "pipeline",
    "source",
    "extractor",
    "sink",
    "store",
    "mapping",
    "message",
    "invoice",
    "config",
    "http",
    "base",
  ],
  daemon: [
    "web",
    "desk",
    "pipeline",
    "signin",
    "source",
    "extractor",
    "sink",
    "store",
    "mapping",
    "message",
    "invoice",
    "config",
    "http",
    "base",
  ],
  web: ["desk", "pipeline", "source", "extractor", "sink", "store", "mapping", "message", "invoice", "config", "http", "base"],
  desk: ["pipeline", "store", "mapping", "message", "invoice", "base"],
  pipeline: ["source", "extractor", "sink", "store", "mapping", "message", "invoice", "base"],
  source: ["message", "invoice", "base"],
  signin: ["http", "base"],
  extractor: ["message", "invoice", "http", "base"],
  sink: ["message", "invoice", "http", "base"],
  store: ["message", "invoice", "base"],
  sandbox: ["invoice", "message", "http", "base"],
  message: ["base"],
  mapping: ["invoice", "base"],
  invoice: ["base"],
  config: ["http", "base"],
  http: ["base"],
  base: [],
};

/** What of a role may be known outside its folder: its contract, and for store and sink what is pure. */
const CONTRACTS: Readonly<Record<string, readonly string[]>> = {
  source: ["source.ts"],
  extractor: ["extractor.ts"],
  sink: ["sink.ts", "delivery.ts"],
  store: ["store.ts", "record.ts", "delivery.ts", "mail.ts", "search.ts", "upkeep.ts", "owed.ts", "recovery.ts"],
};

/** One door a package: who may import it. Node's own modules are free, except those that are doors too. */
const DOORS: Readonly<Record<string, RegExp>> = {
  imapflow: /^src\/source\/imap(\/[^/]+)?\.ts$/,
  mailparser: /^src\/message\/parse\.ts$/,
  undici: /^src\/http\/http\.ts$/,
  "node-cron": /^src\/daemon\/schedule\.ts$/,
  pino: /^src\/base\/logger\.ts$/,
  "pino-pretty": /^src\/base\/logger\.ts$/,
  kysely: /^src\/store\//,
  "better-sqlite3": /^src\/store\//,
  zod: /^src\/(config|invoice|sandbox|sink)\//,
  yaml: /^src\/config\//,
  commander: /^src\/cli\/cli\.ts$/,
  jsonata: /^src\/mapping\//,
  unpdf: /^src\/invoice\//,
  "fast-xml-parser": /^src\/invoice\/xml\.ts$/,
  "openid-client": /^src\/signin\/oauth\.ts$/,
  "prom-client": /^src\/web\/metrics\.ts$/,
  nodemailer: /^src\/sink\/smtp(\/[^/]+)?\.ts$/,
  yazl: /^src\/desk\/export\.ts$/,
  "file-type": /^src\/message\/sniff\.ts$/,
  "hoodiecrow-imap": /^src\/sandbox\/mailserver\.ts$/,
  "smtp-server": /^src\/sandbox\/mailserver\.ts$/,
};

const TOP = new Set([
  "package.json",
  "package-lock.json",
  "tsconfig.json",
  "src",
  "config",
  "test",
  "fixtures",
  "Dockerfile",
  ".dockerignore",
  "README.md",
  "LICENSE",
  "CHANGELOG.md",
  "DECISIONS.md",
  ".ci",
  ".gitignore",
]);

const BANNED = /(^|\/)(utils?|helpers?|common|misc|types|index)(\.ts|\/)/;
const MOST_LINES = 300;
const MOST_BASE = 6;
/** Exceptions, each with its reason in DECISIONS.md: nothing else may name implementations or read the clock. */
const NAMES_IMPLEMENTATIONS = ["src/daemon/assemble.ts", "src/daemon/state.ts"];
const READS_THE_CLOCK = "src/base/clock.ts";

type Import = { readonly from: string; readonly typeOnly: boolean };

export function crooked(tree: Tree): readonly string[] {
  const sources = [...tree].filter(([path]) => path.startsWith("src/") && path.endsWith(".ts"));
  return [
    ...[...new Set([...tree.keys()].map((path) => path.split("/")[0] ?? ""))]
      .filter((name) => !TOP.has(name))
      .map((name) => `${name}: not a thing of the top level`),
    ...sources.flatMap(([path, text]) => crookedFile(path, text)),
    ...circles(sources),
    ...(sources.filter(([path]) => roomOf(path) === "base").length > MOST_BASE ? [`src/base: more than ${MOST_BASE} files`] : []),
    ...[...tree.keys()].filter((path) => path.endsWith(".test.ts")).flatMap((path) => crookedTest(path)),
  ];
}

function crookedFile(path: string, text: string): readonly string[] {
  const faults: string[] = [];
  const say = (what: string) => faults.push(`${path}: ${what}`);
  const room = roomOf(path);
  const allowed = ROOMS[room];
  if (allowed === undefined) {
    say("not a room of the house");
    return faults;
  }
  if (BANNED.test(path)) say("a name that says nothing");
  if (!/^\/\*\* [^\n]+[.:!?] \*\/\n/.test(text)) say("the first line is not one sentence that says what the file is");
  const lines = text.split("\n").length - 1;
  if (lines > MOST_LINES) say(`${lines} lines; ${MOST_LINES} at most`);
  for (const name of text.matchAll(/^\s*(?:export )?(?:abstract )?class (\w+)/gm))
    if (name[1] !== "Fault") say(`class ${name[1]}: the only class is Fault`);
  if (/^export default/m.test(text)) say("a default export");
  if (!["", "cli", "daemon", "web"].includes(room)) {
    if (/\bprocess\.env\b/.test(text)) say("reads the environment below daemon/");
    if (path !== READS_THE_CLOCK && /\bDate\.now\(|\bnew Date\(\)|\bMath\.random\b/.test(text))
      say("reads the clock or chance instead of being given them");
  }
  for (const { from } of importsOf(text)) {
    const target = resolveImport(path, from);
    if (target === null) {
      const name = packageOf(from);
      if (from.startsWith("node:")) continue;
      const door = DOORS[name];
      if (door === undefined) say(`imports ${name}, which has no door in test/house.ts`);
      else if (!door.test(path)) say(`imports ${name}, whose door is ${door.source}`);
      continue;
    }
    const other = roomOf(target);
    const owner = ownerOf(target);
    if (owner !== null && !NAMES_IMPLEMENTATIONS.includes(path) && path !== `${owner}.ts` && !path.startsWith(`${owner}/`))
      say(`imports ${target}: what is in ${owner}/ is for ${owner}.ts`);
    if (other === room) continue;
    if (!allowed.includes(other)) say(`imports ${target}: ${room || "main"} may not know ${other || "main"}`);
    const contracts = CONTRACTS[other];
    if (contracts !== undefined && !NAMES_IMPLEMENTATIONS.includes(path) && !contracts.some((name) => target === `src/${other}/${name}`)) {
      say(`imports ${target}: ${other} is known by ${contracts.join(", ")} only`);
    }
  }
  return faults;
}

const TEST_ROOMS = new Set(["contract", "servers", "crash", "faults", "e2e", "bench", "fixtures", "world", ...Object.keys(ROOMS)]);

function crookedTest(path: string): readonly string[] {
  const [, room, file] = path.split("/");
  return file === undefined || TEST_ROOMS.has(room ?? "") ? [] : [`${path}: test/ mirrors src/, and there is no room ${room}`];
}

/** Circles through any import, types included: a circle of types is a circle of thoughts. */
function circles(sources: readonly (readonly [string, string])[]): readonly string[] {
  const edges = new Map(
    sources.map(([path, text]) => [
      path,
      importsOf(text)
        .map(({ from }) => resolveImport(path, from))
        .filter((target) => target !== null),
    ]),
  );
  const faults: string[] = [];
  const done = new Set<string>();
  const visit = (path: string, way: readonly string[]) => {
    const at = way.indexOf(path);
    if (at !== -1) faults.push(`a circle: ${[...way.slice(at), path].join(" -> ")}`);
    if (at !== -1 || done.has(path)) return;
    for (const next of edges.get(path) ?? []) visit(next, [...way, path]);
    done.add(path);
  };
  for (const path of edges.keys()) visit(path, []);
  return faults;
}

export function importsOf(text: string): readonly Import[] {
  const found: Import[] = [];
  for (const match of text.matchAll(/^\s*(?:import|export)\s+(type\s)?[^'";]*?from\s+["']([^"']+)["']/gm))
    found.push({ from: match[2] ?? "", typeOnly: match[1] !== undefined });
  for (const match of text.matchAll(/\bimport\(\s*["']([^"']+)["']/g)) found.push({ from: match[1] ?? "", typeOnly: false });
  for (const match of text.matchAll(/^\s*import\s+["']([^"']+)["']/gm)) found.push({ from: match[1] ?? "", typeOnly: false });
  return found;
}

function resolveImport(path: string, from: string): string | null {
  if (!from.startsWith(".")) return null;
  const way = path.split("/").slice(0, -1);
  for (const step of from.split("/")) {
    if (step === "..") way.pop();
    else if (step !== ".") way.push(step);
  }
  return way.join("/");
}

/** `src/sink/smtp` for what is in the folder of that implementation; null for what stands in its room. */
function ownerOf(path: string): string | null {
  const steps = path.split("/");
  return steps[0] === "src" && steps.length > 3 ? steps.slice(0, 3).join("/") : null;
}

/** The folder under src/, or "" for src/ itself. */
function roomOf(path: string): string {
  const steps = path.split("/");
  return steps.length > 2 ? (steps[1] ?? "") : "";
}

function packageOf(from: string): string {
  const steps = from.split("/");
  return from.startsWith("@") ? steps.slice(0, 2).join("/") : (steps[0] ?? "");
}
