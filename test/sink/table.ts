/** A reader of CSV by the letter of RFC 4180, as another program would have it. */

/** The rows, header included; throws where the text is no CSV. */
export function readCsv(text: string): readonly (readonly string[])[] {
  const rows: string[][] = [];
  for (let at = 0, row: string[] = []; at < text.length; ) {
    const cell = /"((?:[^"]|"")*)"|[^",\r\n]*/y;
    cell.lastIndex = at;
    const [whole = "", quoted] = cell.exec(text) ?? [];
    row.push(quoted?.replaceAll('""', '"') ?? whole);
    at += whole.length;
    const end = text.startsWith("\r\n", at);
    if (!end && text[at] !== ",") throw new Error(`no CSV at ${at}: ${JSON.stringify(text.slice(at, at + 40))}`);
    if (end) rows.push(row);
    if (end) row = [];
    at += end ? 2 : 1;
  }
  return rows;
}

/** Each row as an object, by the names of the header. */
export function readTable(text: string): readonly Readonly<Record<string, string>>[] {
  const [header = [], ...rows] = readCsv(text);
  return rows.map((row) => {
    if (row.length !== header.length) throw new Error(`${row.length} cells below ${header.length} names`);
    return Object.fromEntries(header.map((name, at) => [name, row[at] ?? ""]));
  });
}

/** What a spreadsheet would run rather than show: it begins like a formula and is no number. */
export function isFormula(cell: string): boolean {
  return /^[\s\p{Cf}\p{Cc}]*[=+\-@\t\r＝＋－＠]/u.test(cell) && !/^-?\d+(\.\d+)?$/.test(cell);
}
