/** Cloudsquid's asynchronous run: upload, start, poll; one remote effect a call, its id saved before the next. */
import type { Clock } from "../base/clock.ts";
import { Fault, permanent } from "../base/errors.ts";
import type { Http, HttpBody } from "../base/http.ts";
import { type Judged, judge, object, shortText } from "./cloudsquid-answer.ts";
import { type Encoding, encode, type MultipartOptions, submittedType } from "./cloudsquid-encode.ts";
import type { Document, Extractor, Memo, Progress } from "./extractor.ts";

export type CloudsquidOptions = {
  readonly name: string;
  /** `https://api.cloudsquid.io/api`. */
  readonly url: string;
  readonly apiKey: string;
  /** The project's name, as `GET /projects` lists it. */
  readonly project: string;
  /** The table's id, a UUID. */
  readonly table: string;
  readonly encoding: Encoding;
  readonly multipart: MultipartOptions;
  readonly zeroRetention: boolean;
  /** Largest submission, in bytes before base64. */
  readonly maxBytes: number;
  readonly poll: { readonly firstMs: number; readonly longestMs: number };
  /** How long a run may stay in a state, from when it was first seen there. */
  readonly deadlines: { readonly pendingMs: number; readonly runningMs: number };
};

/** `lost` counts creating calls in a row whose answer was lost after they had been sent. */
type Uploading = { readonly step: "upload"; readonly lost: number };
type Starting = { readonly step: "uploaded"; readonly rowId: string; readonly lost: number };
type Running = {
  readonly step: "running";
  readonly rowId: string;
  readonly runId: string;
  /** As the service last gave it; null when it gave none. */
  readonly status: string | null;
  readonly phase: "pending" | "running";
  /** Since when it is in this phase, ISO 8601. */
  readonly since: string;
  readonly polls: number;
};
type State = Uploading | Starting | Running;

type Created =
  | { readonly is: "made"; readonly id: string }
  | { readonly is: "refused"; readonly fault: Fault }
  /** Nobody knows whether it was made. */
  | { readonly is: "lost"; readonly fault: Fault };

/** The service has no idempotency keys and no way to list rows: a call whose answer was lost is made once more, and no more. */
const MOST_LOST = 1;

/**
 * Statuses are `pending`, `running`, `done`, `error`; anything else, or none, counts as running until its deadline.
 * A refusal's memo is where a person's retry goes on: a failed run is started anew on the same row, an overdue one is polled again.
 * A 404 counts as temporary, because a project or table can be mended; only a run that stays unknown for both deadlines is refused.
 */
export function createCloudsquid(options: CloudsquidOptions, deps: { readonly clock: Clock; readonly http: Http }): Extractor {
  const { clock, http } = deps;
  const api = options.url.replace(/\/+$/, "");
  const table = `${api}/projects/${encodeURIComponent(options.project)}/tables/${encodeURIComponent(options.table)}`;

  async function ask(method: "GET" | "POST", url: string, body: HttpBody | null, signal: AbortSignal): Promise<Judged> {
    const headers = { "x-api-key": options.apiKey, accept: "application/json", ...(body ? { "content-type": "application/json" } : {}) };
    const response = await http.call({ method, url, headers, ...(body ? { body } : {}) }, signal);
    return judge(`${options.name}: ${method} ${new URL(url).pathname}`, response, clock.now());
  }

  /** A call that makes something and answers with its id. */
  async function create(url: string, body: HttpBody, field: "row_id" | "run_id", signal: AbortSignal): Promise<Created> {
    try {
      const judged = await ask("POST", url, body, signal);
      if (judged.is === "refused") return judged;
      if (judged.is === "unreadable") return { is: "lost", fault: judged.fault };
      const id = object(judged.json)[field];
      // An id becomes part of a path: nothing but letters, digits, dashes and underscores.
      if (typeof id === "string" && /^[\w-]{1,128}$/.test(id)) return { is: "made", id };
      return { is: "lost", fault: new Fault("cloudsquid.unexpected", `${options.name}: the answer held no usable ${field}`) };
    } catch (thrown) {
      if (thrown instanceof Fault && thrown.code === "http.ambiguous") return { is: "lost", fault: thrown };
      throw thrown;
    }
  }

  function lostAgain(state: Uploading | Starting, fault: Fault): Progress {
    if (state.lost < MOST_LOST) {
      return going({ ...state, lost: state.lost + 1 }, options.poll.longestMs);
    }
    const what = state.step === "upload" ? "the upload" : `the start of a run on row ${state.rowId}`;
    return {
      is: "refused",
      memo: { ...state, lost: 0 },
      fault: permanent(
        "cloudsquid.ambiguous",
        `${options.name}: ${what} was sent ${state.lost + 1} times and no answer came back; it may have taken place (${fault.message})`,
        "look into the table for rows of this file name; `billhook retry` sends it again",
        fault,
      ),
    };
  }

  async function upload(document: Document, state: Uploading, signal: AbortSignal): Promise<Progress> {
    const body = encode(document, options.encoding, options.multipart);
    if (body === null) {
      return refused(state, permanent("cloudsquid.nothing-to-send", `${options.name}: no part is of a type the service takes`));
    }
    if (body.size > options.maxBytes) {
      const fault = permanent(
        "cloudsquid.too-large",
        `${options.name}: the submission is ${body.size} bytes long, the limit is ${options.maxBytes}`,
        "raise maxBytes of the service if it takes more, then run `billhook retry`",
      );
      return refused(state, fault);
    }
    const made = await create(`${table}/files`, body, "row_id", signal);
    if (made.is === "lost") return lostAgain(state, made.fault);
    if (made.is === "refused") return refused(state, made.fault);
    return going({ step: "uploaded", rowId: made.id, lost: 0 }, 0);
  }

  async function start(state: Starting, signal: AbortSignal): Promise<Progress> {
    const body = Buffer.from(JSON.stringify({ row_id: state.rowId, zero_retention: options.zeroRetention }));
    const made = await create(`${table}/run`, body, "run_id", signal);
    if (made.is === "lost") return lostAgain(state, made.fault);
    if (made.is === "refused") return refused({ step: "upload", lost: 0 }, made.fault);
    const since = clock.now().toISOString();
    return wait({ step: "running", rowId: state.rowId, runId: made.id, status: null, phase: "pending", since, polls: 0 });
  }

  async function poll(state: Running, signal: AbortSignal): Promise<Progress> {
    const run = `${options.name}: run ${state.runId} of row ${state.rowId}`;
    const inPhaseMs = clock.now().getTime() - Date.parse(state.since);
    const judged = await ask("GET", `${table}/run/${state.runId}`, null, signal).catch((thrown: unknown) => {
      const { pendingMs, runningMs } = options.deadlines;
      if (!(thrown instanceof Fault) || thrown.code !== "cloudsquid.not-found" || inPhaseMs <= pendingMs + runningMs) throw thrown;
      return {
        is: "refused",
        fault: permanent(thrown.code, `${run} is not known to the service`, thrown.advice ?? undefined, thrown),
      } as const;
    });
    if (judged.is === "refused") return refused({ step: "upload", lost: 0 }, judged.fault);
    if (judged.is === "unreadable") throw judged.fault;

    const row = object(judged.json);
    const status = shortText(row.status, 40);
    switch (status?.toLowerCase()) {
      case "done": {
        // `result` is what the service's older API called it.
        const data = row.data ?? row.result ?? null;
        return {
          is: "answered",
          memo: { ...state, status },
          answer: {
            runId: state.runId,
            data,
            credits: null,
            reasoning: stringOr(row.reasoning),
            review: row.review ?? null,
            raw: judged.json,
          },
        };
      }
      case "error": {
        const said = shortText(row.errorMessage, 300);
        const fault = permanent(
          "cloudsquid.failed",
          `the service could not read it: status error${said === null ? "" : `: ${said}`} (${run})`,
        );
        return refused({ step: "uploaded", rowId: state.rowId, lost: 0 }, fault);
      }
    }
    // A phase is entered once: a status that wavers must not move the deadline for ever.
    const phase = state.phase === "pending" && status?.toLowerCase() === "pending" ? "pending" : "running";
    const polls = state.polls + 1;
    if (phase !== state.phase) return wait({ ...state, status, phase, since: clock.now().toISOString(), polls });
    const limitMs = phase === "pending" ? options.deadlines.pendingMs : options.deadlines.runningMs;
    if (inPhaseMs <= limitMs) return wait({ ...state, status, polls });
    const fault = permanent(
      "cloudsquid.deadline",
      `${run} still has the status ${status ?? "(none)"} after ${Math.round(inPhaseMs / 1_000)} s; the deadline is ${limitMs / 1_000} s`,
      "look at the run in Cloudsquid; `billhook retry` asks after it again",
    );
    return refused({ ...state, status, since: clock.now().toISOString(), polls: 0 }, fault);
  }

  function going(state: State, waitMs: number): Progress {
    return { is: "going", memo: state, nextAt: new Date(clock.now().getTime() + waitMs) };
  }

  /** Half as long again after each poll, a quarter more or less at random. */
  function wait(state: Running): Progress {
    const { firstMs, longestMs } = options.poll;
    const plain = Math.min(longestMs, firstMs * 1.5 ** Math.min(state.polls, 30));
    return going(state, Math.min(longestMs, plain * (0.75 + clock.random() / 2)));
  }

  return {
    name: options.name,
    grain: options.encoding === "attachments" ? "attachment" : "message",
    accepts: (contentType, filename) => submittedType(contentType, filename) !== null,
    advance: (document, memo, _key, signal) => {
      const state = stateOf(memo);
      switch (state.step) {
        case "upload":
          return upload(document, state, signal);
        case "uploaded":
          return start(state, signal);
        case "running":
          return poll(state, signal);
      }
    },
    probe: async (signal) => {
      const judged = await ask("GET", `${api}/projects`, null, signal);
      if (judged.is !== "answer") throw judged.fault;
      const names = Array.isArray(judged.json) ? judged.json.map((project) => object(project).name) : [];
      const listed = names.includes(options.project) ? "is" : "is NOT";
      return { said: `key accepted; project ${JSON.stringify(options.project)} ${listed} among the ${names.length} it lists` };
    },
  };
}

function refused(state: State, fault: Fault): Progress {
  return { is: "refused", memo: state, fault };
}

function stateOf(memo: Memo | null): State {
  if (memo === null) return { step: "upload", lost: 0 };
  if (memo.step === "upload" || memo.step === "uploaded" || memo.step === "running") return memo as State;
  throw permanent(
    "cloudsquid.memo",
    `a memo with the step ${JSON.stringify(memo.step)} is not one of Cloudsquid`,
    "was the service of this document changed?",
  );
}

function stringOr(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? value : null;
}
