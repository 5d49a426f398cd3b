/** A picture that stays where it is: written over the last one in one piece, so that nothing flickers. */

/** Control sequences of ECMA-48: cursor home, erase to the end of the line, erase to the end of the screen. */
const HOME = "\x1b[H";
const END_OF_LINE = "\x1b[K";
const END_OF_SCREEN = "\x1b[J";

/** Lines without control characters, as much of them as there is room for, as one text to be written with a line feed behind it. */
export function frameOf(lines: readonly string[], { columns, rows }: { readonly columns: number; readonly rows: number }): string {
  // The line feed behind the last one must not scroll, nor a character in the last column wrap.
  const room = Math.max(2, rows - 1);
  const shown = lines.length <= room ? lines : [...lines.slice(0, room - 1), `… and ${lines.length - room + 1} more lines`];
  const cut = shown.map((line) => [...line].slice(0, Math.max(1, columns - 1)).join(""));
  return `${HOME}${cut.join(`${END_OF_LINE}\n`)}${END_OF_LINE}${END_OF_SCREEN}`;
}
