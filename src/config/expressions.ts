/** The JSONata in a configuration: where it stands, and what is said of it by whoever can compile it. */
import type { Broken } from "./broken.ts";
import type { Readable } from "./rules.ts";

/** Why a text does not compile, as the rest of "expected …, but "; null when it does. */
export type Compile = {
  readonly expression: (text: string) => string | null;
  /** Text with JSONata between `{{` and `}}`. */
  readonly template: (text: string) => string | null;
};

/** `hidden`: what stands there is not to be told, and a reason may quote it. */
export function brokenExpressions(
  { services, sinks }: Readable,
  { expression, template }: Compile,
  hidden: (path: readonly string[]) => boolean,
): readonly Broken[] {
  const told = (path: readonly string[], expected: string, why: string | null): readonly Broken[] => {
    if (why === null) return [];
    const reason = hidden(path) ? "it does not compile" : why.replace(/\.$/, "");
    return [{ path, message: `expected ${expected}, but ${reason}. See https://docs.jsonata.org.` }];
  };
  return [
    ...Object.entries(services).flatMap(([name, { invoice }]) =>
      Object.entries(invoice).flatMap(([term, text]) =>
        text === null ? [] : told(["services", name, "invoice", term], "a JSONata expression", expression(text)),
      ),
    ),
    ...Object.entries(sinks).flatMap(([name, sink]) => {
      if (sink.kind !== "http") return [];
      const body = sink.body === null ? [] : told(["sinks", name, "body"], "a JSONata expression", expression(sink.body));
      const headers = Object.entries(sink.headers).flatMap(([field, text]) =>
        told(["sinks", name, "headers", field], "a text with JSONata between {{ and }}", template(text)),
      );
      return [...body, ...headers];
    }),
  ];
}
