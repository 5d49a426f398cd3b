/** File names: whatever a mail or a service says, the file stays below its directory and always gets the same name. */
import { join, normalize } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { TEMPLATE_WORDS } from "../../src/config/values.ts";
import { expectedName, fileName } from "../../src/sink/file/name.ts";
import { delivery, deliveryOfMessage } from "./deliveries.ts";
import { hostile as everywhere } from "./hostile.ts";

const hostile: readonly (readonly [what: string, value: string, becomes?: string])[] = [
  ["nothing", "", "unnamed"],
  ["a space", " ", "unnamed"],
  ["a dot", ".", "unnamed"],
  ["two dots", "..", "unnamed"],
  ["only dots", ".........", "unnamed"],
  ["dots and spaces", ". . .", "unnamed"],
  ["the way up", "../../etc/passwd", "_.._etc_passwd"],
  ["the way up in Windows", "..\\..\\windows\\system32", "_.._windows_system32"],
  ["the way up, coded", "%2e%2e%2f%2e%2e%2f", "%2e%2e%2f%2e%2e%2f"],
  ["the way up, overlong", "\u00c0\u00ae\u00c0\u00ae/", "\u00c0\u00ae\u00c0\u00ae_"],
  ["the way up, full width", "．．／．．／"],
  ["the root", "/", "_"],
  ["an absolute path", "/etc/cron.d/job", "_etc_cron.d_job"],
  ["a drive", "C:\\autoexec.bat", "C__autoexec.bat"],
  ["a share", "\\\\server\\share", "__server_share"],
  ["a stream of NTFS", "a.txt::$DATA", "a.txt__$DATA"],
  ["a hidden file", ".bashrc", "bashrc"],
  ["a file of ours", ".billhook-0.tmp", "billhook-0.tmp"],
  ["a home", "~/.ssh/authorized_keys", "_.ssh_authorized_keys"],
  ["an option", "-rf", "rf"],
  ["many options", "--- --rf", "rf"],
  ["NUL in the middle", "a\0b.pdf", "ab.pdf"],
  ["NUL before the extension", "a.php\0.pdf", "a.php.pdf"],
  ["line breaks", "a\r\nb\nc", "abc"],
  ["control characters", "\x01a\x1bb\x7f", "ab"],
  ["a terminal's escape", "\x1b]0;owned\x07", "]0;owned"],
  ["a wild card", "*?.pdf", "__.pdf"],
  ["quotes and pipes", `a"b|c<d>e`, "a_b_c_d_e"],
  ["a formula", "=cmd|'/C calc'!A0", "=cmd_'_C calc'!A0"],
  ["a right-to-left override", "invoice\u202Efdp.exe", "invoicefdp.exe"],
  ["marks of direction", "\u200Fa\u200E\u061C\u2066b\u2069", "ab"],
  ["characters without width", "a\u200B\u200D\uFEFFb", "ab"],
  ["line separators", "a\u2028b\u2029c", "abc"],
  ["a lone surrogate", "a\uD800b", "ab"],
  ["a surrogate the wrong way round", "\uDC00\uD83D", "unnamed"],
  ["private use", "\uE000a\u{F0000}", "a"],
  ["a character that does not exist", "\uFFFFa\u{E0FFF}", "a"],
  ["emoji", "🧾 invoice 🧾.pdf", "🧾 invoice 🧾.pdf"],
  ["a reserved name", "CON", "_CON"],
  ["a reserved name with an extension", "nul.txt", "_nul.txt"],
  ["a reserved name with a superscript", "COM¹", "_COM¹"],
  ["a name that only begins like a reserved one", "console", "console"],
  ["a dot at the end", "invoice.", "invoice"],
  ["a space at the end", "invoice.pdf . ", "invoice.pdf"],
  ["spaces of other kinds", "a\u00A0\u3000b", "a b"],
  ["composed and decomposed", "Gebu\u0308hr", "Geb\u00FChr"],
  ["300 characters", `${"x".repeat(300)}.pdf`, `${"x".repeat(116)}.pdf`],
  ["300 characters of four bytes", "🧾".repeat(300), "🧾".repeat(30)],
  ["300 characters of extension", `a.${"x".repeat(300)}`, `a.${"x".repeat(118)}`],
  ["a template", "{{data.total}}", "{{data.total}}"],
  ["what replace() understands", "$& $1 $` $'", "$& $1 $` $'"],
  ["a megabyte of dots", `a${".".repeat(1_000_000)}b`],
  ["a megabyte of spaces", `${" ".repeat(1_000_000)}b`],
];

describe("a hostile value", () => {
  test.each(hostile)("%s", (_what, value, becomes) => {
    const name = fileName("{{subject}}", delivery("key", { subject: value }).body);
    if (becomes !== undefined) expect(name).toBe(becomes);
    expectSafe(name);
    expect(fileName("{{subject}}", delivery("key", { subject: value }).body)).toBe(name);
  });

  test.each(everywhere)("%s, said by the service", (_what, value) => {
    const said = { number: value, seller: { name: value, vatId: null }, currency: value, issueDate: value };
    const wanted = delivery("key", { invoices: [said], data: { a: value } }).body;
    const name = fileName("{{issueDate}}/{{seller}}-{{number}}/{{currency}}{{data.a}}.json", wanted);
    expectSafe(name);
    expect(name.split("/")).toHaveLength(3);
  });

  test("any value in any place of any template", () => {
    const template = fc.constantFrom(
      "{{subject}}",
      "{{data.a}}/{{subject}}.json",
      "x-{{from}}",
      "{{subject}}{{data.a}}",
      "{{data.a.b}}/x/{{from}}",
    );
    const anything = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.string({ unit: fc.constantFrom("/", ".", "\\", "\0", "~", " ", "a", "\uD800") }),
    );
    fc.assert(
      fc.property(template, anything, anything, (where, one, two) => {
        const wanted = delivery("key", { subject: one, from: two, data: { a: one } }).body;
        const name = fileName(where, wanted);
        expectSafe(name);
        expect(name.split("/")).toHaveLength(where.split("/").length);
        expect(fileName(where, wanted)).toBe(name);
      }),
      { numRuns: 1_000 },
    );
  });
});

function expectSafe(name: string): void {
  expect(join("/out", name).startsWith("/out/")).toBe(true);
  expect(normalize(name)).toBe(name);
  for (const segment of name.split("/")) {
    expect(segment).not.toMatch(/^$|^[.~ -]|[. ]$|[\\:*?"<>|\x00-\x1f\x7f\u2028\u2029]/);
    expect(segment).not.toMatch(/^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/i);
    expect(Buffer.byteLength(segment)).toBeLessThanOrEqual(121);
    expect(segment.isWellFormed()).toBe(true);
  }
}

const INVOICE = {
  number: "RE/4711",
  type: "380",
  issueDate: "2026-03-01",
  dueDate: "2026-03-31",
  currency: "EUR",
  seller: { name: "Seilerei Hänf", vatId: null },
  buyer: { name: "Muster AG", vatId: null },
  net: "-100.00",
  tax: "-19.00",
  gross: "-119.00",
};
const OF_INVOICE = ["issueDate", "dueDate", "number", "type", "currency", "seller", "buyer", "net", "tax", "gross"];

describe("a template", () => {
  const body = delivery("key", {
    from: "rechnung@seilerei.example",
    data: { total: 119.5, seller: { name: "A/B" }, lines: [{ id: "7" }], ok: true },
    invoices: [INVOICE, { number: "2" }],
  }).body;

  test.each([...new Set<string>([...TEMPLATE_WORDS, "service", ...OF_INVOICE])])(
    "{{%s}}, which the configuration allows, is filled",
    (word) => {
      const name = fileName(`a-{{${word}}}-b`, body);
      expect(name).toMatch(/^a-.+-b$/);
      expect(name).not.toMatch(/\{|unnamed/);
    },
  );

  test.each([
    ["{{issueDate}}/{{seller}}-{{number}}.json", "2026-03-01/Seilerei Hänf-RE_4711.json"],
    ["{{type}} {{dueDate}} {{buyer}} {{currency}} {{net}} {{tax}} {{gross}}", "380 2026-03-31 Muster AG EUR 100.00 19.00 119.00"],
    ["{{service}} {{mailbox}}", "cloudsquid invoices"],
    ["{{constructor}}{{toString}}", "unnamedunnamed"],
    ["{{data.total}}", "119.5"],
    ["{{data.seller.name}}", "A_B"],
    ["{{data.lines.0.id}}", "7"],
    ["{{data.missing}}", "unnamed"],
    ["{{data.seller}}", "unnamed"],
    ["{{data.seller.name.length}}", "unnamed"],
    ["{{data.__proto__.constructor}}", "unnamed"],
    ["{{date}}/{{message}}-{{position}}.json", "2026-03-02/5d41402abc4b2a76-1.json"],
  ])("%s is %s", (template, name) => {
    expect(fileName(template, body)).toBe(name);
  });

  test("words that a mail leaves empty", () => {
    const bare = delivery("key", { subject: null }).body;
    const undated = { ...bare, message: { ...bare.message, date: null, messageId: null } };
    expect(fileName("{{date}}-{{subject}}-{{from}}-{{messageId}}", undated)).toBe("undated-unnamed-unnamed-unnamed");
  });

  test("words that the answer leaves empty", () => {
    const bare = delivery("key", { fault: { code: "extend.unreadable", message: "blank" } }).body;
    expect(fileName("{{issueDate}}/{{seller}}-{{number}}.json", bare)).toBe("undated/unknown-unnumbered.json");
  });

  test("of a whole message: its first document, and the first invoice in any", () => {
    const whole = deliveryOfMessage("key", [
      { fault: { code: "extend.unreadable", message: "blank" } },
      { invoices: [INVOICE], data: { total: "7" } },
      { invoices: [{ number: "3" }], data: { total: "8" } },
    ]).body;
    expect(fileName("{{position}} {{number}} {{data.total}}", whole)).toBe("1 RE_4711 7");
  });

  test("before the extraction, what only the answer will tell is left open", () => {
    const before = delivery("key", { data: null, subject: "a/b" }).body;
    const template = "{{date}}/{{issueDate}}/{{subject}} {{number}} {{data.total}}.json";
    expect(expectedName(template, before)).toBe("2026-03-02/{{issueDate}}/a_b {{number}} {{data.total}}.json");
    expect(expectedName(template, body)).toBe(fileName(template, body));
  });
});
