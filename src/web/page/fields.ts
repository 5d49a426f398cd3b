/** What was read from a document, by the names a bookkeeper knows for the terms of EN 16931; what was not found is marked. */
import type { InvoiceLine } from "../../invoice/invoice.ts";
import type { Mapped } from "../../mapping/mapping.ts";
import { type Html, html } from "./html.ts";
import { table } from "./table.ts";

/** UNTDID 1001. */
const TYPES: Readonly<Record<string, string>> = {
  "326": "Partial invoice",
  "380": "Invoice",
  "381": "Credit note",
  "384": "Corrected invoice",
  "389": "Self-billed invoice",
};

export function fields({ invoice, unmapped }: Mapped): Html {
  const { currency, seller, buyer } = invoice;
  const money = (amount: string | null) => (amount === null || currency === null ? amount : `${amount} ${currency}`);
  const type = invoice.type === null ? null : (TYPES[invoice.type] ?? `code ${invoice.type}`);
  const terms: readonly (readonly [string, string, string | null])[] = [
    ["number", "Invoice number", invoice.number],
    ["type", "Kind", type],
    ["issueDate", "Date", invoice.issueDate],
    ["dueDate", "Due", invoice.dueDate],
    ["seller.name", "Seller", seller.name],
    ["seller.vatId", "Seller’s VAT number", seller.vatId],
    ["buyer.name", "Buyer", buyer.name],
    ["buyer.vatId", "Buyer’s VAT number", buyer.vatId],
    ["net", "Net", money(invoice.net)],
    ["tax", "VAT", money(invoice.tax)],
    ["gross", "Gross", money(invoice.gross)],
    ["payable", "To be paid", money(invoice.payable)],
    ["currency", "Currency", currency],
    ["iban", "IBAN", invoice.iban],
    ["orderReference", "Order number", invoice.orderReference],
  ];
  const unread = new Set<string>(unmapped);
  const rows = terms.map(([term, label, value]) => html`<dt>${label}</dt><dd>${value ?? missing(unread.has(term))}</dd>`);
  const partly = unmapped.some((term) => term.startsWith("lines"))
    ? html`<p class="missing">Not everything in the lines could be read.</p>`
    : null;
  return html`<dl class="fields">${rows}</dl>${partly}${invoice.lines.length === 0 ? null : lineTable(invoice.lines)}`;
}

function missing(isUnread: boolean): Html {
  return html`<span class="missing">${isUnread ? "there, but could not be read for certain" : "not found"}</span>`;
}

const MOST_LINES = 200;

function lineTable(lines: readonly InvoiceLine[]): Html {
  const rows = lines.slice(0, MOST_LINES).map(({ name, quantity, unit, price, net, taxRate }) => {
    const amounts = [
      quantity === null || unit === null ? quantity : `${quantity} ${unit}`,
      price,
      net,
      taxRate === null ? null : `${taxRate} %`,
    ];
    return html`<tr><th scope="row">${name ?? "–"}</th>${amounts.map((one) => html`<td class="number">${one ?? "–"}</td>`)}</tr>`;
  });
  const more = lines.length > MOST_LINES ? html`<p>and ${lines.length - MOST_LINES} more</p>` : null;
  const heads = ["What", { number: "Quantity" }, { number: "Price" }, { number: "Net" }, { number: "VAT" }];
  return html`${table("Lines of the invoice", heads, rows, true)}${more}`;
}
