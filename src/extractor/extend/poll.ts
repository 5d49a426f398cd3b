/** Asking after a run at Extend until it is over, and what its end means for the document. */
import type { Clock } from "../../base/clock.ts";
import { Fault, permanent } from "../../base/errors.ts";
import type { Progress } from "../extractor.ts";
import { answered, type Polling, pollWaitMs } from "../polling.ts";
import { unexpected } from "./answer.ts";
import type { Api } from "./api.ts";
import { type Outcome, outcomeOf, PHASES, type Phase, type RunOptions } from "./run.ts";
import { type Going, going, ordering, over, type Running, type State } from "./state.ts";

export type PollOptions = RunOptions & {
  readonly poll: Polling;
  /** How long a run may stay in a state, from when it was first seen there; time in which no question was answered does not count. */
  readonly deadlines: { readonly pendingMs: number; readonly runningMs: number };
  /** How long people at the service may take to look at what a run found; 14 days unless said otherwise. */
  readonly reviewMs?: number;
};

export type RunPolling = {
  readonly poll: (state: Running, signal: AbortSignal) => Promise<Progress>;
  readonly askAgain: (state: Running) => Progress;
  /** What the record of the run means for the document. */
  readonly settled: (state: Running, outcome: Exclude<Outcome, { is: "unexpected" }>) => Progress;
};

const MOST_RERUNS = 1;
const DAY_MS = 86_400_000;
const STEADY_MS = 30_000;
const FACTOR = 1.15;
/** Between two questions whether people have looked. */
const LONGEST_FOR_PEOPLE_MS = 600_000;

export function createPolling(options: PollOptions, api: Api, clock: Clock): RunPolling {
  const { name, reviewMs = 14 * DAY_MS } = options;

  async function poll(before: Running, signal: AbortSignal): Promise<Progress> {
    const path = `/extract_runs/${before.runId}`;
    const judged = await api.read(path, signal);
    if (judged.is === "halted") return { is: "halted", memo: before, fault: judged.fault };
    const state = { ...before, ...answered(before, pollingIn(before.phase).longestMs, clock.now()) };
    if (judged.is === "answer") {
      const outcome = outcomeOf(options, state.runId, judged.json);
      if (outcome.is !== "unexpected") return settled(state, outcome);
      const { code, message } = unexpected(api.place("GET", path), judged.json, outcome.expected);
      return odd(state, code, message, "look at the run in Extend; `billhook retry` asks after it again", askedAnew(state));
    }
    const { code, message, advice } = judged.fault;
    // A region or workspace that is not the run's can be mended. Only a run that is not there any more may be ordered anew.
    if (code === "extend.not-found") return odd(state, code, message, advice, over(state));
    return { is: "refused", memo: state, fault: judged.fault };
  }

  /** An answer that may yet be a better one: until the run cannot be under way any more, it is asked for again. */
  function odd(state: Running, code: string, message: string, advice: string | null, retried: State): Progress {
    const { pendingMs, runningMs } = options.deadlines;
    const mostMs = { pending: pendingMs + runningMs, running: runningMs, review: reviewMs }[state.phase];
    const temporary = inPhaseMs(state) <= mostMs;
    const fault = new Fault(code, message, { advice: advice ?? undefined, temporary });
    return temporary ? { ...askAgain(state), fault } : { is: "refused", memo: retried, fault };
  }

  function settled(state: Running, outcome: Exclude<Outcome, { is: "unexpected" }>): Progress {
    switch (outcome.is) {
      case "answered":
        return { is: "answered", memo: { ...state, status: outcome.status }, answer: outcome.answer };
      case "out of credits":
        return { is: "halted", memo: over(state), fault: outcome.fault, credits: outcome.credits };
      case "failed": {
        const { again, fault, credits } = outcome;
        if (again && state.reruns < MOST_RERUNS) return { ...ordering({ ...over(state), reruns: state.reruns + 1 }, clock.now()), credits };
        return { is: "refused", memo: { ...over(state), reruns: 0 }, fault, credits };
      }
      case "waiting":
        return { ...waiting(state, outcome.status, outcome.phase), credits: outcome.credits };
    }
  }

  function waiting(state: Running, status: string, phase: Phase): Exclude<Progress, { is: "answered" }> {
    // A phase is entered once: a status that wavers must not move the deadline for ever.
    if (PHASES.indexOf(phase) > PHASES.indexOf(state.phase)) {
      const since = clock.now().toISOString();
      return askAgain({ ...state, status, phase, since, answeredAt: since, polls: phase === "review" ? 0 : state.polls });
    }
    const { pendingMs: pending, runningMs: running } = options.deadlines;
    const limitMs = { pending, running, review: reviewMs }[state.phase];
    if (inPhaseMs(state) <= limitMs) return askAgain({ ...state, status });
    const fault = permanent(
      "extend.deadline",
      `${name}: run ${state.runId} still has the status ${status} after ${Math.round(inPhaseMs(state) / 1_000)} s; the deadline is ${limitMs / 1_000} s`,
      "look at the run in Extend; `billhook retry` asks after it again",
    );
    return { is: "refused", memo: askedAnew({ ...state, status }), fault };
  }

  /** Where a person's retry goes on. */
  function askedAnew(state: Running): Running {
    const since = clock.now().toISOString();
    return { ...state, since, answeredAt: since, polls: 0 };
  }

  function inPhaseMs(state: Running): number {
    return clock.now().getTime() - Date.parse(state.since);
  }

  function pollingIn(phase: Phase): Polling {
    const { longestMs } = options.poll;
    return phase === "review" ? { firstMs: longestMs, longestMs: Math.max(longestMs, LONGEST_FOR_PEOPLE_MS) } : options.poll;
  }

  /** As Extend's own client: the first interval for 30 s, then each longer by 15 %. */
  function askAgain(state: Running): Going {
    const polling = pollingIn(state.phase);
    const growth = { steady: Math.round(STEADY_MS / polling.firstMs), factor: FACTOR };
    const waitMs = pollWaitMs(state.polls, polling, growth, clock.random());
    return going({ ...state, polls: state.polls + 1 }, clock.now(), waitMs);
  }

  return { poll, askAgain, settled };
}
