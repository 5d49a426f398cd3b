/** One task, one effect, one save: the life of a message through a real ledger and spool, and everything that can stop it. */

import { rm } from "node:fs/promises";
import { join } from "node:path";
import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { Fault, permanent } from "../../src/base/errors.ts";
import type { Progress } from "../../src/extractor/extractor.ts";
import { advance } from "../../src/pipeline/pipeline.ts";
import { receive } from "../../src/pipeline/receive.ts";
import type { Works } from "../../src/pipeline/step.ts";
import { entriesOf } from "../../src/sink/delivery.ts";
import { LEDGER_FILE } from "../../src/store/sql.ts";
import { testClock } from "../extractor/documents.ts";
import { temporaryDirectory } from "../store/disk.ts";
import { arrive, drain, extractorOf, openTask, patientExtractor, sinkOf, sourceOf, worksIn } from "./works.ts";

const never = new AbortController().signal;
const answered: Progress = {
  is: "answered",
  memo: {},
  answer: { runId: null, data: {}, credits: null, reasoning: null, review: null, raw: {} },
};
const busy = new Fault("service.busy", "the service is busy", { advice: "wait" });

async function stage(make: Partial<Parameters<typeof worksIn>[1]> = {}) {
  const clock = testClock();
  const directory = await temporaryDirectory();
  const patient = patientExtractor(clock);
  const files = sinkOf("files");
  const invoices = sourceOf("invoices");
  const roles = { extractor: patient.extractor, sinks: [files.sink], source: invoices.source, clock, ...make };
  const { works } = await worksIn(directory, roles);
  /** What is left after the process died: the same directory, opened by the next one. */
  const restart = async () => (await worksIn(directory, roles)).works;
  return { clock, directory, patient, files, invoices, works, restart };
}

const whats = async (works: Works, message: string) => (await works.ledger.events(message)).map(({ what }) => what);
const standing = async (works: Works) => (await works.ledger.summaries(1))[0]?.standing;

describe("the life of a message", () => {
  test("from its arrival to the telling of the mailbox, effect by effect", async () => {
    const { works, clock, patient, files, invoices } = await stage();
    const message = await arrive(works, "01-single-pdf", 7);
    await drain(works, clock);
    expect(await whats(works, message)).toEqual([
      "received",
      "split.done",
      "extract.later",
      "extract.later",
      "extract.done",
      "deliver.done",
      "settle.done",
    ]);
    expect(patient.asked.map(({ memo }) => memo)).toEqual([
      null,
      { rowId: "row" },
      { rowId: "row", runId: "run" },
      { rowId: "row", runId: "run", polled: 1 },
    ]);
    expect(new Set(patient.asked.map(({ key }) => key))).toEqual(new Set([`${message}.1`]));
    expect(files.given.map(({ key }) => key)).toEqual([`${message}.1.files`]);
    expect(files.given[0]?.delivery.body).toMatchObject({
      format: "billhook.delivery/v1",
      id: `${message}.1.files`,
      message: { id: message, mailbox: "invoices" },
      document: { id: `${message}.1`, position: 1 },
      extraction: { service: "service", runId: "run" },
      data: { total: "119.00" },
    });
    expect(files.given[0]?.delivery.attachments.map((piece) => piece.contentType)).toEqual(["application/pdf"]);
    expect(await works.ledger.receipts(message)).toMatchObject([{ sink: "files", receipt: { path: `/out/${message}.1.files` } }]);
    expect(invoices.told).toEqual([{ origin: { mailbox: "invoices", uidValidity: "1", uid: 7 }, verdict: "done" }]);
    expect(await standing(works)).toBe("done");
    await works.ledger.close();
  });

  test("seen again elsewhere it is told there too, and nothing else is done twice", async () => {
    const { works, clock, patient, files, invoices } = await stage();
    const message = await arrive(works, "01-single-pdf", 7);
    await drain(works, clock);
    expect(await arrive(works, "01-single-pdf", 8)).toBe(message);
    await drain(works, clock);
    expect(invoices.told.map(({ origin }) => origin.uid)).toEqual([7, 8]);
    expect([patient.asked.length, files.given.length]).toEqual([4, 1]);
    await works.ledger.close();
  });

  test("one document for each attachment the service takes, one delivery for each sink", async () => {
    const clock = testClock();
    const [one, two] = [sinkOf("one"), sinkOf("two")];
    const patient = patientExtractor(clock, "attachment");
    const { works, invoices } = await stage({ extractor: patient.extractor, sinks: [one.sink, two.sink], clock });
    const message = await arrive(works, "07-several-attachments");
    await drain(works, clock);
    const documents = await works.ledger.documents(message);
    expect(documents.length).toBeGreaterThan(1);
    for (const document of documents) expect(document).toMatchObject({ whole: false, parts: [expect.any(String)] });
    for (const { given } of [one, two])
      expect(given.map(({ delivery }) => entriesOf(delivery.body)[0]?.document.id)).toEqual(documents.map(({ id }) => id));
    expect(invoices.told).toHaveLength(1);
    await works.ledger.close();
  });

  test("with nothing the service would take it fails visibly, and is never told done", async () => {
    const clock = testClock();
    const fault = permanent("test.nothing-to-send", "no part is of a type the service takes");
    const { extractor } = extractorOf((): Progress => ({ is: "refused", memo: null, fault }));
    const { works, invoices, files } = await stage({ extractor: { ...extractor, grain: "attachment" }, clock });
    const message = await arrive(works, "08-no-invoice");
    await drain(works, clock);
    expect(await whats(works, message)).toEqual(["received", "split.done", "extract.failed", "settle.done"]);
    expect(await works.ledger.documents(message)).toMatchObject([{ whole: true }]);
    expect(files.given).toEqual([]);
    expect(invoices.told).toMatchObject([{ verdict: "failed" }]);
    await works.ledger.close();
  });
});

describe("a fault", () => {
  test("that is temporary is tried again with the same memo and key, and then all goes on", async () => {
    const clock = testClock();
    const { extractor, asked } = extractorOf((_asked, call): Progress => {
      if (call === 1) return { is: "going", memo: { rowId: "row" }, nextAt: clock.now() };
      if (call < 5) throw busy;
      return answered;
    });
    const { works, invoices } = await stage({ extractor, clock });
    const message = await arrive(works, "01-single-pdf");
    await drain(works, clock);
    expect((await whats(works, message)).filter((what) => what.startsWith("extract"))).toEqual([
      "extract.later",
      "extract.retry",
      "extract.retry",
      "extract.retry",
      "extract.done",
    ]);
    expect(asked.slice(1).map(({ memo, key }) => [memo, key])).toEqual(Array(4).fill([{ rowId: "row" }, `${message}.1`]));
    expect(invoices.told).toMatchObject([{ verdict: "done" }]);
    await works.ledger.close();
  });

  test.each([
    ["an Error", new TypeError("x is not a function"), "x is not a function"],
    ["a text", "odd", "odd"],
    ["nothing", undefined, "undefined"],
  ])("that is not one of ours, %s, counts as temporary", async (_what, thrown, sentence) => {
    const { extractor } = extractorOf(() => {
      throw thrown;
    });
    const { works } = await stage({ extractor });
    await arrive(works, "01-single-pdf");
    await advance(await openTask(works, "split"), works, never);
    await advance(await openTask(works, "extract"), works, never);
    expect(await openTask(works, "extract")).toMatchObject({
      attempts: 1,
      fault: { code: "extract.failed", temporary: true, message: sentence },
    });
    expect(await standing(works)).toBe("retrying");
    await works.ledger.close();
  });

  test("that is permanent ends the task, and the mailbox is told so", async () => {
    const { extractor, asked } = extractorOf(() => {
      throw permanent("service.unauthorized", "the key is wrong", "check the key");
    });
    const { works, clock, invoices, files } = await stage({ extractor });
    await arrive(works, "01-single-pdf");
    await drain(works, clock);
    expect(asked).toHaveLength(1);
    expect(files.given).toEqual([]);
    expect(invoices.told).toMatchObject([{ verdict: "failed" }]);
    expect(await standing(works)).toBe("failed");
    await works.ledger.close();
  });

  test("of one sink leaves the other sinks alone; put back, the mailbox is told anew", async () => {
    let broken = true;
    const bad = sinkOf("bad", () => {
      if (broken) throw permanent("file.taken", "there is something else", "move it");
    });
    const good = sinkOf("good");
    const { works, clock, invoices, patient } = await stage({ sinks: [bad.sink, good.sink] });
    const message = await arrive(works, "01-single-pdf");
    await drain(works, clock);
    expect([bad.given.length, good.given.length]).toEqual([1, 1]);
    broken = false;
    expect(await works.ledger.reopen(message, clock.now())).toHaveLength(1);
    await drain(works, clock);
    expect([bad.given.length, good.given.length, patient.asked.length]).toEqual([2, 1, 4]);
    expect(bad.given[1]).toEqual({ ...bad.given[0], delivery: expect.objectContaining({ body: bad.given[0]?.delivery.body }) });
    expect(invoices.told.map(({ verdict }) => verdict)).toEqual(["failed", "done"]);
    await works.ledger.close();
  });

  test("that stays is given up after the configured time, with the last sentence and how long it was", async () => {
    const { extractor, asked } = extractorOf(() => {
      throw busy;
    });
    const { works, clock, invoices } = await stage({ extractor });
    const message = await arrive(works, "01-single-pdf");
    const begun = clock.now().getTime();
    await drain(works, clock);
    const [, extract] = await works.ledger.tasks(message);
    expect(extract).toMatchObject({
      status: "failed",
      fault: {
        code: "service.busy",
        temporary: false,
        advice: "wait",
        message: expect.stringMatching(/^the service is busy \(given up after 1 h and \d+ tries\)$/),
      },
    });
    expect(clock.now().getTime() - begun).toBeGreaterThanOrEqual(works.retry.giveUpAfterMs);
    expect(asked.length).toBeGreaterThan(5);
    expect(asked.length).toBeLessThan(20);
    expect(invoices.told).toMatchObject([{ verdict: "failed" }]);
    await works.ledger.close();
  });

  test("a service that refuses ends the run with what is known of it", async () => {
    const { extractor } = extractorOf(() => ({ is: "refused", memo: { runId: "run" }, fault: permanent("service.error", "unreadable") }));
    const { works, clock } = await stage({ extractor });
    const message = await arrive(works, "01-single-pdf");
    await drain(works, clock);
    expect((await works.ledger.tasks(message))[1]).toMatchObject({ kind: "extract", status: "failed", memo: { runId: "run" } });
    await works.ledger.close();
  });
});

describe("what is not there any more fails, and says what to do", () => {
  test.each([
    ["the service, before the split", "split", "split.no-service", (works: Works) => ({ ...works, services: new Map() })],
    ["the service, after it", "extract", "extract.no-service", (works: Works) => ({ ...works, services: new Map() })],
    ["the sink", "deliver", "deliver.no-sink", (works: Works) => ({ ...works, sinks: new Map() })],
    ["the mailbox", "settle", "settle.no-mailbox", (works: Works) => ({ ...works, sources: new Map() })],
  ] as const)("%s", async (_what, kind, code, without) => {
    const clock = testClock();
    const { extractor } = extractorOf(() => answered);
    const { works } = await stage({ extractor, clock });
    const message = await arrive(works, "01-single-pdf");
    for (const before of ["split", "extract", "deliver", "settle"] as const) {
      if (before === kind) break;
      await advance(await openTask(works, before), works, never);
    }
    const event = await advance(await openTask(works, kind), without(works), never);
    expect(event).toMatchObject({ what: `${kind}.failed`, faultCode: code });
    const task = (await works.ledger.tasks(message)).find((one) => one.kind === kind);
    expect(task?.fault?.advice).toContain("billhook retry");

    await works.ledger.reopen(message, clock.now());
    await drain(works, clock);
    expect(await standing(works)).toBe("done");
    await works.ledger.close();
  });

  test("the bytes", async () => {
    const { works, clock } = await stage();
    const message = await arrive(works, "01-single-pdf");
    await rm(works.spool.path("raw", message));
    const [event] = await drain(works, clock);
    expect(event).toMatchObject({ what: "split.failed", faultCode: "spool.missing" });
    await works.ledger.close();
  });
});

describe("between the effect and its save", () => {
  test("a process that dies repeats that effect once, with the same memo and the same key", async () => {
    const clock = testClock();
    let dieAt = 2;
    let ledgerInUse: Works["ledger"] | null = null;
    const patient = patientExtractor(clock);
    const advanced = patient.extractor.advance;
    const extractor = {
      ...patient.extractor,
      advance: async (...args: Parameters<typeof advanced>) => {
        const progress = await advanced(...args);
        // The effect has happened; nothing can be saved any more.
        if (patient.asked.length === dieAt) await ledgerInUse?.close();
        return progress;
      },
    };
    const { works, restart, invoices, files } = await stage({ extractor, clock });
    ledgerInUse = works.ledger;
    const message = await arrive(works, "01-single-pdf");
    await expect(drain(works, clock)).rejects.toThrow();
    dieAt = 0;
    const next = await restart();
    await drain(next, clock);
    const memos = patient.asked.map(({ memo }) => JSON.stringify(memo));
    expect(memos).toHaveLength(5);
    expect(memos[2]).toBe(memos[1]);
    expect(new Set(memos).size).toBe(4);
    expect(new Set(patient.asked.map(({ key }) => key)).size).toBe(1);
    expect((await whats(next, message)).filter((what) => what === "extract.done")).toHaveLength(1);
    expect([files.given.length, invoices.told.length]).toEqual([1, 1]);
    await next.ledger.close();
  });

  test("every place to die: stopped and begun again after each save, the end is the same", async () => {
    const { works, restart, clock, patient, files, invoices } = await stage();
    const message = await arrive(works, "02-pdf-and-xml-twin");
    let current = works;
    for (let effects = 0; (await current.ledger.nextDue([])) !== null && effects < 20; effects += 1) {
      clock.set((await current.ledger.nextDue([])) ?? clock.now());
      const [task] = await current.ledger.due(clock.now(), 1, []);
      if (task !== undefined) await advance(task, current, never);
      await current.ledger.close();
      current = await restart();
    }
    expect([patient.asked.length, files.given.length, invoices.told.length]).toEqual([4, 1, 1]);
    expect(await standing(current)).toBe("done");
    expect(await whats(current, message)).toHaveLength(7);
    await current.ledger.close();
  });

  test("a ledger that cannot be written for a while: the save is repeated, the effect is not", async () => {
    const directory = await temporaryDirectory();
    const patient = patientExtractor(testClock());
    const clock = testClock();
    let other: Database.Database | null = null;
    let waits = 0;
    const waiting = {
      ...clock,
      sleep: async (milliseconds: number) => {
        waits += 1;
        clock.pass(milliseconds);
        other?.exec("ROLLBACK").close();
        other = null;
      },
    };
    const { works } = await worksIn(directory, {
      extractor: patient.extractor,
      sinks: [sinkOf("files").sink],
      source: sourceOf("invoices").source,
      clock: waiting,
    });
    await arrive(works, "01-single-pdf");
    await advance(await openTask(works, "split"), works, never);
    const task = await openTask(works, "extract");
    other = new Database(join(directory, LEDGER_FILE));
    // Somebody else holds the ledger longer than the busy timeout (5 s).
    other.exec("BEGIN IMMEDIATE");
    expect(await advance(task, works, never)).toMatchObject({ what: "extract.later" });
    expect([waits, patient.asked.length]).toEqual([1, 1]);
    expect(await openTask(works, "extract")).toMatchObject({ memo: { rowId: "row" } });
    await works.ledger.close();
  });

  test("an outcome the ledger will never take fails its task, with what is known of the run; the others go on", async () => {
    const { extractor } = extractorOf(() => ({ is: "going", memo: { runId: "run" }, nextAt: new Date(Number.NaN) }));
    const { works, clock, invoices } = await stage({ extractor });
    const message = await arrive(works, "01-single-pdf");
    await drain(works, clock);
    expect((await works.ledger.tasks(message))[1]).toMatchObject({
      kind: "extract",
      status: "failed",
      memo: { runId: "run" },
      fault: { code: "ledger.refused" },
    });
    expect(invoices.told).toMatchObject([{ verdict: "failed" }]);
    await works.ledger.close();
  });
});

describe("an aborted signal", () => {
  test("saves nothing of an effect it cut short", async () => {
    const stop = new AbortController();
    const { extractor } = extractorOf(({ signal }) => {
      stop.abort();
      signal.throwIfAborted();
      throw new Error("not reached");
    });
    const { works } = await stage({ extractor });
    const message = await arrive(works, "01-single-pdf");
    await advance(await openTask(works, "split"), works, never);
    const before = await works.ledger.tasks(message);
    expect(await advance(await openTask(works, "extract"), works, stop.signal)).toBeNull();
    expect(await works.ledger.tasks(message)).toEqual(before);
    expect(await whats(works, message)).toEqual(["received", "split.done"]);
    await works.ledger.close();
  });

  test("saves an effect that took place all the same", async () => {
    const stop = new AbortController();
    const { extractor } = extractorOf(() => {
      stop.abort();
      return { is: "going", memo: { rowId: "row" }, nextAt: new Date("2026-05-04T11:00:00Z") };
    });
    const { works } = await stage({ extractor });
    await arrive(works, "01-single-pdf");
    await advance(await openTask(works, "split"), works, never);
    expect(await advance(await openTask(works, "extract"), works, stop.signal)).toMatchObject({ what: "extract.later" });
    expect(await openTask(works, "extract")).toMatchObject({ memo: { rowId: "row" } });
    await works.ledger.close();
  });

  test("begins nothing", async () => {
    const { works, patient } = await stage();
    await arrive(works, "01-single-pdf");
    await advance(await openTask(works, "split"), works, never);
    expect(await advance(await openTask(works, "extract"), works, AbortSignal.abort())).toBeNull();
    expect(patient.asked).toEqual([]);
    await works.ledger.close();
  });
});

describe("receiving", () => {
  const origin = { mailbox: "invoices", uidValidity: "1", uid: 9 };
  const cursor = { uidValidity: "1", uid: 9, since: null, until: 0 };

  test("bytes that fail on their way are not received: no message, no cursor, nothing in the spool", async () => {
    const { works } = await stage();
    const cut = new Fault("imap.connection", "the connection was cut");
    const bytes = (async function* () {
      yield Buffer.from("Subject: half a mes");
      throw cut;
    })();
    await expect(receive({ is: "arrival", arrival: { origin, receivedAt: null, size: 0, bytes }, cursor }, "invoices", works)).rejects.toBe(
      cut,
    );
    expect(await works.ledger.mailbox("invoices")).toBeNull();
    expect(await works.ledger.counts()).toMatchObject({ messages: 0, open: 0 });
    expect(await works.spool.clean()).toBe(0);
    await works.ledger.close();
  });

  test("what cannot be read, and a finished sweep, move the cursor", async () => {
    const { works } = await stage();
    const fault = permanent("imap.unreadable", "NO");
    expect(await receive({ is: "unreadable", origin, fault, cursor }, "invoices", works)).toMatchObject({
      what: "unreadable",
      faultCode: fault.code,
    });
    expect(await works.ledger.mailbox("invoices")).toMatchObject({ cursor, sweptAt: null });
    const at = new Date("2026-05-04T10:00:00.000Z");
    expect(await receive({ is: "swept", cursor: { ...cursor, uid: 12 }, at }, "invoices", works)).toBeNull();
    expect(await works.ledger.mailbox("invoices")).toMatchObject({ cursor: { uid: 12 }, sweptAt: at.toISOString() });
    await works.ledger.close();
  });
});
