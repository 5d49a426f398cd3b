/** Extend never sells the same run twice: it is looked for by our key before it is ordered again. */
import { describe, expect, it } from "vitest";
import { requireDovecot } from "../servers/dovecot.ts";
import { campaign } from "./campaign.ts";

const missing = requireDovecot();

describe.skipIf(missing !== null)(`money at Extend${missing === null ? "" : ` - skipped: ${missing}`}`, () => {
  it.each(["extend.upload", "extend.create", "extend.poll"])(
    "every way to fail at %s, killed between effects",
    { timeout: 300_000 },
    async (call) => {
      const bills = await campaign({ service: "extend", more: ["body: none"] }, call, async (stage) => {
        const runs = new Map<string, number>();
        for (const { key } of (await stage.counts()).extend.made) runs.set(key ?? "", (runs.get(key ?? "") ?? 0) + 1);
        return runs;
      });
      for (const { bought, possiblyTwice, ended } of bills) {
        expect(ended).toBe("delivered");
        // The list shows a run at once here, so nothing is ever bought twice, doubt or not.
        expect(bought).toBe(1);
        expect(possiblyTwice).toBeLessThanOrEqual(1);
      }
    },
  );
});
