/** Every way to be wrong in fixtures/config/bad is told exactly as its .txt says, and no secret is told with it. */
import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { loadConfig } from "../../src/config/load.ts";

const directory = new URL("../../fixtures/config/bad/", import.meta.url).pathname;
const env = {
  IMAP_PASSWORD: "correct-horse",
  CLOUDSQUID_API_KEY: "battery-staple",
  EXTEND_API_KEY: "battery-extend",
  IMAP_PORT_WORD: "battery-port",
  EMPTY: "",
  TWO_LINES: "battery\nstaple",
};
const cases = readdirSync(directory).filter((name) => name.endsWith(".yaml"));

test("there are at least twenty ways to be wrong", () => {
  expect(cases.length).toBeGreaterThanOrEqual(20);
});

test.each(cases)("%s", async (name) => {
  const fault = await loadConfig(`${directory}${name}`, env).then(
    () => expect.fail("it was taken for a valid configuration"),
    (thrown) => thrown,
  );
  expect(fault).toMatchObject({ name: "Fault", code: "config.invalid", temporary: false });
  const said = `${fault.message.replaceAll(directory, "")}\n`;
  expect(said).toBe(readFileSync(`${directory}${name.replace(/yaml$/, "txt")}`, "utf8"));
  expect(said).not.toMatch(/correct-horse|battery|hunter2|12345678/);
});
