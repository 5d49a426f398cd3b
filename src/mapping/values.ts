/** One value of a service's answer as the normalised invoice writes it; null where it cannot be read, or in more than one way. */

import { calendarDate, decimal, ibanShape } from "../invoice/values.ts";
import { leadingDate, writtenMoney } from "../invoice/written.ts";
import type { Kind } from "./terms.ts";

/** How amounts are written around this one: whether a lone `1.234` has a decimal point in it. */
export type Style = { readonly pointIsDecimal: boolean };

const LONGEST = 1_000;

/** What a service writes where it found nothing. */
export function isAbsent(raw: unknown): boolean {
  return (
    raw === undefined || raw === null || (typeof raw === "string" && raw.length < 20 && /^\s*(?:[-–—]|n\/a|null|none)?\s*$/i.test(raw))
  );
}

export function normalise(kind: Kind, raw: unknown, style: Style): string | null {
  if (typeof raw === "number") return ofNumber(kind, raw);
  if (typeof raw !== "string" || raw.length > LONGEST) return null;
  const text = raw.replace(/[\s\p{Cc}]+/gu, " ").trim();
  switch (kind) {
    case "text":
      return text.toWellFormed() || null;
    case "type":
      return typeCode(text);
    case "date":
      return writtenDate(text);
    case "currency":
      return currencyCode(text);
    case "amount":
      return writtenAmount(text, style);
    case "rate":
      return rate(writtenAmount(text.replace(/ ?%$/, ""), { pointIsDecimal: true }));
    case "iban":
      return ibanShape(text.replace(/^IBAN:? ?/i, ""));
    case "unit":
      return unitCode(text);
  }
}

/** The currency written beside an amount; null when there is none. */
export function currencyBeside(raw: unknown): string | null {
  return typeof raw === "string" && raw.length <= LONGEST ? (writtenMoney(raw)?.currency ?? null) : null;
}

/** True when the amount can only have been written with a decimal point, false with a comma, null when it does not tell. */
export function tellsPoint(raw: unknown): boolean | null {
  if (typeof raw !== "string" || raw.length > LONGEST) return null;
  if (/,\d{1,2}(?!\d)/.test(raw)) return false;
  return /^-?\d+\.\d+$/.test(raw.trim()) && !couldBeThousands(raw.trim()) ? true : null;
}

function ofNumber(kind: Kind, number: number): string | null {
  if (kind === "amount") return amountOf(number);
  if (kind === "rate") return rate(amountOf(number));
  // An invoice number may well be one; a date, a currency or an account may not.
  return (kind === "text" || kind === "type") && Number.isSafeInteger(number) && number >= 0
    ? normalise(kind, String(number), { pointIsDecimal: true })
    : null;
}

/** A double holds 15 decimal digits for certain; what is behind them is not what the service meant: 0.1 + 0.2 is 0.3. */
function amountOf(number: number): string | null {
  if (!Number.isFinite(number) || Math.abs(number) > Number.MAX_SAFE_INTEGER) return null;
  if (Number.isInteger(number)) return String(BigInt(number));
  const [mantissa = "", exponent] = String(Number(number.toPrecision(15))).split("e-");
  if (exponent === undefined) return mantissa;
  const negative = mantissa.startsWith("-");
  const digits = mantissa.replace(/[-.]/g, "");
  return Number(exponent) > 20 ? null : `${negative ? "-" : ""}0.${digits.padStart(digits.length + Number(exponent) - 1, "0")}`;
}

function writtenAmount(text: string, { pointIsDecimal }: Style): string | null {
  if (/^[+-]?\d*\.?\d*$/.test(text)) return couldBeThousands(text) && !pointIsDecimal ? null : decimal(text);
  // In a field of this name it is an amount, also without decimals or a currency beside it.
  return (writtenMoney(text) ?? writtenMoney(`EUR ${text}`))?.amount ?? null;
}

function couldBeThousands(text: string): boolean {
  return /^[+-]?[1-9]\d{0,2}\.\d{3}$/.test(text);
}

/** BT-152 is in percent: below 1 it is as likely a fraction of one. */
function rate(percent: string | null): string | null {
  return percent === null || /^0\.0*[1-9]/.test(percent) || percent.startsWith("-") ? null : percent;
}

/** A date and nothing else; of a moment its day, as it is written. */
function writtenDate(text: string): string | null {
  const basic = /^(\d{4})(\d\d)(\d\d)$/.exec(text);
  if (basic !== null) return calendarDate(Number(basic[1]), Number(basic[2]), Number(basic[3]));
  const day = text.replace(/[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?$/, "");
  const words = day.match(/[\p{L}\d]+/gu) ?? [];
  return words.length === 3 || (words.length === 4 && /^\p{L}/u.test(day)) ? leadingDate(day) : null;
}

function currencyCode(text: string): string | null {
  if (text.length > 10) return null;
  // A currency is what may stand beside an amount.
  return writtenMoney(`1.00 ${/^[a-z]{3}$/i.test(text) ? text.toUpperCase() : text}`)?.currency ?? null;
}

/** UNTDID 1001. The German Gutschrift is a credit note or a bill the buyer wrote: not told here. */
const TYPES: ReadonlyMap<string, string> = new Map([
  ...["invoice", "tax invoice", "rechnung", "facture"].map((word) => [word, "380"] as const),
  ...["credit note", "credit memo", "rechnungskorrektur", "stornorechnung", "avoir"].map((word) => [word, "381"] as const),
]);

function typeCode(text: string): string | null {
  return /^\d{2,3}$/.test(text) ? text : (TYPES.get(text.toLowerCase().replace(/[_-]/g, " ")) ?? null);
}

/** UN/ECE Recommendation 20, for the words most used. */
const UNITS: ReadonlyMap<string, string> = new Map(
  Object.entries({
    H87: "piece pieces pc pcs stk stck stück stueck",
    EA: "each",
    HUR: "h hr hrs hour hours std stunde stunden",
    DAY: "day days tag tage",
    MON: "month months monat monate",
    ANN: "year years jahr jahre",
    KGM: "kg",
    GRM: "g",
    MTR: "m",
    KMT: "km",
    MTK: "m2 m² qm",
    LTR: "l liter litre",
    LS: "pauschal pauschale",
  }).flatMap(([code, written]) => written.split(" ").map((word) => [word, code] as const)),
);

function unitCode(text: string): string | null {
  return UNITS.get(text.toLowerCase().replace(/\.$/, "")) ?? (/^[A-Z0-9]{2,3}$/.test(text) ? text : null);
}
