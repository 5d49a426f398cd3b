/** The normalised invoice: business terms of EN 16931, amounts as decimal strings, dates as ISO 8601. */
import { z } from "zod";

/** A decimal number as text, exactly as precise as it was written: `1190.00`, `-5`, `0.19`. */
const amount = z.string().regex(/^-?\d+(\.\d+)?$/);
const date = z.string().regex(/^\d{4}-\d{2}-\d{2}$/);
const text = z.string().min(1);

const party = z.object({
  /** BT-27 (seller) / BT-44 (buyer). */
  name: text.nullable(),
  /** BT-31 / BT-48. */
  vatId: text.nullable(),
});

const line = z.object({
  /** BT-126. */
  id: text.nullable(),
  /** BT-153. */
  name: text.nullable(),
  /** BT-129. */
  quantity: amount.nullable(),
  /** BT-130, a code of UN/ECE Recommendation 20. */
  unit: text.nullable(),
  /** BT-146, item net price. */
  price: amount.nullable(),
  /** BT-131, line net amount. */
  net: amount.nullable(),
  /** BT-152, percent. */
  taxRate: amount.nullable(),
});

export const invoice = z.object({
  /** BT-1. */
  number: text.nullable(),
  /** BT-3, a code of UNTDID 1001: 380 invoice, 381 credit note. */
  type: text.nullable(),
  /** BT-2. */
  issueDate: date.nullable(),
  /** BT-9. */
  dueDate: date.nullable(),
  /** BT-5, ISO 4217. */
  currency: text.nullable(),
  seller: party,
  buyer: party,
  /** BT-109, sum without VAT. */
  net: amount.nullable(),
  /** BT-110, VAT. */
  tax: amount.nullable(),
  /** BT-112, sum with VAT. */
  gross: amount.nullable(),
  /** BT-115, due for payment. */
  payable: amount.nullable(),
  /** BT-84, of the first credit transfer, without spaces. */
  iban: text.nullable(),
  /** BT-13, purchase order reference. */
  orderReference: text.nullable(),
  lines: z.array(line),
});

export type Invoice = z.infer<typeof invoice>;
export type InvoiceLine = z.infer<typeof line>;
