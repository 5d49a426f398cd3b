/** What would become of a mail, by every kind of rule: documents, runs, deliveries, and what the mailbox is told. */
import { createReadStream } from "node:fs";
import { describe, expect, test } from "vitest";
import { permanent } from "../../src/base/errors.ts";
import { linesOf } from "../../src/cli/explain.ts";
import { measure } from "../../src/cli/split.ts";
import type { Extractor } from "../../src/extractor/extractor.ts";
import { createMapping } from "../../src/mapping/mapping.ts";
import { parse } from "../../src/message/parse.ts";
import { explainMail } from "../../src/pipeline/explain.ts";
import type { Limits } from "../../src/pipeline/limits.ts";
import type { Rule } from "../../src/pipeline/route.ts";
import { entriesOf } from "../../src/sink/delivery.ts";
import type { Delivery, Sink } from "../../src/sink/sink.ts";
import { extractorOf, sinkOf } from "./works.ts";

const now = new Date("2026-05-04T10:00:00Z");
const own = { done: { is: "seen" }, failed: { is: "flag" } } as const;
const retry = { firstMs: 1, longestMs: 1, giveUpAfterMs: 1 };
const NO_LIMITS: Limits = { runsPerDay: null, runsPerHour: null, maxBytes: null, maxParts: null };

/** A service that takes PDFs, each by itself, and nothing whose first part is `refused`. */
function pdfService(refused: readonly string[] = []): Extractor {
  const { extractor } = extractorOf(() => expect.unreachable("asked"), "attachment");
  return {
    ...extractor,
    plan: ({ parts }) => {
      const [first = ""] = parts.map(({ id }) => id);
      const refusal = refused.includes(first) ? permanent("service.too-large", "it is too large") : null;
      return { submitted: parts.map(({ id, contentType }) => ({ part: id, as: contentType })), left: [], refusal };
    },
  };
}

function sinkNamed(name: string) {
  const asked: Delivery[] = [];
  const sink: Sink = {
    ...sinkOf(name, () => expect.unreachable("delivered")).sink,
    destination: (delivery) => {
      asked.push(delivery);
      return `${name}/${delivery.body.id.slice(-12)}`;
    },
  };
  return { sink, asked };
}

async function explained(rules: readonly Rule[], { extractor = pdfService(), limits = NO_LIMITS, failures = false } = {}) {
  const file = new URL("../../fixtures/mail/07-several-attachments.eml", import.meta.url);
  const shown = { id: "ab".repeat(32), size: 24_000, mailbox: "invoices", split: await parse(createReadStream(file), measure) };
  const files = sinkNamed("files");
  const erp = sinkNamed("erp");
  const sinks = [
    { name: "files", per: "document", failures },
    { name: "erp", per: "message", failures },
  ] as const;
  const doors = {
    services: new Map([["service", { extractor, limits, mapping: createMapping(null) }]]),
    sinks: new Map([files, erp].map(({ sink }) => [sink.name, { sink, retry }])),
    routing: { rules, fallback: { service: "service", sinks } },
  };
  const told = explainMail(shown, doors, own, now);
  return { told, lines: linesOf(shown, told).join("\n"), files: files.asked, erp: erp.asked, parts: shown.split.parts };
}

const hold: Rule = { name: "wait", when: {}, is: "hold", why: "somebody looks at it", afterwards: null };
const ignore: Rule = { name: "news", when: {}, is: "ignore", why: "not for us", afterwards: null };
const other: Rule = { name: "other", when: { mailbox: ["other"] }, is: "take", service: null, sinks: null, afterwards: null };

describe("a mail that is taken", () => {
  test("is read attachment by attachment, paid by the run, and delivered to each sink as it wants it", async () => {
    const { told, files, erp, parts } = await explained([other]);
    const pdfs = parts.filter(({ sniffedType }) => sniffedType === "application/pdf").map(({ id }) => id);
    expect(pdfs.length).toBeGreaterThan(1);
    expect(told.documents.map(({ submitted }) => submitted.map(({ part }) => part))).toEqual(pdfs.map((id) => [id]));
    expect([...pdfs, ...told.left.map(({ part }) => part)].toSorted()).toEqual(parts.map(({ id }) => id).toSorted());
    expect(told.left.find(({ part }) => part === "text")?.why).toBe("every attachment is read by itself");
    expect(told.paid).toEqual({ service: "service", runs: pdfs.length, limits: NO_LIMITS, held: null });
    expect(told.deliveries.map(({ sink, document }) => [sink, document])).toEqual([
      ...pdfs.map((_, at) => ["files", at + 1]),
      ["erp", null],
    ]);
    expect(files.map(({ attachments }) => attachments.map(({ id }) => id))).toEqual(pdfs.map((id) => [id]));
    expect(erp.map(({ body, attachments }) => [entriesOf(body).length, attachments.map(({ id }) => id)])).toEqual([[pdfs.length, pdfs]]);
    expect(told.afterwards).toEqual(own);
  });

  test("the same, in words", async () => {
    const { lines } = await explained([other, { ...other, name: "rest", when: {} }], { limits: { ...NO_LIMITS, runsPerHour: 9 } });
    expect(lines).toMatch(/^rule {9}other does not match; mailbox: invoices is not other$/m);
    expect(lines).toMatch(/^rule {9}rest decides; it has no conditions$/m);
    expect(lines).toMatch(/^route {8}rest: read by service, delivered to files, erp$/m);
    expect(lines).toMatch(/^ {13}part 2: .*\.pdf, application\/pdf, \d+ bytes, sent as application\/pdf$/m);
    expect(lines).toMatch(/^paid {9}\d runs at service, of at most 9 an hour$/m);
    expect(lines).toMatch(/^delivery {5}files, document 1: files\//m);
    expect(lines).toMatch(/^delivery {5}erp, the whole message: erp\//m);
    expect(lines).toMatch(/^mailbox {6}it is marked as seen; when it fails, it is flagged$/m);
  });

  test("what the service would refuse is not paid, and delivered only where failures are wanted", async () => {
    const extractor = pdfService(["2"]);
    const { told, erp, lines, parts } = await explained([], { extractor });
    const runs = told.documents.length - 1;
    expect(told.paid.runs).toBe(runs);
    expect(told.documents[0]?.refusal).toMatchObject({ code: "service.too-large" });
    expect(told.deliveries).toHaveLength(runs + 1);
    // Who gets the whole message is told of all of it, once something in it was read.
    expect(erp.map(({ body }) => entriesOf(body).map(({ extraction }) => extraction.status))).toEqual([
      ["failed", ...Array(runs).fill("read")],
    ]);
    expect(lines).toMatch(/^document 1 {3}not sent: it is too large$/m);

    const wanted = await explained([], { extractor, failures: true });
    expect(wanted.told.deliveries).toHaveLength(runs + 2);
    expect(entriesOf(wanted.files[0]?.body ?? expect.unreachable())[0]?.extraction.fault?.code).toBe("service.too-large");
    const nothing = pdfService(parts.map(({ id }) => id));
    expect((await explained([], { extractor: nothing })).told).toMatchObject({ paid: { runs: 0 }, deliveries: [] });
    expect((await explained([], { extractor: nothing, failures: true })).told.deliveries).toHaveLength(runs + 2);
  });

  test("over a limit of size a person has to let it go first", async () => {
    const { told, lines } = await explained([], { limits: { ...NO_LIMITS, maxBytes: 1_000 } });
    expect(told.paid.held).toMatchObject({ code: "limit.size" });
    expect(lines).toMatch(
      /^held first {3}the message has 24000 bytes, limits\.maxBytes is 1000 - `billhook release abababababababab` lets it go$/m,
    );
  });

  test("by a rule that says it all", async () => {
    const afterwards = { done: { is: "move", folder: "Done" }, failed: null } as const;
    const sinks = [{ name: "erp", per: "message", failures: false }] as const;
    const { told } = await explained([{ name: "german", when: {}, is: "take", service: null, sinks, afterwards }]);
    expect(told.deliveries.map(({ sink }) => sink)).toEqual(["erp"]);
    expect(told.afterwards).toEqual({ done: { is: "move", folder: "Done" }, failed: own.failed });
  });
});

describe("a mail that is not taken", () => {
  test.each([hold, ignore])("$is: nothing is sent, paid or delivered", async (rule) => {
    const { told } = await explained([rule, { ...other, when: {} }]);
    expect(told).toMatchObject({
      route: { rule: rule.name, is: rule.is },
      documents: [],
      left: [],
      deliveries: [],
      paid: { runs: 0, held: null },
    });
    expect(told.rules.map(({ verdict }) => verdict)).toEqual(["decides", "matches"]);
  });

  test("held: the mailbox is told nothing yet; ignored: it stays as it is", async () => {
    const held = await explained([hold]);
    expect(held.told.afterwards).toBeNull();
    expect(held.lines).toMatch(/^route {8}wait: held, somebody looks at it; nothing is sent until `billhook release` lets it go$/m);
    expect(held.lines).toMatch(/^mailbox {6}is told nothing yet$/m);
    const ignored = await explained([ignore]);
    expect(ignored.told.afterwards).toEqual({ done: { is: "none" }, failed: { is: "none" } });
    expect(ignored.lines).toMatch(/^route {8}news: ignored, not for us$/m);
    expect(ignored.lines).not.toMatch(/^(paid|delivery)/m);
  });
});
