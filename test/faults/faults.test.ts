/** The fault campaign: whatever happens between us and a real Dovecot, every mail is ingested once, and people are told the truth. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Dovecot, requireDovecot, startDovecot } from "../servers/dovecot.ts";
import { noDisk, smallDisk } from "../store/disk.ts";
import { CONNECTION } from "./connection.ts";
import { NUMBERS } from "./numbers.ts";
import { fullDisk, lowDisk } from "./ours.ts";
import { isToldRight, type Played, play, type Scripted, tableOf } from "./play.ts";
import { WORDS } from "./words.ts";

const missing = requireDovecot();
/** Those that take longest begin. */
const ALL = [...CONNECTION, ...WORDS, ...NUMBERS].sort((a, b) => (b.patienceMs ?? 0) - (a.patienceMs ?? 0));
/** Each with a Dovecot of its own, playing one fault after the other: most of the time is waiting. */
const LANES = 8;
const LOGIN_EVERY_MS = 2_000;
/** A timer may fire this much early against another clock. */
const EARLY_MS = 10;

describe.skipIf(missing !== null)(`faults ${missing ?? ""}`, () => {
  const lanes: Dovecot[] = [];
  const played = new Map<string, Played>();
  const playing = new Map(ALL.map((fault) => [fault.name, Promise.withResolvers<Played>()]));

  beforeAll(async () => {
    const queue = [...ALL];
    for (let lane = 0; lane < LANES; lane += 1) lanes.push(await startDovecot());
    for (const dovecot of lanes) void drive(dovecot, queue);
  });
  afterAll(async () => {
    console.log(tableOf([...played.values()]));
    for (const dovecot of lanes) await dovecot.stop();
  });

  async function drive(dovecot: Dovecot, queue: Scripted[]): Promise<void> {
    for (let fault = queue.shift(); fault !== undefined; fault = queue.shift()) {
      const result = play(fault, dovecot);
      playing.get(fault.name)?.resolve(result);
      await result.catch(() => {});
    }
  }
  function check(fault: Scripted, result: Played): void {
    played.set(fault.name, result);
    const { told, missing: lost, duplicates, unreadable, lies } = result;
    expect({ lost, duplicates, unreadable, lies }).toEqual({ lost: 0, duplicates: 0, unreadable: fault.unreadable ?? 0, lies: [] });
    expect(result.seenAgain > 0, "recognised as seen before").toBe(fault.renumbers === true);
    expect(isToldRight(fault, told), `told ${told.join(", ")}; to be told: ${fault.tells.join(", ")}`).toBe(true);
    expect(result.loginEveryMs).toBeGreaterThanOrEqual((fault.loginEveryMs ?? LOGIN_EVERY_MS) - EARLY_MS);
  }

  // It waits for its turn among the others; they do not.
  for (const fault of ALL) {
    test(fault.name, { timeout: 120_000 }, async () => {
      const turn = playing.get(fault.name);
      if (turn === undefined) throw new Error("not played");
      check(fault, await turn.promise);
    });
  }

  for (const make of [fullDisk, lowDisk]) {
    test.skipIf(noDisk !== null)(`${make("").name} ${noDisk ?? ""}`, async () => {
      const [dovecot] = lanes;
      if (dovecot === undefined) throw new Error("no Dovecot");
      const fault = make(await smallDisk("256k"));
      check(fault, await play(fault, dovecot));
    });
  }

  test("there are at least thirty", () => {
    expect(new Set(ALL.map(({ name }) => name)).size).toBeGreaterThanOrEqual(30);
  });
});
