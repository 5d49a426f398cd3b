/** The sandbox's answer: the invoices that stand in the bytes it was sent, nothing else. */
import { createHash } from "node:crypto";
import { reasonOf } from "../base/errors.ts";
import type { Invoice } from "../invoice/invoice.ts";
import { readInvoice, sameInvoice } from "../invoice/read.ts";
import { type Keep, typeOf } from "../message/message.ts";
import { parse } from "../message/parse.ts";

export type SubmittedPiece = { readonly filename: string; readonly mimetype: string; readonly bytes: Uint8Array };
export type Submission = { readonly filename: string; readonly pieces: readonly SubmittedPiece[]; readonly size: number };

export type Reading = { readonly status: "done"; readonly data: unknown } | { readonly status: "error"; readonly result: string };

type Found = { readonly invoice: Invoice; readonly format: string; readonly file: string; readonly from: "data" | "page" | "prose" };

/** Never rejects: what cannot be read is `error`, as it is at the service. */
export async function readSubmitted(submission: Submission): Promise<Reading> {
  const found: Found[] = [];
  const problems: string[] = [];
  let files = 0;
  for (const piece of submission.pieces) {
    for (const { filename, mimetype, bytes } of await unpacked(piece, problems)) {
      files += 1;
      try {
        const read = await readInvoice(bytes, { contentType: mimetype, filename });
        if (read === null) continue;
        const from = read.format !== "text" ? "data" : startsAsPdf(bytes) ? "page" : "prose";
        found.push({ invoice: read.invoice, format: read.format, file: filename, from });
      } catch (thrown) {
        problems.push(reasonOf(thrown));
      }
    }
  }
  const invoices = chosen(found).map(fields);
  if (invoices.length === 0) {
    return { status: "error", result: [`no invoice found in ${files} file(s)`, ...problems].join("; ").slice(0, 500) };
  }
  return { status: "done", data: invoices.length === 1 ? invoices[0] : { invoices } };
}

/**
 * Prose (a mail's text) counts only when no file held an invoice: it tends to repeat a few of its numbers.
 * Of twins, a PDF and its XML, the structured one stays, in the place of the first.
 */
function chosen(found: readonly Found[]): readonly Found[] {
  const files = found.filter((one) => one.from !== "prose");
  const kept: Found[] = [];
  for (const one of files.length > 0 ? files : found) {
    const twin = kept.findIndex((other) => sameInvoice(one.invoice, other.invoice));
    const other = kept[twin];
    if (other === undefined) kept.push(one);
    else if (other.from !== "data" && one.from === "data") kept[twin] = one;
  }
  return kept;
}

/** A mail sent whole comes apart first; any other piece is itself. */
async function unpacked(piece: SubmittedPiece, problems: string[]): Promise<readonly SubmittedPiece[]> {
  if (piece.mimetype !== "message/rfc822") return [piece];
  const kept = new Map<string, Uint8Array>();
  const keep: Keep = async (chunks) => {
    const read: Uint8Array[] = [];
    for await (const chunk of chunks) read.push(chunk);
    const bytes = Buffer.concat(read);
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    kept.set(sha256, bytes);
    return { sha256, size: bytes.length, head: bytes.subarray(0, 4_100) };
  };
  try {
    const split = await parse(once(piece.bytes), keep);
    return split.parts
      .filter((part) => typeOf(part) !== "message/rfc822")
      .map((part) => ({ filename: part.filename ?? part.id, mimetype: typeOf(part), bytes: kept.get(part.sha256) ?? new Uint8Array() }));
  } catch (thrown) {
    problems.push(reasonOf(thrown));
    return [];
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

function startsAsPdf(bytes: Uint8Array): boolean {
  return Buffer.from(bytes.subarray(0, 1_024)).includes("%PDF-");
}

/** One invoice as a table of either service would hold it: flat, snake case, amounts as decimal strings. */
function fields({ invoice, format, file }: Found): { readonly [field: string]: unknown } {
  return {
    invoice_number: invoice.number,
    invoice_type: invoice.type,
    issue_date: invoice.issueDate,
    due_date: invoice.dueDate,
    seller_name: invoice.seller.name,
    seller_vat_id: invoice.seller.vatId,
    buyer_name: invoice.buyer.name,
    currency: invoice.currency,
    net_amount: invoice.net,
    tax_amount: invoice.tax,
    gross_amount: invoice.gross,
    payable_amount: invoice.payable,
    iban: invoice.iban,
    order_reference: invoice.orderReference,
    line_items: invoice.lines.map((line) => ({
      name: line.name,
      quantity: line.quantity,
      unit: line.unit,
      unit_price: line.price,
      net_amount: line.net,
      tax_rate: line.taxRate,
    })),
    source_file: file,
    source_format: format,
  };
}
