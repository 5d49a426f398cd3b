/** Amounts and dates as people write them, in English, German and French; null where more than one meaning is possible. */
import { calendarDate } from "./values.ts";

export type Money = { readonly amount: string; readonly currency: string | null };

const CODES = Intl.supportedValuesOf("currency");
// A bare $, ¥ or kr is the currency of more than one country.
const SYMBOLS = new Map<string, string | null>([
  ...CODES.map((code) => [code, code] as const),
  ...([
    ["€", "EUR"],
    ["Euro", "EUR"],
    ["EURO", "EUR"],
    ["£", "GBP"],
    ["US$", "USD"],
    ["Fr.", "CHF"],
    ["$", null],
    ["¥", null],
  ] as const),
]);
const SYMBOL = `(?:US\\$|[€£$¥]|Fr\\.|E(?:uro|URO)|${CODES.join("|")})`;
const SPACE = " \u00a0\u2009\u202f";
const DIGITS = String.raw`\d{1,3}(?:[.,'’${SPACE}]\d{3}){1,4}(?:[.,]\d{1,2})?|\d{1,12}(?:[.,]\d{1,2})?`;
const MONEY = new RegExp(
  `^(?<sign>[-−–]?)[${SPACE}]?(?<before>${SYMBOL})?[${SPACE}]?(?<inner>[-−–]?)(?<digits>${DIGITS})(?:,[-−–]{1,2})?(?<trailing>-?)[${SPACE}]?(?<after>${SYMBOL})?(?![\\p{L}\\p{N}%]|[.,/-]\\d)`,
  "u",
);

/** The amount `text` starts with, and how much of it was read; null unless it has two decimals or a currency beside it. */
export function leadingMoney(text: string): (Money & { readonly length: number }) | null {
  const match = MONEY.exec(text.slice(0, 80));
  const { sign, before, inner, digits, trailing, after } = match?.groups ?? {};
  if (match === null || digits === undefined) return null;
  const symbol = before ?? after;
  const value = unsigned(digits);
  if (value === null || (symbol === undefined && !/\.\d\d$/.test(value))) return null;
  const negative = Boolean(sign || inner || trailing);
  return { amount: `${negative ? "-" : ""}${value}`, currency: SYMBOLS.get(symbol ?? "") ?? null, length: match[0].length };
}

/** A written amount that is nothing else: `1.234,56`, `1,234.56`, `1 234,56`, `1'234.56`, `€ 12.00`. */
export function writtenMoney(text: string): Money | null {
  const trimmed = text.trim();
  const money = leadingMoney(trimmed);
  return money === null || money.length !== trimmed.length ? null : { amount: money.amount, currency: money.currency };
}

/** `1.234` and `1,234` are a thousand or a fraction: null, unless more groups or decimals tell. */
function unsigned(digits: string): string | null {
  const decimals = /[.,](\d{1,2})$/.exec(digits);
  const whole = decimals === null ? digits : digits.slice(0, decimals.index);
  const separators = new Set(
    whole
      .replace(/\d/g, "")
      .replace(/[\u00a0\u2009\u202f]/g, " ")
      .replace(/’/g, "'"),
  );
  if (separators.size > 1 || (decimals !== null && separators.has(decimals[0].charAt(0)))) return null;
  if (decimals === null && /^\d{1,3}[.,]\d{3}$/.test(whole)) return null;
  const plain = whole.replace(/\D/g, "").replace(/^0+(?=\d)/, "");
  return decimals === null ? plain : `${plain}.${decimals[1]}`;
}

const MONTHS: readonly RegExp[] = [
  /^(?:january|januar|jänner|janvier|jan|janv)$/,
  /^(?:february|februar|février|fevrier|feb|févr)$/,
  /^(?:march|märz|maerz|mars|mar|mär|mrz)$/,
  /^(?:april|avril|apr|avr)$/,
  /^(?:may|mai)$/,
  /^(?:june|juni|juin|jun)$/,
  /^(?:july|juli|juillet|jul|juil)$/,
  /^(?:august|août|aout|aug)$/,
  /^(?:september|septembre|sep|sept)$/,
  /^(?:october|oktober|octobre|oct|okt)$/,
  /^(?:november|novembre|nov)$/,
  /^(?:december|dezember|décembre|decembre|dec|dez|déc)$/,
];

/** The date `text` starts with, as ISO 8601. `03/04/2026` is April or March: null; `13/04/2026` can only be one. */
export function leadingDate(text: string): string | null {
  const start = text.slice(0, 60).replace(/^(?:mon|tue|wed|thu|fri|sat|sun)[a-z]{0,6},? {1,3}/i, "");
  const iso = /^(\d{4})-(\d\d)-(\d\d)(?!\d)/.exec(start);
  if (iso !== null) return calendarDate(Number(iso[1]), Number(iso[2]), Number(iso[3]));
  const dotted = /^(\d{1,2})\. ?(\d{1,2})\. ?(\d{4}|\d\d)(?!\d)/.exec(start);
  if (dotted !== null) return calendarDate(fullYear(dotted[3]), Number(dotted[2]), Number(dotted[1]));
  const slashed = /^(\d{1,2})([/-])(\d{1,2})\2(\d{4})(?!\d)/.exec(start);
  if (slashed !== null) return slashedDate(Number(slashed[1]), Number(slashed[3]), Number(slashed[4]));
  const dayFirst = /^(\d{1,2})(?:\.|st|nd|rd|th|er)?[ -](\p{L}{3,9})[.,]?[ -](\d{4})(?!\d)/u.exec(start);
  if (dayFirst !== null) return calendarDate(Number(dayFirst[3]), monthOf(dayFirst[2]), Number(dayFirst[1]));
  const monthFirst = /^(\p{L}{3,9})\.? (\d{1,2})(?:st|nd|rd|th)?,? (\d{4})(?!\d)/u.exec(start);
  if (monthFirst !== null) return calendarDate(Number(monthFirst[3]), monthOf(monthFirst[1]), Number(monthFirst[2]));
  return null;
}

function slashedDate(first: number, second: number, year: number): string | null {
  if (first === second) return calendarDate(year, first, first);
  if (first > 12) return calendarDate(year, second, first);
  return second > 12 ? calendarDate(year, first, second) : null;
}

function fullYear(text: string | undefined): number {
  return text?.length === 2 ? 2000 + Number(text) : Number(text);
}

/** 1 to 12; 0 for a word that is no month. */
function monthOf(word: string | undefined): number {
  const lower = (word ?? "").toLowerCase();
  return MONTHS.findIndex((month) => month.test(lower)) + 1;
}
