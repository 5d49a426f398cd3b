/** The Extend half of the sandbox (x-extend-api-version 2026-02-09): its table of routes, and what each does. */
import type { Clock } from "../base/clock.ts";
import { type Asked, type Doing, parsed, type Reply, type Service, sameText } from "./exchange.ts";
import { createAnnouncer } from "./extend/announce.ts";
import { type Batch, batchShape, createBatches, newBatchId } from "./extend/batches.ts";
import { createEndpoints } from "./extend/endpoints.ts";
import type { StoredFile } from "./extend/files.ts";
import { ok, pageOf, problem } from "./extend/reply.ts";
import { API_VERSION, type FileInput, type RunRequest, readBatch, readRun, readRunList } from "./extend/request.ts";
import { type Ask, idIn, type Route, SIGNED } from "./extend/route.ts";
import { createRuns, type Run, usageOf } from "./extend/runs.ts";
import { extractorOf, isExtractorId, shortRun, wholeRun } from "./extend/shape.ts";
import { createFileCalls } from "./extend/upload.ts";
import { createWebhooks } from "./extend/webhooks.ts";
import type { FaultNow, Faults } from "./faults.ts";
import type { Pace } from "./pace.ts";
import type { Signer } from "./signer.ts";

export type ExtendCounts = {
  /** Calls that took effect. */
  readonly uploads: number;
  readonly runs: number;
  readonly polls: number;
  readonly lists: number;
  readonly cancels: number;
  /** Of the runs that were seen to be PROCESSED. */
  readonly credits: number;
  /** Every run that was made, deleted ones too, with the `billhook:key` of its metadata. */
  readonly made: readonly { readonly id: string; readonly key: string | null; readonly credits: number }[];
};

export type ExtendOptions = {
  readonly clock: Clock;
  readonly apiKey: string;
  readonly pace: Pace;
  readonly mostKept: number;
  readonly mostBytes: number;
  readonly faults: Faults;
  readonly signer: Signer;
  readonly stopping: AbortSignal;
};

const KEY = "billhook:key";
const AT_ONCE: Pace = { pendingMs: 0, runningMs: 0 };

export type ExtendService = Service & { readonly counts: () => ExtendCounts; readonly close: () => Promise<void> };

export function createExtendService(options: ExtendOptions): ExtendService {
  const { clock, apiKey, pace, signer } = options;
  const files = createFileCalls(options);
  const runs = createRuns(options);
  const batches = createBatches(options);
  const endpoints = createEndpoints({ clock, added: () => announcer.all() });
  const webhooks = createWebhooks(options);
  const done = { runs: 0, polls: 0, lists: 0, cancels: 0 };
  const announcer = createAnnouncer({ ...options, runs, batches, endpoints, webhooks });

  const routes: readonly Route[] = [
    ...files.routes,
    ...endpoints.routes,
    { call: "extend.create", asks: "POST /extract_runs", act: create },
    { call: "extend.batch", asks: "POST /extract_runs/batch", act: createBatch },
    { call: "extend.batch-run", asks: "GET /batch_runs/:id", act: ({ id }) => withBatch(id, wholeBatch) },
    { call: "extend.sync", asks: "POST /extract", act: extractNow },
    { call: "extend.list", asks: "GET /extract_runs", act: listRuns },
    { call: "extend.poll", asks: "GET /extract_runs/:id", act: ({ id, fault }) => withRun(id, (run) => look(run, fault)) },
    { call: "extend.cancel", asks: "POST /extract_runs/:id/cancel", act: ({ id }) => withRun(id, cancel) },
    { call: "extend.delete", asks: "DELETE /extract_runs/:id", act: ({ id }) => withRun(id, removeRun) },
    { call: "extend.extractor", asks: "GET /extractors/:id", act: ({ id }) => extractor(id) },
    { call: "extend.signed", asks: `GET ${SIGNED}/extract_runs/:id`, act: ({ id }) => withRun(id, whole) },
    { call: "extend.signed", asks: `GET ${SIGNED}/batch_runs/:id`, act: ({ id }) => withBatch(id, wholeBatch) },
  ];

  function route(asked: Asked): Doing | Reply {
    const { method, path, query, headers, body } = asked;
    if (path.startsWith(`${SIGNED}/`)) {
      if (!signer.opens(path, query)) return problem(403, "the signature is wrong or has expired");
    } else {
      if (!sameText(headers.authorization, `Bearer ${apiKey}`)) return problem(401, "Invalid API key");
      if (headers["x-extend-api-version"] !== API_VERSION) return problem(400, `x-extend-api-version: expected ${API_VERSION}`);
    }
    if (body === "too-long") return problem(413, "the request is too long");
    for (const { call, asks, act } of routes) {
      const id = idIn(asks, `${method} ${path}`);
      if (id !== null) return { call, act: (fault) => act({ ...asked, body, id, fault }) };
    }
    return problem(404, "no such endpoint");
  }

  function create({ body, fault }: Ask): Reply | Promise<Reply> {
    const run = newRun(body, "async", fault);
    return "status" in run ? run : whole(run);
  }

  async function extractNow({ body, fault }: Ask): Promise<Reply> {
    const run = newRun(body, "sync", fault);
    if ("status" in run) return run;
    const standing = await runs.standing(run);
    if (standing.status !== "FAILED" || standing.code === null) return ok(wholeRun(run, standing));
    return problem(standing.code === "FILE_PURGED" ? 404 : 400, standing.message, { code: standing.code });
  }

  function newRun(body: Uint8Array, how: "async" | "sync", fault: FaultNow | null): Run | Reply {
    const json = parsed(body);
    if (json === undefined) return problem(400, "the body is not JSON");
    const request = readRun(json, how);
    if (typeof request === "string") return problem(422, request);
    const objection = objectionTo(request);
    if (objection !== null) return objection;
    const run = begin(request, { pace: how === "sync" ? AT_ONCE : pace, batchId: null, fault });
    if (endpoints.any()) announcer.run(run);
    return run;
  }

  /** GUESS: one file or extractor that is not there, and none of the batch is begun. */
  async function createBatch({ body, fault }: Ask): Promise<Reply> {
    const json = parsed(body);
    if (json === undefined) return problem(400, "the body is not JSON");
    const requests = readBatch(json);
    if (typeof requests === "string") return problem(422, requests);
    for (const request of requests) {
      const objection = objectionTo(request);
      if (objection !== null) return objection;
    }
    const batchId = newBatchId();
    const batch = batches.add(
      batchId,
      requests.map((request) => begin(request, { pace, batchId, fault })),
    );
    if (endpoints.any()) announcer.batch(batch);
    return wholeBatch(batch);
  }

  function objectionTo(request: RunRequest): Reply | null {
    if (request.extractor !== undefined && !isExtractorId(request.extractor.id)) return problem(404, "no such extractor");
    const areThere = inputsOf(request).every((input) => !("id" in input) || files.get(input.id) !== null);
    return areThere ? null : problem(404, "no such file");
  }

  function begin(request: RunRequest, how: Pick<Run, "pace" | "batchId"> & { readonly fault: FaultNow | null }): Run {
    const { pace, batchId, fault } = how;
    const stored = inputsOf(request).map(storedFile);
    const found = stored.filter((file) => file !== null);
    const unfetched = found.length < stored.length;
    done.runs += 1;
    const run = runs.add({ request, batchId, files: found, unfetched, failureReason: fault?.failureReason ?? null, pace });
    review(run, fault);
    return run;
  }

  function review(run: Run, fault: FaultNow | null): void {
    if (fault?.reviewed) run.review = { edits: fault.reviewed, atMs: clock.now().getTime() };
  }

  /** Null for a URL: nothing is fetched here. */
  function storedFile(input: FileInput): StoredFile | null {
    if ("url" in input) return null;
    return "text" in input ? files.add(input.name ?? "text.txt", Buffer.from(input.text)) : files.get(input.id);
  }

  async function listRuns({ query, fault }: Ask): Promise<Reply> {
    const list = readRunList(query);
    if (typeof list === "string") return problem(422, list);
    done.lists += 1;
    const untilMs = clock.now().getTime() - (fault?.lagMs ?? 0);
    const found = [];
    for (const run of fault?.empty ? [] : runs.all()) {
      if (run.createdMs > untilMs) continue;
      const short = shortRun(run, await runs.standing(run));
      if (list.status !== undefined && short.status !== list.status) continue;
      if (list.extractorId !== undefined && short.extractor?.id !== list.extractorId) continue;
      if (list.batchId !== undefined && run.batchId !== list.batchId) continue;
      // Every run here was made through the API.
      if (list.sourceId !== undefined || (list.source ?? "API") !== "API") continue;
      // GUESS: nothing says that the names within a package are looked at, so nobody shall depend on it.
      if (list.fileNameContains !== undefined && !short.file?.name.includes(list.fileNameContains)) continue;
      found.push(short);
    }
    const page = pageOf(list.sortBy === "updatedAt" ? found.sort((a, b) => a.updatedAt.localeCompare(b.updatedAt)) : found, list);
    return typeof page === "string" ? problem(422, page) : ok(page);
  }

  function look(run: Run, fault: FaultNow | null): Promise<Reply> {
    done.polls += 1;
    review(run, fault);
    return whole(run);
  }

  async function whole(run: Run): Promise<Reply> {
    return ok(wholeRun(run, await runs.standing(run)));
  }

  async function cancel(run: Run): Promise<Reply> {
    if (!(await runs.cancel(run))) return problem(400, "only a run that is PROCESSING can be cancelled");
    done.cancels += 1;
    return whole(run);
  }

  function removeRun(run: Run): Reply {
    run.deleted = true;
    return ok({ id: run.id });
  }

  function extractor(id: string): Reply {
    return isExtractorId(id) ? ok(extractorOf(id)) : problem(404, "no such extractor");
  }

  async function wholeBatch(batch: Batch): Promise<Reply> {
    return ok(batchShape(batch, await Promise.all(batch.runs.map(runs.standing))));
  }

  function withBatch(id: string, act: (batch: Batch) => Promise<Reply>): Reply | Promise<Reply> {
    const batch = batches.get(id);
    return batch === null ? problem(404, "no such batch run") : act(batch);
  }

  function withRun(id: string, act: (run: Run) => Reply | Promise<Reply>): Reply | Promise<Reply> {
    const run = runs.get(id);
    return run === null ? problem(404, "no such extract run") : act(run);
  }

  function counts(): ExtendCounts {
    const made = runs.made().map((run) => {
      const key = run.request.metadata?.[KEY];
      const credits = run.ended === null ? 0 : (usageOf(run, run.ended)?.totalCredits ?? 0);
      return { id: run.id, key: typeof key === "string" ? key : null, credits };
    });
    return { uploads: files.uploads(), ...done, credits: made.reduce((sum, { credits }) => sum + credits, 0), made };
  }

  return { route, problem: (status, message, fault) => problem(status, message, fault ?? {}), counts, close: webhooks.close };
}

function inputsOf({ file, package: packed }: RunRequest): readonly FileInput[] {
  return packed?.files ?? (file === undefined ? [] : [file]);
}
