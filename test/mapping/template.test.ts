/** Templates: where an expression ends, what it may give, and that a bad one costs its delivery and nothing else. */
import { describe, expect, test } from "vitest";
import { createExpression, createRender, createTemplate, fill } from "../../src/mapping/template.ts";

const input = { number: "RE-1", lines: [{ net: 1 }, { net: 2.5 }], seller: { name: "Seilerei {{ number }}" }, none: null };

describe("a text", () => {
  test.each([
    ["", ""],
    ["plain", "plain"],
    ["a } b }} c", "a } b }} c"],
    ["{{number}}", "RE-1"],
    ["no. {{ number }}, {{ number }}!", "no. RE-1, RE-1!"],
    ["{{ $data.number }}", "RE-1"],
    ["{{ lines.net }}", "1, 2.5"],
    ["{{ $sum(lines.net) > 3 }}", "true"],
    ["<{{ none }}{{ nothing.here }}>", "<>"],
    ["{{ seller.name }}", "Seilerei {{ number }}"],
    ['{{ {"a": {"b": number}}.a.b }}', "RE-1"],
    ['{{ "}}" }}{{ "{{" }}', "}}{{"],
    ['{{ {"a": {"b": number}} }}{{ 1 }}', null],
  ])("%s becomes %s", async (text, expected) => {
    const filled = fill([createTemplate(text)], input);
    if (expected === null) await expect(filled).rejects.toMatchObject({ code: "http.template" });
    else expect(await filled).toEqual([expected]);
  });

  test("takes no more of a value than a thousand characters", async () => {
    const long = { number: "x".repeat(5_000), many: Array.from({ length: 900 }, () => "yy") };
    const [text] = await fill([createTemplate("<{{ number }}|{{ many }}>")], long);
    expect(String(text)).toHaveLength(2_003);
  });

  test.each([
    ["{{ number", "is not a template: {{ without }}, at character 2"],
    ["ab {{ 1 + }} {{ 2 }}", /^header X is not a template: .*, at character (9|10)\.$/],
    ["{{ }}", /^header X is not a template: /],
  ])("%s does not compile", (text, message) => {
    expect(() => createTemplate(text, "header X")).toThrow(message);
    expect(() => createTemplate(text, "header X")).toThrow(expect.objectContaining({ code: "config.template", temporary: false }));
  });
});

describe("an expression", () => {
  test("gives any value", async () => {
    const [value] = await fill([createExpression('{ "nr": number, "net": lines.net }')], input);
    expect(value).toEqual({ nr: "RE-1", net: [1, 2.5] });
    expect(await fill([createExpression("none")], input)).toEqual([null]);
  });

  test("that does not compile says where", () => {
    expect(() => createExpression("{ 1 ]", "body of erp")).toThrow(/^body of erp is not a template: .*, at character \d+\.$/);
  });

  test.each([
    ["fails", "$error('strictly ' & number)"],
    ["recurses without end", "($f := function($x) { $f($x + 1) + 1 }; $f(1))"],
    ["eats all memory", "[1..9999999].('xxxxxxxxxxxxxxxx' & $)"],
    ["never ends", "($f := function($x) { $f($x) }; $f(1))"],
    ["gives nothing", "nothing.here"],
    ["gives more than is taken", "$join([1..150000].'xxxxxxxxxx')"],
  ])(
    "that %s is a permanent fault that names it, and tells nothing of the mail",
    async (_, expression) => {
      const fault = await fill([createTemplate("{{ number }}", "good"), createExpression(expression, "bad")], input).catch(
        (thrown) => thrown,
      );
      expect(fault).toMatchObject({ code: "http.template", temporary: false, message: expect.stringMatching(/^bad /) });
      expect(fault.message).not.toContain("RE-1");
    },
    30_000,
  );
});

test("what is too large to be evaluated on is a fault, not a part of it", async () => {
  const large = Array.from({ length: 300_000 }, (_, n) => n);
  await expect(fill([createTemplate("{{ $count($) }}")], large)).rejects.toMatchObject({ code: "http.template", temporary: false });
  expect(await fill([createTemplate("no expression")], large)).toEqual(["no expression"]);
});

test("head and body of a request", async () => {
  const render = createRender({ headers: { A: "x{{ number }}", B: "b" }, body: "lines.net" }, "sink erp");
  expect(await render(input)).toEqual({ headers: { A: "xRE-1", B: "b" }, body: [1, 2.5] });
  const plain = createRender({ headers: {}, body: null }, "sink erp");
  expect(await plain(input)).toEqual({ headers: {}, body: undefined });
  expect(() => createRender({ headers: { A: "{{" }, body: null }, "sink erp")).toThrow(/^header A of sink erp is not/);
});
