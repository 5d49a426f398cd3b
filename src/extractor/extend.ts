/** Extend: the files of a mail uploaded, one run over them ordered and asked after; one remote effect a call, its id saved before the next. */
import type { Clock } from "../base/clock.ts";
import { Fault, permanent } from "../base/errors.ts";
import type { Http } from "../http/http.ts";
import { unexpected } from "./extend/answer.ts";
import { type ApiOptions, createApi } from "./extend/api.ts";
import { FIRST_LOOK_MS, LOOK_HOLDS_MS, nextAfterLook } from "./extend/doubt.ts";
import { extensionOf, type FileLimits, type FileOptions, objectionTo, planOf, sizeOf } from "./extend/files.ts";
import { createPolling, type PollOptions } from "./extend/poll.ts";
import { orderOf, outcomeOf } from "./extend/run.ts";
import {
  begun,
  going,
  inDoubt,
  type Kept,
  keptOf,
  type Looking,
  MOST_PAST,
  type Ordering,
  ordering,
  type State,
  stateOf,
  type Uploading,
  unsent,
} from "./extend/state.ts";
import { isLoopback, runIdOf, verified } from "./extend/webhook.ts";
import type { Buying, Document, Extractor, Progress, Submission, WebhookRequest } from "./extractor.ts";
import { idOf, object, parsedObject, shortText } from "./json.ts";
import { skippedBy, submissionOf, unread } from "./submission.ts";

export type ExtendOptions = ApiOptions &
  FileOptions &
  FileLimits &
  PollOptions & {
    /** `sync` orders and waits in one call, of at most five minutes, for documents of up to `syncMaxBytes`. */
    readonly mode: "async" | "sync";
    readonly syncMaxBytes: number;
    readonly webhookSecret: string | null;
  };

export type ExtendDeps = {
  readonly clock: Clock;
  readonly http: Http;
  /** Fetches what webhooks point to: with manners of its own, so that it cannot slow down the service. */
  readonly payloads?: Http;
};

/** Our clock may be ahead of the service's. */
const CLOCKS_APART_MS = 600_000;

/**
 * The service has no idempotency keys, so a run carries our key in its metadata and is looked for before it is ordered again
 * (`extend-doubt.ts` has the rule): after a lost answer, and when the process that was about to order it is gone.
 * A refusal's memo is where a person's retry goes on.
 */
export function createExtend(options: ExtendOptions, deps: ExtendDeps): Extractor {
  const { name } = options;
  const { clock, http, payloads = http } = deps;
  const api = createApi(options, deps);
  const running = createPolling(options, api, clock);

  function planFor(document: Document): Submission {
    const plan = planOf(document, options);
    const submitted = plan.files.map(({ piece, name }) => ({ part: piece.id, as: name }));
    return submissionOf(document, submitted, options.body, objectionTo(plan, options));
  }

  async function upload(document: Document, before: Uploading, signal: AbortSignal): Promise<Progress> {
    const plan = planOf(document, options);
    const state: Uploading = { ...before, skipped: skippedBy(planFor(document)) };
    const fault = objectionTo(plan, options);
    if (fault !== null) return { is: "refused", memo: state, fault };
    const file = plan.files[state.files.length];
    if (file === undefined) return decided(state);
    const judged = await api.upload(file, signal);
    // An upload costs nothing: when nobody knows whether it took place, it is made again.
    if (judged.is === "unclear") throw judged.fault;
    if (judged.is !== "answer") return { is: judged.is, memo: state, fault: judged.fault };
    // Older versions of the API wrap the file.
    const id = idOf(object(judged.json.file ?? judged.json).id);
    if (id === null) throw unexpected(api.place("POST", "/files/upload"), judged.json, "the id of a file");
    const uploaded: Uploading = { ...state, files: [...state.files, id] };
    return uploaded.files.length < plan.files.length ? going(uploaded, clock.now()) : decided(uploaded);
  }

  function decided(kept: Kept): Progress {
    const { sentFrom, sentLast } = kept;
    if (sentFrom === null || sentLast === null) return ordering(kept, clock.now());
    return going({ ...keptOf(kept), step: "look", sentFrom, sentLast }, clock.now());
  }

  async function order(document: Document, state: Ordering, key: string, signal: AbortSignal, buying?: Buying): Promise<Progress> {
    const { sentFrom, sentLast } = state;
    if (sentFrom !== null && sentLast !== null && clock.now().getTime() - Date.parse(state.since) > LOOK_HOLDS_MS) {
      const shown = await listed(unsent({ ...state, sentFrom, sentLast }), key, signal);
      if (shown !== null) return shown;
    }
    const mode = sizeOf(planOf(document, options)) <= options.syncMaxBytes ? options.mode : "async";
    const path = mode === "sync" ? "/extract" : "/extract_runs";
    const judged = await api.write(path, orderOf(options, state.files, key, mode), signal, buying);
    switch (judged.is) {
      case "halted":
        return { is: "halted", memo: sentFrom === null ? { ...state, since: clock.now().toISOString() } : state, fault: judged.fault };
      case "refused":
        // It may be the files it does not know any more.
        return { is: "refused", memo: { ...keptOf(state), step: "upload", files: [] }, fault: judged.fault };
      case "unclear":
        return lost(state, judged.withError, judged.fault);
    }
    const runId = idOf(judged.json.id);
    if (runId === null) return lost(state, false, unexpected(api.place("POST", path), judged.json, "the id of a run"));
    const run = begun(state, runId, clock.now());
    const outcome = mode === "sync" ? outcomeOf(options, runId, judged.json) : null;
    return outcome === null || outcome.is === "unexpected" ? running.askAgain(run) : running.settled(run, outcome);
  }

  /** The order may have been taken. */
  function lost(state: Ordering, withError: boolean, fault: Fault): Progress {
    const askedMs = (fault.retryAt?.getTime() ?? 0) - clock.now().getTime();
    return { ...going(inDoubt(state, withError, clock.now()), clock.now(), Math.max(FIRST_LOOK_MS, askedMs)), fault };
  }

  /** What follows from the list of runs alone; null when all of it was read and it shows none that is not over. */
  async function listed(state: Looking, key: string, signal: AbortSignal): Promise<Progress | null> {
    const found = await api.find(key, new Date(Date.parse(state.sentFrom) - CLOCKS_APART_MS), signal);
    if (found.is !== "found") return { is: found.is, memo: state, fault: found.fault };
    const [runId, ...others] = found.runs.filter((id) => !state.past.includes(id));
    const newest = others.at(-1);
    const possiblyTwice = Math.max(state.possiblyTwice, others.length);
    // Each is told, one memo after the other, until one is left to be asked after.
    if (newest !== undefined && state.past.length < MOST_PAST) {
      return going({ ...state, possiblyTwice, runId: newest, past: [...state.past, newest] }, clock.now());
    }
    if (runId !== undefined) return going(begun({ ...state, possiblyTwice }, runId, clock.now()), clock.now());
    // A list that is too long is read back to now only when a person has looked at the rest.
    return found.all ? null : unsure({ ...state, sentFrom: clock.now().toISOString() }, key, "is too long to be sure");
  }

  async function look(state: Looking, key: string, signal: AbortSignal): Promise<Progress> {
    const shown = await listed(state, key, signal);
    if (shown !== null) return shown;
    const next = nextAfterLook(state.sent, state.withError, clock.now().getTime() - Date.parse(state.sentLast));
    switch (next.is) {
      case "order":
        // Counted before it is sent again, so that it stays counted whatever happens then.
        return ordering({ ...state, possiblyTwice: state.possiblyTwice + 1 }, clock.now());
      case "over":
        return unsure(state, key, "does not show it");
      case "look": {
        if (state.sent === 1) return going(state, clock.now(), next.inMs);
        const how = state.withError ? "answered with an error" : "not answered";
        throw new Fault("extend.ambiguous", `${name}: the order of a run was ${how}, and the list of runs does not show it yet`, {
          retryAt: new Date(clock.now().getTime() + next.inMs),
        });
      }
    }
  }

  function unsure(state: Looking, key: string, list: string): Progress {
    const fault = permanent(
      "extend.ambiguous",
      `${name}: a run may have been ordered, its id never came back, and the list of runs ${list}`,
      `look for the run with the metadata billhook:key ${key}; \`billhook retry\` looks again, and then orders it once more`,
    );
    return { is: "refused", memo: { ...state, sent: 1 }, fault };
  }

  async function verifyWebhook(secret: string, request: WebhookRequest, signal: AbortSignal) {
    const { eventId, runId, payloadUrl } = await verified(request, secret, clock.now(), isLoopback(options.url));
    if (payloadUrl === null || (await request.isRepeat(eventId))) return { eventId, runId };
    const response = await payloads.call({ method: "GET", url: payloadUrl, headers: { accept: "application/json" } }, signal);
    const payload = response.status === 200 ? parsedObject(response.text()) : null;
    if (payload !== null) return { eventId, runId: runIdOf(payload) };
    throw new Fault("extend.webhook-payload", `${name}: the payload of webhook ${eventId} was answered ${response.status}, expected JSON`);
  }

  function advance(document: Document, state: State, key: string, signal: AbortSignal, buying?: Buying): Promise<Progress> {
    switch (state.step) {
      case "upload":
        return upload(document, state, signal);
      case "order":
        return order(document, state, key, signal, buying);
      case "look":
        return look(state, key, signal);
      case "running":
        return running.poll(state, signal);
    }
  }

  const { webhookSecret } = options;
  return {
    name,
    grain: "message",
    accepts: (contentType, filename) => extensionOf(contentType, filename) !== null,
    plan: planFor,
    buys: (memo) => stateOf(memo).step !== "running",
    interrupted: (memo) => {
      const state = stateOf(memo);
      const fault = new Fault("extend.interrupted", `${name}: billhook was stopped before the answer to an order was saved`);
      return state.step === "order" ? lost(state, false, fault) : going(state, clock.now());
    },
    advance: (document, memo, key, signal, buying) =>
      advance(document, stateOf(memo), key, signal, buying).then((progress) => unread(progress, document)),
    cancel: async (memo, signal) => {
      const state = stateOf(memo);
      if (state.step !== "running") return;
      const judged = await api.write(`/extract_runs/${state.runId}/cancel`, {}, signal);
      // A refusal says that it is over.
      if (judged.is === "unclear" || judged.is === "halted") throw judged.fault;
    },
    // No request of ours can ask it to keep nothing: it is asked to delete, the runs first, for they hold what was read.
    forget: async (memo, signal) => {
      const { past, runId, files } = stateOf(memo);
      for (const id of new Set([...past, ...(runId === undefined ? [] : [runId])])) await api.remove(`/extract_runs/${id}`, signal);
      for (const id of files) await api.remove(`/files/${id}`, signal);
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
