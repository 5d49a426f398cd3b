/** The configurations in the README are valid as they stand there. */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { parse, stringify } from "yaml";
import { readConfig } from "../../src/config/load.ts";

const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
const blocks = [...readme.matchAll(/```yaml\n([\s\S]*?)```/g)].map((match) => match[1] ?? "");
const [smallest = ""] = blocks;
const extend = blocks.find((text) => text.startsWith("services:")) ?? "";
const folders = blocks.find((text) => text.includes("<<:")) ?? "";
const sinks = blocks.find((text) => text.startsWith("sinks:")) ?? "";
const routes = blocks.find((text) => text.startsWith("routes:")) ?? "";
const env = {
  IMAP_PASSWORD: "p",
  CLOUDSQUID_API_KEY: "k",
  EXTEND_API_KEY: "k",
  EXTEND_WEBHOOK_SECRET: "wss_s",
  BILLHOOK_WEB_TOKEN: "a-token-of-the-page",
  ERP_TOKEN: "t",
  ERP_SIGNING_SECRET: `whsec_${"A".repeat(32)}`,
  SMTP_PASSWORD: "p",
};
const read = (text: string) => readConfig(text, { path: "/etc/billhook/config.yaml", env, readFile: () => "" });

it("the smallest one", () => {
  expect(read(smallest)).toMatchObject({ config: { services: { cloudsquid: { kind: "cloudsquid" } } } });
});

it("several folders of one account, in place of its mailbox", () => {
  const whole = smallest.replace(/^mailboxes:[\s\S]*?(?=^services:)/m, folders);
  const { mailboxes } = (read(whole) as { readonly config: { readonly mailboxes: Readonly<Record<string, object>> } }).config;
  expect(mailboxes.reminders).toEqual({ ...mailboxes.invoices, folder: "Mahnungen" });
});

it("the one for Extend, in place of the other's service", () => {
  const whole = stringify({ ...parse(smallest), ...parse(extend.replace("ex_…", "ex_1")) });
  expect(read(whole)).toMatchObject({ config: { services: { extend: { limits: { runsPerDay: 500 } } }, web: { port: 8080 } } });
});

it("the sinks and the routes, together with the smallest one", () => {
  const whole = stringify({ ...parse(smallest), ...parse(sinks), ...parse(routes) });
  expect(read(whole)).toMatchObject({
    config: { sinks: { archive: { kind: "file" }, erp: { kind: "http" }, reply: { kind: "smtp", to: "sender" } }, routes: [{}, {}, {}] },
  });
});
