/** Finds what stands at a label in a text: behind it, in the next column, or below it. */

/** Lines of cells: what a tab, two spaces or a bar divides. */
export type Grid = readonly (readonly string[])[];

/** What may be the value of a label. */
export type Place = {
  /** The words behind the label in its own cell; empty when there are none. */
  readonly behind: string;
  /** The next cells to the right on the same line, at most a dozen. */
  readonly right: readonly string[];
  /** The cell below; empty when it cannot be told which one that is. */
  readonly below: string;
};

const MOST_LINES = 5_000;
const LONGEST_CELL = 2_000;
const MOST_RIGHT = 12;

export function gridOf(text: string): Grid {
  const lines = text.split(/\r\n|[\n\r\f\v\u2028\u2029]/, MOST_LINES * 4);
  const cells = lines.map((line) => line.split(/\t| {2}|\|/).map((cell) => cell.trim().slice(0, LONGEST_CELL)));
  return cells
    .map((row) => row.filter((cell) => cell !== ""))
    .filter((row) => row.length > 0)
    .slice(0, MOST_LINES);
}

/** Every place where `label`, a global expression, is found, from top to bottom. */
export function placesOf(grid: Grid, label: RegExp): readonly Place[] {
  const places: Place[] = [];
  for (const [at, row] of grid.entries()) {
    for (const [column, cell] of row.entries()) {
      for (const match of cell.matchAll(label)) {
        places.push({
          behind: valueIn(cell.slice(match.index + match[0].length)),
          right: row.slice(column + 1, column + 1 + MOST_RIGHT),
          below: belowOf(grid, at, column),
        });
      }
    }
  }
  return places;
}

/** Without a remark in brackets and the marks that lead from a label to its value. */
function valueIn(rest: string): string {
  return rest
    .replace(/^\.?\s?\([^)]{0,60}\)/, "")
    .replace(/^[\s:;#=.*_–-]+/, (skipped) => sign(skipped))
    .trim();
}

/** Of the marks between a label and its value only a minus right before the value belongs to it: `Total: -5.00`. */
function sign(skipped: string): string {
  return /[\s:][–-]$/.test(skipped) ? "-" : "";
}

function belowOf(grid: Grid, at: number, column: number): string {
  const row = grid[at] ?? [];
  const next = grid[at + 1] ?? [];
  return next.length === row.length ? (next[column] ?? "") : "";
}
