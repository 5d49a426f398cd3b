/** The owner's templates: text with JSONata in `{{ }}`, and JSONata by itself, filled in from what is delivered. */
import jsonata from "jsonata";
import { type Fault, permanent, reasonOf } from "../base/errors.ts";
import { bounded } from "./bounds.ts";
import { evaluateAll } from "./evaluate.ts";

/** Texts and expressions in turn; every expression compiles. */
export type Template = {
  /** How faults call it: `header X-Invoice of erp`. */
  readonly name: string;
  /** `text` gives a text, `value` whatever its one expression gives. */
  readonly gives: "text" | "value";
  readonly pieces: readonly Piece[];
};
type Piece = { readonly text: string } | { readonly expression: string };

/** What one expression may add to a text. */
const MOST_CHARACTERS = 1_000;

/** Text in which `{{ }}` holds JSONata. Throws a permanent Fault `config.template` that says where it does not compile. */
export function createTemplate(text: string, name = "template"): Template {
  const pieces: Piece[] = [];
  let from = 0;
  for (let open = text.indexOf("{{"); open !== -1; open = text.indexOf("{{", from)) {
    const close = closing(text, open + 2, name);
    pieces.push({ text: text.slice(from, open) }, { expression: text.slice(open + 2, close) });
    from = close + 2;
  }
  return { name, gives: "text", pieces: [...pieces, { text: text.slice(from) }] };
}

/** JSONata by itself. Throws a permanent Fault `config.template` that says where it does not compile. */
export function createExpression(text: string, name = "template"): Template {
  const error = errorIn(text);
  if (error !== null) throw broken(name, error, 0);
  return { name, gives: "value", pieces: [{ expression: text }] };
}

/** Why a text of the owner's does not compile, as a sentence; null when it does. */
export const compile = {
  expression: (text: string) => whyNot(() => createExpression(text, "it")),
  template: (text: string) => whyNot(() => createTemplate(text, "it")),
};

function whyNot(make: () => Template): string | null {
  try {
    make();
    return null;
  } catch (thrown) {
    return reasonOf(thrown);
  }
}

/**
 * What the templates give on one input, in their order; the input is `$data` in them too. All in one thread, in none when they hold
 * no expression. In a text nothing is empty, a list is joined by commas, and a long value is cut.
 *
 * Throws a permanent Fault `http.template` that names the template which fails, does not end, gives no value, or an object in a text.
 */
export async function fill(templates: readonly Template[], input: unknown): Promise<readonly unknown[]> {
  const expressions = templates.flatMap(({ pieces }, at) =>
    pieces.flatMap((piece, nth) => ("text" in piece ? [] : [[`${at}.${nth}`, piece.expression] as const])),
  );
  if (expressions.length === 0) return templates.map(({ pieces }) => pieces.map((piece) => ("text" in piece ? piece.text : "")).join(""));
  const { value: data, cut } = bounded(input);
  if (cut) throw failing(templates[0]?.name ?? "template", "is not evaluated, because the delivery is too large");
  const found = await evaluateAll({ expressions, inputs: [data], data });
  return templates.map(({ name, gives, pieces }, at) => {
    const values = pieces.map((piece, nth) => {
      if ("text" in piece) return piece.text;
      const value = found.get(`${at}.${nth}`)?.[0];
      if (value == null) throw failing(name, "fails on this delivery");
      return gives === "value" ? value.value : textOf(value.value, name);
    });
    if (gives === "text") return values.join("");
    if (values[0] === undefined) throw failing(name, "gives nothing on this delivery");
    return values[0];
  });
}

/** The head and body of a request; `body` is undefined where no expression was written for it. */
export type Rendered = { readonly headers: { readonly [name: string]: string }; readonly body: unknown };

/** `of` says whose they are: `erp`. Throws as createTemplate; what it gives throws as `fill`. */
export function createRender(
  { headers, body }: { readonly headers: { readonly [name: string]: string }; readonly body: string | null },
  of: string,
): (input: unknown) => Promise<Rendered> {
  const names = Object.keys(headers);
  const templates = Object.entries(headers).map(([name, text]) => createTemplate(text, `header ${name} of ${of}`));
  if (body !== null) templates.push(createExpression(body, `body of ${of}`));
  return async (input) => {
    const filled = await fill(templates, input);
    return { headers: Object.fromEntries(names.map((name, at) => [name, String(filled[at])])), body: filled[names.length] };
  };
}

/** Where the expression that begins here ends: JSONata may hold `}}` too, so it is the first one before which it compiles. */
function closing(text: string, from: number, name: string): number {
  let first: CompileError | null = null;
  for (let close = text.indexOf("}}", from); close !== -1; close = text.indexOf("}}", close + 1)) {
    const error = errorIn(text.slice(from, close));
    if (error === null) return close;
    first ??= error;
  }
  throw broken(name, first ?? { message: "{{ without }}", position: 0 }, from);
}

type CompileError = { readonly message: string; readonly position: number | null };

function errorIn(expression: string): CompileError | null {
  try {
    jsonata(expression);
    return null;
  } catch (thrown) {
    const { message, position } = thrown as { readonly message?: string; readonly position?: number };
    return { message: message ?? "it does not compile", position: position ?? null };
  }
}

function broken(name: string, { message, position }: CompileError, offset: number): Fault {
  const where = position === null ? "" : `, at character ${offset + position}`;
  return permanent("config.template", `${name} is not a template: ${message}${where}.`, "See https://docs.jsonata.org.");
}

function failing(name: string, how: string): Fault {
  return permanent("http.template", `${name} ${how}`, "mend the template, then run `billhook retry`");
}

function textOf(value: unknown, name: string): string {
  if (value === undefined || value === null) return "";
  if (Array.isArray(value))
    return value
      .map((item) => textOf(item, name))
      .join(", ")
      .slice(0, MOST_CHARACTERS);
  if (typeof value === "object") throw failing(name, "gives an object where a text is needed");
  return String(value).slice(0, MOST_CHARACTERS);
}
