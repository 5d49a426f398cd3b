/** Who is answered: people who may have an answer, and never a machine, a list, or ourselves (RFC 3834). */
import { describe, expect, test } from "vitest";
import { NO_FACTS } from "../../src/message/facts.ts";
import { messageIdOf } from "../../src/message/identity.ts";
import type { Facts } from "../../src/message/message.ts";
import { mailboxOf, type Recipients, recipientOf } from "../../src/sink/smtp/recipient.ts";
import { hostile } from "./hostile.ts";

const OURS = messageIdOf("a key", "example.com");
/** Of another sink, or of another billhook: we know neither its address nor its domain. */
const ANOTHERS = messageIdOf("another key", "elsewhere.example");
const person: Facts = { ...NO_FACTS, messageId: "<1@seilerei.example>", from: [{ name: "Anna", address: "Anna@Seilerei.example" }] };
const options: Recipients = {
  to: "sender",
  allow: ["*@seilerei.example"],
  authserv: null,
  own: ["invoices@example.com", "ap@example.com"],
};

const decide = (facts: Partial<Facts>, changed: Partial<Recipients> = {}) =>
  recipientOf({ ...person, ...facts }, { ...options, ...changed });
const at = (address: string) => [{ name: "", address }];

describe("an answer to the sender", () => {
  test("goes to From, or to Reply-To where it is given", () => {
    expect(decide({})).toEqual({ to: ["Anna@seilerei.example"] });
    expect(decide({ replyTo: at("billing@seilerei.example") })).toEqual({ to: ["billing@seilerei.example"] });
    expect(decide({ autoSubmitted: "no", returnPath: "anna@seilerei.example", autoResponseSuppress: "dr, rn, nrn" })).toHaveProperty("to");
    expect(decide({ references: [OURS] })).toHaveProperty("to");
  });

  test.each<readonly [string, Partial<Facts>, string]>([
    ["a program's answer", { autoSubmitted: "auto-replied" }, "machine"],
    ["a program's mail", { autoSubmitted: "auto-generated" }, "machine"],
    ["what calls itself automatic in another way", { autoSubmitted: "auto-notified" }, "machine"],
    ["bulk", { precedence: "bulk" }, "Precedence"],
    ["junk", { precedence: "junk" }, "Precedence"],
    ["a list by precedence", { precedence: "list" }, "Precedence"],
    ["an old kind of automatic answer", { precedence: "auto_reply" }, "Precedence"],
    ["a list", { list: "<a.example.com>" }, "list"],
    ["the null sender", { returnPath: "" }, "report"],
    ["a delivery report", { contentType: "multipart/report" }, "report"],
    ["a receipt for reading", { contentType: "message/disposition-notification" }, "report"],
    ["Exchange: all", { autoResponseSuppress: "all" }, "X-Auto-Response-Suppress"],
    ["Exchange: some", { autoResponseSuppress: "dr, rn, nrn, oof, autoreply" }, "X-Auto-Response-Suppress"],
    ["mailer-daemon", { from: at("MAILER-DAEMON@seilerei.example") }, "nobody reads"],
    ["postmaster", { from: at("postmaster@seilerei.example") }, "nobody reads"],
    ["no-reply", { from: at("no-reply+77@seilerei.example") }, "nobody reads"],
    ["a list's owner", { from: at("owner-news@seilerei.example") }, "nobody reads"],
    ["a bounce address", { from: at("news-bounces+a=b@seilerei.example") }, "nobody reads"],
    ["an answer to no-reply", { replyTo: at("noreply@seilerei.example") }, "nobody reads"],
    ["our own address", { from: at("Invoices@Example.com") }, "our own"],
    ["a watched mailbox", { from: at("ap@example.com") }, "our own"],
    ["our own Message-ID under another address", { messageId: OURS }, "our own"],
    ["the Message-ID of another billhook", { messageId: ANOTHERS }, "our own"],
    ["an answer that would come back to us", { replyTo: at("AP@example.com") }, "come back"],
    ["nobody", { from: [] }, "one address"],
    ["two senders", { from: [...at("a@seilerei.example"), ...at("b@seilerei.example")] }, "one address"],
    [
      "two senders with one Reply-To",
      { from: [...at("a@seilerei.example"), ...at("b@x.example")], replyTo: at("a@seilerei.example") },
      "one address",
    ],
    ["two addresses for the answer", { replyTo: [...at("a@seilerei.example"), ...at("b@seilerei.example")] }, "one address"],
    ["no address", { from: at("Anna") }, "one address"],
    ["a stranger", { from: at("eve@evil.example") }, "not among"],
    ["a stranger who looks allowed", { from: at("eve@seilerei.example.evil.example") }, "not among"],
    ["an answer elsewhere", { replyTo: at("eve@evil.example") }, "elsewhere"],
    ["an answer to a domain below", { replyTo: at("eve@x.seilerei.example") }, "elsewhere"],
  ])("is not sent: %s", (_, facts, why) => {
    expect(decide(facts)).toEqual({ skipped: expect.stringContaining(why) });
  });

  test("a stranger is answered when the server says that the mail is really from there", () => {
    const proof = { authserv: "mx.example.com", allow: [] };
    const results = ["mx.example.com; dmarc=pass header.from=seilerei.example"];
    expect(decide({ authenticationResults: results }, proof)).toEqual({ to: ["Anna@seilerei.example"] });
    expect(decide({}, proof)).toEqual({ skipped: expect.stringContaining("mx.example.com does not say") });
    expect(decide({ authenticationResults: results }, { allow: [] })).toEqual({ skipped: expect.stringContaining("not among") });
    const elsewhere = { authenticationResults: results, replyTo: at("books@trusted.example") };
    expect(decide(elsewhere, proof)).toEqual({ skipped: expect.stringContaining("elsewhere") });
    expect(decide(elsewhere, { ...proof, allow: ["*@trusted.example"] })).toEqual({ to: ["books@trusted.example"] });
  });

  test("whatever stands where an address should, the answer goes to one sound address or nowhere", () => {
    for (const [what, value] of hostile) {
      for (const address of [value, `${value}@seilerei.example`, `anna@${value}`, `anna@seilerei.example${value}`]) {
        const decision = decide({ from: at(address) }, { allow: ["*"] });
        for (const to of "to" in decision ? decision.to : []) expect(to, what).toMatch(/^[\w.!#$%&'*+/=?^`{|}~-]+@[a-z0-9.-]+$/);
      }
    }
  });
});

describe("a mail to fixed addresses", () => {
  const fixed: Partial<Recipients> = { to: ["books@buyer.example", "ap@example.com"] };

  test("is about whatever came, from machines and lists and strangers too", () => {
    for (const facts of [
      {},
      { autoSubmitted: "auto-generated" },
      { list: "<a>" },
      { from: [] },
      { from: at("ap@example.com") },
      { precedence: "bulk" },
    ])
      expect(decide(facts, fixed)).toEqual({ to: fixed.to });
    expect(decide({ references: [OURS] }, fixed)).toEqual({ to: fixed.to });
  });

  test.each<readonly [string, Partial<Facts>]>([
    ["our own mail", { messageId: OURS, autoSubmitted: "auto-generated" }],
    ["another billhook's notice", { messageId: ANOTHERS, autoSubmitted: "auto-generated", from: at("b@elsewhere.example") }],
    ["a machine's answer to another billhook's notice", { autoSubmitted: "auto-replied", references: [ANOTHERS] }],
    ["our own mail with another Message-ID", { from: at("invoices@example.com"), autoSubmitted: "auto-replied" }],
    ["a bounce", { returnPath: "" }],
    ["a report", { contentType: "multipart/report" }],
    ["a machine's answer to our mail", { autoSubmitted: "auto-replied", references: ["<x@y>", OURS] }],
    ["an old machine's answer to our mail", { precedence: "auto_reply", references: [OURS] }],
  ])("does not go in circles: %s", (_, facts) => {
    expect(decide(facts, fixed)).toHaveProperty("skipped");
  });
});

test("addresses that can stand in a command", () => {
  expect(mailboxOf("a.b+c@Example.COM")).toEqual({ address: "a.b+c@example.com", domain: "example.com" });
  expect(mailboxOf("a@münchen.example")).toEqual({ address: "a@xn--mnchen-3ya.example", domain: "xn--mnchen-3ya.example" });
  for (const bad of [
    "",
    "@",
    "a",
    "a@",
    "@b",
    "a..b@c.example",
    ".a@c.example",
    '"a b"@c.example',
    "ä@c.example",
    "a@b@c.example",
    "a@[192.0.2.1]",
    "a@192.0.2.1",
  ])
    expect(mailboxOf(bad), bad).toBeNull();
  for (const bad of [
    "a b@c.example",
    "a@c.example/d",
    "a@c.ex\r\nample",
    "a@c.ex\u200bample",
    "a@c.example>",
    "a@c.example\r\nRCPT TO:<b@d.example>",
    "a@c_d.example",
    "a@-c.example",
    "a@c.example/d",
    "a@c.ex\r\nample",
    "a@c.ex\u200bample",
    `${"a".repeat(65)}@c.example`,
  ])
    expect(mailboxOf(bad), bad).toBeNull();
});
