/** Extend's objects as they are written out: extractors, runs in full and in short. */
import { createHash } from "node:crypto";
import { summaryOf } from "./files.ts";
import { type Run, type Standing, usageOf } from "./runs.ts";

const CONFIG = { baseProcessor: "extraction_performance", schema: {} };
const EPOCH = "2026-02-09T00:00:00.000Z";

/** Any id with the right beginning is an extractor. */
export function isExtractorId(id: string): boolean {
  return /^ex_[\w-]+$/.test(id);
}

export function extractorOf(id: string) {
  return { ...extractorSummary(id), draftVersion: { ...versionSummary(id, "draft"), config: CONFIG } };
}

function extractorSummary(id: string) {
  return { object: "extractor", id, name: "Sandbox Invoice Extractor", createdAt: EPOCH, updatedAt: EPOCH };
}

function versionSummary(extractorId: string, asked: string) {
  const version = asked === "latest" ? "1.0" : asked;
  const id = `exv_${createHash("sha256").update(`${extractorId}\n${version}`).digest("base64url").slice(0, 20)}`;
  return { object: "extractor_version", id, description: null, version, extractorId, createdAt: EPOCH, createdBy: null };
}

/** What a person made of the output; null until one has looked at it. */
function reviewOf({ review }: Run, standing: Standing) {
  if (review === null || standing.status !== "PROCESSED") return null;
  const value: { readonly [field: string]: unknown } = { ...(standing.value as object) };
  const edits = Object.entries(review.edits).map(([field, editedValue]) => [field, { originalValue: value[field], editedValue }]);
  return {
    value: { ...value, ...review.edits },
    edits: edits.length > 0 ? Object.fromEntries(edits) : null,
    atMs: Math.max(review.atMs, standing.atMs),
  };
}

/** As lists give it: without the output and the breakdown of what it cost. */
export function shortRun(run: Run, standing: Standing) {
  const { extractor, package: packed, metadata } = run.request;
  const failed = standing.status === "FAILED" ? standing : null;
  const usage = usageOf(run, standing);
  const review = reviewOf(run, standing);
  const [file] = run.files;
  return {
    object: "extract_run",
    id: run.id,
    status: standing.status,
    failureReason: failed?.reason ?? null,
    failureMessage: failed?.message ?? null,
    metadata: metadata ?? null,
    reviewed: review !== null,
    edited: review !== null && review.edits !== null,
    extractor: extractor ? extractorSummary(extractor.id) : null,
    extractorVersion: extractor ? versionSummary(extractor.id, extractor.version) : null,
    file: packed || file === undefined ? null : summaryOf(file),
    files: packed ? run.files.map(summaryOf) : null,
    parseRunId: run.parseRunId,
    dashboardUrl: `https://dashboard.extend.ai/runs/${run.id}`,
    usage: usage && { credits: usage.credits, totalCredits: usage.totalCredits },
    createdAt: new Date(run.createdMs).toISOString(),
    updatedAt: new Date(review?.atMs ?? standing.atMs).toISOString(),
  };
}

export function wholeRun(run: Run, standing: Standing) {
  const { config, extractor } = run.request;
  const initial = standing.status === "PROCESSED" ? { value: standing.value, metadata: {} } : null;
  const review = reviewOf(run, standing);
  const reviewed = review && { value: review.value, metadata: {} };
  return {
    ...shortRun(run, standing),
    output: reviewed ?? initial,
    initialOutput: reviewed && initial,
    reviewedOutput: reviewed,
    edits: review?.edits ?? null,
    config: { ...CONFIG, ...config, ...extractor?.overrideConfig },
    usage: usageOf(run, standing),
  };
}
