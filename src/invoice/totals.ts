/** Net, tax and gross of an invoice written for people: what stands at their labels, believed only where it adds up. */
import { type Grid, type Place, placesOf } from "./labels.ts";
import { exact } from "./values.ts";
import { leadingMoney, type Money, writtenMoney } from "./written.ts";

export type Totals = {
  readonly gross: string;
  readonly net: string | null;
  readonly tax: string | null;
  readonly payable: string | null;
  readonly currency: string | null;
};

/** `Total net` is no total: neither label may be followed, nor led to, by a word that says the tax is not in it. */
const WITHOUT_TAX = "(?!\\s*\\(?(?:net|netto|excl|exkl|zzgl|ohne|without|before|ht|hors|vat|tax|mwst|ust|tva)(?!\\p{L}))";

function label(words: string, behind = ""): RegExp {
  return new RegExp(`(?<![\\p{L}\\p{N}])(?:${words})(?!\\p{L})${behind}`, "giu");
}

const GROSS = label(
  "grand total|total gross|gross (?:total|amount)|invoice (?:total|amount)|total amount|(?:gesamt|rechnungs|brutto|end)(?:betrag|summe)|" +
    "(?:gesamt|summe|total) brutto|brutto|(?:total|montant)(?: total)? ttc|(?:total|gesamt|summe) (?:incl|inkl|including|inclusive)",
  WITHOUT_TAX.replace("|vat|tax|mwst|ust|tva", ""),
);
const TOTAL = new RegExp(`^(?:total|gesamt|summe)(?!\\p{L})${WITHOUT_TAX}`, "giu");
const PAYABLE = label(
  "(?:amount|total|balance) (?:due|payable)|zu zahlen(?:der betrag)?|zahl(?:ungs)?betrag|(?:fälliger|offener) betrag|überweisungsbetrag|" +
    "net à payer|montant (?:dû|à payer)",
);
const NET = label(
  "sub-?total|net (?:total|amount)|total net|total (?:excl|excluding|before)(?:\\.? (?:vat|tax))?|nettobetrag|nettosumme|(?:gesamt|summe|total)? ?netto|" +
    "zwischensumme|(?:total|montant|sous-total) ht|sous-total",
);
const TAX = label("(?:total |sales )?(?:vat|tax|gst)(?: amount)?|ust|mwst|(?:umsatz|mehrwert)steuer(?:betrag)?|(?:montant )?tva");

/** Words and rates between a label and its amount: `inkl. 19 % MwSt.:`, `(19%)`. */
const LEAD =
  /^(?:[\s:;=.]|\([^)]{0,40}\)|\d{1,2}(?:[.,]\d{1,2})? ?%|(?:inkl|incl|of|in|vat|tax|mwst|ust|tva|gst|auf|on|amount)(?!\p{L}))*/iu;
const MOST_CANDIDATES = 12;

/** Null when there is no total, or several that disagree. */
export function amountsOf(grid: Grid): Totals | null {
  const [strong, weak, due] = [candidates(grid, GROSS, true), candidates(grid, TOTAL, false), candidates(grid, PAYABLE, true)];
  const [nets, taxes] = [candidates(grid, NET, true), candidates(grid, TAX, true)];
  const payable = only(due);
  const adding = addingUp([...strong, ...weak, ...due], nets, taxes);
  const gross = adding?.gross ?? total(strong, weak, due);
  if (gross === null) return null;
  const currency = currencyOf([...strong, ...weak, ...due, ...nets, ...taxes], gross);
  if (adding !== null) return { ...adding, payable, currency };
  const net = taxes.length === 0 ? smaller(only(nets), gross) : null;
  const tax = nets.length === 0 ? smaller(only(taxes), gross) : null;
  return { gross, net, tax, payable, currency };
}

function total(strong: readonly Money[], weak: readonly Money[], due: readonly Money[]): string | null {
  if (strong.length === 0) return only(weak) ?? only(due);
  const payable = only(due);
  return only(strong) ?? strong.find(({ amount }) => amount === payable)?.amount ?? null;
}

/** The first total that is the sum of a net amount and a tax; of several taxes (one a rate) also their sum. */
function addingUp(totals: readonly Money[], nets: readonly Money[], taxes: readonly Money[]) {
  for (const { amount: gross } of totals) {
    for (const { amount: net } of nets) {
      for (const tax of [...taxes.map(({ amount }) => amount), sumOf(taxes)]) {
        if (exact(net) + exact(tax) === exact(gross)) return { gross, net, tax };
      }
    }
  }
  return null;
}

function sumOf(money: readonly Money[]): string {
  const hundredths = money.reduce((sum, { amount }) => sum + exact(amount), 0n) / 10n ** 28n;
  const digits = String(hundredths < 0n ? -hundredths : hundredths).padStart(3, "0");
  return `${hundredths < 0n ? "-" : ""}${digits.slice(0, -2)}.${digits.slice(-2)}`;
}

/** The different amounts found at a label, at most a dozen. */
function candidates(grid: Grid, label: RegExp, below: boolean): readonly Money[] {
  const found = new Map<string, Money>();
  for (const place of placesOf(grid, label)) {
    const money = moneyAt(place, below);
    if (money !== null && (found.get(money.amount)?.currency ?? null) === null) found.set(money.amount, money);
    if (found.size === MOST_CANDIDATES) break;
  }
  return [...found.values()];
}

/** The last of the amounts that follow each other behind a label: a line of taxes says base, then tax. */
function moneyAt(place: Place, below: boolean): Money | null {
  let last: Money | null = null;
  for (const cell of [place.behind, ...place.right]) {
    let rest = cell.replace(LEAD, "");
    for (let money = leadingMoney(rest); money !== null; money = leadingMoney(rest)) {
      last = money;
      rest = rest.slice(money.length).replace(/^[\s:=]+/, "");
    }
    if (rest !== "" && !/^(?:[A-Z]{3}|[€£$¥])$/.test(rest)) break;
  }
  return last === null && below && place.behind === "" ? writtenMoney(place.below) : last;
}

function only(money: readonly Money[]): string | null {
  return money.length === 1 ? (money[0]?.amount ?? null) : null;
}

function smaller(amount: string | null, gross: string): string | null {
  return amount !== null && exact(amount) <= exact(gross) ? amount : null;
}

/** The currency beside the total, else the only one beside any amount. */
function currencyOf(money: readonly Money[], gross: string): string | null {
  for (const group of [money.filter(({ amount }) => amount === gross), money]) {
    const found = new Set(group.flatMap(({ currency }) => currency ?? []));
    const [currency] = found;
    if (found.size === 1 && currency !== undefined) return currency;
  }
  return null;
}
