/** Faults on order: what the sandbox shall do wrong, and how often. */
import { z } from "zod";

/** Cloudsquid's calls by their own names; Extend's after `extend.`. */
export const CALLS = [
  "upload",
  "run",
  "poll",
  "extract",
  "projects",
  "extend.upload",
  "extend.files",
  "extend.file",
  "extend.create",
  "extend.sync",
  "extend.list",
  "extend.poll",
  "extend.cancel",
  "extend.delete",
  "extend.extractor",
  "extend.endpoint",
  "extend.signed",
  /** Not a call made to the sandbox but one it makes: the delivery of an event to an endpoint. */
  "extend.webhook",
] as const;
export type Call = (typeof CALLS)[number];

const rule = z.strictObject({
  call: z.enum(CALLS),
  /** For how many calls; then it is used up. */
  times: z.int().min(1).max(1_000_000).default(1),
  /** Waits first; goes with any of the others, or alone. */
  delayMs: z.int().min(0).max(600_000).optional(),
  /** Answers with this status and nothing is done. Both in seconds: Retry-After, and how far ahead X-RateLimit-Reset lies. */
  status: z.int().min(400).max(599).optional(),
  retryAfter: z.int().min(0).optional(),
  rateLimitReset: z.int().min(0).optional(),
  /** The same error, but with status 200; nothing is done. */
  errorIn200: z.literal(true).optional(),
  /** The connection breaks: `before` anything is done, `after` it is done and before the answer, or in the middle of the answer's `body`. */
  cut: z.enum(["before", "after", "body"]).optional(),
  /** Done, but the answer is JSON that does not end, a page of HTML, 300 MB long, or begins and is never finished. */
  wrongJson: z.literal(true).optional(),
  html: z.literal(true).optional(),
  hugeBody: z.literal(true).optional(),
  neverEnding: z.literal(true).optional(),
  /** Nothing is done and no answer comes. */
  hang: z.literal(true).optional(),
  /** `extend.create`, `extend.sync`: the run ends FAILED with this reason, which may be one nobody has heard of. */
  failureReason: z.string().min(1).optional(),
  /** `extend.list`, `extend.files`: the list does not know anything yet. */
  empty: z.literal(true).optional(),
  /** `extend.webhook`: the event is delivered twice. */
  repeat: z.literal(true).optional(),
});

export type FaultRule = z.input<typeof rule>;
export type FaultNow = z.output<typeof rule>;

export type Faults = {
  /** Throws a ZodError for what is not a rule. */
  readonly add: (value: unknown) => void;
  /** The rule for this call, used up by one; null when the sandbox shall behave. */
  readonly take: (call: Call) => FaultNow | null;
  readonly clear: () => void;
};

export function createFaults(): Faults {
  let waiting: { rule: FaultNow; left: number }[] = [];
  return {
    add: (value) => {
      const one = rule.parse(value);
      waiting.push({ rule: one, left: one.times });
    },
    take: (call) => {
      const found = waiting.find((one) => one.rule.call === call);
      if (found === undefined) return null;
      found.left -= 1;
      if (found.left === 0) waiting = waiting.filter((one) => one !== found);
      return found.rule;
    },
    clear: () => {
      waiting = [];
    },
  };
}
