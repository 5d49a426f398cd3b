/** The schema as documents: the JSON Schema editors use, and the reference people read. Pure. */
import { z } from "zod";
import { schema } from "./schema.ts";
import { type Path, valueAt } from "./tree.ts";

/** A key as JSON Schema describes it, with the phrase of its value kind. */
export type Entry = {
  readonly description?: string;
  readonly expected?: string;
  readonly type?: string;
  readonly const?: unknown;
  readonly default?: unknown;
  readonly examples?: readonly unknown[];
  readonly required?: readonly string[];
  readonly properties?: { readonly [key: string]: Entry };
  readonly additionalProperties?: Entry | false;
  readonly items?: Entry;
  readonly oneOf?: readonly Entry[];
  readonly anyOf?: readonly Entry[];
};

let described: Entry | undefined;

/** The input side of the schema: what a person writes, before defaults and units. */
function root(): Entry {
  described ??= z.toJSONSchema(schema, { io: "input" }) as Entry;
  return described;
}

/** The entry a path leads to, through names the owner chose and the kinds that are written; undefined when there is none. */
export function entryAt(path: Path, written: unknown): Entry | undefined {
  return path.reduce<Entry | undefined>((entry, step, depth) => {
    const found = entry && below(entry, String(step));
    return found && ofKind(found, valueAt(written, path.slice(0, depth + 1)));
  }, root());
}

/** Of several kinds the one that is written there. */
function ofKind(entry: Entry, written: unknown): Entry {
  const kind = valueAt(written, ["kind"]);
  return entry.oneOf?.find((it) => it.properties?.kind?.const === kind) ?? entry;
}

function below(entry: Entry, step: string): Entry | undefined {
  if (entry.properties && Object.hasOwn(entry.properties, step)) return entry.properties[step];
  if (entry.additionalProperties) return entry.additionalProperties;
  for (const alternative of entry.oneOf ?? entry.anyOf ?? []) {
    const found = below(alternative, step);
    if (found) return found;
  }
  return entry.items;
}

const REFERENCE = { $ref: "#/$defs/reference" };
const ANNOTATIONS = ["description", "default", "examples", "writeOnly"];

/** The text of config.schema.json. */
export function jsonSchema(): string {
  const { $schema, ...rest } = root() as Entry & { $schema?: string };
  const document = {
    $schema,
    title: "billhook configuration",
    ...editable(rest),
    $defs: {
      reference: {
        type: "string",
        pattern: "\\$\\{",
        // biome-ignore lint/suspicious/noTemplateCurlyInString: the syntax being described
        description: "A value brought in from outside: ${NAME} from the environment, ${file:PATH} from a file.",
      },
    },
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}

/** Every value may also be a reference, and what is only ours is left out. */
function editable(entry: Entry): object {
  const { expected: _, ...node } = entry as Entry & { [key: string]: unknown };
  // What is passed on as it is may hold anything, references too.
  if (Object.keys(node).length === 0) return node;
  if (entry.properties || entry.additionalProperties || entry.items || entry.oneOf) {
    const each = (entries: { readonly [key: string]: Entry }) =>
      Object.fromEntries(Object.entries(entries).map(([key, it]) => [key, editable(it)]));
    return {
      ...node,
      ...(entry.properties && { properties: each(entry.properties) }),
      ...(entry.additionalProperties && { additionalProperties: editable(entry.additionalProperties) }),
      ...(entry.items && { items: editable(entry.items) }),
      ...(entry.oneOf && { oneOf: entry.oneOf.map(editable) }),
    };
  }
  const annotations = Object.fromEntries(Object.entries(node).filter(([key]) => ANNOTATIONS.includes(key)));
  const checks = Object.fromEntries(Object.entries(node).filter(([key]) => !ANNOTATIONS.includes(key)));
  const alternatives = entry.anyOf ? entry.anyOf.map((it) => (it.properties || it.items ? editable(it) : withoutExpected(it))) : [checks];
  return { ...annotations, anyOf: [...alternatives, REFERENCE] };
}

function withoutExpected({ expected: _, ...entry }: Entry): object {
  return entry;
}

const INTRODUCTION = `# Configuration reference

Made from the schema by \`npm run generate\`; do not edit. A complete file to start from is [example.yaml](example.yaml).

- Every key that is not listed here is a fault. \`billhook check\` tells every fault at once, with line and column.
- Durations are numbers with a unit: \`500ms\`, \`5s\`, \`30m\`, \`2h\`, \`3d\`. Sizes too: \`500KB\`, \`20MB\`, \`1GB\` (1 KB is 1024 bytes; \`KiB\`, \`MiB\`, \`GiB\` mean the same).
- Relative paths are relative to the directory of the configuration file.
- \`\${NAME}\` inside a value is replaced by an environment variable, \`\${file:/run/secrets/x}\` by the content of a file without the newline at
  its end, \`$\${\` by a plain \`\${\`. This happens after the YAML is read, so a secret can hold any character.
- \`<name>\` is a name of your own: lower-case letters, digits, \`-\` and \`_\`. \`[]\` is each entry of a list.
- GUESS marks what Cloudsquid does not document.
`;

type Section = { readonly path: readonly string[]; readonly kinds: readonly string[]; readonly entry: Entry };

/** The text of reference.md. */
export function reference(): string {
  const tables = merged(sections(root(), [], [])).map(({ path, kinds, entry }) => {
    const heading = path.length === 0 ? "## At the top" : `## ${path.join(".")}${kinds.length > 0 ? ` (${kinds.join(", ")})` : ""}`;
    const rows = Object.entries(entry.properties ?? {}).map(([key, it]) => row(key, it, entry.required?.includes(key) ?? false));
    const table = ["| key | expects | default | |", "|---|---|---|---|", ...rows].join("\n");
    return [heading, entry.description, table].filter((paragraph) => paragraph !== undefined).join("\n\n");
  });
  return `${[INTRODUCTION.trimEnd(), ...tables].join("\n\n")}\n`;
}

/** Every mapping with keys of its own, depth first. */
function sections(entry: Entry, path: readonly string[], kinds: readonly string[]): readonly Section[] {
  const own = entry.properties ? [{ path, kinds, entry }] : [];
  const inner = Object.entries(entry.properties ?? {}).flatMap(([key, it]) => sections(it, [...path, key], kinds));
  const named = entry.additionalProperties ? sections(entry.additionalProperties, [...path, "<name>"], kinds) : [];
  const alternatives = (entry.oneOf ?? []).flatMap((it) => sections(it, path, [String(it.properties?.kind?.const)]));
  const items = entry.items ? sections(entry.items, [...path.slice(0, -1), `${path.at(-1)}[]`], kinds) : [];
  return [...own, ...inner, ...named, ...alternatives, ...items];
}

/** What several kinds share is told once. */
function merged(all: readonly Section[]): readonly Section[] {
  const told = new Map<string, Section>();
  for (const it of all) {
    const key = JSON.stringify([it.path, it.entry]);
    const before = told.get(key);
    told.set(key, before ? { ...before, kinds: [...before.kinds, ...it.kinds] } : it);
  }
  return [...told.values()];
}

function row(key: string, entry: Entry, required: boolean): string {
  const isMapping = entry.expected === undefined && (entry.properties !== undefined || entry.additionalProperties !== undefined);
  const expects = isMapping ? "a mapping, below" : (entry.expected ?? entry.anyOf?.find((it) => it.expected)?.expected ?? "");
  const fallback = required ? "**required**" : isMapping || entry.default === undefined ? "" : code(entry.default);
  const examples = entry.examples ? ` Example: ${entry.examples.map(code).join(", ")}.` : "";
  return `| ${[code(key), cell(expects), fallback, cell((entry.description ?? "") + examples)].join(" | ")} |`;
}

function code(value: unknown): string {
  return `\`${typeof value === "string" ? value : JSON.stringify(value)}\``;
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|");
}
