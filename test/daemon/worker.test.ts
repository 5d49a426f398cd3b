/** The worker: what hangs holds up only its own kind, and one row that cannot be read holds up nobody. */
import { join } from "node:path";
import Database from "better-sqlite3";
import { describe, expect, onTestFinished, test } from "vitest";
import { type Clock, systemClock } from "../../src/base/clock.ts";
import { silent } from "../../src/base/logger.ts";
import { createWorker } from "../../src/daemon/worker.ts";
import type { Extractor, Progress } from "../../src/extractor/extractor.ts";
import type { Works } from "../../src/pipeline/step.ts";
import type { Sink } from "../../src/sink/sink.ts";
import { deliveryNameOf } from "../../src/store/delivery.ts";
import type { Event } from "../../src/store/record.ts";
import { LEDGER_FILE } from "../../src/store/sql.ts";
import { arrive, backfilled, extractorOf, sinkOf, sourceOf, worksIn } from "../pipeline/works.ts";
import { temporaryDirectory } from "../store/disk.ts";

const answered: Progress = {
  is: "answered",
  memo: { runId: "run" },
  answer: { runId: "run", data: {}, credits: null, reasoning: null, review: null, raw: {} },
};
const asksAgain = (memo: Progress["memo"]): Progress => ({ is: "going", memo: { ...memo, runId: "run" }, nextAt: new Date() });
/** A call that ends only when it is abandoned. */
const hang = (signal: AbortSignal) =>
  new Promise<never>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason), { once: true }));
/** Mails of different bytes. */
const MAILS = ["01-single-pdf", "04-xml-only", "05-html-only", "14-credit-note"];

async function stage(
  extractor: Extractor,
  concurrency: number,
  sinks: readonly Sink[] = [sinkOf("files").sink],
  more: (works: Works) => Partial<Works> = () => ({}),
) {
  const directory = await temporaryDirectory();
  const invoices = sourceOf("invoices");
  const made = await worksIn(directory, { extractor, sinks, source: invoices.source });
  const works: Works = { ...made.works, ...more(made.works), clock: systemClock };
  onTestFinished(() => works.ledger.close());
  const events: Event[] = [];
  let heard = () => {};
  const tell = (event: Event) => {
    events.push(event);
    worker.wake();
    heard();
  };
  let napping = () => {};
  const sleep: Clock["sleep"] = (milliseconds, signal) => {
    if (milliseconds > 0) napping();
    return systemClock.sleep(milliseconds, signal);
  };
  const worker = createWorker({ works, concurrency, tell, log: silent, clock: { ...systemClock, sleep } });
  const stop = new AbortController();
  const abandon = new AbortController();
  /** Resolves when so many messages have had this event. */
  const told = (what: string, messages: number) =>
    new Promise<void>((resolve) => {
      heard = () => {
        if (new Set(events.filter((event) => event.what === what).map(({ message }) => message)).size >= messages) resolve();
      };
      heard();
    });
  /** Resolves when it lies down the next time because nothing can be done right now. */
  const nap = () =>
    new Promise<void>((resolve) => {
      napping = resolve;
    });
  return { works, worker, directory, events, invoices, told, nap, stop, abandon };
}

describe("shares", () => {
  test("a service that hangs with all the hands it has holds up neither splitting, nor delivering, nor telling the mailbox", async () => {
    let calls = 0;
    const { promise: full, resolve: isFull } = Promise.withResolvers<void>();
    const { extractor } = extractorOf(({ signal }): Progress | Promise<Progress> => {
      calls += 1;
      if (calls === 1) return answered;
      if (calls === 3) isFull();
      return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    });
    const { works, worker, told, stop, abandon } = await stage(extractor, 2);
    for (const [uid, mail] of MAILS.slice(0, 3).entries()) await arrive(works, mail, uid + 1);
    const running = worker.run(stop.signal, abandon.signal);
    await full;
    await told("settle.done", 1);
    await arrive(works, MAILS[3] ?? "", 9);
    worker.wake();
    await told("split.done", 4);
    // Its own share is full: the fourth is not begun.
    expect(calls).toBe(3);
    stop.abort();
    abandon.abort();
    await running;
  });

  test("a sink that hangs with all the hands it has holds up no other sink, even if its deliveries have been due the longest", async () => {
    const hanging: string[] = [];
    const hole: Sink = {
      ...sinkOf("hole").sink,
      deliver: (_, key, signal) => {
        hanging.push(key);
        return new Promise((__, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
      },
    };
    const files = sinkOf("files");
    // The hole comes first: of what is due at the same moment its deliveries are taken first.
    const { works, worker, told, nap, stop, abandon } = await stage(extractorOf(() => answered).extractor, 1, [hole, files.sink]);
    for (const [uid, mail] of MAILS.entries()) await arrive(works, mail, uid + 1);
    const running = worker.run(stop.signal, abandon.signal);
    await told("deliver.done", MAILS.length);
    expect(files.given.map(({ key }) => deliveryNameOf(key).sink)).toEqual(MAILS.map(() => "files"));
    // What is due and has no hand is not asked for in circles.
    await nap();
    expect(hanging).toHaveLength(1);
    stop.abort();
    abandon.abort();
    await running;
  });

  test("new mail is ordered before what a backfill brought, though that has been due for longer", async () => {
    const { promise: begun, resolve: isBegun } = Promise.withResolvers<void>();
    const { promise: goOn, resolve } = Promise.withResolvers<void>();
    const order: string[] = [];
    const { extractor } = extractorOf(async ({ document }): Promise<Progress> => {
      order.push(document.message);
      isBegun();
      await goOn;
      return answered;
    });
    const { works, worker, told, stop, abandon } = await stage(extractor, 1);
    const old: string[] = [];
    for (const [uid, mail] of MAILS.slice(0, 3).entries()) old.push(await backfilled(works, mail, uid + 1));
    const running = worker.run(stop.signal, abandon.signal);
    await begun;
    await told("split.done", 3);
    const fresh = await arrive(works, MAILS[3] ?? "", 9);
    worker.wake();
    await told("split.done", 4);
    resolve();
    await told("settle.done", 4);
    expect(order).toEqual([old[0], fresh, old[1], old[2]]);
    stop.abort();
    abandon.abort();
    await running;
  });

  test("questions after runs that hang with all the hands they have do not keep new mail from being ordered", async () => {
    const ordered = new Map([0, 1].map((at) => [at, Promise.withResolvers<void>()]));
    const { promise: asked, resolve: isAsked } = Promise.withResolvers<void>();
    let orders = 0;
    const { extractor } = extractorOf(({ memo, signal }) => {
      if (memo === null) {
        ordered.get(orders++)?.resolve();
        return asksAgain(memo);
      }
      isAsked();
      return hang(signal);
    });
    const { works, worker, stop, abandon } = await stage(extractor, 1);
    await arrive(works, MAILS[0] ?? "", 1);
    const running = worker.run(stop.signal, abandon.signal);
    await ordered.get(0)?.promise;
    await asked;
    await arrive(works, MAILS[1] ?? "", 2);
    worker.wake();
    await ordered.get(1)?.promise;
    stop.abort();
    abandon.abort();
    await running;
  });

  test("nor do orders that hang keep runs from being asked after", async () => {
    const { promise: hangs, resolve: isHanging } = Promise.withResolvers<void>();
    const { promise: enough, resolve: isEnough } = Promise.withResolvers<void>();
    let orders = 0;
    let answers = 0;
    const { extractor } = extractorOf(async ({ memo, signal }) => {
      if (memo !== null) {
        await hangs;
        answers += 1;
        if (answers === 3) isEnough();
        return asksAgain(memo);
      }
      orders += 1;
      if (orders === 1) return asksAgain(memo);
      isHanging();
      return hang(signal);
    });
    const { works, worker, stop, abandon } = await stage(extractor, 1);
    for (const [uid, mail] of MAILS.slice(0, 2).entries()) await arrive(works, mail, uid + 1);
    const running = worker.run(stop.signal, abandon.signal);
    await enough;
    stop.abort();
    abandon.abort();
    await running;
  });

  test("a service that hangs with all the hands it has holds up no other service, even if its documents have been due the longest", async () => {
    const hanging: string[] = [];
    const hole = extractorOf(({ key, signal }) => {
      hanging.push(key);
      return hang(signal);
    });
    const other = extractorOf(() => answered);
    const { works, worker, told, nap, stop, abandon } = await stage(hole.extractor, 1, undefined, ({ services, routing }) => {
      const [[name, service] = []] = services;
      if (name === undefined || service === undefined) throw new Error("there is no service");
      const rule = { name: "credit notes", when: { subject: ["Credit note*"] }, is: "take", service: "other", sinks: null } as const;
      return {
        services: new Map([
          [name, service],
          ["other", { ...service, extractor: { ...other.extractor, name: "other" } }],
        ]),
        routing: { ...routing, rules: [{ ...rule, afterwards: null }] },
      };
    });
    for (const [uid, mail] of MAILS.entries()) await arrive(works, mail, uid + 1);
    const running = worker.run(stop.signal, abandon.signal);
    await told("settle.done", 1);
    expect(other.asked).toHaveLength(1);
    await nap();
    expect(hanging).toHaveLength(1);
    stop.abort();
    abandon.abort();
    await running;
  });

  test("of a kind no more are in hand than it may have, and all come to an end", async () => {
    let inHand = 0;
    let most = 0;
    const { promise: two, resolve: areTwo } = Promise.withResolvers<void>();
    const { extractor } = extractorOf(async () => {
      most = Math.max(most, ++inHand);
      if (inHand === 2) areTwo();
      await two;
      // Time for a third, were it taken.
      for (let turn = 0; turn < 5; turn += 1) await new Promise(setImmediate);
      inHand -= 1;
      return answered;
    });
    const { works, worker, events, stop, abandon } = await stage(extractor, 2);
    for (const [uid, mail] of MAILS.entries()) await arrive(works, mail, uid + 1);
    await worker.run(stop.signal, abandon.signal, () => true);
    expect(most).toBe(2);
    expect(events.filter(({ what }) => what === "settle.done")).toHaveLength(MAILS.length);
  });
});

describe("a row of the ledger that cannot be read", () => {
  test("fails its task visibly and nothing else; what stands in it is kept and nothing is bought for it, however often it is put back", async () => {
    const { extractor, asked } = extractorOf(() => answered);
    const { works, worker, directory, events, invoices, stop, abandon } = await stage(extractor, 2);
    const damaged = await arrive(works, MAILS[0] ?? "", 1);
    await arrive(works, MAILS[1] ?? "", 2);
    const database = new Database(join(directory, LEDGER_FILE));
    onTestFinished(() => void database.close());
    database.exec(`CREATE TRIGGER damage AFTER INSERT ON task WHEN new.kind = 'extract' AND new.message = '${damaged}'
      BEGIN UPDATE task SET memo = '{"runId":"IBAN DE00' WHERE id = new.id; END`);
    await worker.run(stop.signal, abandon.signal, () => true);

    expect(asked.map(({ document }) => document.message)).not.toContain(damaged);
    const told = invoices.told.map(({ origin, verdict }) => [origin.uid, verdict]).sort();
    expect(told).toEqual([
      [1, "failed"],
      [2, "done"],
    ]);
    expect(events.find(({ what }) => what === "extract.failed")).toMatchObject({ message: damaged, faultCode: "ledger.record" });
    const [summary] = await works.ledger.summaries(9, "stuck");
    const failed = summary?.tasks.find(({ kind }) => kind === "extract");
    expect(summary?.standing).toBe("failed");
    expect(failed?.fault?.message).toBe(`row ${failed?.id} of the table task (extract ${damaged}.1) cannot be read`);
    expect(JSON.stringify([failed, events])).not.toContain("IBAN");

    expect(await works.ledger.reopen(null, new Date())).toHaveLength(1);
    await worker.run(stop.signal, abandon.signal, () => true);
    expect(asked.map(({ document }) => document.message)).not.toContain(damaged);
    expect(database.prepare("SELECT memo, status FROM task WHERE kind = 'extract' AND message = ?").get(damaged)).toEqual({
      memo: '{"runId":"IBAN DE00',
      status: "failed",
    });
  });
});
