/** Bytes to text: a byte order mark decides, then the declared charset, then UTF-8 where it is valid, else Windows-1252. */

/** Never throws: bytes no charset explains become U+FFFD. */
export function decodeText(bytes: Uint8Array, declared: string | null): string {
  const marked = byOrderMark(bytes);
  if (marked !== null) return new TextDecoder(marked).decode(bytes);
  const charset = declared?.trim().toLowerCase() ?? "utf-8";
  // A declaration that could be read as single bytes cannot be UTF-16, whatever it says.
  if (charset !== "utf-8" && !charset.startsWith("utf-16")) {
    try {
      return new TextDecoder(charset).decode(bytes);
    } catch {
      // A charset nobody knows: as if none had been declared.
    }
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return new TextDecoder("windows-1252").decode(bytes);
  }
}

/** UTF-16 is also told by the zero byte beside the first character, which in XML, HTML and Western text is ASCII. */
function byOrderMark(bytes: Uint8Array): string | null {
  const [first, second, third] = bytes;
  if (first === 0xef && second === 0xbb && third === 0xbf) return "utf-8";
  if (first === 0xff && second === 0xfe) return "utf-16le";
  if (first === 0xfe && second === 0xff) return "utf-16be";
  if (first === 0 && second !== undefined && second !== 0) return "utf-16be";
  if (second === 0 && first !== undefined && first !== 0) return "utf-16le";
  return null;
}
