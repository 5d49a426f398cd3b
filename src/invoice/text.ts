/** Reads an invoice written for people, by its labels in English, German and French; what is not certain stays null. */
import type { Invoice } from "./invoice.ts";
import { type Grid, gridOf, type Place, placesOf } from "./labels.ts";
import { amountsOf } from "./totals.ts";
import { leadingIban } from "./values.ts";
import { leadingDate, writtenMoney } from "./written.ts";

const MOST_TEXT = 200_000;

/** `words` between boundaries; `marks` may have a value right behind them. */
function label(words: string, marks = "(?!)"): RegExp {
  return new RegExp(`(?<![\\p{L}\\p{N}])(?:(?:${words})(?!\\p{L})|${marks})`, "giu");
}

/** A heading that is the whole of what stands in its cell before a colon. */
function heading(words: string): RegExp {
  return new RegExp(`^(?:${words})(?=\\s*(?::|$))`, "giu");
}

const NUMBER = label(
  "(?:tax )?invoice[ -]?(?:number|num|no|nr|id)|inv\\.? ?no|bill (?:number|no)|(?:rechnungs?|beleg)[ -]?(?:nummer|nr|no)|re\\.?[ -]?nr|" +
    "num[ée]ro (?:de )?(?:la )?facture|facture num[ée]ro|facture no",
  "(?:invoice|inv\\.?) ?[#№]|(?:invoice|facture) ?n[°º]|n[°º] ?(?:de )?(?:la )?facture",
);
const CREDIT_NUMBER = label(
  "credit (?:note|memo) (?:number|no|nr|id)|(?:rechnungskorrektur|stornorechnung|gutschrifts?)[ -]?(?:nummer|nr)|num[ée]ro d['’]avoir",
  "credit (?:note|memo) ?[#№]|avoir ?n[°º]",
);
const TITLE = /^(?:tax invoice|invoice|rechnung|facture)(?!\p{L})(?=.{2,50}$)/giu;
const ISSUED = label(
  "invoice date|date of (?:the )?invoice|date of issue|issue date|issued(?: on)?|(?:rechnungs|ausstellungs|beleg)datum|date de (?:la )?facture|" +
    "date d['’]émission|(?:invoice|rechnung|facture) .{1,50} (?:dated|vom|du)",
);
const DATE = /^(?:date|datum)(?!\p{L})/giu;
const DUE = label(
  "(?:payment )?due date|due(?=:)|payment due(?: (?:by|on))?|due (?:by|on)|payable by|pay by|fälligkeit(?:sdatum)?|fällig (?:am|bis)|" +
    "zahlbar bis(?: zum)?|zu zahlen bis(?: zum)?|(?:date d['’])?échéance|à payer avant le",
);
const OTHER_PARTY = "your|ihre|customer|client|buyer|kunden|votre";
const VAT_WORDS =
  "(?:vat|gst)(?: reg(?:istration)?\\.?)?[ -]?(?:id|no|number|nr)|(?:ust|mwst|umsatzsteuer)\\.?[ -]?id(?:entifikations)?(?:ent)?(?:[. -]{0,2}(?:nr|nummer|no))?|" +
  "uid(?:[ -](?:nr|nummer))?|tva intracommunautaire|num[ée]ro de tva";
const VAT = label(`(?<!(?:${OTHER_PARTY})[ -])(?:${VAT_WORDS})`, "n[°º] (?:de )?tva");
const BUYER_VAT = label(`(?:${OTHER_PARTY})[ -](?:${VAT_WORDS})`);
const SELLER = heading("seller|vendor|supplier|sold by|verkäufer|lieferant|rechnungssteller|leistungserbringer|vendeur|fournisseur");
const BUYER = heading(
  "bill(?:ed)? to|invoice to|sold to|customer|buyer|client|rechnung an|(?:rechnungs|leistungs)empfänger|kunde|käufer|facturé à",
);
const ORDER = label(
  "purchase order(?: (?:number|no))?|po (?:number|no)|your order(?: (?:number|no))?|(?:ihre )?bestell[ -]?(?:nummer|nr)|ihre bestellung|bon de commande",
  "po ?#",
);

/** A mail about an invoice, or a paper that only looks like one. */
const NOT_INVOICE =
  /^(?:\d\. )?(?:mahnung|zahlungserinnerung|(?:payment )?reminder|quotation|quote|angebot|pro[ -]?forma|kontoauszug|(?:account )?statement|lieferschein|delivery note|auftragsbestätigung|order confirmation|devis)(?!\p{L}).{0,50}$/iu;

/** Null unless a plausible number and a total are found at their labels. */
export function readText(text: string): Invoice | null {
  const grid = gridOf(text.slice(0, MOST_TEXT));
  if (grid.slice(0, 30).some((row) => row.some((cell) => NOT_INVOICE.test(cell)))) return null;
  const credit = the(grid, CREDIT_NUMBER, number);
  const named = credit ?? the(grid, NUMBER, number) ?? (placesOf(grid, NUMBER).length === 0 ? the(grid, TITLE, number) : null);
  if (named === null) return null;
  const amounts = amountsOf(grid);
  if (amounts === null) return null;
  return {
    number: named,
    type: credit === null ? "380" : "381",
    issueDate: the(grid, ISSUED, leadingDate) ?? the(grid, DATE, leadingDate),
    dueDate: the(grid, DUE, leadingDate),
    currency: amounts.currency,
    seller: { name: the(grid, SELLER, name), vatId: the(grid, VAT, vatId) },
    buyer: { name: the(grid, BUYER, name), vatId: the(grid, BUYER_VAT, vatId) },
    net: amounts.net,
    tax: amounts.tax,
    gross: amounts.gross,
    payable: amounts.payable,
    iban: firstIban(grid),
    orderReference: the(grid, ORDER, number),
    lines: [],
  };
}

/** The one value found at a label; null when there is none, or when two places disagree. */
function the(grid: Grid, label: RegExp, read: (text: string) => string | null): string | null {
  const found = new Set(placesOf(grid, label).flatMap((place) => at(place, read) ?? []));
  const [value] = found;
  return found.size === 1 && value !== undefined ? value : null;
}

function at(place: Place, read: (text: string) => string | null): string | null {
  if (place.behind !== "") return read(place.behind);
  return read(place.right[0] ?? "") ?? read(place.below);
}

/** What an invoice or an order may be called: one word with a digit, or letters and such a word; no date, no amount. */
function number(text: string): string | null {
  const found = /^(?:[A-Z]{1,5} )?[\p{L}\p{N}](?:[\p{L}\p{N}]|[-/._](?=[\p{L}\p{N}])){0,39}(?![\p{L}\p{N}])/u.exec(text)?.[0];
  if (found === undefined || !/\d/.test(found)) return null;
  return leadingDate(found) === null && writtenMoney(found) === null ? found : null;
}

function name(text: string): string | null {
  return text.length >= 2 && text.length <= 100 && /\p{L}{2}/u.test(text) && !/[:@]/.test(text) ? text : null;
}

function vatId(text: string): string | null {
  const found = /^(?:CHE[- ]?\d{3}\.?\d{3}\.?\d{3}|[A-Z]{2} ?(?:\d ?){7,11}\d|[A-Z]{2}[A-Z0-9]{8,12})(?![A-Z0-9])/.exec(text)?.[0];
  return found !== undefined && found.replace(/\D/g, "").length >= 6 ? found.replace(/[\s.-]/g, "") : null;
}

function firstIban(grid: Grid): string | null {
  for (const row of grid) {
    const line = row.join(" ");
    for (const match of line.matchAll(/(?<![\p{L}\p{N}])[A-Z]{2}\d\d/gu)) {
      const iban = leadingIban(line.slice(match.index));
      if (iban !== null) return iban;
    }
  }
  return null;
}
