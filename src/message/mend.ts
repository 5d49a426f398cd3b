/** What mail programs read and mailparser does not, put right before mailparser sees it. */

/**
 * A field whose bytes are not UTF-8, read as windows-1252 and written as UTF-8. RFC 6532 allows nothing but UTF-8 in a header;
 * older mail programs wrote their own 8-bit charset. The line is one character per byte, before and after.
 */
export function utf8Field(line: string): string {
  if (!/[\x80-\xff]/.test(line)) return line;
  const bytes = Buffer.from(line, "latin1");
  if (!bytes.toString("utf8").includes("\ufffd")) return line;
  return Buffer.from(new TextDecoder("windows-1252").decode(bytes), "utf8").toString("latin1");
}

/** A delimiter line without the white space that RFC 2046 section 5.1.1 lets a transport add to its end. */
export function unpadded(line: Buffer): Buffer {
  let end = line.length;
  while (end > 0 && (line[end - 1] === 0x0a || line[end - 1] === 0x0d)) end -= 1;
  let text = end;
  while (text > 0 && (line[text - 1] === 0x20 || line[text - 1] === 0x09)) text -= 1;
  return text === end ? line : Buffer.concat([line.subarray(0, text), line.subarray(end)]);
}
