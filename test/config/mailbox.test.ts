/** How a mailbox is signed in to, as it is written and as the daemon is given it. */
import { expect, test } from "vitest";
import { readConfig } from "../../src/config/load.ts";

const KEY = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";

function read(signIn: string, more = `secrets: { key: "\${KEY}" }`) {
  const text = `
${more}
mailboxes: { invoices: { host: imap.example.com, user: invoices@example.com, ${signIn} } }
services: { cloudsquid: { kind: cloudsquid, apiKey: y, project: Accounts Payable, table: 3c90c3cc-0d44-4b50-8888-8dd25736052a } }
sinks: { files: { kind: file, directory: ./out } }`;
  const env = { KEY, TOKEN: "refresh", FILE: "" };
  return readConfig(text, { path: "/etc/billhook/config.yaml", env, readFile: (path) => (path === "/run/secrets/key" ? `${KEY}\n` : "") });
}
const oauth2Of = (signIn: string) => {
  const reading = read(signIn);
  return "config" in reading ? reading.config.mailboxes.invoices?.oauth2 : reading.problems;
};

test.each([
  ["microsoft asks for a code", "provider: microsoft", "device"],
  ["google opens a browser", "provider: google", "code"],
  ["any other asks for a code", "provider: { issuer: 'https://id.example.com' }", "device"],
  ["a refresh token is used", `provider: google, refreshToken: "\${TOKEN}"`, "refresh"],
  ["what is written goes first", "provider: microsoft, grant: code", "code"],
  ["the application by itself", "provider: microsoft, grant: client, clientSecret: s, tenant: example.com", "client"],
])("%s", (_, written, grant) => {
  expect(oauth2Of(`oauth2: { clientId: a, ${written} }`)).toMatchObject({ clientId: "a", grant, mechanism: "auto", scope: null });
});

test("providers of one's own", () => {
  expect(oauth2Of("oauth2: { clientId: a, provider: { issuer: 'https://id.example.com/realm/' } }")).toMatchObject({
    provider: { is: "issuer", issuer: "https://id.example.com/realm" },
  });
  const endpoints = "{ tokenUrl: 'https://id.example.com/t', deviceUrl: 'https://id.example.com/d' }";
  expect(oauth2Of(`oauth2: { clientId: a, provider: ${endpoints} }`)).toMatchObject({
    provider: { is: "endpoints", tokenUrl: "https://id.example.com/t", deviceUrl: "https://id.example.com/d", authorizeUrl: null },
  });
});

test("a password needs no key, and neither does an application by itself", () => {
  expect(read("password: x", "")).toMatchObject({ config: { secrets: null, mailboxes: { invoices: { password: "x", oauth2: null } } } });
  const client = "oauth2: { clientId: a, provider: microsoft, grant: client, clientSecret: s, tenant: example.com }";
  expect(read(client, "")).toHaveProperty("config");
});

test("the key from the environment, from a file, or in hexadecimal digits", () => {
  for (const reference of ["KEY", "file:/run/secrets/key"])
    expect(read("password: x", `secrets: { key: "\${${reference}}" }`)).toHaveProperty("config.secrets.key", KEY);
  expect(read("password: x", `secrets: { key: "${"0A".repeat(32)}" }`)).toHaveProperty("config.secrets.key", "0A".repeat(32));
  for (const key of ["short", KEY.slice(0, -1), `${KEY}=`, "0g".repeat(32)])
    expect(read("password: x", `secrets: { key: "${key}" }`)).toMatchObject({ problems: [{ path: "secrets.key" }] });
});

test("a label of Gmail", () => {
  expect(read("password: x, afterwards: { done: { label: Booked/2026 } }")).toMatchObject({
    config: { mailboxes: { invoices: { afterwards: { done: { is: "label", label: "Booked/2026" } } } } },
  });
});

test("the largest message that is read", () => {
  expect(read("password: x")).toHaveProperty("config.mailboxes.invoices.largest", 150 * 1024 ** 2);
  expect(read("password: x, largest: 1.5GB")).toHaveProperty("config.mailboxes.invoices.largest", 1.5 * 1024 ** 3);
  for (const largest of ["0MB", "150", "big", "null"])
    expect(read(`password: x, largest: ${largest}`)).toMatchObject({ problems: [{ path: "mailboxes.invoices.largest" }] });
});
