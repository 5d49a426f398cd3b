/** Rules: the first that matches decides, every condition can hold and fail, and each says why. */
import { describe, expect, it, test } from "vitest";
import { NO_FACTS } from "../../src/message/facts.ts";
import { messageIdOf } from "../../src/message/identity.ts";
import type { Facts, Part } from "../../src/message/message.ts";
import { type Condition, type Fallback, judge, type Mail, type Rule, routeOf, withBuiltIn } from "../../src/pipeline/route.ts";

const files = { name: "files", per: "document", failures: false } as const;
const erp = { name: "erp", per: "message", failures: true } as const;
const fallback: Fallback = { service: "cloudsquid", sinks: [files, erp] };

function mail({ facts = {}, ...more }: Partial<Omit<Mail, "facts">> & { readonly facts?: Partial<Facts> } = {}): Mail {
  return { mailbox: "invoices", facts: { ...NO_FACTS, ...facts }, parts: [], size: 1_000, released: false, ...more };
}
function part(more: Partial<Part> = {}): Part {
  const what = {
    filename: "a.pdf",
    contentType: "application/pdf",
    sniffedType: null,
    disposition: "attachment",
    contentId: null,
  } as const;
  return { id: "2", parent: null, role: "attachment", ...what, sha256: "00", size: 500, ...more };
}
const take = (name: string, when: Condition, more: Partial<Extract<Rule, { is: "take" }>> = {}): Rule => ({
  name,
  when,
  is: "take",
  service: null,
  sinks: null,
  afterwards: null,
  ...more,
});
const hold = (name: string, when: Condition): Rule => ({ name, when, is: "hold", why: "a person decides", afterwards: null });
const ignore = (name: string, when: Condition, afterwards: Rule["afterwards"] = null): Rule => ({
  name,
  when,
  is: "ignore",
  why: "not ours",
  afterwards,
});
const to = (...addresses: readonly string[]) => ({ to: addresses.map((address) => ({ name: "", address })) });

describe("the route of a mail", () => {
  test("no rule: the first service, every sink, the mailbox's own afterwards", () => {
    expect(routeOf([], mail(), fallback)).toEqual({ rule: null, is: "take", why: null, ...fallback, afterwards: null });
    expect(routeOf([take("other", { mailbox: ["other"] })], mail(), fallback).rule).toBeNull();
  });

  test("the first rule that matches decides; what it does not say is the default", () => {
    const rules = [
      take("no", { mailbox: ["other"] }),
      take("yes", {}, { service: "extend", sinks: [erp], afterwards: { done: { is: "move", folder: "Done" }, failed: null } }),
      take("late", {}),
    ];
    const taken = { is: "take", why: null } as const;
    const afterwards = { done: { is: "move", folder: "Done" }, failed: null } as const;
    expect(routeOf(rules, mail(), fallback)).toEqual({ ...taken, rule: "yes", service: "extend", sinks: [erp], afterwards });
    expect(routeOf(rules.slice(2), mail(), fallback)).toEqual({ ...taken, rule: "late", ...fallback, afterwards: null });
    expect(judge(rules, mail()).map(({ verdict }) => verdict)).toEqual(["fails", "decides", "matches"]);
  });

  test("a held mail goes nowhere until a person lets it go; then the next rule decides", () => {
    const rules = [hold("wait", {}), hold("wait more", {}), take("rest", { size: { largest: 2_000 } })];
    expect(routeOf(rules, mail(), fallback)).toMatchObject({ rule: "wait", is: "hold", why: "a person decides", sinks: [] });
    expect(routeOf(rules, mail({ released: true }), fallback)).toMatchObject({ rule: "rest", is: "take", sinks: fallback.sinks });
    expect(routeOf(rules, mail({ released: true, size: 3_000 }), fallback)).toMatchObject({ rule: null, is: "take" });
    expect(judge(rules, mail({ released: true })).map(({ verdict }) => verdict)).toEqual(["passed", "passed", "decides"]);
  });

  test("ignored mail is left as it is, released or not, unless the rule says what to do with it", () => {
    const none = { is: "none" };
    const ignored = { rule: "news", is: "ignore", why: "not ours", sinks: [], afterwards: { done: none, failed: none } };
    expect(routeOf([ignore("news", {})], mail(), fallback)).toMatchObject(ignored);
    expect(routeOf([ignore("news", {})], mail({ released: true }), fallback)).toMatchObject(ignored);
    const seen = { done: { is: "seen" }, failed: null } as const;
    expect(routeOf([ignore("news", {}, seen)], mail(), fallback).afterwards).toEqual(seen);
  });

  test("it is plain JSON", () => {
    for (const rules of [[], [hold("a", {})], [ignore("a", {})], [take("a", {}, { sinks: [erp] })]]) {
      const route = routeOf(rules, mail(), fallback);
      expect(JSON.parse(JSON.stringify(route))).toEqual(route);
    }
  });
});

describe("a condition", () => {
  const cases: readonly (readonly [string, Condition, Mail, boolean, string])[] = [
    ["mailbox", { mailbox: ["a", "invoices"] }, mail(), true, "invoices is a or invoices"],
    ["mailbox: no globs", { mailbox: ["inv*"] }, mail(), false, "invoices is not inv*"],
    [
      "from",
      { from: ["*@seilerei.example"] },
      mail({ facts: { from: [{ name: "", address: "Rechnung@Seilerei.EXAMPLE" }] } }),
      true,
      "Rechnung@Seilerei.EXAMPLE is like *@seilerei.example",
    ],
    ["from: missing", { from: ["*"] }, mail(), false, "there is none, * is wanted"],
    ["to", { to: ["*+de@example.com"] }, mail({ facts: to("x@y", "a+de@example.com") }), true, "a+de@example.com is like *+de@example.com"],
    [
      "to: none",
      { to: ["*+de@example.com", "b@*"] },
      mail({ facts: to("a@x", "c@x") }),
      false,
      "none of a@x, c@x is like *+de@example.com or b@*",
    ],
    ["to: one", { to: ["b@x"] }, mail({ facts: to("a@x") }), false, "a@x is not like b@x"],
    ["to: cc counts", { to: ["b@x"] }, mail({ facts: { ...to("a@x"), cc: [{ name: "", address: "b@x" }] } }), true, "b@x is like b@x"],
    ["to: deliveredTo counts", { to: ["b@x"] }, mail({ facts: { ...to("a@x"), deliveredTo: ["b@x"] } }), true, "b@x is like b@x"],
    ["plus", { plus: ["DE"] }, mail({ facts: to("ap+de@example.com") }), true, "de is like DE"],
    ["plus: behind the first one", { plus: ["de+x"] }, mail({ facts: to("ap+de+x@example.com") }), true, "de+x is like de+x"],
    ["plus: not in the domain", { plus: ["*"] }, mail({ facts: to("ap@ex+de.com", "+", "a@b") }), false, "there is none, * is wanted"],
    ["subject", { subject: ["*rechnung*"] }, mail({ facts: { subject: "Ihre Rechnung 7" } }), true, "Ihre Rechnung 7 is like *rechnung*"],
    [
      "subject: the whole of it",
      { subject: ["rechnung"] },
      mail({ facts: { subject: "Rechnung 7" } }),
      false,
      "Rechnung 7 is not like rechnung",
    ],
    ["list", { list: true }, mail({ facts: { list: "<news.example.com>" } }), true, "it came through the list <news.example.com>"],
    ["list: in bulk", { list: true }, mail({ facts: { precedence: "bulk" } }), true, "Precedence is bulk"],
    ["list: junk is none", { list: true }, mail({ facts: { precedence: "junk" } }), false, "nothing says that it came through a list"],
    ["list: false", { list: false }, mail({ facts: { precedence: "list" } }), false, "Precedence is list"],
    ["auto", { auto: true }, mail({ facts: { autoSubmitted: "auto-generated" } }), true, "Auto-Submitted is auto-generated"],
    ["auto: no is no", { auto: true }, mail({ facts: { autoSubmitted: "no" } }), false, "nothing says that a machine sent it"],
    ["auto: Exchange", { auto: true }, mail({ facts: { autoResponseSuppress: "oof" } }), true, "X-Auto-Response-Suppress is oof"],
    ["auto: none is none", { auto: false }, mail({ facts: { autoResponseSuppress: "none" } }), true, "nothing says that a machine sent it"],
    ["auto: a bounce", { auto: false }, mail({ facts: { returnPath: "" } }), false, "Return-Path is empty, as of a bounce"],
    [
      "attachments: one fulfils all",
      { attachments: { type: ["application/pdf"], name: ["*.pdf"], smallest: 500, largest: 500 } },
      mail({ parts: [part({ role: "body", id: "text" }), part({ size: 499, id: "2" }), part({ id: "3" })] }),
      true,
      "part 3 is one: a.pdf, application/pdf, 500 bytes",
    ],
    [
      "attachments: two that fulfil a half each do not",
      { attachments: { type: ["application/pdf", "image/*"], name: ["b*"], smallest: 1, largest: 9 } },
      mail({ parts: [part(), part({ filename: "b.txt", contentType: "text/plain", size: 5 })] }),
      false,
      "none of 2 has a type like application/pdf or image/* and a name like b* and at least 1 bytes and at most 9 bytes",
    ],
    [
      "attachments: the type its bytes look like",
      { attachments: { type: ["application/pdf"] } },
      mail({ parts: [part({ contentType: "application/octet-stream", sniffedType: "application/pdf", filename: null })] }),
      true,
      "part 2 is one: application/pdf, 500 bytes",
    ],
    [
      "attachments: no name is like no glob",
      { attachments: { name: ["*"] } },
      mail({ parts: [part({ filename: null })] }),
      false,
      "none of 1 has a name like *",
    ],
    ["attachments: bodies are none", { attachments: {} }, mail({ parts: [part({ role: "body" })] }), false, "there is none"],
    ["size: smallest", { size: { smallest: 1_000 } }, mail(), true, "it has 1000 bytes"],
    ["size: too small", { size: { smallest: 1_001 } }, mail(), false, "1000 bytes are fewer than 1001"],
    ["size: too large", { size: { largest: 999 } }, mail(), false, "1000 bytes are more than 999"],
    ["parts: fewest", { parts: { fewest: 1, most: 1 } }, mail({ parts: [part()] }), true, "it has 1 parts"],
    ["parts: too few", { parts: { fewest: 1 } }, mail(), false, "0 parts are fewer than 1"],
    ["parts: too many", { parts: { most: 1 } }, mail({ parts: [part(), part()] }), false, "2 parts are more than 1"],
  ];
  it.each(cases)("%s", (name, when, it, holds, said) => {
    const rule = take("rule", when);
    expect(judge([rule], it)).toEqual([
      { rule: "rule", is: "take", verdict: holds ? "decides" : "fails", checks: [{ condition: name.split(":")[0], holds, said }] },
    ]);
    expect(routeOf([rule], it, fallback).rule).toBe(holds ? "rule" : null);
  });

  test("all that are given must hold; the first that does not is the last told", () => {
    const when: Condition = { mailbox: ["invoices"], size: { largest: 1 }, parts: { fewest: 9 } };
    expect(judge([take("a", when)], mail())[0]?.checks.map(({ condition, holds }) => [condition, holds])).toEqual([
      ["mailbox", true],
      ["size", false],
    ]);
  });

  test("what a sender writes does not make the answer long, and is not slow", () => {
    const many = Array.from({ length: 100_000 }, (_, at) => `${"x".repeat(20)}${at}@example.com`);
    const subject = "a".repeat(1_000_000);
    const before = performance.now();
    const [first, second] = judge(
      [take("to", { to: ["*+a*b*c@d"] }), take("subject", { subject: ["*a*a*a*b"] })],
      mail({ facts: { ...to(...many), subject } }),
    );
    expect(first?.checks[0]?.said).toMatch(/and 99990 more is like \*\+a\*b\*c@d$/);
    expect(first?.checks[0]?.said.length).toBeLessThan(2_000);
    expect(second?.checks[0]?.said.length).toBeLessThan(200);
    expect(performance.now() - before).toBeLessThan(5_000);
  });
});

describe("what came back", () => {
  const ours = mail({ facts: { messageId: messageIdOf("a key", "buyer.example") } });
  const bounce = mail({ facts: { contentType: "multipart/report" } });
  const all = take("all", {});

  test("our own mail and bounces are ignored before all rules, and it is told why", () => {
    for (const it of [ours, bounce]) {
      expect(routeOf(withBuiltIn([all]), it, fallback)).toMatchObject({ is: "ignore", rule: "returned mail (built in)" });
      expect(judge(withBuiltIn([all]), it)[0]).toMatchObject({ verdict: "decides", checks: [{ condition: "returned", holds: true }] });
    }
    expect(routeOf(withBuiltIn([all]), mail({ facts: { messageId: "<1@x.example>", contentType: "text/plain" } }), fallback).rule).toBe(
      "all",
    );
  });

  test("unless the owner has a rule for it", () => {
    const rules = withBuiltIn([take("read bounces too", { returned: true }), all]);
    expect(rules).toHaveLength(2);
    expect(routeOf(rules, bounce, fallback).rule).toBe("read bounces too");
  });
});
