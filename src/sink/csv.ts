/** A delivery as rows of CSV (RFC 4180, UTF-8): one row an invoice, one for a document without; safe to open in a spreadsheet. */
import { type Delivered, type Entry, entriesOf } from "./delivery.ts";

/** What one row is about. */
type Row = {
  readonly message: Delivered["message"];
  readonly id: string;
  readonly entry: Entry;
  readonly invoice: Entry["invoices"][number]["invoice"] | undefined;
  /** 1 for the first invoice of the document; 0 where it has none. */
  readonly nth: number;
};

/**
 * The columns, by name. The first three tell a row from every other. The last never holds a quotation mark: a row that ends in one
 * is whole. Other columns make another table: the file sink appends no row below a header that is not this one.
 */
const COLUMNS: Readonly<Record<string, (row: Row) => string | number | null | undefined>> = {
  delivery: ({ id }) => id,
  position: ({ entry }) => entry.document.position,
  invoice: ({ nth }) => nth,
  status: ({ entry }) => entry.extraction.status,
  seller: ({ invoice }) => invoice?.seller.name,
  sellerVatId: ({ invoice }) => invoice?.seller.vatId,
  buyer: ({ invoice }) => invoice?.buyer.name,
  buyerVatId: ({ invoice }) => invoice?.buyer.vatId,
  number: ({ invoice }) => invoice?.number,
  type: ({ invoice }) => invoice?.type,
  issueDate: ({ invoice }) => invoice?.issueDate,
  dueDate: ({ invoice }) => invoice?.dueDate,
  currency: ({ invoice }) => invoice?.currency,
  net: ({ invoice }) => invoice?.net,
  tax: ({ invoice }) => invoice?.tax,
  gross: ({ invoice }) => invoice?.gross,
  payable: ({ invoice }) => invoice?.payable,
  iban: ({ invoice }) => invoice?.iban,
  orderReference: ({ invoice }) => invoice?.orderReference,
  unmapped: ({ entry, nth }) => entry.invoices[nth - 1]?.unmapped.join("; "),
  faultCode: ({ entry }) => entry.extraction.fault?.code,
  fault: ({ entry }) => entry.extraction.fault?.message,
  files: ({ entry }) => entry.document.parts.map(({ filename, id }) => filename ?? id).join("; "),
  mailbox: ({ message }) => message.mailbox,
  from: ({ message }) => message.from[0]?.address,
  subject: ({ message }) => message.subject,
  date: ({ message }) => message.date,
  receivedAt: ({ message }) => message.receivedAt,
  messageId: ({ message }) => message.messageId,
  service: ({ entry }) => entry.extraction.service,
  runId: ({ entry }) => entry.extraction.runId,
  document: ({ entry }) => entry.document.id,
};

/** What else is a number when it looks like one. Not `type` or `number`, which would lose their zeros. */
const AMOUNTS = new Set(["net", "tax", "gross", "payable"]);
const AMOUNT = /^-?\d+(\.\d+)?$/;

export const CSV_COLUMNS: readonly string[] = Object.keys(COLUMNS);

/** The header row, with its CRLF. */
export const csvHeader = `${CSV_COLUMNS.map(quoted).join(",")}\r\n`;

/** The rows of a delivery, each with its CRLF; at least one, and the same ones for the same delivery. */
export function csvRowsOf(delivered: Delivered): readonly string[] {
  return entriesOf(delivered).flatMap((entry) => {
    const rows = entry.invoices.length === 0 ? [undefined] : entry.invoices.map(({ invoice }) => invoice);
    return rows.map((invoice, at) =>
      rowOf({ message: delivered.message, id: delivered.id, entry, invoice, nth: invoice === undefined ? 0 : at + 1 }),
    );
  });
}

function rowOf(row: Row): string {
  const cells = Object.entries(COLUMNS).map(([name, cellOf]) => {
    const value = cellOf(row) ?? "";
    if (typeof value === "number" || (AMOUNTS.has(name) && AMOUNT.test(value))) return String(value);
    return quoted(tame(value));
  });
  return `${cells.join(",")}\r\n`;
}

/** A cell of Excel holds 32,767 characters, the rest would run over into the next row; every second may yet get an apostrophe. */
const MOST_CHARACTERS = 20_000;

/**
 * Where a cell may begin: also behind each comma and semicolon, because Excel splits at the one its language says, whatever the file
 * means. What a quotation mark or a space is worth there, every reader decides for itself.
 */
const BEFORE_FORMULA = /(?:^|[,;])[" ]*(?=[=+\-@＝＋－＠])/gu;

/**
 * One line without control and format characters, which a spreadsheet does not take for a formula (OWASP, CSV Injection): `=`, `+`,
 * `-` and `@`, of full width too, are led by an apostrophe where a cell may begin. Tab, CR and LF cannot begin one any more.
 */
function tame(text: string): string {
  return text
    .slice(0, MOST_CHARACTERS)
    .replace(/[\s\u0085]+/gu, " ")
    .replace(/[\p{Cc}\p{Cf}\p{Cs}]/gu, "")
    .trim()
    .replace(BEFORE_FORMULA, "$&'");
}

function quoted(text: string): string {
  return `"${text.replaceAll('"', '""')}"`;
}
