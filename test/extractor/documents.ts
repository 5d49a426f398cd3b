/** Documents made by hand, and a clock the test moves. */

import { createHash } from "node:crypto";
import type { Clock } from "../../src/base/clock.ts";
import type { Document } from "../../src/extractor/extractor.ts";
import { NO_FACTS } from "../../src/message/facts.ts";
import type { Piece } from "../../src/message/message.ts";

export function piece(id: string, filename: string, contentType: string, content: string | Uint8Array, chunk = 1_000): Piece {
  const bytes = Buffer.from(content);
  return {
    id,
    filename,
    contentType,
    sha256: createHash("sha256").update(bytes).digest("hex"),
    size: bytes.length,
    open: async function* () {
      for (let at = 0; at < bytes.length; at += chunk) yield bytes.subarray(at, at + chunk);
    },
  };
}

/** A mail of these parts; `raw` is a mail that holds the last one. */
export function documentOf(...parts: readonly Piece[]): Document {
  const raw = piece("raw", "message.eml", "message/rfc822", RAW);
  return {
    id: `${raw.sha256}.1`,
    message: raw.sha256,
    facts: NO_FACTS,
    raw,
    parts,
    whole: true,
  };
}

export const UBL = `<?xml version="1.0" encoding="UTF-8"?>
<Invoice xmlns="urn:oasis:names:specification:ubl:schema:xsd:Invoice-2" xmlns:cac="urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2" xmlns:cbc="urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2">
  <cbc:ID>RE-2026-0815</cbc:ID><cbc:IssueDate>2026-03-02</cbc:IssueDate><cbc:InvoiceTypeCode>380</cbc:InvoiceTypeCode>
  <cbc:DocumentCurrencyCode>EUR</cbc:DocumentCurrencyCode>
  <cac:AccountingSupplierParty><cac:Party><cac:PartyLegalEntity><cbc:RegistrationName>Seilerei Kronau GmbH</cbc:RegistrationName></cac:PartyLegalEntity></cac:Party></cac:AccountingSupplierParty>
  <cac:AccountingCustomerParty><cac:Party><cac:PartyLegalEntity><cbc:RegistrationName>Werft Ost AG</cbc:RegistrationName></cac:PartyLegalEntity></cac:Party></cac:AccountingCustomerParty>
  <cac:TaxTotal><cbc:TaxAmount currencyID="EUR">19.00</cbc:TaxAmount></cac:TaxTotal>
  <cac:LegalMonetaryTotal><cbc:TaxExclusiveAmount currencyID="EUR">100.00</cbc:TaxExclusiveAmount><cbc:TaxInclusiveAmount currencyID="EUR">119.00</cbc:TaxInclusiveAmount><cbc:PayableAmount currencyID="EUR">119.00</cbc:PayableAmount></cac:LegalMonetaryTotal>
  <cac:InvoiceLine><cbc:ID>1</cbc:ID><cbc:InvoicedQuantity unitCode="MTR">50</cbc:InvoicedQuantity><cbc:LineExtensionAmount currencyID="EUR">100.00</cbc:LineExtensionAmount>
    <cac:Item><cbc:Name>Hanfseil 12 mm</cbc:Name><cac:ClassifiedTaxCategory><cbc:Percent>19</cbc:Percent></cac:ClassifiedTaxCategory></cac:Item><cac:Price><cbc:PriceAmount currencyID="EUR">2.00</cbc:PriceAmount></cac:Price></cac:InvoiceLine>
</Invoice>
`;

export const RAW = [
  "From: rechnung@seilerei-kronau.example",
  "To: invoices@werft-ost.example",
  "Subject: Rechnung RE-2026-0815",
  "MIME-Version: 1.0",
  'Content-Type: multipart/mixed; boundary="b"',
  "",
  "--b",
  "Content-Type: text/plain; charset=utf-8",
  "",
  "Please find our invoice attached.",
  "--b",
  'Content-Type: application/xml; name="invoice.xml"',
  'Content-Disposition: attachment; filename="invoice.xml"',
  "Content-Transfer-Encoding: base64",
  "",
  ...(Buffer.from(UBL)
    .toString("base64")
    .match(/.{1,76}/g) ?? []),
  "--b--",
  "",
].join("\r\n");

export type TestClock = Clock & { readonly set: (at: Date) => void; readonly pass: (milliseconds: number) => void };

/** Stands still until it is moved; waiting on it moves it. */
export function testClock(start = "2026-05-04T10:00:00Z"): TestClock {
  let now = Date.parse(start);
  return {
    now: () => new Date(now),
    random: () => 0.5,
    sleep: async (milliseconds) => {
      now += milliseconds;
    },
    set: (at) => {
      now = at.getTime();
    },
    pass: (milliseconds) => {
      now += milliseconds;
    },
  };
}
