/** Which way a message goes, what its sinks are told, in which order, and what happens when one of them is away for days. */
import { readFile } from "node:fs/promises";
import { afterEach, describe, expect, test } from "vitest";
import { Fault, permanent } from "../../src/base/errors.ts";
import type { Progress } from "../../src/extractor/extractor.ts";
import { advance } from "../../src/pipeline/pipeline.ts";
import type { Rule } from "../../src/pipeline/route.ts";
import type { Works } from "../../src/pipeline/step.ts";
import { type Delivered, delivered, deliverySchema } from "../../src/sink/delivery.ts";
import type { RouteSinkRecord } from "../../src/store/record.ts";
import { testClock } from "../extractor/documents.ts";
import { type Receiver, startReceiver } from "../servers/receiver.ts";
import { SECRET, sinkAt } from "../sink/http-side.ts";
import { temporaryDirectory } from "../store/disk.ts";
import { arrive, drain, extractorOf, openTask, patientExtractor, sinkOf, sourceOf, worksIn } from "./works.ts";

const never = new AbortController().signal;
const HOUR_MS = 3_600_000;

type Wishes = { readonly rules?: readonly Rule[]; readonly sinks?: readonly RouteSinkRecord[]; readonly grain?: "attachment" };

const files: RouteSinkRecord = { name: "files", per: "document", failures: false };
const erp: RouteSinkRecord = { name: "erp", per: "message", failures: false };
const reply: RouteSinkRecord = { name: "reply", per: "message", failures: true };

/** Documents whose position is in `broken` cannot be read. */
async function stage({ rules = [], sinks = [files], grain }: Wishes = {}) {
  const clock = testClock();
  const broken = new Set<number>();
  const patient = patientExtractor(clock, grain);
  const { extractor } = extractorOf(async (asked): Promise<Progress> => {
    const position = Number(asked.document.id.split(".")[1]);
    if (broken.has(position)) return { is: "refused", memo: null, fault: permanent("service.unreadable", "it is blurred") };
    return patient.extractor.advance(asked.document, asked.memo, asked.key, asked.signal);
  }, grain);
  const made = new Map(["files", "erp", "reply"].map((name) => [name, sinkOf(name)]));
  const invoices = sourceOf("invoices");
  const roles = { extractor, sinks: [...made.values()].map(({ sink }) => sink), source: invoices.source, clock };
  const { works: plain } = await worksIn(await temporaryDirectory(), roles);
  const works: Works = { ...plain, routing: { rules, fallback: { service: "service", sinks } } };
  const given = (name: string) => (made.get(name)?.given ?? []).map(({ delivery }) => delivery.body);
  return { works, clock, broken, invoices, given };
}

type Decision = {
  readonly is: Rule["is"];
  readonly why?: string;
  readonly sinks?: readonly RouteSinkRecord[];
  readonly afterwards?: Rule["afterwards"];
};

function rule(name: string, when: Rule["when"], { is, why = "because", sinks, afterwards = null }: Decision): Rule {
  return is === "take" ? { name, when, afterwards, is, service: null, sinks: sinks ?? null } : { name, when, afterwards, is, why };
}
const statusOf = (body: Delivered | undefined) =>
  body?.per === "message" ? body.documents.map(({ extraction }) => extraction.status) : body?.per;

describe("the way of a message", () => {
  test("the first rule that matches says where its results go and what the mailbox is told", async () => {
    const rules = [
      rule("others", { from: ["*@elsewhere.example"] }, { is: "ignore" }),
      rule(
        "pdf",
        { attachments: { type: ["application/pdf"] } },
        {
          is: "take",
          sinks: [erp],
          afterwards: { done: { is: "move", folder: "Done" }, failed: null },
        },
      ),
    ];
    const { works, clock, given, invoices } = await stage({ rules });
    const message = await arrive(works, "01-single-pdf");
    await drain(works, clock);
    expect(given("erp")).toHaveLength(1);
    expect(given("files")).toEqual([]);
    expect(invoices.told).toMatchObject([{ verdict: "done", instead: { is: "move", folder: "Done" } }]);
    expect((await works.ledger.message(message))?.route).toMatchObject({ rule: "pdf", is: "take" });
    await works.ledger.close();
  });

  test("what is ignored costs nothing, is told to nobody, and says why", async () => {
    const { works, clock, given, invoices } = await stage({
      rules: [rule("all", {}, { is: "ignore", why: "not ours" })],
    });
    const message = await arrive(works, "01-single-pdf");
    await drain(works, clock);
    expect(given("files")).toEqual([]);
    expect(await works.ledger.documents(message)).toEqual([]);
    expect(invoices.told).toMatchObject([{ verdict: "done", instead: { is: "none" } }]);
    expect((await works.ledger.events(message))[1]).toMatchObject({ what: "split.done", note: "ignored by rule all: not ours" });
    await works.ledger.close();
  });

  test("what is held waits for a person, with its parts known; let go, the rules below are asked", async () => {
    const rules = [rule("doubtful", {}, { is: "hold" }), rule("rest", {}, { is: "take", sinks: [erp] })];
    const { works, clock, given, invoices } = await stage({ rules });
    const message = await arrive(works, "01-single-pdf");
    await drain(works, clock);
    expect((await works.ledger.summaries(1))[0]).toMatchObject({ standing: "held", tasks: [{ fault: { code: "route.hold" } }] });
    expect((await works.ledger.message(message))?.facts?.subject).toBeTypeOf("string");
    expect((await works.ledger.parts(message)).length).toBeGreaterThan(0);
    expect(invoices.told).toEqual([]);
    await works.ledger.release(message, clock.now());
    await drain(works, clock);
    expect(given("erp")).toHaveLength(1);
    expect(invoices.told).toMatchObject([{ verdict: "done" }]);
    await works.ledger.close();
  });

  test("a rule that changed does not change the way of what is under way", async () => {
    const { works, clock, given } = await stage();
    await arrive(works, "01-single-pdf");
    await advance(await openTask(works, "split"), works, never);
    const changed = { ...works, routing: { rules: [rule("all", {}, { is: "ignore" })], fallback: { service: "service", sinks: [erp] } } };
    await drain(changed, clock);
    expect(given("files")).toHaveLength(1);
    expect(given("erp")).toEqual([]);
    await works.ledger.close();
  });
});

describe("what a sink is told", () => {
  test("of the whole message at once, when all its documents are over", async () => {
    const { works, clock, given, broken } = await stage({ sinks: [erp, files], grain: "attachment" });
    broken.add(2);
    const message = await arrive(works, "07-several-attachments");
    await drain(works, clock);
    const [body, ...more] = given("erp");
    expect(more).toEqual([]);
    expect(body).toMatchObject({ per: "message", id: `${message}.erp`, message: { id: message } });
    expect(statusOf(body)).toEqual(expect.arrayContaining(["read", "failed"]));
    const failed = body?.per === "message" ? body.documents[1] : undefined;
    expect(failed).toMatchObject({
      document: { position: 2 },
      data: null,
      invoices: [],
      extraction: { fault: { code: "service.unreadable" } },
    });
    expect(given("files").map((one) => one.id)).not.toContain(`${message}.2.files`);
    await works.ledger.close();
  });

  test("of a failure when it wants to know, and anew when a person had it mended", async () => {
    const { works, clock, given, broken, invoices } = await stage({ sinks: [files, erp, reply] });
    broken.add(1);
    const message = await arrive(works, "01-single-pdf");
    await drain(works, clock);
    expect([given("files"), given("erp")]).toEqual([[], []]);
    expect(given("reply").map(statusOf)).toEqual([["failed"]]);
    broken.clear();
    await works.ledger.reopen(message, clock.now());
    await drain(works, clock);
    expect(given("files").map(({ id }) => id)).toEqual([`${message}.1.files`]);
    expect(given("erp").map(({ id }) => id)).toEqual([`${message}.erp`]);
    expect(given("reply").map(({ id }) => id)).toEqual([`${message}.reply`, `${message}.reply~2`]);
    expect(invoices.told.map(({ verdict }) => verdict)).toEqual(["failed", "done"]);
    await works.ledger.close();
  });

  test("the same under one key, whatever is mended between two tries", async () => {
    const { works, clock, given, broken } = await stage({ sinks: [reply] });
    const bodies: Delivered[] = [];
    const receiving = { away: true };
    const outlet = works.sinks.get("reply");
    if (outlet === undefined) throw new Error("no sink");
    const deliver: typeof outlet.sink.deliver = async (delivery, key, signal) => {
      bodies.push(delivery.body);
      if (receiving.away) throw new Fault("reply.away", "nobody is there");
      return outlet.sink.deliver(delivery, key, signal);
    };
    const away: Works = { ...works, sinks: new Map([["reply", { ...outlet, sink: { ...outlet.sink, deliver } }]]) };
    broken.add(1);
    const message = await arrive(works, "01-single-pdf");
    for (const kind of ["split", "extract", "deliver"] as const) await advance(await openTask(works, kind), away, never);
    broken.clear();
    await works.ledger.reopen(message, clock.now());
    // The failure is told again while the document is being read, and after it was.
    for (let tries = 0; tries < 8; tries += 1) {
      const next = await works.ledger.nextDue([]);
      clock.set(new Date(Math.max(next?.getTime() ?? 0, clock.now().getTime())));
      const [task] = await works.ledger.due(clock.now(), 1, []);
      if (task !== undefined) await advance(task, away, never);
    }
    receiving.away = false;
    await drain(away, clock);
    const first = bodies.filter(({ id }) => id === `${message}.reply`);
    expect(first.length).toBeGreaterThan(1);
    for (const body of first) expect(body).toEqual(first[0]);
    expect(given("reply").map((body) => [body.id.replace(message, "M"), statusOf(body)])).toEqual([
      ["M.reply", ["failed"]],
      ["M.reply~2", ["read"]],
    ]);
    await works.ledger.close();
  });

  test("nothing of what cannot be understood any more, because its service is gone", async () => {
    const { works, clock, given } = await stage();
    await arrive(works, "01-single-pdf");
    for (const kind of ["split", "extract", "extract", "extract", "extract"] as const) {
      clock.set(new Date(clock.now().getTime() + 60_000));
      await advance(await openTask(works, kind), works, never);
    }
    const event = await advance(await openTask(works, "deliver"), { ...works, services: new Map() }, never);
    expect(event).toMatchObject({ what: "deliver.failed", faultCode: "deliver.no-service" });
    expect(given("files")).toEqual([]);
    await works.ledger.close();
  });

  test("all of it fits the published schema", async () => {
    expect(await readFile(new URL("../../config/delivery.schema.json", import.meta.url), "utf8"), "run `npm run generate`").toBe(
      deliverySchema(),
    );
    const { works, clock, given, broken } = await stage({ sinks: [files, erp, reply], grain: "attachment" });
    broken.add(3);
    for (const [at, fixture] of ["01-single-pdf", "07-several-attachments"].entries()) await arrive(works, fixture, at + 1);
    await drain(works, clock, 300);
    const bodies = ["files", "erp", "reply"].flatMap(given);
    expect(bodies.length).toBeGreaterThan(6);
    for (const body of bodies) expect(delivered.parse(JSON.parse(JSON.stringify(body)))).toEqual(JSON.parse(JSON.stringify(body)));
    await works.ledger.close();
  });
});

describe("a receiver", () => {
  const closing: (() => Promise<unknown>)[] = [];
  afterEach(async () => {
    for (const close of closing.splice(0)) await close();
  });

  async function withReceiver(receiver: Receiver) {
    const clock = testClock();
    const { sink, http } = sinkAt(receiver.url, { name: "erp", secrets: [SECRET] }, { allowPrivate: true }, { clock });
    const invoices = sourceOf("invoices");
    const { extractor } = patientExtractor(clock, "attachment");
    const { works: plain } = await worksIn(await temporaryDirectory(), { extractor, sinks: [sink], source: invoices.source, clock });
    // The defaults of a sink's configuration.
    const retry = { firstMs: 5_000, longestMs: 1_800_000, giveUpAfterMs: 76 * HOUR_MS };
    const works = { ...plain, sinks: new Map([["erp", { sink, retry }]]) };
    closing.push(http.close, receiver.stop, works.ledger.close);
    return { clock, works, invoices };
  }

  test("that is down for 75 hours gets everything, each with the id of its first try, a message's documents in order", async () => {
    const receiver = await startReceiver({});
    const { clock, works, invoices } = await withReceiver(receiver);
    const messages = [await arrive(works, "07-several-attachments", 1), await arrive(works, "01-single-pdf", 2)];
    const back = new Date(clock.now().getTime() + 75 * HOUR_MS);
    receiver.behave("answers 500");
    for (;;) {
      const next = await works.ledger.nextDue([]);
      if (next === null || next >= back) break;
      clock.set(new Date(Math.max(next.getTime(), clock.now().getTime())));
      const [task] = await works.ledger.due(clock.now(), 1, []);
      if (task !== undefined) await advance(task, works, never);
    }
    const tries = receiver.asked.length;
    expect(tries).toBeGreaterThan(2 * 75);
    expect(invoices.told).toEqual([]);
    receiver.behave("takes it");
    await drain(works, clock);
    const asked = new Set(receiver.asked.slice(0, tries).map((headers) => headers["webhook-id"]));
    const taken = receiver.taken.map(({ headers }) => headers["webhook-id"]);
    expect(new Set(taken).size).toBe(taken.length);
    // While the first of a message is not there, those after it are not tried.
    expect(asked.size).toBe(messages.length);
    for (const id of asked) expect(taken).toContain(id);
    for (const message of messages) {
      const keys = (await works.ledger.documents(message)).map(({ id }) => `${id}.erp`);
      const of = receiver.taken.map(({ body }) => JSON.parse(body.toString("utf8")).id as string).filter((id) => id.startsWith(message));
      expect(of).toEqual(keys);
    }
    expect(invoices.told.map(({ verdict }) => verdict)).toEqual(["done", "done"]);
  });

  test("that is down for longer is given up, visibly, and a person can have it tried again", async () => {
    const receiver = await startReceiver({});
    const { clock, works } = await withReceiver(receiver);
    const message = await arrive(works, "01-single-pdf");
    receiver.behave("answers 500");
    await drain(works, clock, 300);
    expect((await works.ledger.summaries(1))[0]).toMatchObject({ standing: "failed" });
    receiver.behave("takes it");
    await works.ledger.reopen(message, clock.now());
    await drain(works, clock);
    expect(receiver.taken).toHaveLength(1);
  });

  test("that is gone (410) is not called again until a person resumes the sink", async () => {
    const receiver = await startReceiver({});
    const { clock, works } = await withReceiver(receiver);
    for (const uid of [1, 2]) await arrive(works, uid === 1 ? "07-several-attachments" : "01-single-pdf", uid);
    receiver.behave("answers 410");
    await drain(works, clock);
    expect(receiver.asked).toHaveLength(1);
    expect(await works.ledger.paused()).toMatchObject([{ name: "erp" }]);
    receiver.behave("takes it");
    await works.ledger.resume("erp", clock.now());
    await drain(works, clock);
    expect((await works.ledger.summaries(5)).map(({ standing }) => standing)).toEqual(["done", "done"]);
  });

  test("a fault without `halts` leaves the sink open", async () => {
    const clock = testClock();
    const { sink } = sinkOf("files", () => {
      throw new Fault("files.no", "no", { temporary: false });
    });
    const { extractor } = patientExtractor(clock);
    const { works } = await worksIn(await temporaryDirectory(), { extractor, sinks: [sink], source: sourceOf("invoices").source, clock });
    await arrive(works, "01-single-pdf");
    await drain(works, clock);
    expect(await works.ledger.paused()).toEqual([]);
    await works.ledger.close();
  });
});
