/** The normalised invoice: business terms of EN 16931, amounts as decimal strings, dates as ISO 8601. */
import { z } from "zod";

/** A decimal number as text, exactly as precise as it was written: `1190.00`, `-5`, `0.19`. */
const amount = z.string().regex(/^-?\d+(\.\d+)?$/);
const date = z.string().regex(/^\d{4}-\d{2}-\d{2}$/);
const text = z.string().min(1);

const party = z.object({
  name: text.nullable().meta({ description: "BT-27 (seller) / BT-44 (buyer)." }),
  vatId: text.nullable().meta({ description: "BT-31 / BT-48." }),
});

const line = z.object({
  id: text.nullable().meta({ description: "BT-126." }),
  name: text.nullable().meta({ description: "BT-153." }),
  quantity: amount.nullable().meta({ description: "BT-129." }),
  unit: text.nullable().meta({ description: "BT-130, a code of UN/ECE Recommendation 20." }),
  price: amount.nullable().meta({ description: "BT-146, item net price." }),
  net: amount.nullable().meta({ description: "BT-131, line net amount." }),
  taxRate: amount.nullable().meta({ description: "BT-152, percent." }),
});

export const invoice = z.object({
  number: text.nullable().meta({ description: "BT-1." }),
  type: text.nullable().meta({ description: "BT-3, a code of UNTDID 1001: 380 invoice, 381 credit note." }),
  issueDate: date.nullable().meta({ description: "BT-2." }),
  dueDate: date.nullable().meta({ description: "BT-9." }),
  currency: text.nullable().meta({ description: "BT-5, ISO 4217." }),
  seller: party,
  buyer: party,
  net: amount.nullable().meta({ description: "BT-109, sum without VAT." }),
  tax: amount.nullable().meta({ description: "BT-110, VAT." }),
  gross: amount.nullable().meta({ description: "BT-112, sum with VAT." }),
  payable: amount.nullable().meta({ description: "BT-115, due for payment." }),
  iban: text.nullable().meta({ description: "BT-84, of the first credit transfer, without spaces." }),
  orderReference: text.nullable().meta({ description: "BT-13, purchase order reference." }),
  lines: z.array(line),
});

export type Invoice = z.infer<typeof invoice>;
export type InvoiceLine = z.infer<typeof line>;
