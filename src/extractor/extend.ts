/** Extend: the files of a mail uploaded, one run over them ordered and asked after; one remote effect a call, its id saved before the next. */
import type { Clock } from "../base/clock.ts";
import { Fault, permanent } from "../base/errors.ts";
import type { Http } from "../base/http.ts";
import { unexpected } from "./extend-answer.ts";
import { type ApiOptions, createApi } from "./extend-api.ts";
import { extensionOf, type FileLimits, type FileOptions, objectionTo, planOf, sizeOf } from "./extend-files.ts";
import { orderOf, outcomeOf, type RunOptions } from "./extend-run.ts";
import {
  begun,
  type Kept,
  keptOf,
  type Looking,
  type Ordering,
  over,
  type Running,
  type State,
  stateOf,
  type Uploading,
} from "./extend-state.ts";
import { isLoopback, runIdOf, verified } from "./extend-webhook.ts";
import type { Document, Extractor, Progress, WebhookRequest } from "./extractor.ts";
import { idOf, type JsonObject, object, parsedObject, shortText } from "./json.ts";
import { type Polling, pollWaitMs } from "./polling.ts";

export type ExtendOptions = ApiOptions &
  FileOptions &
  FileLimits &
  RunOptions & {
    /** `sync` orders and waits in one call, of at most five minutes, for documents of up to `syncMaxBytes`. */
    readonly mode: "async" | "sync";
    readonly syncMaxBytes: number;
    readonly poll: Polling;
    /** How long a run may stay in a state, from when it was first seen there. */
    readonly deadlines: { readonly pendingMs: number; readonly runningMs: number };
    readonly webhookSecret: string | null;
  };

export type ExtendDeps = {
  readonly clock: Clock;
  readonly http: Http;
  /** Fetches what webhooks point to: with manners of its own, so that it cannot slow down the service. */
  readonly payloads?: Http;
};

const MOST_SENT = 2;
const MOST_RERUNS = 1;
/** GUESS: a list shows a new run within this many looks, the first pause and a longer one apart. */
const LOOKS = 2;
const FIRST_PAUSE_MS = 2_000;
const PAUSE_MS = 8_000;
/** Our clock may be ahead of the service's. */
const CLOCKS_APART_MS = 600_000;
const STEADY_MS = 30_000;
const FACTOR = 1.15;

/**
 * The service has no idempotency keys, so a run carries our key in its metadata and is looked for before it is ordered again: after a
 * lost answer, and when the process that had decided to order it is gone and nobody knows whether it did.
 * A refusal's memo is where a person's retry goes on.
 */
export function createExtend(options: ExtendOptions, deps: ExtendDeps): Extractor {
  const { name } = options;
  const { clock, http, payloads = http } = deps;
  const api = createApi(options, deps);
  /** Orders decided upon here and not sent yet; only these are sent without looking. */
  const unsent = new Set<string>();

  async function upload(document: Document, state: Uploading, key: string, signal: AbortSignal): Promise<Progress> {
    const plan = planOf(document, options);
    const fault = objectionTo(plan, options);
    if (fault !== null) return { is: "refused", memo: state, fault };
    const file = plan.files[state.files.length];
    if (file === undefined) return decided(state, key);
    const judged = await api.upload(file, signal);
    // An upload costs nothing: when nobody knows whether it took place, it is made again.
    if (judged.is === "unclear") throw judged.fault;
    if (judged.is !== "answer") return { is: judged.is, memo: state, fault: judged.fault };
    // Older versions of the API wrap the file.
    const id = idOf(object(judged.json.file ?? judged.json).id);
    if (id === null) throw unexpected(api.place("POST", "/files/upload"), judged.json, "the id of a file");
    const uploaded: Uploading = { ...state, files: [...state.files, id], skipped: plan.unsupported };
    return uploaded.files.length < plan.files.length ? going(uploaded, 0) : decided(uploaded, key);
  }

  /** The decision is saved before the order is sent. */
  function decided(kept: Kept, key: string): Progress {
    const state: Ordering = { ...keptOf(kept), step: "order", since: clock.now().toISOString() };
    unsent.add(`${key} ${state.since}`);
    return going(state, 0);
  }

  async function order(document: Document, state: Ordering, key: string, signal: AbortSignal): Promise<Progress> {
    const ticket = `${key} ${state.since}`;
    if (!unsent.delete(ticket)) return look(document, { ...state, step: "look", sent: 0, looks: 0 }, key, signal);
    try {
      return await send(document, { ...state, step: "look", sent: 0, looks: 0 }, key, signal);
    } catch (thrown) {
      unsent.add(ticket);
      throw thrown;
    }
  }

  async function look(document: Document, state: Looking, key: string, signal: AbortSignal): Promise<Progress> {
    const found = await api.find(key, new Date(Date.parse(state.since) - CLOCKS_APART_MS), signal);
    if (found.is !== "found") return { is: found.is, memo: state, fault: found.fault };
    const [runId, ...others] = found.runs.filter((id) => !state.past.includes(id));
    if (runId !== undefined) {
      const possiblyTwice = Math.max(state.possiblyTwice, others.length);
      return going(begun({ ...state, possiblyTwice }, runId, clock.now()), 0);
    }
    if (state.looks >= LOOKS && found.all) return send(document, state, key, signal);
    const looked = { ...state, looks: state.looks + 1 };
    if (looked.looks < LOOKS) return going(looked, PAUSE_MS);
    if (looked.looks === LOOKS && found.all && state.sent < MOST_SENT) {
      // Counted before it is sent again, so that it stays counted whatever happens then.
      return going({ ...looked, possiblyTwice: state.possiblyTwice + Math.min(1, state.sent) }, PAUSE_MS);
    }
    const fault = permanent(
      "extend.ambiguous",
      `${name}: a run may have been ordered, no answer came back, and the list of runs ${found.all ? "does not show it" : "is too long to be sure"}`,
      `look for the run with the metadata billhook:key ${key}; \`billhook retry\` looks again, and then orders it once more`,
    );
    // A list that is too long is read back to now only: a person has looked at the rest.
    const since = found.all ? state.since : clock.now().toISOString();
    return { is: "refused", memo: { ...state, since, sent: Math.min(state.sent, 1), looks: 0 }, fault };
  }

  async function send(document: Document, state: Looking, key: string, signal: AbortSignal): Promise<Progress> {
    const mode = sizeOf(planOf(document, options)) <= options.syncMaxBytes ? options.mode : "async";
    const path = mode === "sync" ? "/extract" : "/extract_runs";
    const judged = await api.write(path, orderOf(options, state.files, key, mode), signal);
    switch (judged.is) {
      case "halted":
        return { is: "halted", memo: { ...keptOf(state), step: "upload" }, fault: judged.fault };
      case "refused":
        // It may be the files it does not know any more.
        return { is: "refused", memo: { ...keptOf(state), step: "upload", files: [] }, fault: judged.fault };
      case "unclear":
        return lost(state, judged.fault);
    }
    const runId = idOf(judged.json.id);
    if (runId === null) return lost(state, unexpected(api.place("POST", path), judged.json, "the id of a run"));
    const run = begun(state, runId, clock.now());
    const progress = mode === "sync" ? settled(run, judged.json, key) : null;
    return progress ?? askAgain(run);
  }

  function lost(state: Looking, fault: Fault): Progress {
    const askedMs = (fault.retryAt?.getTime() ?? 0) - clock.now().getTime();
    return going({ ...state, sent: state.sent + 1, looks: 0 }, Math.max(FIRST_PAUSE_MS, askedMs));
  }

  async function poll(state: Running, key: string, signal: AbortSignal): Promise<Progress> {
    const path = `/extract_runs/${state.runId}`;
    const judged = await api.read(path, signal);
    if (judged.is === "answer") {
      const progress = settled(state, judged.json, key);
      if (progress === null) throw unexpected(api.place("GET", path), judged.json, "a status");
      return progress;
    }
    if (judged.is === "halted") return { is: "halted", memo: state, fault: judged.fault };
    const { pendingMs, runningMs } = options.deadlines;
    const { code, message, advice } = judged.fault;
    // A region or workspace that is not the run's can be mended.
    if (code === "extend.not-found" && inPhaseMs(state) <= pendingMs + runningMs)
      throw new Fault(code, message, { advice: advice ?? undefined });
    // Only a run that is not there any more may be ordered anew; whatever else was refused, the question is put again.
    return { is: "refused", memo: code === "extend.not-found" ? over(state) : state, fault: judged.fault };
  }

  /** What the record of a run means; null when it does not say. */
  function settled(state: Running, run: JsonObject, key: string): Progress | null {
    const outcome = outcomeOf(options, state.runId, run);
    switch (outcome?.is) {
      case undefined:
        return null;
      case "answered":
        return { is: "answered", memo: { ...state, status: outcome.status }, answer: outcome.answer };
      case "out of credits":
        return { is: "halted", memo: over(state), fault: outcome.fault };
      case "failed":
        if (outcome.again && state.reruns < MOST_RERUNS) return decided({ ...over(state), reruns: state.reruns + 1 }, key);
        return { is: "refused", memo: { ...over(state), reruns: 0 }, fault: outcome.fault };
      case "waiting":
        return waiting(state, outcome.status, outcome.pending);
    }
  }

  function waiting(state: Running, status: string, pending: boolean): Progress {
    // A phase is entered once: a status that wavers must not move the deadline for ever.
    const phase = state.phase === "pending" && pending ? "pending" : "running";
    const now = clock.now().toISOString();
    if (phase !== state.phase) return askAgain({ ...state, status, phase, since: now });
    const limitMs = phase === "pending" ? options.deadlines.pendingMs : options.deadlines.runningMs;
    if (inPhaseMs(state) <= limitMs) return askAgain({ ...state, status });
    const fault = permanent(
      "extend.deadline",
      `${name}: run ${state.runId} still has the status ${status} after ${Math.round(inPhaseMs(state) / 1_000)} s; the deadline is ${limitMs / 1_000} s`,
      "look at the run in Extend; `billhook retry` asks after it again",
    );
    return { is: "refused", memo: { ...state, status, since: now, polls: 0 }, fault };
  }

  function inPhaseMs(state: Running): number {
    return clock.now().getTime() - Date.parse(state.since);
  }

  /** As Extend's own client: the first interval for 30 s, then each longer by 15 %. */
  function askAgain(state: Running): Progress {
    const { firstMs } = options.poll;
    const growth = { steady: Math.round(STEADY_MS / firstMs), factor: FACTOR };
    return going({ ...state, polls: state.polls + 1 }, pollWaitMs(state.polls, options.poll, growth, clock.random()));
  }

  function going(state: State, waitMs: number): Progress {
    return { is: "going", memo: state, nextAt: new Date(clock.now().getTime() + waitMs) };
  }

  async function verifyWebhook(secret: string, request: WebhookRequest, signal: AbortSignal) {
    const { eventId, runId, payloadUrl } = verified(request, secret, clock.now(), isLoopback(options.url));
    if (payloadUrl === null) return { eventId, runId };
    const response = await payloads.call({ method: "GET", url: payloadUrl, headers: { accept: "application/json" } }, signal);
    const payload = response.status === 200 ? parsedObject(response.text()) : null;
    if (payload !== null) return { eventId, runId: runIdOf(payload) };
    throw new Fault("extend.webhook-payload", `${name}: the payload of webhook ${eventId} was answered ${response.status}, expected JSON`);
  }

  const { webhookSecret } = options;
  return {
    name,
    grain: "message",
    accepts: (contentType, filename) => extensionOf(contentType, filename) !== null,
    buys: (memo) => stateOf(memo).step !== "running",
    advance: (document, memo, key, signal) => {
      const state = stateOf(memo);
      switch (state.step) {
        case "upload":
          return upload(document, state, key, signal);
        case "order":
          return order(document, state, key, signal);
        case "look":
          return look(document, state, key, signal);
        case "running":
          return poll(state, key, signal);
      }
    },
    cancel: async (memo, signal) => {
      const state = stateOf(memo);
      if (state.step !== "running") return;
      const judged = await api.write(`/extract_runs/${state.runId}/cancel`, {}, signal);
      // A refusal says that it is over.
      if (judged.is === "unclear" || judged.is === "halted") throw judged.fault;
    },
    ...(webhookSecret === null ? {} : { verifyWebhook: (request, signal) => verifyWebhook(webhookSecret, request, signal) }),
    probe: async (signal) => {
      const id = options.extractor?.id;
      const runs = await api.read("/extract_runs?maxPageSize=1", signal);
      if (runs.is !== "answer") throw runs.fault;
      if (id === undefined) return { said: "key accepted; no extractor is configured" };
      const extractor = await api.read(`/extractors/${encodeURIComponent(id)}`, signal);
      if (extractor.is !== "answer") throw extractor.fault;
      return { said: `key accepted; extractor ${id} is ${JSON.stringify(shortText(extractor.json.name, 100) ?? "without a name")}` };
    },
  };
}
