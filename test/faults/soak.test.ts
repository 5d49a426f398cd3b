/** The bounded form of the soak: half a minute of cuts and half-opens, nothing lost, nothing twice. `npm run bench -- soak` is the long one. */
import { describe, expect, test } from "vitest";
import { requireDovecot } from "../servers/dovecot.ts";
import { soak } from "./soak.ts";

const missing = requireDovecot();
const MESSAGES = 150;

describe.skipIf(missing !== null)(`soaked ${missing ?? ""}`, () => {
  test("15 cuts and half-opens while 150 messages arrive", { timeout: 95_000 }, async () => {
    const seed = Number(process.env.BILLHOOK_SEED ?? Math.floor(Math.random() * 2 ** 31));
    console.log(`BILLHOOK_SEED=${seed}`);
    const {
      messages,
      missing: lost,
      duplicates,
      seenAgain,
      lies,
    } = await soak({ seconds: 30, disturbances: 15, messages: MESSAGES, seed });
    expect({ messages, lost, duplicates, seenAgain, lies }).toEqual({ messages: MESSAGES, lost: 0, duplicates: 0, seenAgain: 0, lies: [] });
  });
});
