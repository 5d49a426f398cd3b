/** Reads UBL 2.1 Invoice and CreditNote into the normalised invoice, by the EN 16931 binding (CEN/TS 16931-3-2). */
import type { Invoice, InvoiceLine } from "./invoice.ts";
import { calendarDate, decimal, ibanShape } from "./values.ts";
import { all, textAt, type XmlElement } from "./xml.ts";

export function readUbl(root: XmlElement): Invoice {
  const currency = textAt(root, "DocumentCurrencyCode");
  const ibans = all(root, "PaymentMeans", "PayeeFinancialAccount", "ID").map((id) => ibanShape(id.text));
  return {
    number: textAt(root, "ID"),
    type: textAt(root, "InvoiceTypeCode|CreditNoteTypeCode"),
    issueDate: date(textAt(root, "IssueDate")),
    dueDate: date(textAt(root, "DueDate") ?? textAt(root, "PaymentMeans", "PaymentDueDate")),
    currency,
    seller: party(all(root, "AccountingSupplierParty", "Party")[0]),
    buyer: party(all(root, "AccountingCustomerParty", "Party")[0]),
    net: decimal(textAt(root, "LegalMonetaryTotal", "TaxExclusiveAmount")),
    tax: taxTotal(root, currency),
    gross: decimal(textAt(root, "LegalMonetaryTotal", "TaxInclusiveAmount")),
    payable: decimal(textAt(root, "LegalMonetaryTotal", "PayableAmount")),
    iban: ibans.find((iban) => iban !== null) ?? null,
    orderReference: textAt(root, "OrderReference", "ID"),
    lines: all(root, "InvoiceLine|CreditNoteLine").map(line),
  };
}

/** xsd:date may carry a time zone. */
function date(text: string | null): string | null {
  const match = /^(\d{4})-(\d\d)-(\d\d)(?:Z|[+-]\d\d:\d\d)?$/.exec(text ?? "");
  return match === null ? null : calendarDate(Number(match[1]), Number(match[2]), Number(match[3]));
}

function party(element: XmlElement | undefined): Invoice["seller"] {
  if (element === undefined) return { name: null, vatId: null };
  // A VAT id (BT-31) and a local tax number (BT-32) are told apart by their scheme only.
  const registration = all(element, "PartyTaxScheme").find((scheme) => textAt(scheme, "TaxScheme", "ID") === "VAT");
  return {
    name: textAt(element, "PartyLegalEntity", "RegistrationName") ?? textAt(element, "PartyName", "Name"),
    vatId: registration === undefined ? null : textAt(registration, "CompanyID"),
  };
}

/** BT-110 is in the document's currency; the same element in another currency is BT-111. */
function taxTotal(root: XmlElement, currency: string | null): string | null {
  const amounts = all(root, "TaxTotal", "TaxAmount");
  return decimal(amounts.find((amount) => (amount.attributes.currencyID ?? currency) === currency)?.text);
}

function line(element: XmlElement): InvoiceLine {
  const quantity = all(element, "InvoicedQuantity|CreditedQuantity")[0];
  return {
    id: textAt(element, "ID"),
    name: textAt(element, "Item", "Name"),
    quantity: decimal(quantity?.text),
    unit: quantity?.attributes.unitCode || null,
    price: decimal(textAt(element, "Price", "PriceAmount")),
    net: decimal(textAt(element, "LineExtensionAmount")),
    taxRate: decimal(textAt(element, "Item", "ClassifiedTaxCategory", "Percent")),
  };
}
