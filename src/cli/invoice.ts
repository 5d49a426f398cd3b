/** An invoice for a person at the terminal, in the business terms of EN 16931, a line each. */
import type { Mapped } from "../mapping/mapping.ts";

/** What was not in the answer is left out; what was there and could not be understood is said. */
export function invoiceRows({ invoice, unmapped }: Mapped): readonly string[] {
  const { seller, buyer, lines } = invoice;
  const terms: readonly (readonly [term: string, key: Mapped["unmapped"][number], label: string, value: string | null])[] = [
    ["BT-1", "number", "number", invoice.number],
    ["BT-3", "type", "type", invoice.type],
    ["BT-2", "issueDate", "issue date", invoice.issueDate],
    ["BT-9", "dueDate", "due date", invoice.dueDate],
    ["BT-13", "orderReference", "purchase order", invoice.orderReference],
    ["BT-27", "seller.name", "seller", seller.name],
    ["BT-31", "seller.vatId", "seller's VAT id", seller.vatId],
    ["BT-44", "buyer.name", "buyer", buyer.name],
    ["BT-48", "buyer.vatId", "buyer's VAT id", buyer.vatId],
    ["BT-5", "currency", "currency", invoice.currency],
    ["BT-109", "net", "total without VAT", invoice.net],
    ["BT-110", "tax", "VAT", invoice.tax],
    ["BT-112", "gross", "total with VAT", invoice.gross],
    ["BT-115", "payable", "due for payment", invoice.payable],
    ["BT-84", "iban", "IBAN", invoice.iban],
  ];
  const said = terms.flatMap(([term, key, label, value]) => {
    const text = value ?? (unmapped.includes(key) ? "(there, but not understood)" : null);
    return text === null ? [] : [`${term.padEnd(6)} ${label.padEnd(18)} ${text}`];
  });
  const inLines = unmapped.filter((key) => key === "lines" || key.startsWith("lines."));
  return [
    ...said,
    ...lines.map((line, at) => `BG-25  ${`line ${line.id ?? at + 1}`.padEnd(18)} ${lineText(line)}`),
    ...(inLines.length === 0 ? [] : [`BG-25  ${"lines".padEnd(18)} (there, but not understood: ${inLines.join(", ")})`]),
  ];
}

/** `2 H87 x 950.00 = 1900.00, 19 % VAT  Seil, 12 mm`. */
function lineText({ name, quantity, unit, price, net, taxRate }: Mapped["invoice"]["lines"][number]): string {
  const amount = [quantity, unit].filter((text) => text !== null).join(" ");
  const times = [amount, price].filter((text) => text !== null && text !== "").join(" x ");
  const sum = [times, net].filter((text) => text !== null && text !== "").join(" = ");
  const rate = taxRate === null ? "" : `, ${taxRate} % VAT`;
  return `${sum}${rate}${name === null ? "" : `  ${name}`}`;
}
