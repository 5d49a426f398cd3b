/** Routes from a file to rules as the pipeline takes them, and the rules about rules. */
import { describe, expect, test } from "vitest";
import { type Config, readConfig } from "../../src/config/load.ts";
import type { Rule } from "../../src/pipeline/route.ts";

function read(routes: string) {
  const text = `
mailboxes:
  invoices: { host: imap.example.com, user: a@example.com, password: x }
  other: { host: imap.example.com, user: b@example.com, password: x, folder: Other }
services:
  extend: { kind: extend, apiKey: y }
  second: { kind: extend, apiKey: y }
sinks:
  files: { kind: file, directory: out }
  lines: { kind: file, directory: out, format: csv }
routes:
${routes}`;
  return readConfig(text, { path: "/etc/billhook/config.yaml", env: {}, readFile: () => "" });
}

function rulesOf(routes: string): Config["routes"] {
  const reading = read(routes);
  return "config" in reading ? reading.config.routes : expect.fail(reading.problems.map((it) => `${it.path} ${it.message}`).join("\n"));
}

/** Line counted from the first rule, and path. */
function wrongIn(routes: string): readonly string[] {
  const reading = read(routes);
  return "problems" in reading ? reading.problems.map((it) => `${it.line - 11}:${it.path.replace("routes.", "")}`) : [];
}

describe("what comes out", () => {
  test("every condition, as the pipeline takes it", () => {
    const [rule] = rulesOf(`
  - name: all of it
    when:
      mailbox: invoices
      from: "*@example.com"
      to: [a@example.com, "b+*@example.com"]
      plus: de
      subject: "*invoice*"
      list: false
      auto: true
      attachments: { type: application/pdf, name: ["*.pdf"], smallest: 1KB, largest: 2KB }
      size: { largest: 1MB }
      parts: { fewest: 0, most: 3 }
    service: second
    sinks: lines
    afterwards: { done: { move: Done } }`);
    expect(rule).toEqual({
      name: "all of it",
      is: "take",
      when: {
        mailbox: ["invoices"],
        from: ["*@example.com"],
        to: ["a@example.com", "b+*@example.com"],
        plus: ["de"],
        subject: ["*invoice*"],
        list: false,
        auto: true,
        attachments: { type: ["application/pdf"], name: ["*.pdf"], smallest: 1024, largest: 2048 },
        size: { largest: 1024 ** 2 },
        parts: { fewest: 0, most: 3 },
      },
      service: "second",
      sinks: ["lines"],
      afterwards: { done: { is: "move", folder: "Done" }, failed: null },
    });
  });

  test("but for the names of sinks a rule is a rule of the pipeline", () => {
    const rules = rulesOf(`
  - { when: { list: true }, ignore: a list, afterwards: { done: seen } }
  - { when: { auto: true }, hold: a machine }
  - { when: { plus: de }, service: second }
  - sinks: [files, lines, files]`);
    const asked: readonly Rule[] = rules.map((rule) =>
      rule.is === "take"
        ? { ...rule, sinks: rule.sinks?.map((name) => ({ name, per: "document" as const, failures: false })) ?? null }
        : rule,
    );
    expect(asked.map(({ name, is }) => `${name}: ${is}`)).toEqual(["rule 1: ignore", "rule 2: hold", "rule 3: take", "rule 4: take"]);
    expect(rules[0]).toMatchObject({ why: "a list", afterwards: { done: { is: "seen" }, failed: null } });
    expect(rules[1]).toMatchObject({ why: "a machine", afterwards: null });
    expect(rules[2]).toMatchObject({ service: "second", sinks: null });
    expect(rules[3]).toMatchObject({ when: {}, service: null, sinks: ["files", "lines"] });
  });

  test("none from an empty list; a list that was forgotten is told", () => {
    expect(rulesOf("  []")).toEqual([]);
    expect(wrongIn("")).toEqual(["0:routes"]);
  });

  test("services are in the order they are written in", () => {
    const names = ["zeta", "1a", "alpha"];
    const text = `
mailboxes: { m: { host: imap.example.com, user: a@example.com, password: x } }
services: { ${names.map((name) => `${name}: { kind: extend, apiKey: y }`).join(", ")} }
sinks: { files: { kind: file, directory: out } }`;
    const reading = readConfig(text, { path: "/c.yaml", env: {}, readFile: () => "" });
    expect("config" in reading && Object.keys(reading.config.services)).toEqual(names);
    expect(readConfig(text.replace("alpha", "7"), { path: "/c.yaml", env: {}, readFile: () => "" })).toMatchObject({
      problems: [{ path: "services.7" }],
    });
  });
});

describe("rules about rules", () => {
  test("a fault is told where it stands, in a list and in a text", () => {
    const routes =
      "  - when: { list: true }\n    sinks:\n      - files\n      - files\n      - nowhere\n  - service: nobody\n    when: { mailbox: none }";
    expect(wrongIn(routes)).toEqual(["5:0.sinks.2", "6:1.service", "7:1.when.mailbox"]);
  });

  test("names that are wrong by themselves are not called missing", () => {
    const reading = read("  - sinks: broken");
    expect(reading).toMatchObject({ problems: [{ path: "routes.0.sinks" }] });
    const text = `
mailboxes: { m: { host: imap.example.com, user: a@example.com, password: x } }
services: { extend: { kind: extend, apiKey: y } }
sinks: { broken: { kind: file, directory: 7 } }
routes: [{ sinks: broken }]`;
    expect(readConfig(text, { path: "/c.yaml", env: {}, readFile: () => "" })).toMatchObject({
      problems: [{ path: "sinks.broken.directory" }],
    });
  });

  test("a rule that is wrong by itself hides no other", () => {
    expect(wrongIn("  - { when: { list: perhaps }, hold: x }\n  - { hold: x, ignore: y }")).toEqual(["1:0.when.list", "2:1.ignore"]);
  });

  test.each([
    ["a rule for all ends it", "  - ignore: x\n  - hold: y\n  - { when: { list: true }, ignore: z }", ["2:1", "3:2"]],
    ["one that holds lets through what a person let go", "  - hold: x\n  - { when: { list: true }, ignore: y }\n  - sinks: files", []],
    ["but not to another that holds", "  - hold: x\n  - { when: { list: true }, hold: y }\n  - hold: z", ["2:1", "3:2"]],
    ["a condition is a condition, whatever it says", "  - { when: { attachments: {} }, ignore: x }\n  - ignore: y", []],
  ])("%s", (_, routes, wrong) => {
    expect(wrongIn(routes)).toEqual(wrong);
  });

  test("bounds that are equal can be met", () => {
    expect(wrongIn("  - { when: { size: { smallest: 1KB, largest: 1KB }, parts: { fewest: 2, most: 2 } }, hold: x }")).toEqual([]);
  });

  test("a mail is not moved to where it is watched, by the mailboxes it can come from", () => {
    const moved = (when: string) => wrongIn(`  - { when: { ${when} }, afterwards: { failed: { move: Other } } }`);
    expect(moved("mailbox: other")).toEqual(["1:0.afterwards.failed.move"]);
    expect(moved("list: true")).toEqual(["1:0.afterwards.failed.move"]);
    expect(moved("mailbox: invoices")).toEqual([]);
  });

  test("many rules are judged in no time", () => {
    const begun = performance.now();
    const routes = Array.from({ length: 1_200 }, (_, at) => `  - { when: { plus: "${at}" }, sinks: files }`);
    expect(rulesOf(routes.join("\n"))).toHaveLength(1_200);
    expect(wrongIn(routes.with(0, "  - sinks: files").join("\n"))).toHaveLength(1_199);
    expect(performance.now() - begun).toBeLessThan(5_000);
  });
});
