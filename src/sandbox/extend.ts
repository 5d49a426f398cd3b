/** The Extend half of the sandbox (x-extend-api-version 2026-02-09): its table of routes, and what each does. */
import type { Clock } from "../base/clock.ts";
import { type Asked, type Doing, parsed, type Reply, type Service, sameText } from "./exchange.ts";
import { type StoredFile, summaryOf } from "./extend-files.ts";
import { newId, ok, pageOf, problem } from "./extend-reply.ts";
import { API_VERSION, type FileInput, type RunRequest, readEndpoint, readFileList, readRun, readRunList } from "./extend-request.ts";
import { createRuns, overMs, type Run, usageOf } from "./extend-runs.ts";
import { extractorOf, isExtractorId, shortRun, wholeRun } from "./extend-shape.ts";
import { createWebhooks } from "./extend-webhooks.ts";
import type { Call, FaultNow, Faults } from "./faults.ts";
import { createFiles } from "./files.ts";
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

/** `id` is what stands at `:id` in the path. */
type Ask = Asked & { readonly id: string; readonly body: Uint8Array<ArrayBuffer>; readonly fault: FaultNow | null };
type Route = { readonly call: Call; readonly asks: string; readonly act: (asked: Ask) => Reply | Promise<Reply> };

const KEY = "billhook:key";
const AT_ONCE: Pace = { pendingMs: 0, runningMs: 0 };
const FILE_URL_MS = 15 * 60_000;
const PAYLOAD_URL_MS = 60 * 60_000;
const SIGNED = "/_signed";

export type ExtendService = Service & { readonly counts: () => ExtendCounts; readonly close: () => Promise<void> };

export function createExtendService(options: ExtendOptions): ExtendService {
  const { clock, apiKey, pace, signer, stopping } = options;
  const files = createFiles<StoredFile>(options);
  const runs = createRuns(options);
  const webhooks = createWebhooks(options);
  const done = { uploads: 0, runs: 0, polls: 0, lists: 0, cancels: 0 };
  const announced = new WeakSet<Run>();

  const routes: readonly Route[] = [
    { call: "extend.upload", asks: "POST /files/upload", act: upload },
    { call: "extend.files", asks: "GET /files", act: listFiles },
    { call: "extend.file", asks: "GET /files/:id", act: ({ id }) => withFile(id, wholeFile) },
    { call: "extend.file", asks: "DELETE /files/:id", act: ({ id }) => withFile(id, removeFile) },
    { call: "extend.create", asks: "POST /extract_runs", act: create },
    { call: "extend.sync", asks: "POST /extract", act: extractNow },
    { call: "extend.list", asks: "GET /extract_runs", act: listRuns },
    { call: "extend.poll", asks: "GET /extract_runs/:id", act: ({ id, fault }) => withRun(id, (run) => look(run, fault)) },
    { call: "extend.cancel", asks: "POST /extract_runs/:id/cancel", act: ({ id }) => withRun(id, cancel) },
    { call: "extend.delete", asks: "DELETE /extract_runs/:id", act: ({ id }) => withRun(id, removeRun) },
    { call: "extend.extractor", asks: "GET /extractors/:id", act: ({ id }) => extractor(id) },
    { call: "extend.endpoint", asks: "POST /webhook_endpoints", act: addEndpoint },
    { call: "extend.signed", asks: `GET ${SIGNED}/files/:id`, act: ({ id }) => withFile(id, download) },
    { call: "extend.signed", asks: `GET ${SIGNED}/extract_runs/:id`, act: ({ id }) => withRun(id, whole) },
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

  /** Node's own reader of multipart/form-data (RFC 7578); what it does not take is no multipart. */
  async function upload({ headers, body, fault }: Ask): Promise<Reply> {
    const type = headers["content-type"] ?? "";
    if (!/^multipart\/form-data\s*;/i.test(type)) return problem(400, "expected Content-Type: multipart/form-data with a boundary");
    const form = await new Response(body, { headers: { "content-type": type } }).formData().catch(() => null);
    if (form === null) return problem(400, "the body is not multipart/form-data");
    const [file, ...more] = form.getAll("file");
    if (file === undefined || typeof file === "string" || more.length > 0) return problem(422, "file: expected one part with a filename");
    if (file.name === "") return problem(422, "file: expected a filename");
    for (const name of form.keys()) if (name !== "file" && name !== "password") return problem(422, `${name}: not a known field`);
    done.uploads += 1;
    const stored = { ...summaryOf(add(file.name, new Uint8Array(await file.arrayBuffer()))), presignedUrl: null, contents: null };
    return ok(fault?.older ? { success: true, file: stored } : stored);
  }

  function add(name: string, bytes: Uint8Array): StoredFile {
    return files.add({ id: newId("file"), name, createdAt: clock.now(), bytes });
  }

  function listFiles({ query, fault }: Ask): Reply {
    const list = readFileList(query);
    if (typeof list === "string") return problem(422, list);
    const found = files.all().filter(({ name }) => !fault?.empty && name.includes(list.nameContains ?? ""));
    const page = pageOf(found.map(summaryOf), list);
    return typeof page === "string" ? problem(422, page) : ok(page);
  }

  function wholeFile(file: StoredFile): Reply {
    const presignedUrl = signer.sign(`${SIGNED}/files/${file.id}`, FILE_URL_MS);
    return ok({ ...summaryOf(file), presignedUrl, contents: null });
  }

  function download({ bytes }: StoredFile): Reply {
    return { status: 200, headers: { "content-type": "application/octet-stream" }, body: bytes ?? "" };
  }

  function removeFile(file: StoredFile): Reply {
    files.remove(file);
    return ok({ id: file.id });
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
    if (request.extractor !== undefined && !isExtractorId(request.extractor.id)) return problem(404, "no such extractor");
    const inputs = inputsOf(request).map((input) => ("url" in input ? null : storedFile(input)));
    if (inputs.includes("missing")) return problem(404, "no such file");
    const stored = inputs.filter((file) => file !== null && file !== "missing");
    done.runs += 1;
    const run = runs.add({
      request,
      files: stored,
      unfetched: inputs.includes(null),
      failureReason: fault?.failureReason ?? null,
      pace: how === "sync" ? AT_ONCE : pace,
    });
    review(run, fault);
    if (webhooks.wanted()) void announce(run);
    return run;
  }

  function review(run: Run, fault: FaultNow | null): void {
    if (fault?.reviewed) run.review = { edits: fault.reviewed, atMs: clock.now().getTime() };
  }

  function storedFile(input: Exclude<FileInput, { url: string }>): StoredFile | "missing" {
    if ("text" in input) return add(input.name ?? "text.txt", Buffer.from(input.text));
    return files.get(input.id) ?? "missing";
  }

  async function listRuns({ query, fault }: Ask): Promise<Reply> {
    const list = readRunList(query);
    if (typeof list === "string") return problem(422, list);
    done.lists += 1;
    const found = [];
    for (const run of fault?.empty ? [] : runs.all()) {
      const short = shortRun(run, await runs.standing(run));
      if (list.status !== undefined && short.status !== list.status) continue;
      if (list.extractorId !== undefined && short.extractor?.id !== list.extractorId) continue;
      // Every run here was made through the API, by itself.
      if (list.batchId !== undefined || list.sourceId !== undefined || (list.source ?? "API") !== "API") continue;
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

  function addEndpoint({ body }: Ask): Reply {
    const json = parsed(body);
    if (json === undefined) return problem(400, "the body is not JSON");
    const request = readEndpoint(json);
    if (typeof request === "string") return problem(422, request);
    const reply = ok(webhooks.add(request));
    for (const run of runs.all()) if (run.ended === null) void announce(run);
    return reply;
  }

  /** Once, when the run is over. There is no event for a cancelled one. */
  async function announce(run: Run): Promise<void> {
    if (announced.has(run)) return;
    announced.add(run);
    for (let left = 1; left > 0 && !stopping.aborted; left = overMs(run) - clock.now().getTime()) {
      await clock.sleep(overMs(run) - clock.now().getTime(), stopping);
    }
    if (stopping.aborted || run.deleted) return;
    const standing = await runs.standing(run);
    if (standing.status !== "PROCESSED" && standing.status !== "FAILED") return;
    await webhooks.tell(`extract_run.${standing.status.toLowerCase()}`, {
      json: wholeRun(run, standing),
      signedUrl: () => signer.sign(`${SIGNED}/extract_runs/${run.id}`, PAYLOAD_URL_MS),
    });
  }

  function withFile(id: string, act: (file: StoredFile) => Reply): Reply {
    const file = files.get(id);
    return file === null ? problem(404, "no such file") : act(file);
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
    return { ...done, credits: made.reduce((sum, { credits }) => sum + credits, 0), made };
  }

  return { route, problem: (status, message, fault) => problem(status, message, fault ?? {}), counts, close: webhooks.close };
}

function inputsOf({ file, package: packed }: RunRequest): readonly FileInput[] {
  return packed?.files ?? (file === undefined ? [] : [file]);
}

/** What stands at `:id`, empty where there is none; null when it is not what the route asks for. */
function idIn(asks: string, asked: string): string | null {
  const [before = "", after = ""] = asks.split(":id");
  if (!asks.includes(":id")) return asks === asked ? "" : null;
  if (!asked.startsWith(before) || !asked.endsWith(after)) return null;
  const id = asked.slice(before.length, asked.length - after.length);
  return /^[\w-]+$/.test(id) ? id : null;
}
