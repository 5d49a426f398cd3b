/** The crash campaign as CI has time for it: every kind of point, spread over a small box, and a few deaths at random times; `npm run test:crash` takes all. */
import { describe, expect, test } from "vitest";
import { requireDovecot } from "../servers/dovecot.ts";
import { mailOf, SMALL } from "./box.ts";
import { kindOf, spread } from "./points.ts";
import { campaign, randomFrom, reportOf } from "./rounds.ts";

const missing = requireDovecot();
/** One of each kind of point. */
const POINTS = 19;
const ROUNDS = 3;

describe.skipIf(missing !== null)(`killed at every kind of point${missing === null ? "" : ` - skipped: ${missing}`}`, () => {
  test("nothing is lost, nothing delivered twice, nothing bought beyond the contract, and nothing moves afterwards", {
    timeout: 300_000,
  }, async () => {
    const seed = Number(process.env.BILLHOOK_SEED ?? Math.floor(Math.random() * 2 ** 31));
    console.log(`BILLHOOK_SEED=${seed}`);
    const random = randomFrom(seed);
    let kinds = 0;
    const wrong: string[] = [];
    const tally = await campaign({
      mails: await mailOf(SMALL),
      choose: (points) => {
        kinds = new Set(points.map(kindOf)).size;
        return spread(points, POINTS, random);
      },
      rounds: ROUNDS,
      lanes: 3,
      random,
      say: (what) => void wrong.push(what),
    });
    console.log(reportOf(tally).join("\n"));
    expect(wrong).toEqual([]);
    expect(kinds).toBe(POINTS);
    expect(tally).toMatchObject({ points: POINTS, lost: 0, deliveredTwice: 0, beyondContract: 0, wrong: 0 });
  });
});
