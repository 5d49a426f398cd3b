/** Faults on order: what the sandbox shall do wrong, and how often. */
import { z } from "zod";

/** Cloudsquid's calls by their own names; Extend's after `extend.`. */
export const CALLS = [
  "upload",
  "run",
  "poll",
  "extract",
  "projects",
  /** A file put at a path, the path read, and what its signed URL opens. */
  "store",
  "file",
  "signed",
  "extend.upload",
  "extend.files",
  "extend.file",
  "extend.create",
  "extend.batch",
  "extend.batch-run",
  "extend.sync",
  "extend.list",
  "extend.poll",
  "extend.cancel",
  "extend.delete",
  "extend.extractor",
  "extend.endpoint",
  "extend.subscription",
  "extend.signed",
  /** Not a call made to the sandbox but one it makes: the delivery of an event to an endpoint. */
  "extend.webhook",
] as const;
export type Call = (typeof CALLS)[number];

/** What a person says of a row. */
const review = z.strictObject({
  comment: z.string().default(""),
  reviewed_by: z.string().default(""),
  /** Now, unless said otherwise. */
  review_date: z.iso.datetime({ offset: true }).optional(),
  approved: z.boolean(),
});

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
  /** Extend's error code, where the status alone does not say it, and the error as its own clients know it too: `{error: text}`, `{error: {…}}`. */
  code: z.string().min(1).optional(),
  wrapped: z.enum(["text", "object"]).optional(),
  /** Done, and only then answered with this status: a proxy that had lost its patience. Goes with `retryAfter` and `html` too. */
  thenStatus: z.int().min(400).max(599).optional(),
  /** The same error, but with status 200; nothing is done. */
  errorIn200: z.literal(true).optional(),
  /** The connection breaks: `before` anything is done, `after` it is done and before the answer, or in the middle of the answer's `body`. */
  cut: z.enum(["before", "after", "body"]).optional(),
  /** Done, but the answer is JSON that does not end, a page of HTML (with `status`: not done), 300 MB long, or begins and is never finished. */
  wrongJson: z.literal(true).optional(),
  html: z.literal(true).optional(),
  hugeBody: z.literal(true).optional(),
  neverEnding: z.literal(true).optional(),
  /** Nothing is done and no answer comes. */
  hang: z.literal(true).optional(),
  /** `extend.create`, `extend.batch`, `extend.sync`: the run ends FAILED with this reason, which may be one nobody has heard of. */
  failureReason: z.string().min(1).optional(),
  /** From this call on a person has looked at the row, and the service says how it came to the answer; to be seen when it is `done`. */
  review: review.optional(),
  reasoning: z.string().min(1).optional(),
  /** From this call on a person has looked at the run and put these values in; `{}`: changed nothing. To be seen when it is PROCESSED. */
  reviewed: z.record(z.string(), z.unknown()).optional(),
  /** The answer in the shape of an older version of the API: the data as `result`, a synchronous one without status; a file within `file`. */
  older: z.literal(true).optional(),
  /** `extend.list`, `extend.files`: the list does not know anything yet. */
  empty: z.literal(true).optional(),
  /** `extend.list`, `extend.files`: the list does not know yet what was made within this time. */
  lagMs: z.int().min(0).optional(),
  /** `extend.webhook`: the event is delivered twice. */
  repeat: z.literal(true).optional(),
});

/** A fault that would do nothing at its call is a mistake in the test that orders it. */
const ONLY: { readonly [field in keyof z.output<typeof rule>]?: readonly Call[] } = {
  code: CALLS.filter((call) => call.startsWith("extend.")),
  wrapped: CALLS.filter((call) => call.startsWith("extend.")),
  failureReason: ["extend.create", "extend.batch", "extend.sync"],
  review: ["run", "poll", "extract"],
  reasoning: ["run", "poll", "extract"],
  reviewed: ["extend.create", "extend.sync", "extend.poll"],
  older: ["poll", "extract", "extend.upload"],
  empty: ["extend.list", "extend.files"],
  lagMs: ["extend.list", "extend.files"],
  repeat: ["extend.webhook"],
};

const fittingRule = rule.superRefine((one, context) => {
  for (const [field, calls] of Object.entries(ONLY)) {
    if (Object.hasOwn(one, field) && !calls.includes(one.call)) {
      context.addIssue({ code: "custom", path: [field], message: `only for ${calls.join(", ")}` });
    }
  }
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
      const one = fittingRule.parse(value);
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
