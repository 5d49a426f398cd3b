/** Loaded before billhook (`--import`): its clock differs from the machine's by as many milliseconds as the file of BILLHOOK_TEST_CLOCK says. */
import { readFileSync } from "node:fs";

const file = process.env.BILLHOOK_TEST_CLOCK ?? "";
const real = Date.now;
let aheadMs = 0;

// As a clock that is set does: what was begun by a timer ends by the timer, and everything else sees another time from now on.
Date.now = () => real() + aheadMs;
globalThis.Date = new Proxy(Date, {
  construct: (target, args, made) => Reflect.construct(target, args.length === 0 ? [target.now()] : args, made),
});
process.on("SIGUSR2", () => {
  aheadMs = Number(readFileSync(file, "utf8"));
});
