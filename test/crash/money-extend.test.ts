/** Extend never sells the same run twice: it is looked for by our key before it is ordered again. */
import { describe, expect, it } from "vitest";
import type { Stage } from "../e2e/stage.ts";
import { requireDovecot } from "../servers/dovecot.ts";
import { campaign, expectHonest } from "./money.ts";

const missing = requireDovecot();
const options = { service: "extend", more: ["body: none"] } as const;

/** Twice the life ended, or the order was lost, right before it was taken: that cannot be told from after, so the list is asked for ten minutes. */
const LOOKED_FOR = { bought: 0, ended: "open: extend.ambiguous" };

async function bought(stage: Stage): Promise<ReadonlyMap<string, number>> {
  const runs = new Map<string, number>();
  for (const { key } of (await stage.counts()).extend.made) runs.set(key ?? "", (runs.get(key ?? "") ?? 0) + 1);
  return runs;
}

describe.skipIf(missing !== null)(`money at Extend${missing === null ? "" : ` - skipped: ${missing}`}`, () => {
  it.each([
    ["extend.upload", 9],
    ["extend.create", 6],
    ["extend.poll", 9],
  ])("every way to fail at %s, killed between effects: never bought twice", { timeout: 300_000 }, async (call, leastDelivered) => {
    const bills = await campaign(options, call, bought);
    expectHonest(bills, leastDelivered);
    for (const bill of bills) {
      expect(bill).toMatchObject(bill.ended === "delivered" ? { bought: 1 } : LOOKED_FOR);
      expect(bill.possiblyTwice).toBeLessThanOrEqual(1);
    }
  });
});
