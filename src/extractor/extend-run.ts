/** Extend's extract run: what is written into the order of one, and what the record of one says. Pure. */
import { Fault, permanent } from "../base/errors.ts";
import type { Answer } from "./extractor.ts";
import { idOf, type JsonObject, object, shortText } from "./json.ts";

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

export type Outcome =
  | { readonly is: "waiting"; readonly status: string; readonly pending: boolean }
  | { readonly is: "answered"; readonly status: string; readonly answer: Answer }
  | { readonly is: "out of credits"; readonly fault: Fault }
  /** `again`: the service failed, not the document; a new run may succeed. */
  | { readonly is: "failed"; readonly again: boolean; readonly fault: Fault };

/** GUESS: the service does not say after which failures a new run makes sense. */
const AGAIN = new Set(["INTERNAL_ERROR", "PRE_PROCESSING_FAILURE", "POST_PROCESSING_FAILURE", "PARSING_ERROR"]);

/** What a run's record says; null when it has no status. CANCELLING and whatever is not known yet count as under way. */
export function outcomeOf(options: Pick<RunOptions, "name" | "output">, runId: string, run: JsonObject): Outcome | null {
  const status = shortText(run.status, 40);
  switch (status) {
    case null:
      return null;
    case "PROCESSED":
      if (options.output === "reviewed" && run.reviewed !== true) {
        return { is: "waiting", status: "PROCESSED, not reviewed", pending: false };
      }
      return { is: "answered", status, answer: answerOf(runId, run, options.output) };
    case "FAILED":
      return failureOf(`${options.name}: run ${runId}`, run);
    case "CANCELLED":
      return {
        is: "failed",
        again: false,
        fault: permanent("extend.cancelled", `${options.name}: run ${runId} was cancelled`, "`billhook retry` starts a new run"),
      };
    default:
      return { is: "waiting", status, pending: status === "PENDING" };
  }
}

function failureOf(place: string, run: JsonObject): Outcome {
  const reason = shortText(run.failureReason, 60) ?? "";
  const said = shortText(run.failureMessage, 300);
  const message = `${place} failed: ${reason || "no reason given"}${said === null ? "" : `: ${said}`}`;
  if (reason === "OUT_OF_CREDITS") {
    return {
      is: "out of credits",
      fault: new Fault("extend.out-of-credits", message, { advice: "add credits at Extend, then resume the service" }),
    };
  }
  const code = /^[A-Z][A-Z0-9_]*$/.test(reason) ? reason.toLowerCase().replaceAll("_", "-") : "failed";
  return { is: "failed", again: AGAIN.has(reason), fault: permanent(`extend.${code}`, message) };
}

function answerOf(runId: string, run: JsonObject, wanted: RunOptions["output"]): Answer {
  // The service gives `initialOutput` only when it differs from `output` because a person was there.
  const output = { final: run.output, reviewed: run.reviewedOutput ?? run.output, initial: run.initialOutput ?? run.output }[wanted];
  const { credits, totalCredits } = object(run.usage);
  return {
    runId,
    // Without `value` it is the shape of an older version of the API, which is the fields themselves.
    data: Object.hasOwn(object(output), "value") ? object(output).value : (output ?? null),
    // `totalCredits` counts the parsing of the files too, which the run ordered by itself: what the document cost in all.
    credits: amount(totalCredits) ?? amount(credits),
    reasoning: null,
    review: run.reviewed === true ? { reviewed: true, edited: run.edited === true } : null,
    raw: run,
  };
}

function amount(value: unknown): number | null {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}
