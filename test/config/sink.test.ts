/** Sinks from a file to what their makers take: defaults, units, and the rules between their keys. */
import { describe, expect, test } from "vitest";
import { type Config, readConfig } from "../../src/config/load.ts";
import { createFileSink } from "../../src/sink/file.ts";
import { checkNames } from "../../src/sink/http/header.ts";
import type { HttpSinkOptions } from "../../src/sink/http.ts";
import type { SmtpSinkOptions } from "../../src/sink/smtp.ts";

const PEM = "-----BEGIN CERTIFICATE-----\n-----BEGIN EC PRIVATE KEY-----";

/** A configuration whose only sink, `it`, has these lines. */
function read(lines: string, { user = "invoices@example.com" } = {}) {
  const text = `
mailboxes: { invoices: { host: imap.example.com, user: ${user}, password: x } }
services: { extend: { kind: extend, apiKey: y } }
sinks: { it: { ${lines} } }`;
  return readConfig(text, { path: "/etc/billhook/config.yaml", env: { SECRET: "S3cret" }, readFile: () => PEM });
}

function sinkOf(lines: string): Config["sinks"][string] {
  const reading = read(lines);
  if ("problems" in reading) return expect.fail(reading.problems.map((it) => `${it.path} ${it.message}`).join("\n"));
  return reading.config.sinks.it ?? expect.fail("it is not there");
}

function wrongIn(lines: string, about = {}): readonly string[] {
  const reading = read(lines, about);
  return "problems" in reading ? reading.problems.map((it) => it.path.replace("sinks.it.", "")) : [];
}

const FILE = "kind: file, directory: out";
const HTTP = "kind: http, url: https://erp.example.com/in";
const SMTP = "kind: smtp, host: smtp.example.com, from: a@example.com";

const patient = { first: 5_000, longest: 1_800_000, giveUpAfter: 76 * 3_600_000 };

describe("file", () => {
  test("what is left out", () => {
    expect(sinkOf(FILE)).toEqual({
      kind: "file",
      directory: "/etc/billhook/out",
      name: "{{date}}/{{message}}-{{position}}.json",
      format: "json",
      attachments: false,
      raw: false,
      mode: null,
      directoryMode: null,
      owner: null,
      per: "document",
      failures: false,
      retry: patient,
    });
  });

  test("permissions are octal, and it is what its maker takes", () => {
    const sink = sinkOf(`${FILE}, mode: "0600", directoryMode: "0711", owner: { uid: 7, gid: 8 }, per: message, failures: true`);
    expect(sink).toMatchObject({ mode: 0o600, directoryMode: 0o711, owner: { uid: 7, gid: 8 }, per: "message", failures: true });
    if (sink.kind !== "file") return expect.fail();
    expect(createFileSink({ ...sink, name: "it", template: sink.name })).toHaveProperty("name", "it");
  });

  test.each(["jsonl", "csv"])("%s goes into one file a mailbox", (format) => {
    expect(sinkOf(`${FILE}, format: ${format}`)).toMatchObject({ name: `{{mailbox}}.${format}` });
  });

  test.each(["{{issueDate}}/{{seller}}-{{number}}.json", "{{gross}}{{service}}.json", "{{data.a}}"])("a name may be %s", (name) => {
    expect(sinkOf(`${FILE}, name: "${name}"`)).toMatchObject({ name });
  });

  test.each(["640", "0o640", '"640"', '"4755"', '"0240"', '"06400"'])("permissions are not %s", (mode) => {
    expect(wrongIn(`${FILE}, mode: ${mode}`)).toEqual(["mode"]);
  });

  test("two write one file only when they are files", () => {
    const text = (second: string) => `
mailboxes: { invoices: { host: imap.example.com, user: a@example.com, password: x } }
services: { extend: { kind: extend, apiKey: y } }
sinks: { one: { ${FILE} }, two: { ${second} }, three: { ${HTTP} }, four: { ${HTTP} } }`;
    const paths = (second: string) => {
      const reading = readConfig(text(second), { path: "/c.yaml", env: {}, readFile: () => PEM });
      return "problems" in reading ? reading.problems.map((it) => it.path) : [];
    };
    expect(paths(FILE)).toEqual(["sinks.two"]);
    expect(paths(`${FILE}, format: csv`)).toEqual([]);
  });
});

describe("http", () => {
  test("what is left out, and it is what its maker takes", () => {
    const sink = sinkOf(HTTP);
    expect(sink).toEqual({
      kind: "http",
      url: "https://erp.example.com/in",
      method: "POST",
      format: "json",
      attachments: false,
      raw: false,
      headers: {},
      body: null,
      auth: null,
      secrets: [],
      timeout: 30_000,
      ca: null,
      certificate: null,
      key: null,
      allowPrivate: false,
      allowPlaintext: false,
      id: "id",
      per: "document",
      failures: false,
      retry: patient,
    });
    if (sink.kind === "http") ({ ...sink, name: "it" }) satisfies HttpSinkOptions;
  });

  test("its url is called as it stands there", () => {
    expect(sinkOf("kind: http, url: 'https://erp.example.com/in/?key=S3cret'")).toMatchObject({
      url: "https://erp.example.com/in/?key=S3cret",
    });
  });

  test.each([
    ["{ bearer: t }", { bearer: "t" }],
    ["{ basic: { user: u, password: 'p:q' } }", { basic: { user: "u", password: "p:q" } }],
  ])("auth: %s", (written, auth) => {
    expect(sinkOf(`${HTTP}, auth: ${written}`)).toMatchObject({ auth });
  });

  test("the files of TLS are found beside the configuration", () => {
    expect(sinkOf(`${HTTP}, ca: ca.pem, certificate: c.pem, key: /run/c.key`)).toMatchObject({
      ca: "/etc/billhook/ca.pem",
      certificate: "/etc/billhook/c.pem",
      key: "/run/c.key",
    });
  });

  test.each([
    [24, true],
    [64, true],
    [23, false],
    [65, false],
  ])("a secret of %i bytes: %s", (bytes, isOne) => {
    const base64 = Buffer.alloc(bytes, 0xfb).toString("base64");
    for (const secret of [`whsec_${base64}`, `whsec_${base64.replace(/=+$/, "")}`])
      expect(wrongIn(`${HTTP}, secrets: ["${secret}"]`)).toEqual(isOne ? [] : ["secrets.0"]);
    expect(wrongIn(`${HTTP}, secrets: ["whsec_${base64.replaceAll("+", "-").replaceAll("/", "_")}"]`)).toEqual(["secrets.0"]);
  });

  test.each([
    ["http://127.0.0.1/", "url", "allowPrivate"],
    ["https://localhost/", "url", "allowPrivate"],
    ["https://169.254.169.254/", "url", "allowPrivate"],
    ["https://[fd00::1]/", "url", "allowPrivate"],
    ["http://erp.example.com/", "url", "allowPlaintext"],
    ["http://8.8.8.8/", "url", "allowPlaintext"],
  ])("%s needs its owner's word", (url, wrong, word) => {
    expect(wrongIn(`kind: http, url: "${url}"`)).toEqual([wrong]);
    expect(wrongIn(`kind: http, url: "${url}", ${word}: true`)).toEqual([]);
  });

  test("names the sink would refuse are refused here, with line and column", () => {
    const names = [
      "Host",
      "content-length",
      "Transfer-Encoding",
      "TE",
      "webhook-id",
      "Webhook-Signature",
      "Idempotency-Key",
      "a b",
      "a:",
      "ü",
    ];
    for (const name of names) {
      expect(() => checkNames("it", [name], []), name).toThrow();
      expect(wrongIn(`${HTTP}, headers: { "${name}": x }`), name).toHaveLength(1);
    }
    expect(wrongIn(`${HTTP}, headers: { Hostess: x, X-Webhook-Id: x, Authorization: x }`)).toEqual([]);
    expect(() => checkNames("it", ["Hostess", "X-Webhook-Id", "Authorization"], [])).not.toThrow();
  });

  test("no secret is told, however wrong its place", () => {
    for (const lines of [
      "auth: S3cret",
      "auth: { bearer: [S3cret] }",
      'auth: { bearer: "S3cret S3cret" }',
      "auth: { basic: { user: S3cret, password: 7, S3cret: 1 } }",
      "auth: { basic: S3cret }",
      "secrets: [S3cret]",
      "secrets: S3cret",
      "headers: S3cret",
      'headers: { "X:S3cret": 1, "S3cret X": a, X: [S3cret] }',
      "key: [S3cret]",
      // biome-ignore lint/suspicious/noTemplateCurlyInString: a reference as the configuration writes it
      "id: '.${SECRET}', method: '${SECRET}'",
    ]) {
      const reading = read(`${HTTP}, ${lines}`);
      expect(reading, lines).toHaveProperty("problems");
      const told = JSON.stringify("problems" in reading ? reading.problems.map((it) => it.message) : []);
      // A key that is not known is told by its name, so that it can be found.
      expect(told, lines).not.toContain("S3cret");
    }
  });
});

describe("smtp", () => {
  test("what is left out, and it is what its maker takes", () => {
    const sink = sinkOf(`${SMTP}, to: [ap@example.com]`);
    expect(sink).toEqual({
      kind: "smtp",
      host: "smtp.example.com",
      port: 465,
      tls: "implicit",
      allowPlaintext: false,
      ca: null,
      user: null,
      password: null,
      oauth2: null,
      from: "a@example.com",
      to: ["ap@example.com"],
      allow: [],
      authserv: null,
      perHour: Number.POSITIVE_INFINITY,
      attach: { json: true, csv: false, originals: false },
      timeout: 60_000,
      per: "message",
      failures: true,
      retry: patient,
    });
    if (sink.kind === "smtp") ({ ...sink, name: "it", timeoutMs: sink.timeout, own: [] }) satisfies SmtpSinkOptions;
  });

  test.each([
    ["tls: implicit", 465],
    ["tls: starttls", 587],
    ["tls: none, allowPlaintext: true", 25],
    ["tls: none, allowPlaintext: true, port: 2525", 2525],
  ])("the port for %s is %i", (lines, port) => {
    expect(sinkOf(`${SMTP}, to: ap@example.com, ${lines}`)).toMatchObject({ port });
  });

  test("answers to senders have a limit, and need to know whom", () => {
    expect(sinkOf(`${SMTP}, to: sender, allow: "*@seilerei.example"`)).toMatchObject({ allow: ["*@seilerei.example"], perHour: 10 });
    expect(sinkOf(`${SMTP}, to: sender, authserv: mx.example.com, perHour: 3`)).toMatchObject({ to: "sender", perHour: 3 });
    expect(wrongIn(`${SMTP}, to: sender`)).toEqual(["to"]);
    for (const lines of ["allow: ['*@a.example']", "authserv: mx.example.com", "perHour: 10"])
      expect(wrongIn(`${SMTP}, to: [ap@example.com], ${lines}`)).toEqual([lines.split(":")[0]]);
  });

  test.each([
    "a@example.com",
    "Invoices <a@example.com>",
    '"Müller, GmbH" <a.b+c@bücher.example>',
    "<a@localhost>",
    "Rechnungen Süd <a@example.com>",
  ])("a mail may be from %s", (from) => {
    expect(sinkOf(`kind: smtp, host: h, from: '${from}', to: b@example.com`)).toMatchObject({ from });
  });

  test.each([
    "a",
    "a@",
    "a@b@c",
    "a@example.com, b@example.com",
    "A <a@example.com> B",
    "A <a@example.com",
    "a..b@example.com",
    "A: <a@example.com>;",
    "a@-example.com",
  ])("and not from %s", (from) => {
    expect(wrongIn(`kind: smtp, host: h, from: '${from}', to: b@example.com`)).toEqual(["from"]);
    expect(wrongIn(`${SMTP}, to: ['${from}']`)).toEqual(["to.0"]);
  });

  test("nothing is sent to an account that is read", () => {
    expect(wrongIn(`${SMTP}, to: [ap@example.com, INVOICES@example.com]`)).toEqual(["to.1"]);
    expect(wrongIn(`${SMTP}, to: Invoices@example.com`)).toEqual(["to"]);
    expect(wrongIn(`${SMTP}, to: [ap@example.com]`, { user: "ap" })).toEqual([]);
  });

  test("who logs in", () => {
    const oauth2 = "oauth2: { clientId: c, refreshToken: r, tokenUrl: https://oauth2.example.com/token }";
    const to = (lines: string) => wrongIn(`${SMTP}, to: [ap@example.com], ${lines}`);
    expect(to("user: u, password: p")).toEqual([]);
    expect(to(`user: u, ${oauth2}`)).toEqual([]);
    expect(to("user: u")).toEqual(["user"]);
    expect(to("password: p")).toEqual(["password"]);
    expect(to(oauth2)).toEqual(["oauth2"]);
    expect(to(`user: u, password: p, ${oauth2}`)).toEqual(["oauth2"]);
    expect(to(`user: u, ${oauth2.replace("https", "http")}`)).toEqual(["oauth2.tokenUrl"]);
  });
});

test("long texts are judged in no time", () => {
  for (const lines of [
    `${SMTP}, to: "${"a.".repeat(100_000)}@"`,
    `${SMTP}, to: sender, allow: "${"@".repeat(100_000)} "`,
    `kind: smtp, host: h, to: sender, from: '${"a ".repeat(50_000)}<'`,
    `${HTTP}, id: "${"a.".repeat(50_000)}"`,
    `${HTTP}, secrets: ["whsec_${"A".repeat(200_000)}="]`,
  ]) {
    const begun = performance.now();
    expect(wrongIn(lines).length).toBeGreaterThan(0);
    expect(performance.now() - begun).toBeLessThan(1_000);
  }
});
