/** Asking after a run at Extend until it is over, and what its end means for the document. */
import type { Clock } from "../base/clock.ts";
import { Fault, permanent } from "../base/errors.ts";
import { unexpected } from "./extend-answer.ts";
import type { Api } from "./extend-api.ts";
import { type Outcome, outcomeOf, type RunOptions } from "./extend-run.ts";
import { type Going, going, ordering, over, type Running } from "./extend-state.ts";
import type { Progress } from "./extractor.ts";
import { type Polling, pollWaitMs } from "./polling.ts";

export type PollOptions = RunOptions & {
  readonly poll: Polling;
  /** How long a run may stay in a state, from when it was first seen there. */
  readonly deadlines: { readonly pendingMs: number; readonly runningMs: number };
};

export type RunPolling = {
  readonly poll: (state: Running, signal: AbortSignal) => Promise<Progress>;
  readonly askAgain: (state: Running) => Progress;
  /** What the record of the run means for the document. */
  readonly settled: (state: Running, outcome: Exclude<Outcome, { is: "unexpected" }>) => Progress;
};

const MOST_RERUNS = 1;
const STEADY_MS = 30_000;
const FACTOR = 1.15;

export function createPolling(options: PollOptions, api: Api, clock: Clock): RunPolling {
  const { name } = options;

  async function poll(state: Running, signal: AbortSignal): Promise<Progress> {
    const path = `/extract_runs/${state.runId}`;
    const judged = await api.read(path, signal);
    if (judged.is === "answer") {
      const outcome = outcomeOf(options, state.runId, judged.json);
      if (outcome.is !== "unexpected") return settled(state, outcome);
      const fault = unexpected(api.place("GET", path), judged.json, outcome.expected);
      if (!isOverdue(state)) throw fault;
      const advice = "look at the run in Extend; `billhook retry` asks after it again";
      return { is: "refused", memo: askedAnew(state), fault: permanent(fault.code, fault.message, advice) };
    }
    if (judged.is === "halted") return { is: "halted", memo: state, fault: judged.fault };
    const { code, message, advice } = judged.fault;
    // A region or workspace that is not the run's can be mended.
    if (code === "extend.not-found" && !isOverdue(state)) throw new Fault(code, message, { advice: advice ?? undefined });
    // Only a run that is not there any more may be ordered anew; whatever else was refused, the question is put again.
    return { is: "refused", memo: code === "extend.not-found" ? over(state) : state, fault: judged.fault };
  }

  /** Whether it cannot be under way any more, whatever the service says of it. */
  function isOverdue(state: Running): boolean {
    const { pendingMs, runningMs } = options.deadlines;
    return inPhaseMs(state) > (state.phase === "pending" ? pendingMs : 0) + runningMs;
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
        return { ...waiting(state, outcome.status, outcome.pending), credits: outcome.credits };
    }
  }

  function waiting(state: Running, status: string, pending: boolean): Exclude<Progress, { is: "answered" }> {
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
    return { is: "refused", memo: askedAnew({ ...state, status }), fault };
  }

  /** Where a person's retry goes on. */
  function askedAnew(state: Running): Running {
    return { ...state, since: clock.now().toISOString(), polls: 0 };
  }

  function inPhaseMs(state: Running): number {
    return clock.now().getTime() - Date.parse(state.since);
  }

  /** As Extend's own client: the first interval for 30 s, then each longer by 15 %. */
  function askAgain(state: Running): Going {
    const { firstMs } = options.poll;
    const growth = { steady: Math.round(STEADY_MS / firstMs), factor: FACTOR };
    const waitMs = pollWaitMs(state.polls, options.poll, growth, clock.random());
    return going({ ...state, polls: state.polls + 1 }, clock.now(), waitMs);
  }

  return { poll, askAgain, settled };
}
