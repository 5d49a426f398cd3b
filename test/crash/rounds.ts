/** The crash campaign: a round in which nothing happens, one for each point a daemon can die at, and some in which it dies at random times. */
import { setTimeout as pause } from "node:timers/promises";
import { type Dovecot, startDovecot } from "../servers/dovecot.ts";
import { type Account, accountOf, type Forced, NOTHING_FORCED } from "./account.ts";
import type { Mail } from "./box.ts";
import type { Journal } from "./points.ts";
import { differences, exactLinesOf, type Remains, remainsOf } from "./remains.ts";
import { type Life, startWorld, type World } from "./world.ts";

export type Campaign = {
  readonly mails: readonly Mail[];
  /** Of all points, those at which a daemon dies. */
  readonly choose: (points: Journal) => Journal;
  /** Rounds with deaths at random times. */
  readonly rounds: number;
  /** How many rounds go on at once. */
  readonly lanes: number;
  readonly random: () => number;
  /** Told of each round that went wrong, as soon as it is over; and how many are over, of how many. */
  readonly say: (what: string) => void;
  readonly progress?: (over: number, of: number) => void;
};

export type Tally = Omit<Account, "wrong"> & {
  readonly points: number;
  readonly rounds: number;
  /** Arrivals taken to their end, in all rounds. */
  readonly messages: number;
  readonly wrong: number;
};

/** A run at the service while deaths come at random: it is asked after more than once. */
const RUN_MS = 250;
const MOST_DEATHS = 4;
/** What was ordered at Extend, and cut off twice, is looked for in its list for ten minutes. */
const PATIENCE_MS = 900_000;
const PAUSE_MS = 5_000;
const UNKNOWN = { lost: 0, deliveredTwice: 0, beyondContract: 0, forced: NOTHING_FORCED };

export async function campaign(options: Campaign): Promise<Tally> {
  const { mails, random, say } = options;
  const dovecot = await startDovecot();
  try {
    const { calm, points, tookMs } = await calmRound(dovecot, mails);
    const chosen = options.choose(points);
    const atPoints = chosen.map((point) => ({ called: point, play: (world: World) => atPoint(world, mails, point), runMs: 0 }));
    const atRandom = Array.from({ length: options.rounds }, (_, nth) => {
      // Drawn in order, so that a seed means the same however the lanes run.
      const deaths = Array.from({ length: 1 + Math.floor(random() * MOST_DEATHS) }, () => random() * 1.2 * tookMs);
      return { called: `random ${nth + 1}`, play: (world: World) => atMoments(world, mails, deaths), runMs: RUN_MS };
    });
    const rounds = [...atPoints, ...atRandom];
    let over = 0;
    const accounts = await inLanes(rounds, options.lanes, async ({ called, play, runMs }) => {
      const account = await playRound(dovecot, runMs, { mails, calm, play });
      if (!isRight(account)) say(`${called}: ${countsOf(account)}\n  ${account.wrong.join("\n  ")}`);
      over += 1;
      options.progress?.(over, rounds.length);
      return account;
    });
    const sum = (of: (account: Account) => number) => accounts.reduce((total, account) => total + of(account), 0);
    const names = Object.keys(NOTHING_FORCED) as (keyof Forced)[];
    return {
      points: chosen.length,
      rounds: options.rounds,
      messages: accounts.length * mails.length,
      lost: sum(({ lost }) => lost),
      deliveredTwice: sum(({ deliveredTwice }) => deliveredTwice),
      beyondContract: sum(({ beyondContract }) => beyondContract),
      forced: Object.fromEntries(names.map((name) => [name, sum(({ forced }) => forced[name])])) as Forced,
      wrong: accounts.filter((account) => !isRight(account)).length,
    };
  } finally {
    await dovecot.stop();
  }
}

function isRight({ lost, deliveredTwice, beyondContract, wrong }: Account): boolean {
  return lost + deliveredTwice + beyondContract + wrong.length === 0;
}

/** Lists every point, and measures how long a life takes. */
async function calmRound(dovecot: Dovecot, mails: readonly Mail[]) {
  const world = await startWorld(dovecot, 0);
  try {
    await world.deliver(mails);
    const began = performance.now();
    const { ended, journal, said } = await world.live();
    if (ended !== 0) throw new Error(`the uninterrupted run ended with ${ended}:\n${said}`);
    return { calm: await remainsOf(world), points: journal, tookMs: performance.now() - began };
  } finally {
    await world.stop();
  }
}

type Play = (world: World) => Promise<readonly Life[]>;

async function atPoint(world: World, mails: readonly Mail[], point: string): Promise<readonly Life[]> {
  await world.deliver(mails);
  const life = await world.live(point);
  if (life.ended !== "SIGKILL") throw new Error(`the daemon did not come to this point, and ended with ${life.ended}:\n${life.said}`);
  return [life];
}

/** Mail comes in before and between the deaths. */
async function atMoments(world: World, mails: readonly Mail[], deaths: readonly number[]): Promise<readonly Life[]> {
  const lives: Life[] = [];
  const share = Math.ceil(mails.length / (deaths.length + 1));
  for (const [nth, afterMs] of deaths.entries()) {
    await world.deliver(mails.slice(nth * share, (nth + 1) * share));
    const life = await world.liveUntil(pause(afterMs));
    if (life.ended !== "SIGKILL") throw new Error(`the daemon ended with ${life.ended} before it was killed:\n${life.said}`);
    lives.push(life);
  }
  await world.deliver(mails.slice(deaths.length * share));
  return lives;
}

async function playRound(
  dovecot: Dovecot,
  runMs: number,
  { mails, calm, play }: { readonly mails: readonly Mail[]; readonly calm: Remains; readonly play: Play },
): Promise<Account> {
  const world = await startWorld(dovecot, runMs);
  try {
    const lives = await play(world);
    const { found, given } = await toTheEnd(world);
    const account = accountOf(calm, found, { mails, journals: lives.map(({ journal }) => journal), given });
    const again = await world.live();
    const moved = differences(exactLinesOf(found), exactLinesOf(await remainsOf(world)));
    const restless = again.ended === 0 ? moved : [...moved, `it ended with ${again.ended}:\n${again.said}`];
    return { ...account, wrong: [...account.wrong, ...restless.map((what) => `run again, ${what}`)] };
  } catch (thrown) {
    return { ...UNKNOWN, wrong: [thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown)] };
  } finally {
    await world.stop();
  }
}

async function toTheEnd(world: World): Promise<{ readonly found: Remains; readonly given: readonly string[] }> {
  const given: string[] = [];
  for (const began = performance.now(); performance.now() - began < PATIENCE_MS; ) {
    const { ended, said } = await world.live();
    if (ended !== 0 && ended !== 3) throw new Error(`the daemon ended with ${ended}:\n${said}`);
    const found = await remainsOf(world);
    const doubtful = ambiguousIn(found);
    if (ended === 0 && doubtful.length === 0) return { found, given };
    for (const message of doubtful) await world.retry(message);
    given.push(...doubtful);
    if (ended === 3) await pause(PAUSE_MS);
  }
  throw new Error(`it did not come to rest in ${PATIENCE_MS / 1_000} s`);
}

function ambiguousIn({ ledger }: Remains): readonly string[] {
  const failed = ledger.filter(
    ({ table, row }) => table === "task" && row.status === "failed" && /"code":"\w+\.ambiguous"/.test(String(row.fault)),
  );
  return failed.map(({ row }) => String(row.message));
}

async function inLanes<T, R>(items: readonly T[], lanes: number, work: (item: T) => Promise<R>): Promise<readonly R[]> {
  const results: R[] = [];
  const queue = items.values();
  const lane = async () => {
    for (const item of queue) results.push(await work(item));
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  return results;
}

function countsOf({ lost, deliveredTwice, beyondContract }: Omit<Account, "forced" | "wrong">): string {
  return `lost ${lost}, delivered twice ${deliveredTwice}, runs beyond the contract ${beyondContract}`;
}

/** `points N, rounds R, messages M, lost 0, delivered twice 0, runs beyond the contract 0`, and before it what the contract forces. */
export function reportOf(tally: Tally): readonly string[] {
  const { points, rounds, messages, wrong } = tally;
  const forced = Object.entries(tally.forced).map(([name, count]) => `${name} ${count}`);
  return [
    `forced by the contract: ${forced.join(", ")}`,
    ...(wrong === 0 ? [] : [`rounds that did not end as they must: ${wrong}`]),
    `points ${points}, rounds ${rounds}, messages ${messages}, ${countsOf(tally)}`,
  ];
}

/** A small generator with a seed, so that a failing campaign can be run again. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
