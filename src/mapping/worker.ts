/** A thread that evaluates the owner's JSONata expressions, one after the other, and posts what each one gives. */
import { parentPort, workerData } from "node:worker_threads";
import jsonata from "jsonata";
import { bounded } from "./bounds.ts";

export type Work = {
  readonly expressions: readonly (readonly [key: string, expression: string])[];
  /** What each expression is evaluated on, one by one. */
  readonly inputs: readonly unknown[];
  /** The whole answer, `$data` in every expression. */
  readonly data: unknown;
};
/** One for each input; null where the expression fails on it, or gives more than an answer may hold. */
export type Found = readonly ({ readonly value: unknown } | null)[];
export type WorkPost = { readonly is: "started" } | { readonly is: "done"; readonly key: string; readonly found: Found };

/**
 * JSONata's own guards: a recursion without an end, or a range of millions, fails on one input and not for all of them. V8 ends the
 * whole process, not the thread, when one allocation is far beyond the thread's heap.
 */
const GUARDS = { stack: 500, sequence: 200_000 };

const post = (said: WorkPost) => parentPort?.postMessage(said);

async function serve({ expressions, inputs, data }: Work): Promise<void> {
  post({ is: "started" });
  for (const [key, written] of expressions) {
    const expression = jsonata(written, GUARDS);
    const found: Found[number][] = [];
    for (const input of inputs) found.push(await one(expression, input, data));
    post({ is: "done", key, found });
  }
}

async function one(expression: jsonata.Expression, input: unknown, data: unknown): Promise<Found[number]> {
  try {
    // What JSONata gives may hold functions, which cannot be posted.
    const { value, cut } = bounded(await expression.evaluate(input, { data }));
    return cut ? null : { value };
  } catch {
    return null;
  }
}

await serve(workerData as Work);
