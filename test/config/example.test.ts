/** config/example.yaml is valid, complete, and shows the defaults. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { jsonSchema } from "../../src/config/document.ts";
import { readConfig } from "../../src/config/load.ts";

const text = readFileSync(new URL("../../config/example.yaml", import.meta.url), "utf8");
const switchedOn = text.replace(/^(\s*)#(?=\w|- )/gm, "$1");
const env = {
  IMAP_PASSWORD: "x",
  IMAP_CLIENT_SECRET: "c",
  IMAP_REFRESH_TOKEN: "f",
  BILLHOOK_KEY: "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=",
  CLOUDSQUID_API_KEY: "y",
  EXTEND_API_KEY: "z",
  EXTEND_WEBHOOK_SECRET: "wss_x",
  ERP_TOKEN: "t",
  ERP_SIGNING_SECRET: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
  SMTP_PASSWORD: "p",
  SMTP_CLIENT_SECRET: "s",
  SMTP_REFRESH_TOKEN: "r",
  BILLHOOK_WEB_TOKEN: "a-token-of-the-page",
};
const readFile = () => "-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----";
const read = (yaml: string) => readConfig(yaml, { path: "/etc/billhook/config.yaml", env, readFile });

type Node = { properties?: { [key: string]: Node }; additionalProperties?: Node | false; oneOf?: Node[]; anyOf?: Node[]; items?: Node };

/** The paths of all keys of the schema; `*` stands for a name of the owner's. */
function keysOf(node: Node, path = ""): string[] {
  const own = Object.entries(node.properties ?? {}).flatMap(([key, inner]) => [`${path}/${key}`, ...keysOf(inner, `${path}/${key}`)]);
  const named = node.additionalProperties ? keysOf(node.additionalProperties, `${path}/*`) : [];
  const items = node.items ? keysOf(node.items, `${path}/*`) : [];
  return [...own, ...named, ...items, ...(node.oneOf ?? []).flatMap((inner) => keysOf(inner, path))];
}

function has(value: unknown, path: string): boolean {
  const walk = (at: unknown, [step, ...rest]: string[]): boolean => {
    if (step === undefined) return true;
    if (typeof at !== "object" || at === null) return false;
    if (step === "*") return Object.values(at).some((inner) => walk(inner, rest));
    return Object.hasOwn(at, step) && walk((at as Record<string, unknown>)[step], rest);
  };
  return walk(value, path.split("/").slice(1));
}

type Parts = { [part: string]: Parts };

/** The example with everything switched on but what excludes the rest: of the services this one, and of its keys not these. */
function onlyService(name: string, without: readonly string[] = []): string {
  const example: Parts = parse(switchedOn);
  const { [name]: service = {} } = example.services ?? {};
  delete example.sinks?.reply?.oauth2;
  delete example.mailboxes?.invoices?.oauth2;
  for (const key of without) delete service[key];
  for (const rule of Object.values(example.routes ?? {})) if ("service" in rule) Object.assign(rule, { service: name });
  return stringify({ ...example, services: { [name]: service } });
}

test("it is valid, as it stands and with everything switched on", () => {
  expect(read(text)).toHaveProperty("config");
  expect(read(onlyService("cloudsquid"))).toMatchObject({
    config: {
      mailboxes: { invoices: { ca: "/etc/billhook/ca.pem" } },
      web: { port: 8080 },
      services: { cloudsquid: { limits: { runsPerDay: 500 } } },
      sinks: { files: { mode: 0o640 }, erp: { auth: { bearer: "t" } }, reply: { to: "sender" } },
      routes: [{ is: "ignore" }, { is: "hold" }, { is: "take" }],
    },
  });
  expect(read(onlyService("extend", ["config"]))).toHaveProperty("config.services.extend.extractor.id", "ex_Ab12");
  expect(read(onlyService("extend", ["extractor"]))).toHaveProperty("config.services.extend.config.schema.type", "object");
});

test("of password and oauth2 each is valid by itself", () => {
  const example: Parts = parse(onlyService("cloudsquid"));
  const { reply = {} } = example.sinks ?? {};
  const { password: _, ...rest } = reply;
  const oauth2 = (parse(switchedOn) as Parts).sinks?.reply?.oauth2;
  expect(read(stringify({ ...example, sinks: { ...example.sinks, reply: { ...rest, oauth2 } } }))).toMatchObject({
    config: { sinks: { reply: { password: null, oauth2: { refreshToken: "r" } } } },
  });
});

test("of a mailbox's password and oauth2 each is valid by itself", () => {
  const example: Parts = parse(onlyService("cloudsquid"));
  const { password: _, ...rest } = example.mailboxes?.invoices ?? {};
  const oauth2 = (parse(switchedOn) as Parts).mailboxes?.invoices?.oauth2;
  expect(read(stringify({ ...example, mailboxes: { invoices: { ...rest, oauth2 } } }))).toMatchObject({
    config: {
      secrets: { key: env.BILLHOOK_KEY },
      mailboxes: { invoices: { password: null, oauth2: { grant: "refresh", refreshToken: "f" } } },
    },
  });
});

test("every key of the schema appears in it", () => {
  const keys = keysOf(JSON.parse(jsonSchema()));
  expect(keys).toEqual(expect.arrayContaining(["/services/*/multipart/fields/kind", "/sinks/*/attach/csv", "/routes/*/when/size/largest"]));
  const example: unknown = parse(switchedOn);
  expect(keys.filter((key) => !has(example, key))).toEqual([]);
});

test("what it writes with a default is the default", () => {
  const shortest = `
mailboxes: { invoices: { host: imap.example.com, user: invoices@example.com, password: x } }
services: { cloudsquid: { kind: cloudsquid, apiKey: y, project: Accounts Payable, table: 3c90c3cc-0d44-4b50-8888-8dd25736052a } }
sinks: { files: { kind: file, directory: ./out } }`;
  expect(read(text)).toEqual(read(shortest));
});

test("what it writes with a default for extend is the default", () => {
  const withoutDefault = ["url", "workspace", "extractor", "config", "priority", "usageTags", "metadata", "webhookSecret"];
  const { services, ...rest } = parse(onlyService("extend"));
  const { kind, apiKey } = services.extend;
  const shortest = read(stringify({ ...rest, services: { extend: { kind, apiKey } } }));
  expect(shortest).toHaveProperty("config.services.extend.url", "https://api.extend.ai");
  expect(read(onlyService("extend", withoutDefault))).toEqual(shortest);
});

test("what it writes with a default for sinks is the default", () => {
  const needed = { erp: ["kind", "url"], reply: ["kind", "host", "from", "to", "allow"] };
  const choices = {
    erp: ["headers", "body", "auth", "secrets", "ca", "certificate", "key"],
    reply: ["ca", "user", "password", "oauth2", "authserv"],
  };
  const { sinks, routes: _, ...rest } = parse(onlyService("cloudsquid"));
  for (const name of ["erp", "reply"] as const) {
    const only = (keep: (key: string) => boolean) => {
      const kept = Object.fromEntries(Object.entries(sinks[name]).filter(([key]) => keep(key)));
      return read(stringify({ ...rest, sinks: { [name]: kept } }));
    };
    const shortest = only((key) => needed[name].includes(key));
    expect(shortest).toHaveProperty(`config.sinks.${name}.kind`);
    expect(only((key) => !choices[name].includes(key))).toEqual(shortest);
  }
});

test("its first line points editors at the schema", () => {
  expect(text.split("\n")[0]).toBe("# yaml-language-server: $schema=./config.schema.json");
});
