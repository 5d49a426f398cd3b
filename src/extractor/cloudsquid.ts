/** Cloudsquid's runs: upload, start, poll, or all at once for a small document; one remote effect a call, its id saved before the next. */
import type { Clock } from "../base/clock.ts";
import { Fault, permanent } from "../base/errors.ts";
import type { Http, HttpBody } from "../http/http.ts";
import { answerOf, empty, failed, type Row } from "./cloudsquid/answer.ts";
import { type CallOptions, createCalls, type Effect } from "./cloudsquid/calls.ts";
import { byUrl, tokenOf } from "./cloudsquid/encode.ts";
import { submittedType } from "./cloudsquid/media.ts";
import { type PlanOptions, planOf, submissionFor } from "./cloudsquid/plan.ts";
import { carried, type Running, type State, type Stored, stateOf, type Unsent, type Uploaded } from "./cloudsquid/state.ts";
import type { Buying, Document, Extractor, Progress } from "./extractor.ts";
import { idOf } from "./json.ts";
import { answered, type Polling, pollWaitMs } from "./polling.ts";
import { skippedBy, unread } from "./submission.ts";

export type CloudsquidOptions = CallOptions &
  PlanOptions & {
    /**
     * `sync` sends a document of up to `syncMaxBytes` in one call that blocks until it is read; the client's deadline must allow for that
     * (the service advises it for what takes less than 60 s). Everything else, and all of it by default, is uploaded, started and polled.
     */
    readonly mode?: "async" | "sync";
    readonly syncMaxBytes?: number;
    /** Only a run that is started by itself can be asked for this, so it rules out `sync`. It does not reach what `uri` stores. */
    readonly zeroRetention: boolean;
    readonly poll: Polling;
    /** How long a run may stay in a state, from when it was first seen there; time in which no question was answered does not count. */
    readonly deadlines: { readonly pendingMs: number; readonly runningMs: number };
  };

type Sending = Unsent | Stored | Uploaded;
type Unmade = Exclude<Effect<unknown>, { is: "made" }>;

/** The service has no idempotency keys and no way to list rows: what may have taken place is tried once more, and no more. */
const MOST_LOST = 1;
const GROWTH = { steady: 0, factor: 1.5 };
/** Faults of a poll that may be mended, and that no run outlives. */
const PASSING = new Set(["cloudsquid.not-found", "cloudsquid.unexpected"]);

/**
 * Statuses are `pending`, `running`, `done`, `error`; anything else, or none, counts as running until its deadline.
 * A refusal's memo is where a person's retry goes on: a failed run is started anew on the same row, an overdue one is polled again.
 * A 404 counts as temporary, because a project or table can be mended; only a run that stays unknown for its deadlines is refused.
 */
export function createCloudsquid(options: CloudsquidOptions, deps: { readonly clock: Clock; readonly http: Http }): Extractor {
  const { clock } = deps;
  const { unsupported = "map", mode = "async", syncMaxBytes = 0 } = options;
  const sync = mode === "sync" && !options.zeroRetention;
  const calls = createCalls(options, deps);

  /** What did not make anything: once more where that is not known, else the end. A row by itself is not a purchase. */
  function unmade(before: Sending, { is, fault }: Unmade, what: string, buys: boolean): Progress {
    if (is !== "lost") return { is, memo: before, fault };
    const state = { ...before, lost: before.lost + 1, perhapsBought: before.perhapsBought || buys };
    if (state.lost > MOST_LOST) {
      const told = permanent(
        "cloudsquid.ambiguous",
        `${options.name}: ${what} was tried ${state.lost} times and it is not known whether it took place (${fault.message})`,
        "look into the table for rows of this file name; `billhook retry` sends it again",
        fault,
      );
      return refused(state, told);
    }
    const pauseMs = Math.max(options.poll.longestMs, (fault.retryAt?.getTime() ?? 0) - clock.now().getTime());
    return { ...going({ ...state, possiblyTwice: state.possiblyTwice + 1 }, pauseMs), fault };
  }

  async function begin(document: Document, unsent: Unsent, signal: AbortSignal, buying?: Buying): Promise<Progress> {
    const plan = planOf(document, options);
    const state: Unsent = { ...unsent, skipped: skippedBy(submissionFor(document, options)) };
    if (plan.is === "refused") return refused(state, plan.fault);
    const body = plan.upload;
    if (options.encoding !== "uri") return submit(state, body, body.size, signal, buying);
    const stored = await calls.store(pathOf(document), body, signal);
    if (stored.is !== "made") return { ...stored, memo: state };
    return going({ ...carried(state), step: "stored", lost: 0 }, 0);
  }

  async function submitStored(document: Document, stored: Stored, signal: AbortSignal, buying?: Buying): Promise<Progress> {
    // The whole mail was stored.
    const state: Stored = { ...stored, skipped: [] };
    try {
      const url = await calls.signedUrl(pathOf(document), signal);
      if (url.is !== "known") return { ...url, memo: state };
      return await submit(state, byUrl(document, url.found), document.raw.size, signal, buying);
    } catch (thrown) {
      if (!(thrown instanceof Fault) || thrown.code !== "cloudsquid.not-found") throw thrown;
      const fault = permanent(
        "cloudsquid.file-gone",
        `${options.name}: the file ${pathOf(document)}, or the table it was meant for, is not there (${thrown.message})`,
        "`billhook retry` stores it again",
        thrown,
      );
      return refused({ ...carried(state), step: "upload", lost: state.lost }, fault);
    }
  }

  async function submit(state: Unsent | Stored, body: HttpBody, size: number, signal: AbortSignal, buying?: Buying): Promise<Progress> {
    if (sync && size <= syncMaxBytes) return extract(state, body, signal, buying);
    const uploaded = await calls.upload(body, signal, buying);
    if (uploaded.is !== "made") return unmade(state, uploaded, "the upload", false);
    return going({ ...carried(state), step: "uploaded", rowId: uploaded.made, lost: 0 }, 0);
  }

  async function extract(state: Unsent | Stored, body: HttpBody, signal: AbortSignal, buying?: Buying): Promise<Progress> {
    const effect = await calls.extract(body, signal, buying);
    if (effect.is !== "made") return unmade(state, effect, "the extraction", true);
    const { made: row } = effect;
    const runId = idOf(row.json.run_id);
    const rowId = idOf(row.json.row_id);
    // A run was bought, whether or not it was given an id.
    const bought = { ...state, runId: runId ?? rowId ?? `unnamed-${clock.now().toISOString()}`, perhapsBought: false };
    const isDone = row.status === "done" || row.status === "absent";
    if (isDone && row.data !== null) return done({ ...bought, lost: 0 }, runId, row);
    if (row.status === "error") return over(bought, rowId, failed(of({ ...bought, rowId }), row));
    if (runId !== null) return wait(running(bought, rowId, runId));
    if (isDone) return over(bought, rowId, empty(of({ ...bought, rowId }), false));
    const fault = permanent(
      "cloudsquid.unpollable",
      `${options.name}: the extraction ended with the status ${row.given ?? "(none)"} and without a run_id, so it cannot be asked after`,
      "look for it in Cloudsquid; `billhook retry` buys another run",
    );
    return refused({ ...bought, lost: MOST_LOST + 1 }, fault);
  }

  async function start(state: Uploaded, signal: AbortSignal, buying?: Buying): Promise<Progress> {
    const started = await calls.start(state.rowId, options.zeroRetention, signal, buying);
    if (started.is === "refused") return refused({ ...carried(state), step: "upload", lost: 0 }, started.fault);
    if (started.is !== "made") return unmade(state, started, startOn(state), true);
    return wait(running(state, state.rowId, started.made));
  }

  async function poll(before: Running, signal: AbortSignal): Promise<Progress> {
    const looked = await calls.look(before.runId, signal).catch((thrown: unknown) => {
      if (thrown instanceof Fault && PASSING.has(thrown.code)) return { is: "odd", fault: thrown } as const;
      throw thrown;
    });
    if (looked.is === "halted") return { is: "halted", memo: before, fault: looked.fault };
    const state = { ...before, ...answered(before, options.poll.longestMs, clock.now()) };
    const inPhaseMs = clock.now().getTime() - Date.parse(state.since);
    const { pendingMs, runningMs } = options.deadlines;
    // Until it would be overdue if it were still running, a better answer may yet come.
    const mayYet = inPhaseMs <= runningMs + (state.phase === "pending" ? pendingMs : 0);
    if (looked.is === "odd") {
      const { code, message, advice } = looked.fault;
      if (mayYet) return { ...wait({ ...state, polls: state.polls + 1 }), fault: looked.fault };
      const fault = permanent(code, `${of(state)} cannot be asked after (${message})`, advice ?? undefined, looked.fault);
      // Only a run that is not there any more may be bought anew.
      return refused(code === "cloudsquid.not-found" ? { ...carried(state), step: "upload", lost: 0 } : askedAnew(state), fault);
    }
    if (looked.is === "refused") return refused(state, looked.fault);

    const { row } = looked;
    switch (row.status) {
      case "done":
        if (row.data !== null) return done({ ...state, status: row.given }, state.runId, row);
        if (mayYet) return { ...wait({ ...state, polls: state.polls + 1 }), fault: empty(of(state), true) };
        return over(state, state.rowId, empty(of(state), false));
      case "error":
        return over(state, state.rowId, failed(of(state), row));
    }
    // A phase is entered once: a status that wavers must not move the deadline for ever.
    const phase = state.phase === "pending" && row.status === "pending" ? "pending" : "running";
    const seen = { ...state, status: row.given, phase, polls: state.polls + 1 } as const;
    if (phase !== state.phase) return wait({ ...seen, since: clock.now().toISOString() });
    const limitMs = phase === "pending" ? pendingMs : runningMs;
    if (inPhaseMs <= limitMs) return wait(seen);
    const fault = permanent(
      "cloudsquid.deadline",
      `${of(state)} still has the status ${row.given ?? "(none)"} after ${Math.round(inPhaseMs / 1_000)} s; the deadline is ${limitMs / 1_000} s`,
      "look at the run in Cloudsquid; `billhook retry` asks after it again",
    );
    return refused(askedAnew(seen), fault);
  }

  /** Where a person's retry goes on. */
  function askedAnew(state: Running): Running {
    const since = clock.now().toISOString();
    return { ...state, since, answeredAt: since, polls: 0 };
  }

  function running(state: State, rowId: string | null, runId: string): Running {
    const since = clock.now().toISOString();
    return { ...carried(state), perhapsBought: false, step: "running", rowId, runId, status: null, phase: "pending", since, polls: 0 };
  }

  function of({ runId, rowId }: { readonly runId?: string; readonly rowId: string | null }): string {
    return `${options.name}: run ${runId ?? "(unnamed)"} of row ${rowId ?? "(unnamed)"}`;
  }

  function going(state: State, waitMs: number): Extract<Progress, { is: "going" }> {
    return { is: "going", memo: state, nextAt: new Date(clock.now().getTime() + waitMs) };
  }

  function wait(state: Running): Extract<Progress, { is: "going" }> {
    return going(state, pollWaitMs(state.polls, options.poll, GROWTH, clock.random()));
  }

  async function advance(document: Document, state: State, signal: AbortSignal, buying?: Buying): Promise<Progress> {
    // The one try that is left is not spent on a service that is down: it has to answer a question first.
    if (state.step !== "running" && state.lost > 0) {
      const asked = await calls.projects(signal);
      if (asked.is !== "known") return { ...asked, memo: state };
    }
    switch (state.step) {
      case "upload":
        return begin(document, state, signal, buying);
      case "stored":
        return submitStored(document, state, signal, buying);
      case "uploaded":
        return start(state, signal, buying);
      case "running":
        return poll(state, signal);
    }
  }

  return {
    name: options.name,
    grain: options.encoding === "attachments" ? "attachment" : "message",
    // What is to be refused has to become a document first; a mail's parts go by themselves.
    accepts: (contentType, filename) =>
      submittedType(contentType, filename, unsupported) !== null || (unsupported === "refuse" && !/^message\/rfc822\b/i.test(contentType)),
    plan: (document) => submissionFor(document, options),
    advance: async (document, memo, _key, signal, buying) =>
      unread(await advance(document, putBack(stateOf(memo)), signal, buying), document),
    buys: (memo) => stateOf(memo).step !== "running",
    interrupted: (memo) => {
      const state = putBack(stateOf(memo));
      if (state.step === "running") return wait(state);
      const fault = new Fault("cloudsquid.interrupted", "billhook was stopped before the answer was saved");
      const interrupted: Unmade = { is: "lost", fault };
      if (state.step === "uploaded") return unmade(state, interrupted, startOn(state), true);
      // Whether it was an upload or a blocking call, only the document's size would tell.
      return unmade(state, interrupted, "the submission", sync);
    },
    probe: async (signal) => {
      const projects = await calls.projects(signal);
      if (projects.is !== "known") throw projects.fault;
      const names = projects.found;
      if (names.includes(options.project)) return { said: `key accepted, project ${JSON.stringify(options.project)} is there` };
      throw permanent(
        "cloudsquid.no-project",
        `${options.name}: the key is accepted, but there is no project ${JSON.stringify(options.project)} among the ${names.length} it lists`,
        "check `project`: it is the project's name, exactly as Cloudsquid shows it",
      );
    },
  };
}

/** A person has put back what was refused as ambiguous: it is sent afresh, and that is counted. */
function putBack(state: State): State {
  if (state.step === "running" || state.lost <= MOST_LOST) return state;
  return { ...state, lost: 0, possiblyTwice: state.possiblyTwice + 1 };
}

function pathOf(document: Document): string {
  return `/billhook/${tokenOf(document)}.eml`;
}

function startOn({ rowId }: Uploaded): string {
  return `the start of a run on row ${rowId}`;
}

/** The run is over without a result. With a row, a person's retry starts another run on it; without, it sends the document again. */
function over(state: State, rowId: string | null, fault: Fault): Progress {
  const memo = carried(state);
  return refused(rowId === null ? { ...memo, step: "upload", lost: 0 } : { ...memo, step: "uploaded", rowId, lost: 0 }, fault);
}

function refused(state: State, fault: Fault): Progress {
  return { is: "refused", memo: state, fault };
}

function done(state: State, runId: string | null, row: Row): Progress {
  return { is: "answered", memo: state, answer: answerOf(runId, row) };
}
