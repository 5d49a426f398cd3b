/** `billhook config`: the JSON Schemas of the configuration and of what is delivered, and the reference, made from the schemas themselves. */
import { EXIT } from "../base/errors.ts";
import { jsonSchema, reference } from "../config/document.ts";
import { deliverySchema } from "../sink/delivery.ts";
import type { Out } from "./terminal.ts";

const DOCUMENTS = { schema: jsonSchema, reference, delivery: deliverySchema };

export async function config(options: Readonly<Record<keyof typeof DOCUMENTS, boolean>>, out: Out): Promise<number> {
  const wanted = Object.entries(DOCUMENTS).filter(([name]) => options[name as keyof typeof DOCUMENTS]);
  const [one, ...more] = wanted;
  if (one === undefined || more.length > 0) {
    out("say which: billhook config --schema, billhook config --reference, or billhook config --delivery");
    return EXIT.configuration;
  }
  out(one[1]().replace(/\n$/, ""));
  return EXIT.done;
}
