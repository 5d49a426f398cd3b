/** Cloudsquid offers no way to look for a row or a run: what may be there twice is at most one a document, and is counted. */
import { describe, expect, it } from "vitest";
import { requireDovecot } from "../servers/dovecot.ts";
import { campaign, expectHonest } from "./money.ts";

const missing = requireDovecot();

describe.skipIf(missing !== null)(`money at Cloudsquid${missing === null ? "" : ` - skipped: ${missing}`}`, () => {
  // Of nine, the fewest delivered: what is lost twice is given to a person.
  it.each([
    ["upload", 1],
    ["run", 2],
    ["poll", 5],
  ])("every way to fail at %s, killed between effects", { timeout: 300_000 }, async (call, leastDelivered) => {
    const bills = await campaign({ service: "cloudsquid" }, call, async (stage, documents) => {
      const runs = new Map<string, number>();
      const token = (document: string) => `${document.slice(0, 16)}.eml`;
      const { rows } = await stage.counts();
      for (const document of documents) {
        const uploads = rows.filter(({ filename }) => filename === token(document));
        expect(uploads.length, "uploads of one document").toBeLessThanOrEqual(2);
        runs.set(
          document,
          uploads.reduce((sum, row) => sum + row.runs, 0),
        );
      }
      return runs;
    });
    expectHonest(bills, leastDelivered);
    for (const { bought, possiblyTwice, ended } of bills) {
      expect(["delivered", "failed: cloudsquid.ambiguous"]).toContain(ended);
      expect(bought).toBeLessThanOrEqual(2);
      if (ended === "delivered") expect(bought).toBeGreaterThanOrEqual(1);
      else expect(possiblyTwice, "a doubt is on the bill of a document that failed of it").toBeGreaterThanOrEqual(1);
    }
  });
});
