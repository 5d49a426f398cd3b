/** The schema as documents: the JSON Schema editors use, and the reference people read. Pure. */
import { z } from "zod";
import { schema } from "./schema.ts";

/** A key as JSON Schema describes it, with the phrase of its value kind. */
export type Entry = {
  readonly description?: string;
  readonly expected?: string;
  readonly type?: string;
  readonly default?: unknown;
  readonly examples?: readonly unknown[];
  readonly required?: readonly string[];
  readonly properties?: { readonly [key: string]: Entry };
  readonly additionalProperties?: Entry | false;
  readonly oneOf?: readonly Entry[];
  readonly anyOf?: readonly Entry[];
};

let described: Entry | undefined;

/** The input side of the schema: what a person writes, before defaults and units. */
function root(): Entry {
  described ??= z.toJSONSchema(schema, { io: "input" }) as Entry;
  return described;
}

/** The entry a path leads to, through names the owner chose and through alternatives; undefined when there is none. */
export function entryAt(path: readonly (string | number)[]): Entry | undefined {
  return path.reduce<Entry | undefined>((entry, step) => entry && below(entry, String(step)), root());
}

function below(entry: Entry, step: string): Entry | undefined {
  if (entry.properties && Object.hasOwn(entry.properties, step)) return entry.properties[step];
  if (entry.additionalProperties) return entry.additionalProperties;
  for (const alternative of entry.oneOf ?? entry.anyOf ?? []) {
    const found = below(alternative, step);
    if (found) return found;
  }
  return undefined;
}

/** The keys a mapping may hold, whatever its kind. */
export function keysAt(path: readonly (string | number)[]): readonly string[] {
  const entry = entryAt(path);
  return [entry, ...(entry?.oneOf ?? [])].flatMap((it) => Object.keys(it?.properties ?? {}));
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
  if (entry.properties || entry.additionalProperties || entry.oneOf) {
    const each = (entries: { readonly [key: string]: Entry }) =>
      Object.fromEntries(Object.entries(entries).map(([key, it]) => [key, editable(it)]));
    return {
      ...node,
      ...(entry.properties && { properties: each(entry.properties) }),
      ...(entry.additionalProperties && { additionalProperties: editable(entry.additionalProperties) }),
      ...(entry.oneOf && { oneOf: entry.oneOf.map(editable) }),
    };
  }
  const annotations = Object.fromEntries(Object.entries(node).filter(([key]) => ANNOTATIONS.includes(key)));
  const checks = Object.fromEntries(Object.entries(node).filter(([key]) => !ANNOTATIONS.includes(key)));
  const alternatives = entry.anyOf ? entry.anyOf.map((it) => (it.properties ? editable(it) : withoutExpected(it))) : [checks];
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
- \`<name>\` is a name of your own: lower-case letters, digits, \`-\` and \`_\`.
- GUESS marks what Cloudsquid does not document.
`;

/** The text of reference.md. */
export function reference(): string {
  const tables = sections(root(), []).map(({ path, entry }) => {
    const heading = path.length === 0 ? "## At the top" : `## ${path.join(".")}`;
    const rows = Object.entries(entry.properties ?? {}).map(([key, it]) => row(key, it, entry.required?.includes(key) ?? false));
    const table = ["| key | expects | default | |", "|---|---|---|---|", ...rows].join("\n");
    return [heading, entry.description, table].filter((paragraph) => paragraph !== undefined).join("\n\n");
  });
  return `${[INTRODUCTION.trimEnd(), ...tables].join("\n\n")}\n`;
}

/** Every mapping with keys of its own, depth first. */
function sections(entry: Entry, path: readonly string[]): readonly { readonly path: readonly string[]; readonly entry: Entry }[] {
  const own = entry.properties ? [{ path, entry }] : [];
  const inner = Object.entries(entry.properties ?? {}).flatMap(([key, it]) => sections(it, [...path, key]));
  const named = entry.additionalProperties ? sections(entry.additionalProperties, [...path, "<name>"]) : [];
  const kinds = (entry.oneOf ?? []).flatMap((it) => sections(it, path));
  return [...own, ...inner, ...named, ...kinds];
}

function row(key: string, entry: Entry, required: boolean): string {
  const isMapping = entry.properties !== undefined || entry.additionalProperties !== undefined;
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
