/** How long, and how often, what failed is tried again. */
import type { z } from "zod";
import { duration, section } from "./values.ts";

export function retry(giveUpAfter: string) {
  return section({
    first: duration().prefault("5s").meta({ description: "Wait before the second try; it grows from there." }),
    longest: duration().prefault("30m").meta({ description: "The longest wait between two tries." }),
    giveUpAfter: duration()
      .prefault(giveUpAfter)
      .meta({ description: "How long an effect is tried before it is failed and a person must look." }),
  });
}

export type Retry = z.output<ReturnType<typeof retry>>;
