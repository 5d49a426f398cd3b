/** An Extend extractor as the tests configure it. */
import type { Clock } from "../../src/base/clock.ts";
import { createExtend, type ExtendOptions } from "../../src/extractor/extend.ts";
import type { Extractor } from "../../src/extractor/extractor.ts";
import type { Http } from "../../src/http/http.ts";

export const never = new AbortController().signal;

export function extend(url: string, deps: { readonly clock: Clock; readonly http: Http }, changes: Partial<ExtendOptions>): Extractor {
  const options: ExtendOptions = {
    name: "extend",
    url,
    apiKey: "sesame",
    workspace: null,
    extractor: { id: "ex_1", version: null },
    config: null,
    priority: null,
    usageTags: [],
    metadata: {},
    output: "final",
    mode: "async",
    syncMaxBytes: 0,
    submit: "parts",
    body: "text",
    unsupported: "skip",
    maxBytes: 1_000,
    poll: { firstMs: 1_000, longestMs: 30_000 },
    deadlines: { pendingMs: 60_000, runningMs: 120_000 },
    reviewMs: 14 * 86_400_000,
    webhookSecret: null,
    ...changes,
  };
  return createExtend(options, deps);
}
