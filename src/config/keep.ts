/** How long what has been done with is kept. */
import { z } from "zod";
import { durationMs } from "../base/clock.ts";
import { section } from "./values.ts";

const HOUR_MS = 3_600_000;
const DURATION = /^(?=.*[1-9])\d{1,5}(\.\d{1,3})?(ms|s|m|h|d)$/;

/** The output is in milliseconds; null is for ever, 0 for what is not kept. */
function age(expected: string, isAge: (text: string) => boolean) {
  return z
    .string(expected)
    .refine((text) => text === "forever" || isAge(text), expected)
    .transform((text) => (text === "forever" ? null : (durationMs(text) ?? 0)))
    .meta({ expected });
}

const any = () => age("a duration such as 30d, forever or none", (text) => text === "none" || DURATION.test(text)).prefault("forever");
// Answers to one address are counted from the receipts of the last hour.
const trail = () =>
  age("a duration of 1h or more, or forever", (text) => DURATION.test(text) && (durationMs(text) ?? 0) >= HOUR_MS).prefault("forever");

const ages = section({
  raw: any().meta({ description: "The mail itself, in the spool.", examples: ["30d"] }),
  parts: any().meta({ description: "Its parts, such as attachments, in the spool.", examples: ["30d"] }),
  results: any().meta({ description: "What the services answered.", examples: ["400d"] }),
  events: trail().meta({ description: "What happened to it, and what the receipts say.", examples: ["400d"] }),
});

const EXPECTED = "none, or { raw: 30d, parts: 30d, results: forever, events: 400d }";

export const keep = z
  .union([z.literal("none", EXPECTED).transform(() => ({ raw: 0, parts: 0, results: 0, events: 24 * HOUR_MS })), ages], { error: EXPECTED })
  .prefault({})
  .meta({
    expected: EXPECTED,
    description:
      "How long raw (the mail itself), parts, results and events are kept, each a duration, forever (the default) or none, counted from when nothing is left to do for a mail: one that failed or is held stays. Sender, subject and file names go with the last of raw, parts and results. What makes sure that nothing is done twice stays. none: all three as soon as every receipt is there, events after a day, and services that can are asked to keep nothing either.",
  });

export type Keep = z.output<typeof keep>;

/** Nothing of a mail stays once it is done; the same is asked of the services. */
export function keepsNothing({ raw, parts, results }: Keep): boolean {
  return raw === 0 && parts === 0 && results === 0;
}
