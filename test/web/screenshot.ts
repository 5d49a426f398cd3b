/** `node test/web/screenshot.ts [FILE]`: the picture of the status page in the README, taken of the demo: a mail, its PDF beside what was read. */
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { startChromium } from "../servers/chromium.ts";
import { startBillhook } from "../servers/process.ts";

const FILE = process.argv[2] ?? fileURLToPath(new URL("../../.ci/status-page.png", import.meta.url));
const MAIL = "Ihre Rechnung RE2026-00815 zu Bestellung B-4400-1207";
const MOST_BYTES = 200_000;

const directory = await mkdtemp(join(tmpdir(), "billhook-screenshot-"));
const demo = startBillhook(["demo", "--out", join(directory, "out")], {}, directory);
const chromium = await startChromium();
try {
  const url = await said(/^page +(http:\S+)$/);
  await said(/^done .*RE2026-00815/);
  const { page } = await chromium.open({ viewport: { width: 1_200, height: 900 }, colorScheme: "light" });
  await page.goto(url);
  await page.getByRole("link", { name: MAIL }).first().click();
  await page.waitForEvent("framenavigated", (frame) => frame.url().startsWith("chrome-extension://"));
  // Of the viewer, which is an extension of the browser, nothing says when it has drawn the page.
  await page.waitForTimeout(3_000);
  await page.screenshot({ path: FILE });
  const { size } = await stat(FILE);
  console.log(`${FILE}  ${size} bytes`);
  if (size > MOST_BYTES) process.exitCode = 1;
} finally {
  await Promise.all([chromium.stop(), demo.kill()]);
  await rm(directory, { recursive: true, force: true });
}

/** The first thing of this form that the demo says: what is in the brackets, or all of it. */
function said(form: RegExp): Promise<string> {
  return new Promise((resolve, reject) => {
    const look = () => {
      const match = demo.said.map((line) => form.exec(line)).find((found) => found !== null);
      if (match != null) resolve(match[1] ?? match[0]);
    };
    // The line reader gets the same chunk; it is asked after it has.
    demo.child.stderr?.on("data", () => setImmediate(look));
    demo.ended.then(() => reject(new Error(`the demo ended first:\n${demo.said.join("\n")}`)), reject);
    look();
  });
}
