/** Decides each term from what stands for it: one meaning, or null and listed. */
import type { Invoice, InvoiceLine } from "../invoice/invoice.ts";
import { exact } from "../invoice/values.ts";
import type { Candidate } from "./find.ts";
import { HEADER, HEADER_TERMS, type HeaderTerm, type Kind, LINE, LINE_TERMS, type LineTerm, type MappingKey } from "./terms.ts";
import { normalise, type Style, tellsPoint } from "./values.ts";

/** What stands for each term: null where the owner's expression failed. */
export type Terms<T extends string> = ReadonlyMap<T, Candidate | null>;

const TOTALS = ["net", "tax", "gross", "payable"] as const;

/** `rows` null: there are lines that cannot be taken apart. `cut`: the answer was larger than what was looked at. */
export function settle(
  terms: Terms<HeaderTerm>,
  rows: readonly Terms<LineTerm>[] | null,
  cut: boolean,
): { readonly invoice: Invoice; readonly unmapped: readonly MappingKey[] } {
  const style = styleOf(terms, rows ?? []);
  const unmapped = new Set<MappingKey>();
  const currency = decided("currency", terms.get("currency"), style, null);
  const the = (term: HeaderTerm): string | null => {
    const value = term === "currency" ? currency : decided(HEADER[term].kind, terms.get(term), style, currency);
    const doubtful = term === "tax" && value !== null && isRate(terms.get(term), value, the);
    if (doubtful) unmapped.add(term);
    return doubtful ? null : value;
  };
  const lines = (rows ?? []).filter((row) => row.size > 0).map((row) => lineOf(row, style, currency, unmapped));
  if (rows === null || cut || lines.length < rows.length) unmapped.add("lines");
  const invoice: Invoice = {
    number: the("number"),
    type: the("type"),
    issueDate: the("issueDate"),
    dueDate: the("dueDate"),
    currency,
    seller: { name: the("seller.name"), vatId: the("seller.vatId") },
    buyer: { name: the("buyer.name"), vatId: the("buyer.vatId") },
    net: the("net"),
    tax: the("tax"),
    gross: the("gross"),
    payable: the("payable"),
    iban: the("iban"),
    orderReference: the("orderReference"),
    lines,
  };
  for (const term of HEADER_TERMS) if ((cut || terms.has(term)) && the(term) === null) unmapped.add(term);
  return { invoice, unmapped: [...unmapped] };
}

function lineOf(row: Terms<LineTerm>, style: Style, currency: string | null, unmapped: Set<MappingKey>): InvoiceLine {
  const line = Object.fromEntries(
    LINE_TERMS.map((term) => [term, decided(LINE[term].kind, row.get(term), style, currency)]),
  ) as InvoiceLine;
  for (const term of LINE_TERMS) if (row.has(term) && line[term] === null) unmapped.add(`lines.${term}`);
  return line;
}

/** The one value all that stands there agrees on. */
function decided(kind: Kind, candidate: Candidate | null | undefined, style: Style, currency: string | null): string | null {
  if (candidate == null) return null;
  const read = candidate.values.map((value) => {
    const foreign = kind === "amount" && currency !== null && value.currency !== null && currencyOf(value.currency, style) !== currency;
    return foreign ? null : normalise(kind, value.raw, style);
  });
  const first = read[0] ?? null;
  // BT-84 is the account of the first of several ways to pay.
  if (kind === "iban" || first === null) return first;
  return read.every((other) => other !== null && same(kind, first, other)) ? first : null;
}

function same(kind: Kind, a: string, b: string): boolean {
  return a === b || ((kind === "amount" || kind === "rate") && exact(a) === exact(b));
}

function currencyOf(written: string, style: Style): string | null {
  return normalise("currency", written, style);
}

/** Where no field names the currency, what stands beside the totals does. */
export function withCurrency(terms: Terms<HeaderTerm>): Terms<HeaderTerm> {
  const beside = TOTALS.flatMap((term) => terms.get(term)?.values ?? []).filter(({ currency }) => currency !== null);
  if (terms.has("currency") || beside.length === 0) return terms;
  return new Map(terms).set("currency", { values: beside.map(({ currency }) => ({ raw: currency, currency })), plainly: false });
}

/** `vat: 19` may be the rate: it counts as an amount only where the totals do not contradict it (BR-CO-15). */
function isRate(candidate: Candidate | null | undefined, tax: string, the: (term: HeaderTerm) => string | null): boolean {
  if (candidate?.plainly !== true) return false;
  const [net, gross] = [the("net"), the("gross")];
  return net !== null && gross !== null && exact(net) + exact(tax) !== exact(gross);
}

/** A decimal comma anywhere makes a lone `1.234` doubtful; a decimal point elsewhere, and no comma, explains it. */
function styleOf(terms: Terms<HeaderTerm>, rows: readonly Terms<LineTerm>[]): Style {
  const told = new Set<boolean | null>();
  const look = <T extends string>(all: Terms<T>, amounts: readonly T[]) => {
    for (const term of amounts) for (const { raw } of all.get(term)?.values ?? []) told.add(tellsPoint(raw));
  };
  look(terms, TOTALS);
  for (const row of rows) look(row, ["quantity", "price", "net"]);
  return { pointIsDecimal: told.has(true) && !told.has(false) };
}
