/** The tour with the browser alone: a service outage, poison mails, a held one, a dead receiver are found and mended by clicking. */
import type { Locator } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Chromium, requireChromium, startChromium } from "../servers/chromium.ts";
import { requireDovecot } from "../servers/dovecot.ts";
import { startTour, type Tour, type TourMail } from "./tour.ts";

const missing = requireDovecot() ?? requireChromium();

describe.skipIf(missing !== null)(`the tour, by browser${missing === null ? "" : ` - skipped: ${missing}`}`, () => {
  let tour: Tour;
  let chromium: Chromium;
  beforeAll(async () => {
    [tour, chromium] = await Promise.all([startTour(), startChromium()]);
  });
  afterAll(() => Promise.all([tour?.stop(), chromium?.stop()]));

  it("each trouble is found, understood and mended, and at the end all is well", { timeout: 60_000 }, async () => {
    const { mails, receiver, outside, settled } = tour;
    const { fine, outage, refused, unread, held, undelivered } = mails;
    const { page, complaints } = await chromium.open();
    const needs = page.locator("#needs");
    const item = (text: string) => needs.getByRole("listitem").filter({ hasText: text });
    const click = (place: Locator, name: RegExp) => place.getByRole("button", { name }).click();

    // The first look tells of all of it.
    await page.goto(tour.page);
    await page.getByRole("heading", { name: "Everything is running" }).waitFor();
    expect(await needs.getByRole("listitem").count()).toBe(6);
    expect(await item(outage[1].subject).textContent()).toContain("503");
    expect(await item(undelivered.subject).textContent()).toMatch(/Delivering to erp: .*ECONNREFUSED/);
    const failing = page
      .locator("#services")
      .getByRole("row", { name: /^extend/ })
      .getByRole("cell");
    expect(await failing.allTextContents()).toEqual(["–", "–", "–", "3", "1", "Pause: extend"]);
    expect(await needs.getByRole("link", { name: fine.subject }).count()).toBe(0);

    // A poison mail the service refuses: looked at, and set aside.
    await needs.getByRole("link", { name: refused.subject }).first().click();
    await page.getByRole("heading", { name: refused.subject }).waitFor();
    expect(await page.locator("#standing").textContent()).toContain("CORRUPT_FILE");
    await page.getByRole("link", { name: /^Set aside/ }).click();
    await page.getByLabel("Why?").fill("the seller sends it again");
    await page.getByRole("button", { name: "Set it aside" }).click();
    await page.locator("#timeline").getByText("the seller sends it again").waitFor();
    // It comes by itself.
    await page.locator("#standing").getByText("Set aside", { exact: true }).waitFor();
    await settled(refused);

    // A dead receiver that is back.
    await page.goto(tour.page);
    await outside.receiverIsBack();
    await click(item(undelivered.subject), /^Try again/);
    await settled(undelivered);

    // A mail over a limit, and the outage that is over.
    await outside.serviceIsBack();
    await click(item(held.subject), /^Let it go on/);
    await page.getByText("It goes on.").waitFor();
    await click(needs, /^Try all failed mails again/);
    await settled(held, ...outage);

    // One the mail server will not give: it gives it again, and it is asked for.
    outside.serverGivesAll();
    await click(item("UID 2 in invoices"), /^Fetch it again/);
    await settled(unread);
    await needs.getByText("Nothing needs you.").waitFor();

    const delivered = [fine, undelivered, held, unread, ...outage];
    const keys = delivered.map(({ id }) => `${id}.1.erp`);
    expect(receiver.taken.map(({ id }) => id).toSorted()).toEqual(keys.toSorted());
    expect([...(await tour.stage.written()).keys()]).toHaveLength(delivered.length);

    // What the receiver took before it died is gone with it.
    await page.locator("#today").getByRole("link", { name: fine.subject, exact: true }).click();
    await page.getByLabel("Deliver again to").selectOption("erp");
    await page.getByRole("button", { name: "Deliver again" }).click();
    await page.getByText("document 1, time 2").waitFor();
    await page.locator("#deliveries tr", { hasText: "time 2" }).getByText("Done").waitFor();
    expect(receiver.taken.map(({ id }) => id).toSorted()).toEqual([...keys, `${fine.id}.1.erp~2`].toSorted());

    await page.goto(`${tour.page}mails`);
    const rows = page.locator("#mails tbody tr");
    expect((await rows.allTextContents()).map((text) => /Done|Set aside/.exec(text)?.[0]).toSorted()).toEqual([
      ...Array(6).fill("Done"),
      "Set aside",
    ]);
    expect(await subjects(rows)).toEqual(expect.arrayContaining([...delivered, refused].map(({ subject }: TourMail) => subject)));
    expect(await tour.stage.list("INBOX")).toEqual([]);
    expect(complaints).toEqual([]);
  });
});

function subjects(rows: Locator): Promise<readonly string[]> {
  return rows.getByRole("link").allTextContents();
}
