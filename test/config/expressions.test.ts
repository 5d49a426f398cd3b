/** JSONata in a configuration is told with line and column, when whoever reads it can compile. */
import { expect, test } from "vitest";
import { readConfig } from "../../src/config/load.ts";
import { compile } from "../../src/mapping/template.ts";

const TEXT = `mailboxes: { m: { host: imap.example.com, user: a@example.com, password: x } }
services:
  squid: { kind: extend, apiKey: y, invoice: { gross: "a +", net: a + b, tax: null } }
sinks:
  erp:
    kind: http
    url: https://erp.example.com/
    body: |
      { "a": }
    headers:
      X-Good: "a {{ b }} c"
      X-Bad: "a {{ b c"
`;

const about = { path: "/c.yaml", env: {}, readFile: () => "" };

test("each that does not compile, and no other", () => {
  const reading = readConfig(TEXT, { ...about, compile });
  const problems = "problems" in reading ? reading.problems : [];
  expect(problems.map((it) => `${it.line}:${it.column} ${it.path}`)).toEqual([
    "3:55 services.squid.invoice.gross",
    "8:11 sinks.erp.body",
    "12:14 sinks.erp.headers.X-Bad",
  ]);
  expect(problems[0]?.message).toMatch(/^expected a JSONata expression, but .+\. See https:\/\/docs\.jsonata\.org\.$/);
});

test("who cannot compile leaves it to others", () => {
  expect(readConfig(TEXT, about)).toHaveProperty("config");
});

test("what a reference brings in is not told", () => {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: a reference as the configuration writes it
  const reading = readConfig(TEXT.replace('{ "a": }', '{ "a": ${TOKEN} }'), { ...about, env: { TOKEN: "S3cret S3cret" }, compile });
  const problems = "problems" in reading ? reading.problems : [];
  expect(problems[1]).toMatchObject({
    line: 8,
    message: "expected a JSONata expression, but it does not compile. See https://docs.jsonata.org.",
  });
  expect(JSON.stringify(problems)).not.toContain("S3cret");
});
