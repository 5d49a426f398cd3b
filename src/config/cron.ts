/** Whether a text is a cron expression the schedule will accept: the plain part of node-cron's language. */

type Field = { readonly least: number; readonly most: number; readonly words: readonly string[] };

const MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const FIELDS: readonly Field[] = [
  { least: 0, most: 59, words: [] },
  { least: 0, most: 59, words: [] },
  { least: 0, most: 23, words: [] },
  { least: 1, most: 31, words: [] },
  { least: 1, most: 12, words: MONTHS },
  { least: 0, most: 7, words: WEEKDAYS },
];
const LONGEST_MONTH = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/** Five fields, or six with seconds in front; each a list of `*`, a number or a name, a range, any of the first and last with a step. */
export function isCron(text: string): boolean {
  if (text.length > 200) return false;
  const fields = text.trim().split(/ +/);
  if (fields.length !== 5 && fields.length !== 6) return false;
  const ranges = (fields.length === 5 ? ["0", ...fields] : fields).map((field, position) => rangesOf(field, FIELDS[position]));
  const [days, months] = [ranges[3], ranges[4]];
  if (!ranges.every((found) => found !== null) || !days || !months) return false;
  const earliest = Math.min(...days.map(([from]) => from));
  return months.some(([from, to, step]) => {
    for (let month = from; month <= to; month += step) if (earliest <= (LONGEST_MONTH[month - 1] ?? 0)) return true;
    return false;
  });
}

type Range = readonly [from: number, to: number, step: number];

function rangesOf(field: string, bounds: Field | undefined): readonly Range[] | null {
  if (!bounds) return null;
  const found = field.split(",").map((item) => rangeOf(item, bounds));
  return found.every((range) => range !== null) ? found : null;
}

function rangeOf(item: string, { least, most, words }: Field): Range | null {
  const match = /^(?:(\*)|(\w+)(?:-(\w+))?)(?:\/(\d{1,4}))?$/.exec(item);
  if (!match) return null;
  const [, star, first, last, stepText] = match;
  const step = stepText === undefined ? 1 : Number(stepText);
  if (step < 1 || (stepText !== undefined && star === undefined && last === undefined)) return null;
  if (star !== undefined) return [least, most, step];
  const number = (word: string) => (/^\d{1,2}$/.test(word) ? Number(word) : words.indexOf(word.toLowerCase()) + (words === MONTHS ? 1 : 0));
  const known = (word: string) => /^\d{1,2}$/.test(word) || words.includes(word.toLowerCase());
  if (first === undefined || !known(first) || (last !== undefined && !known(last))) return null;
  const [from, to] = [number(first), number(last ?? first)];
  return from >= least && to <= most && from <= to ? [from, to, step] : null;
}
