/** Values as e-invoices write them: xsd:decimal, calendar dates, IBAN (ISO 13616). */

/** A decimal number in the house's form, or null: `+5` is `5`, `.5` is `0.5`, `5.` is `5`. */
export function decimal(text: string | null | undefined): string | null {
  const match = /^([+-]?)(\d{0,30})(?:\.(\d{0,30}))?$/.exec(text ?? "");
  if (match === null) return null;
  const [, sign, whole = "", fraction = ""] = match;
  if (whole === "" && fraction === "") return null;
  return `${sign === "-" ? "-" : ""}${whole === "" ? "0" : whole}${fraction === "" ? "" : `.${fraction}`}`;
}

/** ISO 8601 of a day that exists, between 1900 and 2199; else null. */
export function calendarDate(year: number, month: number, day: number): string | null {
  if (!(year >= 1900 && year < 2200 && month >= 1 && month <= 12 && day >= 1)) return null;
  const date = new Date(Date.UTC(year, month - 1, day));
  return date.getUTCMonth() === month - 1 ? date.toISOString().slice(0, 10) : null;
}

/** The value as a whole number of 10^-30: for comparing and adding without rounding. */
export function exact(amount: string): bigint {
  const [whole = "", fraction = ""] = amount.replace("-", "").split(".");
  const value = BigInt(whole + fraction.slice(0, 30).padEnd(30, "0"));
  return amount.startsWith("-") ? -value : value;
}

/** What looks like an IBAN, without its spaces; null otherwise. The check digits are not looked at: an e-invoice says what it says. */
export function ibanShape(text: string | null): string | null {
  const compact = (text ?? "").replace(/\s/g, "").toUpperCase();
  return /^[A-Z]{2}\d{2}[A-Z0-9]{11,30}$/.test(compact) ? compact : null;
}

/** Lengths by country, from the IBAN registry. */
const IBAN_LENGTHS = new Map(
  (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 EG29 ES24 FI18 FO18 FR27 GB22 GE22 " +
    "GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 MC27 MD24 ME22 MK19 MR27 MT31 " +
    "MU30 NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SC31 SE24 SI19 SK24 SM27 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20"
  )
    .split(" ")
    .map((entry) => [entry.slice(0, 2), Number(entry.slice(2))]),
);

/** The IBAN at the start of `text`, without spaces, when its length is its country's and its check digits are right (ISO 7064, mod 97-10). */
export function leadingIban(text: string): string | null {
  const length = IBAN_LENGTHS.get(text.slice(0, 2));
  if (length === undefined) return null;
  const compact = text
    .slice(0, 60)
    .replace(/[ \u00a0]/g, "")
    .slice(0, length);
  if (compact.length !== length || !/^[A-Z]{2}\d{2}[A-Z0-9]+$/.test(compact)) return null;
  let remainder = 0;
  for (const character of compact.slice(4) + compact.slice(0, 4)) {
    const value = Number.parseInt(character, 36);
    remainder = (remainder * (value > 9 ? 100 : 10) + value) % 97;
  }
  return remainder === 1 ? compact : null;
}
