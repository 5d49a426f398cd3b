/** Whether the log beside a ledger lost what it had: https://www.sqlite.org/fileformat2.html section 4. */
import { closeSync, existsSync, openSync, readSync, statSync } from "node:fs";

const HEADER_BYTES = 32;
const FRAME_BYTES = 24 + 4_096;
/** The last digit says in which order the bytes of a number are summed. */
const LITTLE_ENDIAN = 0x377f0682;
const BIG_ENDIAN = 0x377f0683;

type Sum = readonly [number, number];

/**
 * SQLite reads a log up to its first damaged frame and says nothing. True when the log has no header that can be read, or has a frame behind
 * the damaged one that ends a transaction of this log: that was saved, and is lost. Not beside a daemon, which goes on writing.
 */
export function isCut(file: string): boolean {
  const size = existsSync(file) ? statSync(file).size : 0;
  if (size === 0) return false;
  if (size < HEADER_BYTES) return true;
  const handle = openSync(file, "r");
  try {
    const header = Buffer.alloc(HEADER_BYTES);
    readSync(handle, header, 0, HEADER_BYTES, 0);
    const magic = header.readUInt32BE(0);
    if ((magic !== LITTLE_ENDIAN && magic !== BIG_ENDIAN) || header.readUInt32BE(8) !== FRAME_BYTES - 24) return true;
    const isBig = magic === BIG_ENDIAN;
    let sum = summed(header.subarray(0, 24), [0, 0], isBig);
    if (!isSum(header, 24, sum)) return true;
    const frame = Buffer.alloc(FRAME_BYTES);
    let isDamaged = false;
    for (let at = HEADER_BYTES; at + FRAME_BYTES <= size; at += FRAME_BYTES) {
      readSync(handle, frame, 0, FRAME_BYTES, at);
      const isOfThisLog = frame.subarray(8, 16).equals(header.subarray(16, 24));
      const endsTransaction = frame.readUInt32BE(4) !== 0;
      if (isDamaged && isOfThisLog && endsTransaction) return true;
      if (isDamaged) continue;
      sum = summed(frame.subarray(24), summed(frame.subarray(0, 8), sum, isBig), isBig);
      // What is behind the end is of an older log; a damaged frame may itself have ended a transaction.
      isDamaged = !isOfThisLog || !isSum(frame, 16, sum);
      if (isDamaged && isOfThisLog && endsTransaction) return true;
    }
    return false;
  } finally {
    closeSync(handle);
  }
}

function isSum(bytes: Buffer, at: number, [first, second]: Sum): boolean {
  return bytes.readUInt32BE(at) === first && bytes.readUInt32BE(at + 4) === second;
}

function summed(bytes: Buffer, [first, second]: Sum, isBig: boolean): Sum {
  for (let at = 0; at < bytes.length; at += 8) {
    first = (first + (isBig ? bytes.readUInt32BE(at) : bytes.readUInt32LE(at)) + second) >>> 0;
    second = (second + (isBig ? bytes.readUInt32BE(at + 4) : bytes.readUInt32LE(at + 4)) + first) >>> 0;
  }
  return [first, second];
}
