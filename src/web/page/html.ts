/** HTML as a template whose holes are escaped, or are already HTML: nothing else can get into a page. */

const MARKUP = Symbol("markup");

/** Made by `html` alone: the symbol is in no JSON. */
export type Html = { readonly [MARKUP]: string };

/** null is nothing. */
export type Hole = Html | string | number | null | readonly Hole[];

const ENTITIES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
/** Control characters, and those that turn the direction of what follows: a mail must not say `exe.pdf` where it means `fdp.exe`. */
const STEERING = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

/** Attributes are written in quotes; URLs in them begin with a slash of ours. */
export function html(texts: TemplateStringsArray, ...holes: readonly Hole[]): Html {
  return { [MARKUP]: texts.map((text, index) => (index === 0 ? text : written(holes[index - 1] ?? null) + text)).join("") };
}

export function written(hole: Hole): string {
  if (hole === null) return "";
  if (typeof hole === "number") return String(hole);
  if (typeof hole === "string") return plain(hole).replace(/[&<>"']/g, (character) => ENTITIES[character] ?? "");
  if (MARKUP in hole) return hole[MARKUP];
  return hole.map(written).join("");
}

/** A text from outside without what steers its reader. */
export function plain(text: string): string {
  return text.toWellFormed().replace(STEERING, "\ufffd");
}
