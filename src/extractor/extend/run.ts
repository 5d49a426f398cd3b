/** Extend's extract run: what is written into the order of one, and what the record of one says. Pure. */
import { Fault, permanent } from "../../base/errors.ts";
import type { Answer } from "../extractor.ts";
import { idOf, isStructured, type JsonObject, object, shortText } from "../json.ts";

export type RunOptions = {
  readonly name: string;
  /** An extractor, or an inline `config`, or neither: then the service infers a schema. */
  readonly extractor: { readonly id: string; readonly version: string | null } | null;
  readonly config: JsonObject | null;
  /** 1 to 100, lower first; only for asynchronous runs. */
  readonly priority: number | null;
  readonly usageTags: readonly string[];
  /** Goes with each run; what does not fit into the service's 10 KB is left out. */
  readonly metadata: Readonly<Record<string, string>>;
  /**
   * Which output becomes the data. `final`: with a person's corrections when there are any. `initial`: without them.
   * `reviewed`: only what a person has looked at; until then the run is waited for.
   */
  readonly output: "final" | "reviewed" | "initial";
};

/** The entry of a run's metadata by which it is found again. */
export const KEY = "billhook:key";

const METADATA_BYTES = 10_000;

/** The body of a creating call. */
export function orderOf(options: RunOptions, files: readonly string[], key: string, mode: "async" | "sync"): JsonObject {
  const { extractor, config, priority } = options;
  const [first, ...more] = files.map((id) => ({ id }));
  return {
    ...(extractor === null
      ? {}
      : { extractor: { id: extractor.id, ...(extractor.version === null ? {} : { version: extractor.version }) } }),
    ...(extractor === null && config !== null ? { config } : {}),
    ...(more.length === 0 ? { file: first } : { package: { files: [first, ...more] } }),
    ...(priority === null || mode === "sync" ? {} : { priority }),
    metadata: metadataOf(options, key),
  };
}

/** Our key first and always; then the usage tags, then the owner's entries, as long as they fit. */
function metadataOf({ usageTags, metadata }: RunOptions, key: string): JsonObject {
  const tags = [...new Set(usageTags.map((tag) => tag.replace(/[^A-Za-z0-9_-]/g, "")))].filter((tag) => tag !== "");
  let fitting: JsonObject = { [KEY]: key };
  for (const [name, value] of [...(tags.length === 0 ? [] : [["extend:usage_tags", tags] as const]), ...Object.entries(metadata)]) {
    const more = { [name]: value, ...fitting };
    if (Buffer.byteLength(JSON.stringify(more)) < METADATA_BYTES) fitting = more;
  }
  return fitting;
}

/** The id of one of our runs in a list of runs; null when it is another's. */
export function idIfOurs(summary: unknown, key: string): string | null {
  const run = object(summary);
  return object(run.metadata)[KEY] === key ? idOf(run.id) : null;
}

/** What is waited for: that the run begins, that it ends, that a person has looked at what it found. In this order. */
export const PHASES = ["pending", "running", "review"] as const;
export type Phase = (typeof PHASES)[number];

/** `credits`: what the run cost, as far as its record says. */
export type Outcome =
  /** The record is not what was asked for; `expected` is missing in it. */
  | { readonly is: "unexpected"; readonly expected: string }
  | { readonly is: "waiting"; readonly status: string; readonly phase: Phase; readonly credits: number | null }
  | { readonly is: "answered"; readonly status: string; readonly answer: Answer }
  | { readonly is: "out of credits"; readonly fault: Fault; readonly credits: number | null }
  /** `again`: the service failed, not the document; a new run may succeed. */
  | { readonly is: "failed"; readonly again: boolean; readonly fault: Fault; readonly credits: number | null };

/** GUESS: the service does not say after which failures a new run makes sense. */
const AGAIN = new Set(["INTERNAL_ERROR", "PRE_PROCESSING_FAILURE", "POST_PROCESSING_FAILURE", "PARSING_ERROR"]);

/** What the record of this run says. CANCELLING and whatever is not known yet count as under way. */
export function outcomeOf(options: Pick<RunOptions, "name" | "output">, runId: string, run: JsonObject): Outcome {
  if ((run.id ?? runId) !== runId) return { is: "unexpected", expected: "the run that was asked for" };
  const status = shortText(run.status, 40);
  const credits = creditsOf(run);
  switch (status) {
    case null:
      return { is: "unexpected", expected: "a status" };
    case "PROCESSED": {
      if (options.output === "reviewed" && run.reviewed !== true) {
        return { is: "waiting", status: "PROCESSED, not reviewed", phase: "review", credits };
      }
      const data = dataOf(run, options.output);
      if (!isStructured(data)) return { is: "unexpected", expected: "an output that holds fields" };
      const review = run.reviewed === true ? { reviewed: true, edited: run.edited === true } : null;
      return { is: "answered", status, answer: { runId, data, credits, reasoning: null, review, raw: run } };
    }
    case "FAILED":
      return failureOf(`${options.name}: run ${runId}`, run, credits);
    case "CANCELLED":
      return {
        is: "failed",
        again: false,
        credits,
        fault: permanent("extend.cancelled", `${options.name}: run ${runId} was cancelled`, "`billhook retry` starts a new run"),
      };
    default:
      return { is: "waiting", status, phase: status === "PENDING" ? "pending" : "running", credits };
  }
}

function failureOf(place: string, run: JsonObject, credits: number | null): Outcome {
  const reason = shortText(run.failureReason, 60) ?? "";
  const said = shortText(run.failureMessage, 300);
  const message = `${place} failed: ${reason || "no reason given"}${said === null ? "" : `: ${said}`}`;
  if (reason === "OUT_OF_CREDITS") {
    const advice = "add credits at Extend, then resume the service";
    return { is: "out of credits", credits, fault: new Fault("extend.out-of-credits", message, { advice }) };
  }
  const code = /^[A-Z][A-Z0-9_]*$/.test(reason) ? reason.toLowerCase().replaceAll("_", "-") : "failed";
  return {
    is: "failed",
    again: AGAIN.has(reason),
    credits,
    fault: permanent(
      `extend.${code}`,
      message,
      "look at the mail and at the run in Extend; `billhook retry` buys another run, `billhook ignore` gives it up",
    ),
  };
}

/** The fields found. */
function dataOf(run: JsonObject, wanted: RunOptions["output"]): unknown {
  // The service gives `initialOutput` only when it differs from `output` because a person was there.
  const output = { final: run.output, reviewed: run.reviewedOutput ?? run.output, initial: run.initialOutput ?? run.output }[wanted];
  // Without `value` it is the shape of an older version of the API, which is the fields themselves.
  return Object.hasOwn(object(output), "value") ? object(output).value : output;
}

/** `totalCredits` counts the parsing of the files too, which the run ordered by itself: what the document cost in all. */
function creditsOf(run: JsonObject): number | null {
  const { credits, totalCredits } = object(run.usage);
  return amount(totalCredits) ?? amount(credits);
}

function amount(value: unknown): number | null {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}
