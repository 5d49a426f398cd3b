/** The default mapping: finds the invoices, their terms and their lines in a service's answer by the usual names, never by the values. */

import {
  fold,
  HEADER_INDEX,
  type HeaderTerm,
  INVOICE_LISTS,
  type Index,
  LINE_INDEX,
  LINE_LISTS,
  type LineTerm,
  meanings,
  WRAPPERS,
} from "./terms.ts";
import { currencyBeside, isAbsent } from "./values.ts";

export type JsonObject = { readonly [key: string]: unknown };
export type Value = { readonly raw: unknown; readonly currency: string | null };
/** What the names say stands for one term. `plainly`: only a name that might mean something else said so. */
export type Candidate = { readonly values: readonly Value[]; readonly plainly: boolean };
export type Candidates<T extends string> = ReadonlyMap<T, Candidate>;

/** One invoice of the answer; `lines` null: something stands for them that cannot be taken apart. */
export type FoundInvoice = { readonly record: unknown; readonly terms: Candidates<HeaderTerm>; readonly lines: readonly unknown[] | null };

type Field = { readonly name: string; readonly values: readonly Value[]; readonly listed: boolean };
type List = { readonly name: string; readonly records: readonly JsonObject[] };
type Survey = { readonly fields: readonly Field[]; readonly lists: readonly List[] };

const DEEPEST = 6;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A list of invoices, under the usual names or as the whole answer; else the answer is one. */
export function invoicesIn(data: unknown): readonly unknown[] {
  if (Array.isArray(data)) return data.filter(isObject);
  if (!isObject(data)) return [];
  const lists = survey(data).lists.filter((list) => INVOICE_LISTS.has(list.name));
  return lists.length === 1 ? (lists[0]?.records ?? []) : [data];
}

/** One record is one invoice; where its number and whatever else is listed run parallel, one for each number. */
export function readRecord(record: unknown): readonly FoundInvoice[] {
  const seen = survey(record);
  const several = parallel(seen.fields);
  if (several !== null) {
    // Whose lines they are is not said.
    const lines = seen.lists.some((list) => isLines(list.name)) || columns(seen.fields) !== null ? null : [];
    return several.map((fields) => ({ record, terms: candidates(HEADER_INDEX, fields), lines }));
  }
  const { lines, rest } = linesIn(seen);
  return [{ record, terms: candidates(HEADER_INDEX, rest), lines }];
}

export function readLine(record: unknown): Candidates<LineTerm> {
  return candidates(LINE_INDEX, survey(record).fields);
}

/** The values in what stands for one term: a value, a list of them, or objects that wrap one (`{value, currency}`). */
export function valuesOf(raw: unknown): readonly Value[] {
  return (Array.isArray(raw) ? raw : [raw]).map((one) => wrapped(one) ?? plain(one));
}

function plain(raw: unknown): Value {
  return { raw, currency: currencyBeside(raw) };
}

/** `{value, confidence, …}`, `{value, currency}`, `{amount, iso_4217_currency_code}`: one value with what is known about it. */
function wrapped(raw: unknown): Value | null {
  if (!isObject(raw)) return null;
  let value: unknown;
  let amount: unknown;
  let currency: unknown;
  for (const [key, content] of Object.entries(raw)) {
    const name = fold(key);
    if (name === "value") value = content;
    else if (name === "amount") amount = content;
    else if (/currency(?:code)?$|^waehrung$/.test(name)) currency = content;
  }
  if (value === undefined && (amount === undefined || currency === undefined)) return null;
  const held = value ?? amount ?? null;
  if (typeof held === "object" && held !== null) return null;
  return { raw: held, currency: typeof currency === "string" ? currency : currencyBeside(held) };
}

function survey(record: unknown): Survey {
  const fields: Field[] = [];
  const lists: List[] = [];
  const look = (value: unknown, path: string, key: string, depth: number): void => {
    const name = path + key;
    if (isAbsent(value)) return;
    if (Array.isArray(value)) {
      const records = value.filter(isObject);
      if (records.length > 0 && records.length === value.length && (isList(name) || wrapped(records[0]) === null)) {
        if (records.length === 1 && !isList(name)) look(records[0], path, key, depth + 1);
        else lists.push({ name, records });
      } else fields.push({ name, values: valuesOf(value), listed: true });
      return;
    }
    if (!isObject(value)) {
      fields.push({ name, values: valuesOf(value), listed: false });
      return;
    }
    const inside = WRAPPERS.has(key) ? path : name;
    if (inside !== "" && wrapped(value) !== null) fields.push({ name, values: valuesOf(value), listed: false });
    else if (depth < DEEPEST) for (const [inner, content] of Object.entries(value)) look(content, inside, fold(inner), depth + 1);
  };
  if (isObject(record)) look(record, "", "", 0);
  return { fields, lists };
}

function isList(name: string): boolean {
  return INVOICE_LISTS.has(name) || isLines(name);
}

/** For each term what stands under its certain names, or else under its plain ones. */
function candidates<T extends string>(index: Index<T>, fields: readonly Field[]): Candidates<T> {
  const found = new Map<T, { values: Value[]; plainly: boolean }>();
  for (const field of fields) {
    const values = field.values.filter(({ raw }) => !isAbsent(raw));
    if (values.length === 0) continue;
    for (const { term, rank } of meanings(index, field.name)) {
      const other = found.get(term);
      if (other === undefined || (other.plainly && rank === 0)) found.set(term, { values, plainly: rank === 1 });
      else if (other.plainly === (rank === 1)) other.values = other.values.concat(values);
    }
  }
  return found;
}

/** The fields of each invoice, when the numbers of several are listed and every other list of a term is as long. */
function parallel(fields: readonly Field[]): readonly (readonly Field[])[] | null {
  const numbers =
    fields.find((field) => field.listed && meanings(HEADER_INDEX, field.name).some(({ term }) => term === "number"))?.values ?? [];
  const count = numbers.length;
  if (count < 2 || new Set(numbers.map(({ raw }) => raw)).size < count) return null;
  const terms = fields.filter((field) => isHeader(field.name));
  const spread = terms.filter((field) => field.listed && field.values.length > 1);
  if (spread.length < 2 || spread.some((field) => field.values.length !== count)) return null;
  return numbers.map((_, at) =>
    terms.map((field) => (spread.includes(field) ? { ...field, values: field.values.slice(at, at + 1) } : field)),
  );
}

/** The lines and the fields that are not part of them. */
function linesIn({ fields, lists }: Survey): { readonly lines: readonly unknown[] | null; readonly rest: readonly Field[] } {
  for (const names of LINE_LISTS) {
    const named = lists.filter((list) => names.has(list.name));
    if (named.length > 0) return { lines: named.length === 1 ? (named[0]?.records ?? []) : null, rest: fields };
  }
  const parts = columns(fields);
  if (parts !== null) {
    const count = parts[0]?.field.values.length ?? 0;
    const lines = Array.from({ length: count }, (_, at) =>
      Object.fromEntries(parts.map(({ name, field }) => [name, wrap(field.values[at])])),
    );
    return { lines, rest: fields.filter((field) => !parts.some((part) => part.field === field)) };
  }
  // `items: ["A", "B"]`: something is there, but not what of a line it is.
  const unclear = fields.some((field) => field.listed && isLines(field.name));
  return { lines: unclear ? null : [], rest: fields };
}

function wrap(value: Value | undefined): unknown {
  return value === undefined ? null : { value: value.raw, currency: value.currency };
}

const LINE_PREFIX = /^(?:(?:invoice)?(?:lineitems?|lines?|items?)|positione?n?s?|posten)(?=.)/;
const TELLING: ReadonlySet<LineTerm> = new Set(["name", "quantity", "price"]);
type Column = { readonly name: string; readonly field: Field };

/** Lines written as columns: lists of one length, at least two, one of them what, how much or at which price. */
function columns(fields: readonly Field[]): readonly Column[] | null {
  const named = fields
    .filter((field) => field.listed)
    .map((field) => ({ field, name: lineName(field.name) }))
    .filter((column): column is Column => column.name !== null);
  const telling = named.filter(({ name }) => meanings(LINE_INDEX, name).some(({ term }) => TELLING.has(term)));
  const count = Math.max(0, ...telling.map(({ field }) => field.values.length));
  const parts = named.filter(({ name, field }) => field.values.length === count && (count > 1 || name !== field.name || !isHeader(name)));
  return count > 0 && parts.length > 1 ? parts : null;
}

function lineName(name: string): string | null {
  const bare = name.replace(LINE_PREFIX, "");
  return [bare, name].find((one) => meanings(LINE_INDEX, one).length > 0) ?? null;
}

function isHeader(name: string): boolean {
  return meanings(HEADER_INDEX, name).length > 0;
}

function isLines(name: string): boolean {
  return LINE_LISTS.some((names) => names.has(name));
}
