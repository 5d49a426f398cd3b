/** Finds the invoice in any bytes: an XML e-invoice, a PDF with one inside, or text written for people. */
import { Fault } from "../base/errors.ts";
import { readCii } from "./cii.ts";
import { decodeText } from "./decode.ts";
import { exhausting, openPdf } from "./facturx.ts";
import { htmlText } from "./html.ts";
import type { Invoice } from "./invoice.ts";
import { readText } from "./text.ts";
import { readUbl } from "./ubl.ts";
import { exact } from "./values.ts";
import { all, parseXml, type XmlRoot, xmlRoot, xmlText } from "./xml.ts";

export type Reading = { readonly format: "ubl" | "cii" | "facturx" | "text"; readonly invoice: Invoice };
export type Hint = { readonly contentType: string; readonly filename: string | null };

/** Text longer than this is no invoice written for people; what stands behind is not looked at. */
const MOST_TEXT_BYTES = 2_000_000;

/**
 * The bytes decide what they are; the hint only tells their charset. Null: there is no invoice in them.
 * Throws a permanent Fault (`invoice.…`) for an e-invoice or a PDF that is damaged, locked or too large to look into.
 */
export async function readInvoice(bytes: Uint8Array, hint: Hint): Promise<Reading | null> {
  if (isPdf(bytes)) return readPdf(bytes);
  const charset = /;\s*charset\s*=\s*"?([\w.:-]+)/i.exec(hint.contentType)?.[1] ?? null;
  const start = decodeText(bytes.subarray(0, 65_536), charset);
  if (!isText(start)) return null;
  const root = xmlRoot(start);
  if (root !== null && formatOf(root) !== null) {
    const reading = readXml(bytes);
    if (reading !== null) return reading;
  }
  const text = decodeText(bytes.subarray(0, MOST_TEXT_BYTES), charset);
  const written = readText(/<(?:html|body|table|div|p|br|td)[\s/>]/i.test(text.slice(0, 65_536)) ? htmlText(text) : text);
  return written === null ? null : { format: "text", invoice: written };
}

/** ISO 32000-1 wants the header first; readers take it anywhere in the first 1024 bytes. */
function isPdf(bytes: Uint8Array): boolean {
  return Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 1024)).includes("%PDF-");
}

function isText(start: string): boolean {
  return start !== "" && !/[\u0000-\u0008\u000e-\u001a\u001c-\u001f]/.test(start);
}

async function readPdf(bytes: Uint8Array): Promise<Reading | null> {
  const pdf = await openPdf(bytes);
  let fault: Fault | null = null;
  for (const file of pdf.files) {
    try {
      const reading = readXml(file.bytes);
      if (reading !== null) return { format: "facturx", invoice: reading.invoice };
    } catch (thrown) {
      if (!(thrown instanceof Fault)) throw thrown;
      fault ??= thrown;
    }
  }
  const written = readText(pdf.text);
  if (written !== null) return { format: "text", invoice: written };
  if (fault !== null) throw fault;
  if (pdf.stopped) throw exhausting();
  return null;
}

function readXml(bytes: Uint8Array): { readonly format: "ubl" | "cii"; readonly invoice: Invoice } | null {
  const text = xmlText(bytes);
  const root = xmlRoot(text);
  const format = root === null ? null : formatOf(root);
  if (root === null || format === null) return null;
  const element = parseXml(text, root);
  if (format === "cii") return said({ format, invoice: readCii(element) });
  // Peppol's envelope (SBDH) holds the invoice beside its header.
  const enveloped = root.name === "StandardBusinessDocument" ? all(element, "Invoice|CreditNote")[0] : element;
  return enveloped === undefined ? null : said({ format, invoice: readUbl(enveloped) });
}

/** Other standards have an element called Invoice too; without a namespace, what is read decides. */
function formatOf({ name, namespace }: XmlRoot): "ubl" | "cii" | null {
  const within = (...prefixes: readonly string[]) => namespace === null || prefixes.some((prefix) => namespace.startsWith(prefix));
  if (name === "Invoice" || name === "CreditNote") return within("urn:oasis:names:specification:ubl:schema:xsd:") ? "ubl" : null;
  if (name === "StandardBusinessDocument")
    return within("http://www.unece.org/cefact/namespaces/StandardBusinessDocumentHeader") ? "ubl" : null;
  if (name === "CrossIndustryInvoice" || name === "CrossIndustryDocument")
    return within("urn:un:unece:uncefact:", "urn:ferd:") ? "cii" : null;
  return null;
}

function said<T extends { readonly invoice: Invoice }>(reading: T): T | null {
  const { number, gross, payable } = reading.invoice;
  return number === null && gross === null && payable === null ? null : reading;
}

/** Whether two readings are of one invoice, as a PDF and its XML twin are: the same number, and nothing both know contradicts it. */
export function sameInvoice(a: Invoice, b: Invoice): boolean {
  if (a.number === null || b.number === null || bare(a.number) !== bare(b.number)) return false;
  if (a.gross !== null && b.gross !== null && exact(a.gross) !== exact(b.gross)) return false;
  if (a.currency !== null && b.currency !== null && a.currency !== b.currency) return false;
  if (a.seller.vatId !== null && b.seller.vatId !== null) return bare(a.seller.vatId) === bare(b.seller.vatId);
  if (a.seller.name === null || b.seller.name === null) return true;
  const [one, other] = [bare(a.seller.name), bare(b.seller.name)];
  return one.includes(other) || other.includes(one);
}

/** Letters and digits only: spaces, hyphens and case are written differently on paper. */
function bare(text: string): string {
  return text.toUpperCase().replace(/[^\p{L}\p{N}]/gu, "");
}
