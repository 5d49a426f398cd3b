/** Gives a ledger that has lost its beginning the one of a ledger that is well: https://www.sqlite.org/fileformat2.html sections 1.3 and 1.6. */
import { closeSync, openSync, readFileSync, statSync, truncateSync, writeFileSync, writeSync } from "node:fs";

const PAGE_BYTES = 4_096;
const HEADER_BYTES = 100;
const INTERIOR = 5;
const LEAF = 13;

/** The header only: nothing in it is our own but its size. */
export function graftHeader(file: string, well: string): void {
  if (statSync(file).size < PAGE_BYTES) return;
  const header = Buffer.from(readFileSync(well).subarray(0, HEADER_BYTES));
  write(file, 0, sized(header, Math.floor(statSync(file).size / PAGE_BYTES)));
}

/**
 * The header and the schema, which says where each table begins: in a ledger that was made by this version the tables begin where they begin
 * in any other. The pages of the schema are put behind the others.
 */
export function graftSchema(file: string, well: string): void {
  const whole = readFileSync(well);
  const page = (number: number) => whole.subarray((number - 1) * PAGE_BYTES, number * PAGE_BYTES);
  const first = Buffer.from(page(1));
  let pages = Math.ceil(statSync(file).size / PAGE_BYTES);
  const added: Buffer[] = [];
  if (first[HEADER_BYTES] === INTERIOR) {
    const cells = Array.from({ length: first.readUInt16BE(HEADER_BYTES + 3) }, (_, nth) => first.readUInt16BE(HEADER_BYTES + 12 + 2 * nth));
    for (const pointer of [...cells, HEADER_BYTES + 8]) {
      const child = page(first.readUInt32BE(pointer));
      if (child[0] !== LEAF) return;
      added.push(child);
      pages += 1;
      first.writeUInt32BE(pages, pointer);
    }
  }
  truncateSync(file, (pages - added.length) * PAGE_BYTES);
  writeFileSync(file, Buffer.concat(added), { flag: "a" });
  write(file, 0, sized(first, pages));
}

/** No free pages: nothing is written to it. */
function sized(header: Buffer, pages: number): Buffer {
  header.writeUInt32BE(1, 24);
  header.writeUInt32BE(pages, 28);
  header.writeUInt32BE(0, 32);
  header.writeUInt32BE(0, 36);
  header.writeUInt32BE(1, 92);
  return header;
}

function write(file: string, offset: number, bytes: Uint8Array): void {
  const into = openSync(file, "r+");
  try {
    writeSync(into, bytes, 0, bytes.length, offset);
  } finally {
    closeSync(into);
  }
}
