/** Prints what ten minutes of random cuts and half-opens do to the intake, and to its memory: `npm run bench -- soak [--minutes N]`. */
import { soak } from "../faults/soak.ts";

const MINUTES = 10;
const DISTURBANCES_PER_MINUTE = 20;
const MESSAGES_PER_MINUTE = 200;

const at = process.argv.indexOf("--minutes");
const minutes = at === -1 ? MINUTES : Number(process.argv[at + 1]);
const seed = Number(process.env.BILLHOOK_SEED ?? Math.floor(Math.random() * 2 ** 31));
const plan = {
  seconds: Math.round(minutes * 60),
  disturbances: Math.round(minutes * DISTURBANCES_PER_MINUTE),
  messages: Math.round(minutes * MESSAGES_PER_MINUTE),
  seed,
};
const found = await soak(plan);
const inMegabytes = (bytes: readonly number[]) => bytes.map((one) => (one / 1e6).toFixed(1)).join(" ");
console.log(`BILLHOOK_SEED=${seed}, ${plan.seconds} s, ${plan.disturbances} cuts and half-opens, ${found.connections} connections`);
console.log(`${found.messages} of ${plan.messages} messages: ${found.missing} lost, ${found.duplicates + found.seenAgain} twice`);
console.log(`heap after each tenth: ${inMegabytes(found.heap)} MB; RSS: ${inMegabytes(found.rss)} MB`);
if (found.missing + found.duplicates + found.seenAgain > 0) process.exitCode = 1;
