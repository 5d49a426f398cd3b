/** The terms a mapping fills, what kind of value each takes, and the names extraction services give them. */

export type Kind = "text" | "type" | "date" | "currency" | "amount" | "rate" | "iban" | "unit";

/** Names as `fold` leaves them. What the plain ones say is only asked when none of the certain ones is there. */
export type TermNames = { readonly kind: Kind; readonly certain: ReadonlySet<string>; readonly plain: ReadonlySet<string> };

const SELLER = "seller vendor supplier merchant biller issuer lieferant verkaeufer rechnungssteller kreditor";
const BUYER = "buyer customer client billto kunde kaeufer rechnungsempfaenger debitor";
const NAME = "name companyname company legalname firma firmenname";
const VAT = "vatid vat vatnumber vatno vatidnumber vatregistrationnumber ustid ustidnr ustidnummer umsatzsteuerid uid taxid";
const PAID_BY = "bank bankdetails bankaccount bankverbindung payment paymentdetails paymentmeans paymentterms paymentinformation zahlung";

export const HEADER = {
  number: named(
    "text",
    "invoicenumber invoiceno invoicenr invoicenum rechnungsnummer rechnungsnr rechnungnr belegnummer",
    "number nummer no nr",
  ),
  type: named("type", "invoicetype invoicetypecode documenttype rechnungsart belegart", "type typecode typ"),
  issueDate: named("date", "issuedate invoicedate dateofissue issuedon rechnungsdatum ausstellungsdatum belegdatum", "date datum"),
  dueDate: named(
    "date",
    `duedate paymentduedate dateofpayment payby faelligkeitsdatum faelligam zahlbarbis ${each(PAID_BY, "duedate")}`,
    "due faelligkeit",
  ),
  currency: named("currency", "currency currencycode documentcurrency documentcurrencycode waehrung waehrungscode", ""),
  "seller.name": named("text", each(SELLER, NAME), SELLER),
  "seller.vatId": named("text", each(SELLER, VAT), "vatid vatnumber vatno ustid ustidnr ustidnummer umsatzsteuerid"),
  "buyer.name": named("text", each(BUYER, NAME), BUYER),
  "buyer.vatId": named("text", each(BUYER, VAT), ""),
  net: named(
    "amount",
    "netamount nettotal totalnet netsum net totalwithouttax totalwithoutvat totalexclvat totalexcltax taxexclusiveamount amountexclvat " +
      "netto nettobetrag nettosumme gesamtnetto summenetto",
    "subtotal subtotalamount zwischensumme",
  ),
  tax: named(
    "amount",
    "taxamount totaltax totaltaxamount taxtotal vatamount totalvat vattotal salestaxamount mwstbetrag ustbetrag steuerbetrag umsatzsteuerbetrag",
    "tax vat salestax mwst ust umsatzsteuer mehrwertsteuer steuer",
  ),
  gross: named(
    "amount",
    "grossamount grosstotal totalgross gross grandtotal totalwithtax totalwithvat totalinclvat totalincltax taxinclusiveamount amountinclvat " +
      "brutto bruttobetrag bruttosumme gesamtbrutto summebrutto rechnungsbetrag",
    "total totalamount amounttotal gesamtbetrag gesamtsumme endbetrag",
  ),
  payable: named(
    "amount",
    "payableamount payable amountpayable amountdue dueamount totaldue totalamountdue balancedue dueamount zahlbetrag zahlbarerbetrag offenerbetrag",
    "balance",
  ),
  iban: named("iban", `iban ibannumber ${each(`${PAID_BY} ${SELLER} payee`, "iban")}`, ""),
  orderReference: named(
    "text",
    "orderreference ordernumber orderno orderid purchaseordernumber purchaseorderno purchaseorderreference purchaseorderid ponumber pono poreference " +
      "buyerorderreference bestellnummer bestellnr bestellreferenz",
    "purchaseorder po bestellung",
  ),
} as const satisfies Readonly<Record<string, TermNames>>;

export const LINE = {
  id: named("text", "lineid lineno linenumber position pos posnr positionsnummer", "id no nr number"),
  name: named(
    "text",
    "name itemname productname articlename bezeichnung artikelbezeichnung",
    "description itemdescription productdescription beschreibung item product article artikel service leistung text title",
  ),
  quantity: named("amount", "quantity qty billedquantity menge anzahl", ""),
  unit: named("unit", "unit unitcode unitofmeasure uom quantityunit einheit mengeneinheit", ""),
  price: named("amount", "unitprice netunitprice priceperunit unitcost einzelpreis stueckpreis epreis", "price preis"),
  net: named(
    "amount",
    "netamount net linenet linenetamount netto nettobetrag lineextensionamount",
    "amount lineamount linetotal totalprice total totalamount betrag gesamtpreis gesamtbetrag summe",
  ),
  taxRate: named(
    "rate",
    "taxrate vatrate taxpercent vatpercent taxpercentage vatpercentage mwstsatz ustsatz steuersatz umsatzsteuersatz",
    "",
  ),
} as const satisfies Readonly<Record<string, TermNames>>;

export type HeaderTerm = keyof typeof HEADER;
export type LineTerm = keyof typeof LINE;
/** `invoices` and `lines` say where to look for them; the others are the terms of the invoice. */
export type MappingKey = HeaderTerm | "invoices" | "lines" | `lines.${LineTerm}`;

export const HEADER_TERMS = Object.keys(HEADER) as readonly HeaderTerm[];
export const LINE_TERMS = Object.keys(LINE) as readonly LineTerm[];
export const MAPPING_KEYS: readonly MappingKey[] = [
  "invoices",
  ...HEADER_TERMS,
  "lines",
  ...LINE_TERMS.map((term) => `lines.${term}` as const),
];

export const INVOICE_LISTS = words("invoices bills rechnungen");
/** The certain names, then the plain ones. */
export const LINE_LISTS = [
  words("lineitems lines invoicelines invoiceitems positions positionen rechnungspositionen posten"),
  words("items products services artikel leistungen"),
] as const;

/** What only holds others: its name says nothing about what is in it. */
export const WRAPPERS = words(
  "data fields result output value extraction extracted extracteddata invoice invoicedata rechnung document header invoiceheader " +
    "totals amounts summary summen betraege dates general details invoicedetails",
);

/** `Fälligkeits-Datum` and `faelligkeitsdatum`, `invoiceNumber` and `invoice_number` are one name. */
export function fold(name: string): string {
  return name
    .slice(0, 100)
    .normalize("NFC")
    .toLowerCase()
    .replace(/[äöüß]/g, (letter) => (letter === "ß" ? "ss" : `${letter.normalize("NFD").charAt(0)}e`))
    .normalize("NFD")
    .replace(/[^a-z0-9]/g, "");
}

/** Which terms a name stands for, and how certainly. */
export type Index<T> = ReadonlyMap<string, readonly { readonly term: T; readonly rank: 0 | 1 }[]>;

export const HEADER_INDEX = indexOf(HEADER, HEADER_TERMS);
export const LINE_INDEX = indexOf(LINE, LINE_TERMS);

export function meanings<T>(index: Index<T>, name: string): readonly { readonly term: T; readonly rank: 0 | 1 }[] {
  const found = index.get(name);
  if (found !== undefined) return found;
  const bare = withoutInvoice(name);
  return bare === name ? [] : (index.get(bare) ?? []).map(({ term }) => ({ term, rank: 0 as const }));
}

function indexOf<T extends string>(names: Readonly<Record<T, TermNames>>, terms: readonly T[]): Index<T> {
  const entries = terms.flatMap((term) =>
    ([0, 1] as const).flatMap((rank) => [...(rank === 0 ? names[term].certain : names[term].plain)].map((name) => ({ name, term, rank }))),
  );
  return Map.groupBy(entries, ({ name }) => name);
}

function withoutInvoice(name: string): string {
  return name.replace(/^(?:invoice|rechnungs?)/, "");
}

function named(kind: Kind, certain: string, plain: string): TermNames {
  return { kind, certain: words(certain), plain: words(plain) };
}

function words(text: string): ReadonlySet<string> {
  return new Set(text.split(" ").filter((word) => word !== ""));
}

function each(roots: string, leaves: string): string {
  return roots
    .split(" ")
    .flatMap((root) => leaves.split(" ").map((leaf) => root + leaf))
    .join(" ");
}
