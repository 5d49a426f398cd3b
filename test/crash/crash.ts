/** `npm run test:crash [-- --rounds 200 --seed 7]`: the whole crash campaign; the last line is its result, and the exit code is 1 when it is not all zeros. */
import { parseArgs } from "node:util";
import { requireDovecot } from "../servers/dovecot.ts";
import { MIXED, mailOf } from "./box.ts";
import { spread } from "./points.ts";
import { campaign, randomFrom, reportOf } from "./rounds.ts";

const { values } = parseArgs({
  options: {
    /** Rounds with deaths at random times. */
    rounds: { type: "string", default: "50" },
    /** Of all points only so many, spread over their kinds. */
    points: { type: "string" },
    /** Only this one, as a failing campaign names it. */
    point: { type: "string" },
    lanes: { type: "string", default: "3" },
    seed: { type: "string", default: String(Math.floor(Math.random() * 2 ** 31)) },
  },
});

// What it started ends with it.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));
const missing = requireDovecot();
if (missing !== null) throw new Error(missing);
console.log(`seed ${values.seed}`);
const random = randomFrom(Number(values.seed));
const { point, points: most } = values;
const tally = await campaign({
  mails: await mailOf(MIXED),
  choose: (points) => {
    if (point !== undefined) return [point];
    return most === undefined ? points : spread(points, Number(most), random);
  },
  rounds: Number(values.rounds),
  lanes: Number(values.lanes),
  random,
  say: (what) => console.error(what),
  progress: (over, of) => over % 50 === 0 && console.error(`${over} of ${of} rounds`),
});
for (const line of reportOf(tally)) console.log(line);
if (tally.lost + tally.deliveredTwice + tally.beyondContract + tally.wrong > 0) process.exitCode = 1;
