/** Reads UN/CEFACT Cross Industry Invoice (Factur-X, ZUGFeRD 2, XRechnung) and ZUGFeRD 1, by the EN 16931 binding (CEN/TS 16931-3-3). */
import type { Invoice, InvoiceLine } from "./invoice.ts";
import { calendarDate, decimal, ibanShape } from "./values.ts";
import { all, textAt, type XmlElement } from "./xml.ts";

// Where ZUGFeRD 1 says it differently, its name comes second.
const DOCUMENT = "ExchangedDocument|HeaderExchangedDocument";
const TRANSACTION = "SupplyChainTradeTransaction|SpecifiedSupplyChainTradeTransaction";
const AGREEMENT = "ApplicableHeaderTradeAgreement|ApplicableSupplyChainTradeAgreement";
const SETTLEMENT = "ApplicableHeaderTradeSettlement|ApplicableSupplyChainTradeSettlement";
const SUMMATION = "SpecifiedTradeSettlementHeaderMonetarySummation|SpecifiedTradeSettlementMonetarySummation";
const LINE_AGREEMENT = "SpecifiedLineTradeAgreement|SpecifiedSupplyChainTradeAgreement";
const LINE_DELIVERY = "SpecifiedLineTradeDelivery|SpecifiedSupplyChainTradeDelivery";
const LINE_SETTLEMENT = "SpecifiedLineTradeSettlement|SpecifiedSupplyChainTradeSettlement";
const LINE_SUMMATION = "SpecifiedTradeSettlementLineMonetarySummation|SpecifiedTradeSettlementMonetarySummation";

export function readCii(root: XmlElement): Invoice {
  const agreement = [TRANSACTION, AGREEMENT];
  const settlement = [TRANSACTION, SETTLEMENT];
  const currency = textAt(root, ...settlement, "InvoiceCurrencyCode");
  const sum = (name: string) => inCurrency(all(root, ...settlement, SUMMATION, name), currency);
  const account = [...settlement, "SpecifiedTradeSettlementPaymentMeans", "PayeePartyCreditorFinancialAccount", "IBANID"];
  return {
    number: textAt(root, DOCUMENT, "ID"),
    type: textAt(root, DOCUMENT, "TypeCode"),
    issueDate: firstDate(all(root, DOCUMENT, "IssueDateTime", "DateTimeString|DateTime")),
    dueDate: firstDate(all(root, ...settlement, "SpecifiedTradePaymentTerms", "DueDateDateTime", "DateTimeString|DateTime")),
    currency,
    seller: party(all(root, ...agreement, "SellerTradeParty")[0]),
    buyer: party(all(root, ...agreement, "BuyerTradeParty")[0]),
    net: sum("TaxBasisTotalAmount"),
    tax: sum("TaxTotalAmount"),
    gross: sum("GrandTotalAmount"),
    payable: sum("DuePayableAmount"),
    iban:
      all(root, ...account)
        .map((id) => ibanShape(id.text))
        .find((iban) => iban !== null) ?? null,
    orderReference: textAt(root, ...agreement, "BuyerOrderReferencedDocument", "IssuerAssignedID|ID"),
    lines: all(root, TRANSACTION, "IncludedSupplyChainTradeLineItem").map(line),
  };
}

/** Formats 102 (CCYYMMDD) and 203, 204 (with a time behind it) of UNTDID 2379; ZUGFeRD 1 also took ISO 8601. */
function firstDate(elements: readonly XmlElement[]): string | null {
  for (const element of elements) {
    const match = /^(\d{4})(-?)(\d\d)\2(\d\d)(?:T.{0,40}|\d{4}|\d{6})?$/.exec(element.text);
    if (match !== null) return calendarDate(Number(match[1]), Number(match[3]), Number(match[4]));
  }
  return null;
}

function party(element: XmlElement | undefined): Invoice["seller"] {
  if (element === undefined) return { name: null, vatId: null };
  // VA is the VAT id (BT-31), FC the local tax number (BT-32).
  const registration = all(element, "SpecifiedTaxRegistration", "ID").find((id) => id.attributes.schemeID === "VA");
  return {
    name: textAt(element, "Name") ?? textAt(element, "SpecifiedLegalOrganization", "TradingBusinessName"),
    vatId: registration?.text || null,
  };
}

/** The amount in the document's currency: a total may stand there twice, for BT-110 and BT-111. */
function inCurrency(amounts: readonly XmlElement[], currency: string | null): string | null {
  return decimal(amounts.find((amount) => (amount.attributes.currencyID ?? currency) === currency)?.text);
}

function line(element: XmlElement): InvoiceLine {
  const quantity = all(element, LINE_DELIVERY, "BilledQuantity")[0];
  return {
    id: textAt(element, "AssociatedDocumentLineDocument", "LineID"),
    name: textAt(element, "SpecifiedTradeProduct", "Name"),
    quantity: decimal(quantity?.text),
    unit: quantity?.attributes.unitCode || null,
    price: decimal(textAt(element, LINE_AGREEMENT, "NetPriceProductTradePrice", "ChargeAmount")),
    net: decimal(textAt(element, LINE_SETTLEMENT, LINE_SUMMATION, "LineTotalAmount")),
    taxRate: decimal(textAt(element, LINE_SETTLEMENT, "ApplicableTradeTax", "RateApplicablePercent|ApplicablePercent")),
  };
}
