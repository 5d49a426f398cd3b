/** A soak: mail arrives at several mailboxes while their connections are cut and half-opened at random. */
import { setTimeout as pause } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { startDovecot } from "../servers/dovecot.ts";
import { type Stage, startStage, type Tally } from "./stage.ts";

export type SoakPlan = { readonly seconds: number; readonly disturbances: number; readonly messages: number; readonly seed: number };

export type Soaked = Pick<Tally, "messages" | "missing" | "duplicates" | "seenAgain" | "lies"> & {
  readonly connections: number;
  /** Bytes at the end of each tenth, after a collection of garbage. */
  readonly heap: readonly number[];
  readonly rss: readonly number[];
};

const MAILBOXES = 4;
/** Enough to reach into the greeting, the login, a listing or a body, wherever the connection stands. */
const MOST_BYTES = 8_000;
const STEPS = 10;
/** The schedule's sweep, in haste. */
const SWEEP_MS = 5_000;

export async function soak({ seconds, disturbances, messages, seed }: SoakPlan): Promise<Soaked> {
  const random = randomFrom(seed);
  const dovecot = await startDovecot();
  const stages: Stage[] = [];
  try {
    for (let n = 0; n < MAILBOXES; n += 1) stages.push(await startStage(dovecot, {}, { sweepEveryMs: SWEEP_MS }));
    for (const stage of stages) stage.begin();
    const heap: number[] = [];
    const rss: number[] = [];
    const deeds = [
      ...Array.from({ length: messages }, () => ({ at: random(), deed: (stage: Stage) => stage.deliver(1) })),
      ...Array.from({ length: disturbances }, () => ({ at: random(), deed: disturb })),
    ].map(({ at, deed }) => ({ at, deed: () => deed(pick(stages, random)) }));
    const looks = Array.from({ length: STEPS }, (_, step) => ({
      at: (step + 1) / STEPS,
      deed: async () => {
        collectGarbage();
        const used = process.memoryUsage();
        heap.push(used.heapUsed);
        rss.push(used.rss);
      },
    }));
    const began = performance.now();
    for (const { at, deed } of [...deeds, ...looks].sort((a, b) => a.at - b.at)) {
      const wait = at * seconds * 1_000 - (performance.now() - began);
      if (wait > 0) await pause(wait);
      await deed();
    }
    for (const stage of stages) stage.mark();
    await Promise.all(stages.map((stage) => stage.until("everything is ingested", stage.isWell)));
    const tallies = await Promise.all(stages.map((stage) => stage.tally()));
    const sum = (of: (tally: Tally) => number) => tallies.reduce((total, tally) => total + of(tally), 0);
    return {
      messages: sum((tally) => tally.messages),
      missing: sum((tally) => tally.missing),
      duplicates: sum((tally) => tally.duplicates),
      seenAgain: sum((tally) => tally.seenAgain),
      lies: tallies.flatMap(({ lies }) => lies),
      connections: stages.reduce((total, { proxy }) => total + proxy.accepted(), 0),
      heap,
      rss,
    };
  } finally {
    for (const stage of stages) await stage.stop();
    await dovecot.stop();
  }

  async function disturb({ proxy }: Stage): Promise<void> {
    const which = Math.floor(random() * 3);
    if (which === 0) proxy.cut();
    else if (which === 1) proxy.cutAfter(Math.floor(random() * MOST_BYTES));
    else proxy.freeze();
  }
}

function pick<T>(from: readonly T[], random: () => number): T {
  return from[Math.floor(random() * from.length)] as T;
}

/** A small generator whose seed is printed, so that a soak can be run again. */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

function collectGarbage(): void {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
}
