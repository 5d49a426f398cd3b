/** Brings what an extraction service answers into the normalised invoice: by the owner's JSONata expressions, else by the usual names. */
import jsonata from "jsonata";
import { permanent } from "../base/errors.ts";
import type { Invoice } from "../invoice/invoice.ts";
import { bounded } from "./bounds.ts";
import { evaluateAll } from "./evaluate.ts";
import { type Candidate, invoicesIn, readLine, readRecord, valuesOf } from "./find.ts";
import { settle, type Terms, withCurrency } from "./settle.ts";
import { HEADER_TERMS, LINE_TERMS, type LineTerm, MAPPING_KEYS, type MappingKey } from "./terms.ts";
import { isAbsent } from "./values.ts";
import type { Found } from "./worker.ts";

export type Mapped = {
  readonly invoice: Invoice;
  /**
   * The terms the answer has something for that could not be read, or could be read in more than one way; `lines.price` once for all
   * lines. A term that is null and not listed was not in the answer.
   */
  readonly unmapped: readonly MappingKey[];
};

export type Mapping = {
  /**
   * The invoices in one answer: mostly one, several for a mail with several, none when nothing in it looks like one. Never rejects.
   * With expressions each call is a thread, gone when this settles.
   */
  readonly apply: (data: unknown) => Promise<readonly Mapped[]>;
};

/**
 * Each key is a term of the invoice (`number`, `seller.name`, `lines.price`), each value a JSONata expression:
 * - `invoices` is evaluated on the answer and gives a list of invoices; without it, `invoices: […]` or the answer itself is taken.
 * - a term, and `lines`, is evaluated on one of them; `lines.*` on one of the lines. `$data` is the whole answer everywhere.
 * - A key that is not there is found by the usual names; null: it is not mapped at all.
 *
 * Throws a permanent Fault `config.mapping` for a key that is no term and an expression that does not compile.
 */
export function createMapping(expressions: Readonly<Record<string, string | null>> | null): Mapping {
  const written = new Map<MappingKey, string | null>();
  for (const [key, expression] of Object.entries(expressions ?? {})) {
    const known = MAPPING_KEYS.find((one) => one === key);
    if (known === undefined) throw unknownKey(key);
    if (expression !== null) compile(known, expression);
    written.set(known, expression);
  }
  return { apply: (data) => apply(written, data) };
}

function unknownKey(key: string) {
  return permanent("config.mapping", `mapping: "${key.slice(0, 60)}" is no term of the invoice.`, `Use one of ${MAPPING_KEYS.join(", ")}.`);
}

function compile(key: MappingKey, expression: string): void {
  try {
    jsonata(expression);
  } catch (thrown) {
    const { message, position } = thrown as { readonly message?: string; readonly position?: number };
    const where = position === undefined ? "" : `, at character ${position}`;
    throw permanent(
      "config.mapping",
      `mapping: ${key} is not a JSONata expression: ${message ?? "it does not compile"}${where}.`,
      "See https://docs.jsonata.org.",
    );
  }
}

type Written = ReadonlyMap<MappingKey, string | null>;
type Evaluated = ReadonlyMap<string, Found>;

async function apply(written: Written, answer: unknown): Promise<readonly Mapped[]> {
  const { value: data, cut } = bounded(answer);
  const evaluate = (keys: readonly MappingKey[], inputs: readonly unknown[]) =>
    evaluateAll({ expressions: keys.flatMap((key) => pair(key, written.get(key))), inputs, data });

  const records = recordsOf(written, data, (await evaluate(["invoices"], [data])).get("invoices")?.[0]);
  if (records === null) return [{ ...settle(new Map(), [], false), unmapped: ["invoices"] }];
  const found = records.flatMap(readRecord);
  const inputs = found.map(({ record }) => record);
  const header = await evaluate([...HEADER_TERMS, "lines"], inputs);
  const lists = found.map(({ lines }, at) => linesOf(lines, written, header.get("lines")?.[at]));

  const lines = lists.flatMap((list) => list ?? []);
  const cells = await evaluate(LINE_TERMS.map(lineKey), lines);
  const rows = lines.map((line, at) => chosen(LINE_TERMS, lineKey, readLine(line), written, cells, at));
  let next = 0;
  return found.flatMap(({ terms }, at) => {
    const from = next;
    next += lists[at]?.length ?? 0;
    const own = lists[at] == null ? null : rows.slice(from, next);
    const all = chosen(HEADER_TERMS, (term) => term, terms, written, header, at);
    const mapped = settle(written.has("currency") ? all : withCurrency(all), own, cut);
    return says(mapped) ? [mapped] : [];
  });
}

function pair(key: MappingKey, expression: string | null | undefined): readonly (readonly [string, string])[] {
  return typeof expression === "string" ? [[key, expression]] : [];
}

function lineKey(term: LineTerm): `lines.${LineTerm}` {
  return `lines.${term}`;
}

/** Null when the owner's expression for them failed. */
function recordsOf(written: Written, data: unknown, found: Found[number] | undefined): readonly unknown[] | null {
  const expression = written.get("invoices");
  if (expression === undefined) return invoicesIn(data);
  if (expression === null) return [data];
  return found == null ? null : listOf(found.value);
}

function linesOf(usual: readonly unknown[] | null, written: Written, found: Found[number] | undefined): readonly unknown[] | null {
  const expression = written.get("lines");
  if (expression === undefined) return usual;
  if (expression === null) return [];
  return found == null ? null : listOf(found.value);
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : isAbsent(value) ? [] : [value];
}

function chosen<T extends string>(
  terms: readonly T[],
  keyOf: (term: T) => MappingKey,
  usual: ReadonlyMap<T, Candidate>,
  written: Written,
  evaluated: Evaluated,
  at: number,
): Terms<T> {
  const all = new Map<T, Candidate | null>(usual);
  for (const term of terms) {
    const key = keyOf(term);
    const expression = written.get(key);
    if (expression === undefined) continue;
    all.delete(term);
    const found = expression === null ? undefined : (evaluated.get(key)?.[at] ?? null);
    if (found === null) all.set(term, null);
    const values = found == null ? [] : valuesOf(found.value).filter(({ raw }) => !isAbsent(raw));
    if (values.length > 0) all.set(term, { values, plainly: false });
  }
  return all;
}

function says({ invoice, unmapped }: Mapped): boolean {
  const { seller, buyer, lines, ...rest } = invoice;
  return (
    [rest, seller, buyer].some((terms) => Object.values(terms).some((term) => term !== null)) || lines.length > 0 || unmapped.length > 0
  );
}
