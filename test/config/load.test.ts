/** From a file to a configuration: defaults, units, paths, references, and what is said when there is no way. */
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: references are what is tested
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { entryAt } from "../../src/config/document.ts";
import { type Config, loadConfig, type Problem, readConfig } from "../../src/config/load.ts";
import { MAPPING_KEYS } from "../../src/mapping/terms.ts";

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "billhook-config-"));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const files: { readonly [path: string]: string } = { "/etc/billhook/key": "from-a-file\r\n", "/run/secrets/two": "two\n\n" };
const readFile = (path: string) => {
  const text = files[path];
  if (text === undefined) throw Object.assign(new Error("no"), { code: "ENOENT" });
  return text;
};

type Changes = { mailbox?: string; service?: string; sink?: string; top?: string };

/** A short valid configuration with lines of the test's own. */
function yaml({ mailbox = "", service = "", sink = "", top = "" }: Changes = {}): string {
  return `${top}
mailboxes:
  invoices:
    host: imap.example.com
    user: me
    password: secret
    ${mailbox}
services:
  squid:
    kind: cloudsquid
    apiKey: secret
    project: P
    table: 3c90c3cc-0d44-4b50-8888-8dd25736052a
    ${service}
sinks:
  files:
    kind: file
    directory: out
    ${sink}
`;
}

/** The same with the other kind of service. */
function extend(service = "", top = ""): string {
  return yaml({ top }).replace(/ {2}squid:[\s\S]*(?=sinks:)/, () => `  ext:\n    kind: extend\n    apiKey: secret\n    ${service}\n`);
}

function read(text: string, env: { [name: string]: string } = {}) {
  return readConfig(text, { path: "/etc/billhook/config.yaml", env, readFile });
}

function configOf(text: string, env: { [name: string]: string } = {}): Config {
  const reading = read(text, env);
  if ("problems" in reading)
    return expect.fail(reading.problems.map((it) => `${it.line}:${it.column} ${it.path} ${it.message}`).join("\n"));
  return reading.config;
}

function problemsOf(text: string, env: { [name: string]: string } = {}): readonly Problem[] {
  const reading = read(text, env);
  return "problems" in reading ? reading.problems : expect.fail("it is valid");
}

describe("what comes out", () => {
  test("durations are milliseconds, sizes bytes, paths absolute", () => {
    const config = configOf(
      yaml({
        top: "state: { directory: ../lib }\nretry: { first: 1.5s, longest: 2m }",
        service: "maxBytes: 1.5KiB",
      }),
    );
    expect(config.state.directory).toBe("/etc/lib");
    expect(config.retry).toEqual({ first: 1_500, longest: 120_000, giveUpAfter: 259_200_000 });
    expect(config.services.squid).toMatchObject({ maxBytes: 1536, timeout: 60_000, poll: { first: 2_000, longest: 30_000 } });
    expect(config.sinks.files).toMatchObject({ directory: "/etc/billhook/out" });
  });

  test.each([
    ["", 993],
    ["tls: implicit", 993],
    ["tls: starttls", 143],
    ["tls: starttls\n    port: 1143", 1143],
  ])("the port for %j is %i", (written, port) => {
    expect(configOf(yaml({ mailbox: written })).mailboxes.invoices?.port).toBe(port);
  });

  test.each([
    ["now", { is: "now" }],
    ["all", { is: "all" }],
    ["{ since: 2026-01-31 }", { is: "since", date: "2026-01-31T00:00:00.000Z" }],
  ])("start: %s", (written, start) => {
    expect(configOf(yaml({ mailbox: `start: ${written}` })).mailboxes.invoices?.start).toEqual(start);
  });

  test.each([
    ["delete", { is: "delete" }],
    ["{ move: Rechnungen/Fertig }", { is: "move", folder: "Rechnungen/Fertig" }],
    ["{ keyword: $Done }", { is: "keyword", keyword: "$Done" }],
  ])("afterwards: %s", (written, action) => {
    const { afterwards } = configOf(yaml({ mailbox: `afterwards: { done: ${written} }` })).mailboxes.invoices ?? {};
    expect(afterwards).toEqual({ done: action, failed: { is: "flag" } });
  });

  test("what is left out of a service", () => {
    expect(configOf(yaml())).toMatchObject({
      web: null,
      services: {
        squid: {
          mode: "async",
          syncMaxBytes: 2 * 1024 ** 2,
          unsupported: "map",
          limits: { runsPerDay: null, runsPerHour: null, maxBytes: null, maxParts: null },
          rates: { read: 10, write: 10, run: 10 },
          breaker: { failures: 5, first: 10_000, longest: 600_000 },
          invoice: {},
        },
      },
    });
    expect(configOf(extend()).services.ext).toEqual({
      kind: "extend",
      url: "https://api.extend.ai",
      allowPlaintext: false,
      apiKey: "secret",
      workspace: null,
      extractor: null,
      config: null,
      priority: null,
      usageTags: [],
      metadata: {},
      mode: "async",
      syncMaxBytes: 2 * 1024 ** 2,
      submit: "parts",
      body: "text",
      unsupported: "skip",
      output: "final",
      maxBytes: 50 * 1024 ** 2,
      webhookSecret: null,
      poll: { first: 1_000, longest: 30_000 },
      timeout: 60_000,
      deadlines: { pending: 7_200_000, running: 7_200_000, review: 1_209_600_000 },
      reviewMs: 1_209_600_000,
      limits: { runsPerDay: null, runsPerHour: null, maxBytes: null, maxParts: null },
      rates: { read: 10, write: 10, run: 10 },
      breaker: { failures: 5, first: 10_000, longest: 600_000 },
      invoice: {},
    });
  });

  test.each([
    ["region: us2", "https://api.us2.extend.app"],
    ["region: eu", "https://api.eu1.extend.ai"],
    ["region: eu\n    url: http://127.0.0.1:8080/", "http://127.0.0.1:8080"],
  ])("the url of extend for %j is %s", (written, url) => {
    expect(configOf(extend(written)).services.ext).toMatchObject({ url });
  });

  test("an extractor without a version leaves the choice to the service", () => {
    expect(configOf(extend("extractor: { id: ex_1 }")).services.ext).toMatchObject({
      extractor: { id: "ex_1", version: null },
      config: null,
    });
  });

  test("the config of a run is passed on as it is, with references followed, however deep its schema", () => {
    const level = (inner: string) => `{ type: object, properties: { a: ${inner} } }`;
    const deep = Array.from({ length: 8 }, () => level).reduce((inner, wrap) => wrap(inner), `{ type: [string, "null"], const: 1.5 }`);
    const { ext } = configOf(extend(`config: { rules: "\${A}", schema: ${deep}, flags: [true, null, 7] }`), { A: "x" }).services;
    expect(ext).toMatchObject({ extractor: null, config: { rules: "x", flags: [true, null, 7], schema: parse(deep) } });
  });

  test("terms of the invoice keep their expressions, of several lines too, and null", () => {
    const written = `invoice: { gross: "total + 1", type: null, seller.name: "vendor\\n.name" }`;
    const terms = { gross: "total + 1", type: null, "seller.name": "vendor\n.name" };
    expect(configOf(yaml({ service: written })).services.squid?.invoice).toEqual(terms);
    expect(configOf(extend(written)).services.ext?.invoice).toEqual(terms);
  });

  test("the terms are those of the mapping", () => {
    const known = entryAt(["services", "squid", "invoice"], { services: { squid: { kind: "cloudsquid" } } });
    expect(Object.keys(known?.properties ?? {}).sort()).toEqual([...MAPPING_KEYS].sort());
  });

  test("names that mean something to JavaScript are names like others", () => {
    const config = configOf(yaml().replace("  invoices:", "  constructor:"));
    expect(Object.keys(config.mailboxes)).toEqual(["constructor"]);
  });

  test("an anchor and its alias are the same value, and a fault is told where the alias stands", () => {
    const twice = (password: string) =>
      yaml({ mailbox: `sweep: "* * * * *"\n  second:\n    host: imap.example.org\n    user: me\n    password: *p` }).replace(
        "password: secret",
        `password: &p ${password}`,
      );
    expect(configOf(twice("secret")).mailboxes.second?.password).toBe("secret");
    expect(problemsOf(twice("7")).map((it) => `${it.line}:${it.path}`)).toEqual([
      "6:mailboxes.invoices.password",
      "11:mailboxes.second.password",
    ]);
  });
});

describe("<< merges a mapping", () => {
  const merged = (second: string) => yaml({ mailbox: `sweep: "* * * * *"\n  ${second}` }).replace("  invoices:", "  invoices: &box");

  test("so that folders of one account say the same once; what stands beside it goes before", () => {
    for (const second of [
      "orders: { <<: *box, folder: Orders }",
      "orders:\n    folder: Orders\n    <<: *box",
      "orders: { <<: [*box], folder: Orders }",
    ]) {
      const { invoices, orders } = configOf(merged(second)).mailboxes;
      expect(orders, second).toEqual({ ...invoices, folder: "Orders" });
    }
    const quoted = merged('orders: { "<<": *box, folder: Orders }');
    expect(problemsOf(quoted).length).toBeGreaterThan(0);
  });

  test("what is wrong is told: another thing than a mapping, a key that is not known, an anchor that is not there", () => {
    const said = (second: string) => problemsOf(merged(second)).map(({ line, message }) => `${line} ${message}`);
    expect(said("orders: { <<: 7, host: a.example.com, user: me, password: x }")).toEqual([
      expect.stringMatching(/^8 expected << to be followed by a mapping/),
    ]);
    expect(said("orders: { <<: *box, foldr: Orders }")).toEqual([expect.stringMatching(/^8 unknown key/)]);
    expect(said("orders: { <<: *bax, folder: Orders }").join("\n")).toMatch(/anchor \(&\) that is not set before it/);
  });

  test("a mapping that merges itself is refused, not followed", () => {
    expect(
      problemsOf(`a: &a\n  b: 1\n  <<: *a\n`)
        .map(({ message }) => message)
        .join("\n"),
    ).toMatch(/levels/);
    const bomb = Array.from({ length: 30 }, (_, n) => `a${n}: &a${n} { <<: [*a${n - 1}, *a${n - 1}], k${n}: 1 }`).slice(1);
    // It grows no further than any other alias: the test would not end.
    expect(problemsOf(["a0: &a0 { k: 1 }", ...bomb].join("\n"))).not.toEqual([]);
  });
});

describe("references", () => {
  const password = (written: string, env: { [name: string]: string } = {}) =>
    configOf(
      yaml().replace("password: secret", () => `password: ${written}`),
      env,
    ).mailboxes.invoices?.password;

  test("the environment, a file, and text around them", () => {
    expect(password("${A}", { A: "x" })).toBe("x");
    expect(password('"<${A}${B}>"', { A: "x", B: "y" })).toBe("<xy>");
    expect(password("${file:./key}")).toBe("from-a-file");
  });

  test("a value is brought in as it is: no YAML in it, no second look, all of its $", () => {
    expect(password("${A}", { A: "'{\"#: ${B} $${ $& $1" })).toBe("'{\"#: ${B} $${ $& $1");
  });

  test("only one newline is cut from a file", () => {
    expect(problemsOf(yaml().replace("password: secret", "password: ${file:/run/secrets/two}"))).toMatchObject([
      {
        path: "mailboxes.invoices.password",
        message: "expected a password, found the value of ${file:/run/secrets/two} (not shown). Put such a value there.",
      },
    ]);
  });

  test("$${ is a literal ${", () => {
    expect(password("a$${A}$b")).toBe("a${A}$b");
  });

  test("numbers and truths become what the key wants; a password of digits stays a text", () => {
    const env = { PORT: "1993", YES: "true", N: "3", DIGITS: "12345678" };
    const config = configOf(
      yaml({ top: 'concurrency: "${N}"', mailbox: "port: ${PORT}", sink: "attachments: ${YES}" }).replace(
        "password: secret",
        "password: ${DIGITS}",
      ),
      env,
    );
    expect(config).toMatchObject({
      concurrency: 3,
      mailboxes: { invoices: { port: 1993, password: "12345678" } },
      sinks: { files: { attachments: true } },
    });
  });

  test("a rate from the environment may have a fraction", () => {
    const config = configOf(yaml({ service: 'rates: { run: "${RATE}" }\n    limits: { runsPerDay: "${DAY}" }' }), {
      RATE: "0.5",
      DAY: "20",
    });
    expect(config.services.squid).toMatchObject({ rates: { read: 10, run: 0.5 }, limits: { runsPerDay: 20 } });
    const [problem] = problemsOf(yaml({ service: 'limits: { runsPerDay: "${DAY}" }' }), { DAY: "0.5" });
    expect(problem).toMatchObject({ path: "services.squid.limits.runsPerDay" });
  });

  test("only references are taken for numbers", () => {
    expect(problemsOf(yaml({ mailbox: 'port: "993"' }))).toMatchObject([{ line: 7, path: "mailboxes.invoices.port" }]);
  });
});

describe("rules", () => {
  const messages = (changes: Changes) => problemsOf(yaml(changes)).map((it) => it.path);

  test.each(["localhost", "127.0.0.1", "127.8.9.1", "::1", "imap.localhost"])("no TLS is fine on %s", (host) => {
    expect(configOf(yaml({ mailbox: "tls: none" }).replace("imap.example.com", JSON.stringify(host))).mailboxes.invoices?.port).toBe(143);
  });

  test.each(["127.0.0.1.example.com", "localhost.example.com", "10.0.0.1", "127.example.com"])("and not on %s", (host) => {
    expect(problemsOf(yaml({ mailbox: "tls: none" }).replace("imap.example.com", host))).toMatchObject([
      { path: "mailboxes.invoices.tls" },
    ]);
  });

  test("unless the owner insists", () => {
    configOf(yaml({ mailbox: "tls: none\n    allowPlaintext: true", service: "url: http://sandbox:8080/api/\n    allowPlaintext: true" }));
    expect(messages({ mailbox: "tls: none", service: "url: http://sandbox:8080/api" })).toEqual([
      "mailboxes.invoices.tls",
      "services.squid.url",
    ]);
  });

  test("http is fine on loopback, and the slash at the end goes", () => {
    expect(configOf(yaml({ service: "url: http://[::1]:8080/api/" })).services.squid?.url).toBe("http://[::1]:8080/api");
  });

  test("a webhook's secret needs web, and a web that is wrong is not called missing", () => {
    const secret = "webhookSecret: wss_x";
    expect(configOf(extend(secret, "web: {}")).web).toEqual({ host: "127.0.0.1", port: 8080, metrics: null, token: null });
    expect(problemsOf(extend(secret, "web: { port: 0 }")).map((it) => it.path)).toEqual(["web.port"]);
    expect(problemsOf(extend(secret)).map((it) => it.path)).toEqual(["services.ext.webhookSecret"]);
  });

  test.each([
    ["squid", (lines: string) => yaml({ service: lines })],
    ["ext", (lines: string) => extend(lines)],
  ])("a sync call is given five minutes: %s", (name, withLines) => {
    const sync = (timeout: string) => withLines(`mode: sync\n    timeout: ${timeout}`);
    expect(configOf(sync("5m")).services[name]).toMatchObject({ mode: "sync", timeout: 300_000 });
    expect(problemsOf(sync("299s")).map((it) => it.path)).toEqual([`services.${name}.timeout`]);
    expect(problemsOf(withLines("mode: sync")).map((it) => it.path)).toEqual([`services.${name}.timeout`]);
  });

  test("metadata and tags fill 8 KB together and no more, in bytes", () => {
    const filled = (characters: number) => extend(`metadata: { a: "${"é".repeat(characters)}" }\n    usageTags: [${"t".repeat(4_000)}]`);
    const most = Math.floor((8_192 - 4_000 - JSON.stringify([{ a: "" }, [""]]).length) / 2);
    expect(read(filled(most))).toHaveProperty("config");
    expect(problemsOf(filled(most + 1)).map((it) => it.path)).toEqual(["services.ext.metadata"]);
    expect(problemsOf(extend(`usageTags: [${"t".repeat(9_000)}]`)).map((it) => it.path)).toEqual(["services.ext.usageTags"]);
  });

  test("a JSON Lines file may have one name for all", () => {
    expect(messages({ sink: "name: all.json" })).toEqual(["sinks.files.name"]);
    expect(configOf(yaml({ sink: "name: all.jsonl\n    format: jsonl" })).sinks.files).toMatchObject({ name: "all.jsonl" });
  });

  test.each([
    "/tmp/{{document}}",
    "a//{{document}}",
    "{{document}}/",
    "{{document}}/..",
    "{{document}",
    "a\\\\{{document}}",
    "{{data.}}{{document}}",
    "{{data.a b}}{{document}}",
  ])("the name %s is none", (name) => expect(messages({ sink: `name: "${name}"` })).toEqual(["sinks.files.name"]));

  test("the name may use any field of the data", () => {
    const name = "{{data.seller.name}}/{{data.lines.0.net-amount}}-{{document}}.json";
    expect(configOf(yaml({ sink: `name: "${name}"` })).sinks.files).toMatchObject({ name });
  });

  test("a wrong key elsewhere does not hide a broken rule", () => {
    expect(messages({ mailbox: "tls: none", sink: "colour: red" })).toEqual(["mailboxes.invoices.tls", "sinks.files.colour"]);
  });
});

describe("files", () => {
  const failing = (path: string) =>
    loadConfig(path, {}).then(
      () => expect.fail("it was read"),
      (thrown) => thrown,
    );

  test("a file is read, its references relative to it", async () => {
    const path = join(directory, "config.yaml");
    writeFileSync(path, `\uFEFF${yaml().replace("password: secret", "password: ${file:secret.txt}")}`);
    writeFileSync(join(directory, "secret.txt"), "pässword\n");
    const config = await loadConfig(path, {});
    expect(config.mailboxes.invoices?.password).toBe("pässword");
    expect(config.state.directory).toBe(join(directory, "state"));
  });

  test("a file that is not there", async () => {
    const path = join(directory, "nowhere.yaml");
    expect(await failing(path)).toMatchObject({
      code: "config.missing",
      temporary: false,
      message: `${path}: the configuration cannot be read: there is no such file.`,
    });
  });

  test.each([
    ["a directory", "it is a directory", (path: string) => mkdirSync(path)],
    ["not UTF-8", "it is not UTF-8 text", (path: string) => writeFileSync(path, Buffer.from([0x61, 0xff, 0xfe]))],
    ["too large", "it is larger than 256 KB", (path: string) => writeFileSync(path, "#".repeat(300_000))],
  ])("a file that is %s", async (what, why, make) => {
    const path = join(directory, `${what.replaceAll(" ", "-")}.yaml`);
    make(path);
    expect(await failing(path)).toMatchObject({ code: "config.unreadable", message: `${path}: the configuration cannot be read: ${why}.` });
  });

  test("a device without end does not fill the memory", async () => {
    expect(await failing("/dev/zero")).toMatchObject({ code: "config.unreadable" });
  });
});

describe("bad input never wins", () => {
  const inBounds = (text: string) => {
    const reading = read(text, { A: "x" });
    if ("config" in reading) return;
    expect(reading.problems.length).toBeGreaterThan(0);
    const lines = text.split("\n").length;
    for (const it of reading.problems) {
      expect(it.line).toBeGreaterThanOrEqual(1);
      expect(it.line).toBeLessThanOrEqual(lines + 1);
      expect(it.column).toBeGreaterThanOrEqual(1);
    }
  };

  test("any text is a configuration or has problems", () => {
    fc.assert(fc.property(fc.string({ unit: "grapheme" }), inBounds), { numRuns: 500 });
  });

  test("so is a configuration cut and pasted over", () => {
    const whole = yaml({ mailbox: "start: { since: 2026-01-01 }", sink: 'name: "{{document}}"' });
    const position = fc.integer({ min: 0, max: whole.length });
    const piece = fc.oneof(
      fc.constantFrom("*", "&a", "!x", "{", "[", "}", ": ", "\n", "\t", "- ", "? ", "${", "${A}", "|", "%", "---\n", "null", "\0"),
      fc.string(),
    );
    fc.assert(
      fc.property(position, position, piece, (from, to, put) => inBounds(whole.slice(0, from) + put + whole.slice(to))),
      { numRuns: 500 },
    );
  });

  test("a secret is never told, however it is written", () => {
    const near = fc.string({ unit: fc.constantFrom(..."*&!%@`'\"{}[]|>#:,-?$ \\~abc"), maxLength: 6 });
    fc.assert(
      fc.property(near, near, (before, after) => {
        const reading = read(yaml({ service: "colour: red" }).replace("password: secret", () => `password: ${before}S3cretS3cret${after}`));
        expect(JSON.stringify(reading)).not.toContain("S3cret");
      }),
      { numRuns: 1000 },
    );
  });

  test("nor is the secret of a webhook", () => {
    for (const written of ["S3cret", "12345678", "[S3cret]", "wss_S3cret x"])
      expect(JSON.stringify(problemsOf(extend(`webhookSecret: ${written}`, "web: {}")))).not.toMatch(/S3cret|12345678/);
  });

  test.each([
    ["nested lists", "[".repeat(200_000)],
    ["nested mappings", Array.from({ length: 600 }, (_, depth) => `${" ".repeat(depth)}a:`).join("\n")],
    ["many keys", Array.from({ length: 20_000 }, (_, index) => `k${index}: 1`).join("\n")],
    ["many aliases", `a: &a [${"x, ".repeat(20_000)}]\nb:\n${"- *a\n".repeat(20_000)}`],
    ["a URL of slashes", yaml({ service: `url: "http://a${"://".repeat(80_000)}x"` })],
    ["a name of braces", yaml({ sink: `name: "${"{{".repeat(100_000)}"` })],
    ["references without end", yaml({ sink: `name: "${"${".repeat(100_000)}"` })],
    ["a mapping without names", "? [a, b]\n: c\n"],
  ])(
    "%s",
    (_, text) => {
      expect(problemsOf(text).length).toBeGreaterThan(0);
    },
    10_000,
  );
});
