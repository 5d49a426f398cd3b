/** `billhook config`: the JSON Schema and the reference of the configuration, made from the schema itself. */
import { EXIT } from "../base/errors.ts";
import { jsonSchema, reference } from "../config/document.ts";
import type { Out } from "./terminal.ts";

export async function config(options: { readonly schema: boolean; readonly reference: boolean }, out: Out): Promise<number> {
  if (options.schema === options.reference) {
    out("say which: billhook config --schema, or billhook config --reference");
    return EXIT.configuration;
  }
  out((options.schema ? jsonSchema() : reference()).replace(/\n$/, ""));
  return EXIT.done;
}
