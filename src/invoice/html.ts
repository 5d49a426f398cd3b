/** HTML as the text a person reads: a line for a block, a tab between table cells; scripts, styles and comments gone. */

const MOST_LENGTH = 2_000_000;
const UNSEEN = /^(?:script|style|head|title|template|noscript)$/;
const CELL = /^\/t[dh]$/;
const BLOCK =
  /^\/?(?:address|article|aside|blockquote|body|br|center|dd|div|dl|dt|fieldset|footer|form|h[1-6]|header|hr|html|li|main|nav|ol|p|pre|section|table|tbody|tfoot|thead|tr|ul)$/;

/** Linear in the length of the input, of which the first 2 million characters are read. */
export function htmlText(html: string): string {
  const source = html.slice(0, MOST_LENGTH);
  let text = "";
  let at = 0;
  while (at < source.length) {
    const open = source.indexOf("<", at);
    text += inline(source.slice(at, open === -1 ? source.length : open));
    if (open === -1) break;
    if (source.startsWith("<!--", open)) {
      at = behind(source, "-->", open + 4);
      continue;
    }
    const close = behind(source, ">", open);
    const tag = /^<(\/?[a-z][a-z0-9]*)/i.exec(source.slice(open, open + 20))?.[1]?.toLowerCase();
    at = close;
    if (tag === undefined) continue;
    if (UNSEEN.test(tag)) at = behindEnd(source, tag, close);
    else if (CELL.test(tag)) text += "\t";
    else if (BLOCK.test(tag)) text += "\n";
  }
  return text
    .split("\n")
    .map((line) => line.replace(/[ \u00a0]*\t[ \u00a0]*/g, "\t").trim())
    .filter((line) => line !== "")
    .join("\n");
}

function behind(source: string, mark: string, from: number): number {
  const found = source.indexOf(mark, from);
  return found === -1 ? source.length : found + mark.length;
}

function behindEnd(source: string, tag: string, from: number): number {
  const end = new RegExp(`</${tag}[\\s>]`, "gi");
  end.lastIndex = from;
  return end.exec(source) === null ? source.length : behind(source, ">", end.lastIndex - 1);
}

const NAMED: Readonly<Record<string, string>> = {
  ...{ amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: " ", ensp: " ", emsp: " ", thinsp: " ", shy: "", zwnj: "" },
  ...{ euro: "€", pound: "£", yen: "¥", cent: "¢", ndash: "–", mdash: "—", deg: "°", middot: "·", bull: "•", rsquo: "’", lsquo: "‘" },
  ...{ auml: "ä", ouml: "ö", uuml: "ü", Auml: "Ä", Ouml: "Ö", Uuml: "Ü", szlig: "ß", eacute: "é", Eacute: "É", egrave: "è" },
  ...{ agrave: "à", ecirc: "ê", ocirc: "ô", ccedil: "ç", ntilde: "ñ" },
};

function inline(text: string): string {
  return text
    .replace(/&(?:([a-zA-Z]{2,8})|#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6}));/g, (written, name, decimal, hexadecimal) => {
      if (name !== undefined) return NAMED[name] ?? written;
      const code = decimal === undefined ? Number.parseInt(hexadecimal, 16) : Number(decimal);
      return code === 0 || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff) ? "\ufffd" : String.fromCodePoint(code);
    })
    .replace(/[\s\u200b]+/g, " ");
}
