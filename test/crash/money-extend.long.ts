/** Extend while its list of runs lags behind: `npm run test:money`, because it waits in real time. */
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

describe.skipIf(missing !== null)(`money at Extend, late lists${missing === null ? "" : ` - skipped: ${missing}`}`, () => {
  it("a list that is late, but not later than we wait: never bought twice", { timeout: 300_000 }, async () => {
    const bills = await campaign(options, "extend.create", bought, late(20_000));
    expectHonest(bills, 6);
    for (const bill of bills) {
      expect(bill).toMatchObject(bill.ended === "delivered" ? { bought: 1 } : LOOKED_FOR);
      expect(bill.possiblyTwice).toBeLessThanOrEqual(1);
    }
  });

  it("the same while the list is later than we wait: bought twice at most, and counted", { timeout: 300_000 }, async () => {
    const bills = await campaign(options, "extend.create", bought, late(45_000));
    expectHonest(bills, 6);
    for (const { bought: runs, possiblyTwice, ended } of bills) {
      if (ended === "delivered") expect(runs).toBeGreaterThanOrEqual(1);
      else expect({ bought: runs, ended }).toEqual(LOOKED_FOR);
      expect(possiblyTwice).toBeLessThanOrEqual(1);
    }
  });
});

/** A list that lags behind, and orders that are taken and answered with an error. */
function late(lagMs: number): readonly object[] {
  return [
    { call: "extend.list", lagMs, times: 1_000_000 },
    { call: "extend.create", thenStatus: 503 },
    { call: "extend.create", thenStatus: 500 },
  ];
}
