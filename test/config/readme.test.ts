/** The configurations in the README are valid as they stand there. */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { parse, stringify } from "yaml";
import { readConfig } from "../../src/config/load.ts";

const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
const [smallest = "", extend = ""] = [...readme.matchAll(/```yaml\n([\s\S]*?)```/g)].map((match) => match[1] ?? "");
const env = { IMAP_PASSWORD: "p", CLOUDSQUID_API_KEY: "k", EXTEND_API_KEY: "k", EXTEND_WEBHOOK_SECRET: "wss_s" };
const read = (text: string) => readConfig(text, { path: "/etc/billhook/config.yaml", env, readFile: () => "" });

it("the smallest one", () => {
  expect(read(smallest)).toMatchObject({ config: { services: { cloudsquid: { kind: "cloudsquid" } } } });
});

it("the one for Extend, in place of the other's service", () => {
  const whole = stringify({ ...parse(smallest), ...parse(extend.replace("ex_…", "ex_1")) });
  expect(read(whole)).toMatchObject({ config: { services: { extend: { limits: { runsPerDay: 500 } } }, web: { port: 8080 } } });
});
