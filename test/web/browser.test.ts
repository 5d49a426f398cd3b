/** The status page in a real browser: it breaks no policy of its own, shows the PDF beside the fields, lives with JavaScript and works without. */
import type { Page as BrowserPage } from "playwright-core";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { PALETTE } from "../../src/web/page/style.ts";
import { type Chromium, requireChromium, startChromium, type Tab } from "../servers/chromium.ts";
import { ENEMY, EVIL, hold, PNG, type Premises, premises, written } from "./premises.ts";

const missing = requireChromium();
const NAME = "billhook.test";

describe.skipIf(missing !== null)(`in Chromium${missing === null ? "" : ` - skipped: ${missing}`}`, () => {
  let chromium: Chromium;
  beforeAll(async () => {
    chromium = await startChromium([NAME]);
  });
  afterAll(() => chromium.stop());

  const open = async (options: Parameters<Chromium["open"]>[0] = {}): Promise<Tab> => {
    const tab = await chromium.open(options);
    onTestFinished(() => tab.context.close());
    return tab;
  };
  const button = (page: BrowserPage, name: string | RegExp) => page.getByRole("button", { name });

  test("the PDF is shown beside the fields, by the browser's own viewer", async () => {
    const house = await premises();
    const id = await house.take("01-single-pdf");
    const { page, complaints } = await open();
    await page.goto(`${house.url}/mail/${id}`);
    const source = `${house.url}/mail/${id}/part/2`;
    // The viewer is an extension, which takes the document over once it has begun to load.
    await expect.poll(() => page.frames().some((frame) => frame.url().startsWith("chrome-extension://"))).toBe(true);
    expect(page.frames().some((frame) => frame.url().startsWith(source))).toBe(true);
    const [document, fields] = [await page.locator("#document iframe").boundingBox(), await page.locator("#fields").boundingBox()];
    expect((document?.x ?? 0) + (document?.width ?? 0)).toBeLessThan(fields?.x ?? 0);
    expect(document?.height).toBeGreaterThan(300);
    await page.getByText("RE-1", { exact: true }).waitFor();
    expect(complaints).toEqual([]);
  });

  test("a picture is shown, and its name does nothing", async () => {
    const house = await premises();
    const id = await house.take(written("A photo", "Phone", "see below", [{ type: "image/png", name: `${EVIL}.png`, bytes: PNG }]));
    const { page, complaints } = await open();
    await page.goto(`${house.url}/mail/${id}`);
    expect(await page.locator("#document img").evaluate((image) => (image as unknown as { naturalWidth: number }).naturalWidth)).toBe(1);
    expect(await page.locator("#document img").getAttribute("alt")).toBe(`${EVIL}.png`);
    expect(complaints).toEqual([]);
  });

  test("of a mail written by an enemy nothing runs, wherever it is looked at, and its files are saved, not opened", async () => {
    const house = await premises();
    house.shut(true);
    const id = await house.take(ENEMY);
    const { page, complaints } = await open();
    for (const path of [
      "/",
      "/mails",
      `/mail/${id}`,
      `/mail/${id}?part=html`,
      `/mail/${id}/again`,
      `/mail/${id}/ignore`,
      "/mails?from=%3Cscript",
    ]) {
      await page.goto(house.url + path);
      expect(await page.locator("script").count(), path).toBe(1);
      expect(
        await page
          .locator("img")
          .evaluateAll((images) =>
            images.map((one) => new URL((one as unknown as { src: string }).src).pathname.slice(0, 6)).filter((path) => path !== "/mail/"),
          ),
        path,
      ).toEqual([]);
    }
    for (const part of ["html", "2", "3", "5"]) {
      await page.goto(`${house.url}/mail/${id}`);
      const download = page.waitForEvent("download");
      await page.locator(`a[href$="/part/${part}"]`).first().click();
      await (await download).cancel();
      // Without the word `download` in the link it is a file all the same.
      const bare = page.waitForEvent("download");
      await page.goto(`${house.url}/mail/${id}/part/${part}`).catch(() => {});
      await (await bare).cancel();
    }
    expect(complaints).toEqual([]);
  });

  test("without JavaScript every button works", async () => {
    const house = await premises();
    const failed = await house.take("08-no-invoice");
    const held = await hold(house.works, "04-xml-only", 2);
    const { page, complaints } = await open({ javaScriptEnabled: false });
    await page.goto(house.url);
    house.heal();
    await page
      .locator("li", { hasText: "Frühjahrsangebote" })
      .getByRole("button", { name: /^Try again/ })
      .click();
    await page.getByText("It is being tried again.").waitFor();
    await button(page, /^Let it go on/).click();
    await page.getByText("It goes on.").waitFor();
    await house.drain();
    for (const id of [failed, held]) expect((await house.works.ledger.summary(id))?.standing).toBe("done");
    await page
      .getByRole("row", { name: /^erp/ })
      .getByRole("button", { name: /^Pause/ })
      .click();
    await page.getByText("erp is paused since").waitFor();
    await page
      .getByRole("row", { name: /^erp/ })
      .getByRole("button", { name: /^Go on/ })
      .click();
    await page.getByText("Nothing needs you.").waitFor();

    await page.goto(`${house.url}/mail/${failed}`);
    await page.getByLabel("Deliver again to").selectOption("erp");
    await button(page, "Deliver again").click();
    await page.getByText("It will be delivered again, under a new key.").waitFor();
    await house.drain();
    await page.getByRole("link", { name: /^Read again/ }).click();
    await page.getByText("at least 1 run").waitFor();
    await button(page, "Read it again, and pay for it").click();
    await page.getByText("It will be read again").waitFor();
    expect((await house.works.ledger.summary(failed))?.standing).toBe("working");
    await page.goto(`${house.url}/mail/${failed}/ignore`);
    await page.getByLabel("Why?").fill("it was only a test");
    await button(page, "Set it aside").click();
    await page.getByText("It is set aside.").waitFor();
    await house.drain();
    expect((await house.works.ledger.summary(failed))?.standing).toBe("ignored");
    expect(complaints).toEqual([]);
  });

  test("with JavaScript a change comes by itself, and what is focused, chosen or being typed stays", async () => {
    const house = await premises();
    const { page, complaints } = await open();
    await page.goto(house.url);
    await page.getByText("Nothing needs you.").waitFor();
    await page.getByLabel("Sender").fill("half a na");
    await house.take("08-no-invoice");
    house.page.tell();
    await page.getByRole("link", { name: "Frühjahrsangebote" }).first().waitFor();
    expect(await page.title()).toBe("1 to look at – billhook");
    expect(await page.getByLabel("Sender").inputValue()).toBe("half a na");
    expect(await page.evaluate("document.activeElement.name")).toBe("from");

    // A button that is focused is focused still, in the list that was made anew around it.
    await button(page, /^Try again/).focus();
    await house.take("01-single-pdf");
    house.shut(true);
    await house.take("04-xml-only");
    house.page.tell();
    await page.locator("#needs li", { hasText: "Stromrechnung" }).waitFor();
    expect(await page.evaluate("document.activeElement.textContent")).toMatch(/^Try again: Frühjahr/);
    expect(complaints).toEqual([]);
  });

  test("the document beside the fields is not loaded anew when the rest changes", async () => {
    const house = await premises();
    const id = await house.take("01-single-pdf");
    const { page, complaints } = await open();
    await page.goto(`${house.url}/mail/${id}`);
    await page.evaluate("document.querySelector('#document iframe').dataset.mark = 'same'");
    await page.getByLabel("Deliver again to").selectOption("erp");
    await house.send(`/mail/${id}/replay`, { sink: "files" });
    await house.drain();
    house.page.tell();
    await page.getByText("document 1, time 2").waitFor();
    expect(await page.locator("#document iframe").getAttribute("data-mark")).toBe("same");
    expect(await page.getByLabel("Deliver again to").inputValue()).toBe("erp");
    expect(complaints).toEqual([]);
  });

  test("a choice that is open stays open, and what it stands in is new as soon as it is left", async () => {
    const house = await premises();
    const id = await house.take("04-xml-only");
    const { page } = await open();
    await page.goto(`${house.url}/mail/${id}`);
    const choice = page.getByLabel("Deliver again to");
    await choice.focus();
    await choice.evaluate((one) => ((one as unknown as { id: string }).id = "same"));
    house.shut(true);
    await house.send(`/mail/${id}/replay`, { sink: "files" });
    await house.drain();
    house.page.tell();
    await page.locator("#deliveries").getByText("Failed").waitFor();
    expect(await choice.getAttribute("id")).toBe("same");
    await choice.blur();
    house.page.tell();
    await page.locator("#standing").getByText("The receiver refused it.").waitFor();
  });

  test("a daemon that was started anew is found again, and its forms are taken", async () => {
    const house = await premises();
    const { page } = await open();
    await page.goto(house.url);
    const csrf = page.locator("#sinks [name=csrf]").first();
    const old = await csrf.getAttribute("value");
    await house.restart();
    await expect.poll(() => csrf.getAttribute("value"), { timeout: 20_000 }).not.toBe(old);
    await page
      .getByRole("row", { name: /^files/ })
      .getByRole("button", { name: /^Pause/ })
      .click();
    await page.getByText("files is paused since").waitFor();
  });

  test("in a tab that nobody looks at nothing is held open; back again, it is up to date", async () => {
    const house = await premises();
    const { page } = await open();
    await page.goto(house.url);
    // Headless Chromium hides no tab: the page is told what a browser would tell it.
    const hide = (hidden: boolean) =>
      page.evaluate(
        `Object.defineProperty(document, "hidden", { value: ${hidden}, configurable: true }); document.dispatchEvent(new Event("visibilitychange"))`,
      );
    const closed = page.waitForEvent("requestfailed", (request) => request.url().endsWith("/events"));
    await hide(true);
    await closed;
    await house.take("01-single-pdf");
    const opened = page.waitForRequest((request) => request.url().endsWith("/events"));
    await hide(false);
    await opened;
    await page.getByRole("link", { name: "Rechnung HP-2026-0147" }).waitFor();
  });

  test("over a network, by a name and without TLS, the token opens it and its forms are taken", async () => {
    const house = await premises({ token: "correct-horse-battery" });
    const { page, context, complaints } = await open();
    const url = house.url.replace("127.0.0.1", NAME);
    await page.goto(`${url}/mails?state=done`);
    await page.getByLabel("Token").fill("wrong");
    await button(page, "Sign in").click();
    await page.getByText("That is not the token").waitFor();
    house.ahead(1_000);
    await page.getByLabel("Token").fill("correct-horse-battery");
    await button(page, "Sign in").click();
    await page.getByRole("heading", { name: "Mails" }).waitFor();
    expect(page.url()).toBe(`${url}/mails?state=done`);
    expect(await context.cookies()).toEqual([expect.objectContaining({ name: "billhook", httpOnly: true, sameSite: "Strict" })]);
    expect(await page.evaluate("document.cookie")).toBe("");
    await page.goto(url);
    await page
      .getByRole("row", { name: /^files/ })
      .getByRole("button", { name: /^Pause/ })
      .click();
    await page.getByText("files is paused since").waitFor();
    await button(page, "Sign out").click();
    await page.getByLabel("Token").waitFor();
    await page.goto(url);
    await page.getByLabel("Token").waitFor();
    // What Chromium says of any answer that is 403.
    expect(complaints.filter((text) => !/status of 403|Cross-Origin-Opener-Policy/.test(text))).toEqual([]);
  });

  test("a form on another site changes nothing", async () => {
    const house = await premises();
    const { page } = await open();
    await page.route("http://evil.test/", (route) =>
      route.fulfill({
        contentType: "text/html",
        body: `<form method="post" action="${house.url}/pause/files"><input name="csrf" value="x"><button>Win a prize</button></form>`,
      }),
    );
    await page.goto("http://evil.test/");
    await button(page, "Win a prize").click();
    await page.getByText("This was not asked for by the page itself.").waitFor();
    expect(await house.works.ledger.paused()).toEqual([]);
  });

  describe("for everyone", () => {
    const views = async (house: Premises): Promise<readonly string[]> => {
      const done = await house.take("02-pdf-and-xml-twin");
      const failed = await house.take("08-no-invoice");
      await hold(house.works, "04-xml-only", 9);
      await house.works.ledger.pause("erp", "paused by hand", new Date());
      return [
        "/",
        "/mails",
        `/mail/${done}`,
        `/mail/${done}?part=3`,
        `/mail/${failed}`,
        `/mail/${done}/again`,
        `/mail/${failed}/ignore`,
        "/nothing",
      ];
    };

    test("every control has a name, every picture and frame a title, tables have heads, headings an order, and focus is seen", async () => {
      const house = await premises();
      const { page } = await open();
      for (const path of await views(house)) {
        await page.goto(house.url + path);
        expect(await page.evaluate(NAMELESS), path).toEqual([]);
        expect(await page.evaluate(`document.documentElement.lang`)).toBe("en");
        const headings = (await page.evaluate(
          `[...document.querySelectorAll("h1, h2, h3")].map((one) => Number(one.tagName[1]))`,
        )) as number[];
        expect(headings[0], path).toBe(1);
        expect(
          headings.every((level, index) => level - (headings[index - 1] ?? 0) <= 1),
          path,
        ).toBe(true);
        await page.keyboard.press("Tab");
        expect(await page.evaluate("document.activeElement.textContent")).toBe("Skip to the content");
        await page.keyboard.press("Tab");
        expect(await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")).toBe("solid");
      }
    });

    test.each(["light", "dark"] as const)("every text stands out from what is behind it, in %s (WCAG 2.2, 1.4.3)", async (colorScheme) => {
      const house = await premises();
      const { page } = await open({ colorScheme });
      for (const path of await views(house)) {
        await page.goto(house.url + path);
        const pairs = (await page.evaluate(COLOURS)) as readonly { readonly text: string; readonly front: string; readonly back: string }[];
        expect(pairs.length, path).toBeGreaterThan(3);
        expect(
          pairs.filter(({ front, back }) => contrast(front, back) < 4.5),
          path,
        ).toEqual([]);
      }
    });

    test("nothing is wider than 320 pixels, but tables that can be moved", async () => {
      const house = await premises();
      const { page } = await open({ viewport: { width: 320, height: 640 } });
      for (const path of await views(house)) {
        await page.goto(house.url + path);
        expect(await page.evaluate("document.documentElement.scrollWidth"), path).toBe(320);
      }
    });

    test("edges of fields and buttons are seen (WCAG 2.2, 1.4.11)", () => {
      for (const { edge, sheet, link, ground } of Object.values(PALETTE)) {
        expect(contrast(edge, sheet)).toBeGreaterThan(3);
        expect(contrast(link, ground)).toBeGreaterThan(3);
      }
    });
  });
});

/** What a screen reader could say nothing of. */
const NAMELESS = `[
  ...[...document.querySelectorAll("input:not([type=hidden]), select, textarea")].filter((one) => one.labels.length === 0),
  ...[...document.querySelectorAll("button, a, th, summary")].filter((one) => one.textContent.trim() === ""),
  ...[...document.querySelectorAll("img")].filter((one) => !one.alt),
  ...[...document.querySelectorAll("iframe")].filter((one) => !one.title),
  ...[...document.querySelectorAll("table")].filter((one) => one.caption === null || one.querySelector("th[scope=col]") === null),
  ...[...document.querySelectorAll("th:not([scope])")],
  ...[...document.querySelectorAll("[role=region]")].filter((one) => !one.getAttribute("aria-label")),
].map((one) => one.outerHTML)`;

/** Every text that is seen, its colour, and the first colour behind it. */
const COLOURS = `[...document.body.querySelectorAll("*")].flatMap((one) => {
  const text = [...one.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data.trim()).join("");
  if (text === "" || one.closest(".hidden, .skip") || !one.checkVisibility()) return [];
  let back = one;
  while (back && /rgba\\(.*, 0\\)|transparent/.test(getComputedStyle(back).backgroundColor)) back = back.parentElement;
  const behind = getComputedStyle(back ?? document.documentElement).backgroundColor;
  return [{ text, front: getComputedStyle(one).color, back: behind }];
})`;

/** Relative luminance (WCAG 2.2). */
function luminance(colour: string): number {
  const channels = colour.startsWith("#")
    ? [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16))
    : (colour.match(/[\d.]+/g) ?? []).slice(0, 3).map(Number);
  const [red = 0, green = 0, blue = 0] = channels.map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function contrast(one: string, other: string): number {
  const [light, dark] = [luminance(one), luminance(other)].toSorted((a, b) => b - a);
  return ((light ?? 0) + 0.05) / ((dark ?? 0) + 0.05);
}
