/** The routes of the configuration: rules in their order, each with what must hold of a mail and what becomes of it. */
import { z } from "zod";
import { action } from "./mailbox.ts";
import { likeAddresses, line, section, severalOf, size, whole, yesOrNo } from "./values.ts";

const likeTexts = () =>
  severalOf(line("a text on one line"), "a text or a list of texts, with * for any characters and ? for one").optional();
const names = (what: string) => severalOf(line(`the name of a ${what}`), `the name of a ${what}, or a list of them`).optional();
const count = () => whole(0, 100_000, "a whole number from 0 to 100000").optional();

const bytes = {
  smallest: size().optional().meta({ description: "At least this large." }),
  largest: size().optional().meta({ description: "At most this large." }),
};

const when = section({
  mailbox: names("mailbox").meta({ description: "The mailbox it came to." }),
  from: likeAddresses().optional().meta({ description: "Who it says it is from. Anybody can write that." }),
  to: likeAddresses().optional().meta({ description: "Who it is to: To, Cc, and what the servers noted as delivered to." }),
  plus: likeTexts().meta({ description: "The detail after the + of one of those addresses." }),
  subject: likeTexts().meta({ description: "Its subject." }),
  list: yesOrNo().optional().meta({ description: "Whether it came through a list, or in bulk." }),
  auto: yesOrNo().optional().meta({ description: "Whether a machine sent it: an automatic answer, a bounce." }),
  returned: yesOrNo().optional().meta({
    description:
      "Whether it is mail of ours that came back, or a bounce (multipart/report). Without a rule that speaks of it such mail is ignored, before all rules.",
  }),
  attachments: section({
    type: likeTexts().meta({ description: "Its media type, such as application/pdf, by what its bytes look like." }),
    name: likeTexts().meta({ description: "Its file name." }),
    ...bytes,
  })
    .optional()
    .meta({ description: "An attachment that is all of this; {} is any." }),
  size: section(bytes).optional().meta({ description: "The whole message, as it arrived." }),
  parts: section({
    fewest: count().meta({ description: "At least so many.", examples: [2] }),
    most: count().meta({ description: "At most so many.", examples: [20] }),
  })
    .optional()
    .meta({ description: "How many parts it has, bodies included." }),
})
  .prefault({})
  .meta({
    description:
      "What must hold, all of it; of a list one is enough. `*` stands for any characters, `?` for one; upper and lower case do not count. Every mail when it is left out.",
  });

/** One rule as it is written: what it decides is for the rules to judge. */
export const rule = section({
  name: line("a name on one line, of at most 100 characters", /^[^\x00-\x1f\x7f]{1,100}$/)
    .optional()
    .meta({ description: "What it is called; rule 1, rule 2 and so on when left out.", examples: ["newsletters"] }),
  when,
  service: line("the name of a service").optional().meta({ description: "The service that reads it; otherwise the first." }),
  sinks: names("sink").meta({ description: "The sinks that get it; otherwise every one." }),
  afterwards: section({
    done: action.optional().meta({ description: "When every delivery of the message was made." }),
    failed: action.optional().meta({ description: "When the message failed and a person must look." }),
  })
    .optional()
    .meta({
      description: "What the mailbox is told, instead of what the mailbox's own afterwards says; ignored mail is left alone without it.",
    }),
  hold: line("a reason in your words, on one line")
    .optional()
    .meta({ description: "Nothing is done until a person lets it go with `billhook release`; the rules below are then asked." }),
  ignore: line("a reason in your words, on one line").optional().meta({ description: "Nothing is done with it." }),
});

export const routes = z
  .array(rule, "a list of rules")
  .prefault([])
  .transform((rules) => rules.map(decided))
  .meta({
    description:
      "Rules in their order: the first that matches a mail decides what becomes of it. A rule says service, sinks and afterwards (at least one of them), or hold, or ignore. What no rule matches goes to the first service, and its results to every sink.",
    expected: "a list of rules",
  });

export type WrittenRule = z.output<typeof rule>;

export const nameOf = (rule: WrittenRule, at: number): string => rule.name ?? `rule ${at + 1}`;

/** With sinks by their names; otherwise as pipeline/route.ts takes them. */
function decided(rule: WrittenRule, at: number) {
  const { when, service = null, hold, ignore } = rule;
  const sinks = rule.sinks ? [...new Set(rule.sinks)] : null;
  const afterwards = rule.afterwards ? { done: rule.afterwards.done ?? null, failed: rule.afterwards.failed ?? null } : null;
  const head = { name: nameOf(rule, at), when, afterwards };
  if (hold !== undefined) return { ...head, is: "hold" as const, why: hold };
  if (ignore !== undefined) return { ...head, is: "ignore" as const, why: ignore };
  return { ...head, is: "take" as const, service, sinks };
}
