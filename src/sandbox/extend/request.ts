/** What may be asked of Extend (x-extend-api-version 2026-02-09), checked as strictly as its documentation is written. */
import { z } from "zod";

export const API_VERSION = "2026-02-09";

const METADATA_BYTES = 10 * 1024;
const USAGE_TAGS = "extend:usage_tags";

const url = z.url({ protocol: /^https?$/ });
const fromId = z.strictObject({ id: z.string().min(1) });
const fromUrl = z.strictObject({
  url,
  name: z.string().optional(),
  settings: z.strictObject({ password: z.string().optional() }).optional(),
});
const fromText = z.strictObject({ text: z.string(), name: z.string().optional() });

const config = z.strictObject({
  baseProcessor: z.string().optional(),
  baseVersion: z.string().optional(),
  extractionRules: z.string().optional(),
  schema: z.record(z.string(), z.unknown()).optional(),
  advancedOptions: z.record(z.string(), z.unknown()).optional(),
  parseConfig: z.record(z.string(), z.unknown()).optional(),
});

const metadata = z
  .record(z.string(), z.unknown())
  .refine(isSmall, "larger than 10 KB")
  .refine((value) => value[USAGE_TAGS] === undefined || tagsOf(value) !== null, `${USAGE_TAGS}: expected an array of strings`)
  .transform((value) => {
    const tags = tagsOf(value);
    return tags === null ? value : { ...value, [USAGE_TAGS]: tags };
  });

const extractor = z.strictObject({
  id: z.string().min(1),
  version: z.string().min(1).default("latest"),
  overrideConfig: config.optional(),
});
const file = z.union([fromId, fromUrl, fromText]);
const priority = z.int().min(1).max(100).default(50);

const syncRun = z.strictObject({
  extractor: extractor.optional(),
  config: config.optional(),
  file: file.optional(),
  package: z
    .strictObject({
      files: z
        .array(z.union([fromId, fromUrl]))
        .min(1)
        .max(50),
    })
    .optional(),
  metadata: metadata.optional(),
});
const asyncRun = syncRun.extend({ priority });
const batch = z.strictObject({
  extractor,
  inputs: z
    .array(z.strictObject({ file, metadata: metadata.optional() }))
    .min(1)
    .max(1_000),
  priority,
});

export type RunRequest = z.output<typeof syncRun>;
export type FileInput = NonNullable<RunRequest["file"]>;

/** The sentence that says what is wrong, or the request. */
export function readRun(json: unknown, how: "async" | "sync"): RunRequest | string {
  const run = checked(how === "async" ? asyncRun : syncRun, json);
  if (typeof run === "string") return run;
  if (run.extractor !== undefined && run.config !== undefined) return "extractor, config: give one of them, or neither";
  if ((run.file === undefined) === (run.package === undefined)) return "file, package: give exactly one of them";
  return run;
}

/** One run for each input; neither a config of its own nor a package can be in it. */
export function readBatch(json: unknown): readonly RunRequest[] | string {
  const request = checked(batch, json);
  return typeof request === "string" ? request : request.inputs.map((input) => ({ extractor: request.extractor, ...input }));
}

/** GUESS: the default and the largest page; a larger size asked for is no error ("you may receive less"). */
const page = {
  sortDir: z.enum(["asc", "desc"]).default("desc"),
  nextPageToken: z.string().optional(),
  maxPageSize: z.coerce
    .number()
    .int()
    .min(1)
    .default(20)
    .transform((size) => Math.min(size, 100)),
};
const fileList = z.strictObject({ ...page, nameContains: z.string().optional() });
const runList = z.strictObject({
  ...page,
  status: z.string().optional(),
  extractorId: z.string().optional(),
  batchId: z.string().optional(),
  sourceId: z.string().optional(),
  source: z.string().optional(),
  fileNameContains: z.string().optional(),
  sortBy: z.enum(["updatedAt", "createdAt"]).default("createdAt"),
});

export type FileList = z.output<typeof fileList>;
export type RunList = z.output<typeof runList>;
export type Page = Pick<FileList, "sortDir" | "nextPageToken" | "maxPageSize">;

export const readFileList = (query: URLSearchParams) => checked(fileList, Object.fromEntries(query));
export const readRunList = (query: URLSearchParams) => checked(runList, Object.fromEntries(query));

const EVENT =
  /^(?:(?:parse|edit|extract|classify|split|batch_processor|batch_parse)_run\.(?:processed|failed)|(?:extractor|classifier|splitter)\.(?:created|updated|deleted|draft\.updated|version\.published)|workflow\.(?:created|deployed|deleted))$/;

const status = z.enum(["enabled", "disabled"]);
const endpointChange = z.strictObject({
  url: url.exactOptional(),
  name: z.string().min(1).exactOptional(),
  status: status.exactOptional(),
  enabledEvents: z.array(z.string().regex(EVENT, "not an event type")).exactOptional(),
  advancedOptions: z
    .strictObject({
      headers: z.record(z.string().regex(/^[\w!#$%&'*+.^`|~-]+$/), z.string().regex(/^[\t\x20-\x7e]*$/)).optional(),
      payload: z.strictObject({ format: z.enum(["json", "url"]), urlThresholdBytes: z.int().min(0).optional() }).optional(),
    })
    .exactOptional(),
});
const endpoint = endpointChange
  .required({ url: true, name: true, enabledEvents: true })
  .extend({ status: status.default("enabled"), apiVersion: z.literal(API_VERSION) });
const endpointList = z.strictObject({ ...page, status: status.optional() });

/** Of the resources that can be subscribed to, this sandbox has extractors only. */
const subscriptionChange = z.strictObject({
  enabledEvents: z
    .array(z.enum(["extract_run.processed", "extract_run.failed", "batch_processor_run.processed", "batch_processor_run.failed"]))
    .min(1),
});
const subscription = subscriptionChange.extend({
  webhookEndpointId: z.string().min(1),
  resourceType: z.literal("extractor"),
  resourceId: z.string().min(1),
});
const subscriptionList = z.strictObject({ ...page, webhookEndpointId: z.string().optional(), resourceId: z.string().optional() });

export type EndpointRequest = z.output<typeof endpoint>;
export type SubscriptionRequest = z.output<typeof subscription>;

export const readEndpoint = (json: unknown) => checked(endpoint, json);
export const readEndpointChange = (json: unknown) => checked(endpointChange, json);
export const readEndpointList = (query: URLSearchParams) => checked(endpointList, Object.fromEntries(query));
export const readSubscription = (json: unknown) => checked(subscription, json);
export const readSubscriptionChange = (json: unknown) => checked(subscriptionChange, json);
export const readSubscriptionList = (query: URLSearchParams) => checked(subscriptionList, Object.fromEntries(query));

function checked<T>(schema: z.ZodType<T>, value: unknown): T | string {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  return issue === undefined ? "not valid" : `${issue.path.join(".") || "body"}: ${issue.message}`;
}

function isSmall(value: unknown): boolean {
  try {
    return Buffer.byteLength(JSON.stringify(value)) <= METADATA_BYTES;
  } catch {
    // Nested too deeply to be written out again.
    return false;
  }
}

/** Everything but letters, digits, `-` and `_` is taken out of a tag; what is then empty is none. */
function tagsOf(value: { readonly [key: string]: unknown }): readonly string[] | null {
  const tags = value[USAGE_TAGS];
  if (!Array.isArray(tags) || !tags.every((tag) => typeof tag === "string")) return null;
  return tags.map((tag) => tag.replace(/[^A-Za-z0-9_-]/g, "")).filter((tag) => tag !== "");
}
