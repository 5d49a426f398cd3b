/** The boxes of mail of the crash campaign: fixtures of every sort, and one of them a second time. */
import { createHash } from "node:crypto";
import { fixtures } from "../e2e/stage.ts";

export type Mail = { readonly id: string; readonly raw: Buffer };

/**
 * By the numbers in their names: a PDF with its XML twin, Factur-X and a credit note (both read by Extend), XML, a forwarded mail, several
 * invoices in one, none at all (which fails), odd charsets, no Message-ID, broken off, plain text.
 */
export const MIXED = ["02", "03", "04", "06", "07", "08", "10", "13", "14", "15", "18"] as const;
/** What CI has time for. Without Extend, where what was cut off before it was sent is looked for half a minute. */
export const SMALL = ["04", "06", "08", "13"] as const;
/** Arrives twice: two arrivals, one message. */
const TWICE = "04";

export async function mailOf(numbers: readonly string[]): Promise<readonly Mail[]> {
  const found = (await fixtures()).filter(({ name }) => numbers.includes(name.slice(0, 2)));
  const again = found.filter(({ name }) => name.startsWith(TWICE));
  return [...found, ...again].map(({ raw }) => ({ id: createHash("sha256").update(raw).digest("hex"), raw }));
}
