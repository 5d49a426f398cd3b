/** The step that spends: the intention before a purchase, a service that halts, faults nobody is to blame for, and the bill. */
import { describe, expect, onTestFinished, test } from "vitest";
import { Fault, permanent } from "../../src/base/errors.ts";
import type { Answer, Extractor, Memo, Progress } from "../../src/extractor/extractor.ts";
import { runOf } from "../../src/pipeline/extract.ts";
import { advance } from "../../src/pipeline/pipeline.ts";
import type { Works } from "../../src/pipeline/step.ts";
import type { Outcome, Task } from "../../src/store/record.ts";
import { type TestClock, testClock } from "../extractor/documents.ts";
import { temporaryDirectory } from "../store/disk.ts";
import { arrive, drain, extractorOf, openTask, patientExtractor, sinkOf, sourceOf, worksIn } from "./works.ts";

const never = new AbortController().signal;
const FAR = new Date("9999-01-01T00:00:00Z");
const answer: Answer = { runId: "run", data: {}, credits: 3, reasoning: null, review: null, raw: {} };
const busy = new Fault("service.busy", "the service is busy");

/** One mail, split, its document about to be taken to the service. `saves` is every save, as it was asked for. */
async function stage(extractor: Extractor, mails = ["01-single-pdf"], clock = testClock()) {
  const directory = await temporaryDirectory();
  const invoices = sourceOf("invoices");
  const files = sinkOf("files");
  const roles = { extractor, sinks: [files.sink], source: invoices.source, clock };
  const saves: { readonly kind: string; readonly outcome: Outcome }[] = [];
  const watched = (works: Works): Works => ({
    ...works,
    ledger: {
      ...works.ledger,
      save: (task, outcome, now) => {
        saves.push({ kind: task.kind, outcome });
        return works.ledger.save(task, outcome, now);
      },
    },
  });
  let current = watched((await worksIn(directory, roles)).works);
  onTestFinished(() => current.ledger.close());
  /** The process is gone; another one opens what it left. */
  const nextLife = async () => {
    await current.ledger.close();
    current = watched((await worksIn(directory, roles)).works);
    return current;
  };
  const messages: string[] = [];
  for (const [index, mail] of mails.entries()) messages.push(await arrive(current, mail, index + 1));
  for (const task of await current.ledger.due(clock.now(), 9, [])) await advance(task, current, never);
  saves.length = 0;
  return { works: current, clock, invoices, given: files.given, message: messages[0] ?? "", messages, saves, nextLife };
}

const step = async (works: Works) => advance(await openTask(works, "extract"), works, never);
const open = async (works: Works) => (await works.ledger.due(FAR, 99, [])).filter(({ kind }) => kind === "extract");

describe("the intention before a purchase", () => {
  const bought: Progress = { is: "going", memo: { runId: "run" }, nextAt: FAR };

  /** Buys what may be lost, as long as no run is known. `happened` is what was asked of it, in order, and what it sent. */
  function buyer(act: (memo: Memo | null, call: number) => Progress | Promise<Progress>, turn: () => void = () => {}) {
    const happened: string[] = [];
    const { extractor } = extractorOf(({ memo }, call) => act(memo, call));
    const buying: Extractor = {
      ...extractor,
      advance: async (document, memo, key, signal, buying) => {
        happened.push(`advance ${JSON.stringify(memo)}`);
        turn();
        if (memo?.runId === undefined) {
          await buying?.();
          happened.push("sent");
        }
        return extractor.advance(document, memo, key, signal);
      },
      interrupted: (memo) => {
        happened.push(`interrupted ${JSON.stringify(memo)}`);
        return { is: "going", memo: { ...memo, possiblyTwice: 1 }, nextAt: new Date("2026-05-04T10:00:00Z") };
      },
    };
    return { extractor: buying, happened };
  }

  test("is in the ledger when the purchase is made, and gone with what came of it; the extractor never sees it", async () => {
    let seen: Task | undefined;
    let works: Works | null = null;
    const { extractor, happened } = buyer(async () => {
      [seen] = works === null ? [] : await open(works);
      return bought;
    });
    const at = await stage(extractor);
    works = at.works;
    await step(at.works);
    expect(seen?.memo).toEqual({ place: true, begun: true });
    expect(happened).toEqual(["advance null", "sent"]);
    expect(at.saves.map(({ outcome }) => outcome.is)).toEqual(["later", "later"]);
    expect(at.saves.map(({ outcome }) => ("memo" in outcome ? outcome.memo : undefined))).toEqual([
      { place: true, begun: true },
      { runId: "run" },
    ]);
    expect((await openTask(at.works, "extract")).memo).toEqual({ runId: "run" });
    expect(
      (await at.works.ledger.events(at.message)).filter(({ what }) => what === "extract.later"),
      "told once",
    ).toHaveLength(1);
  });

  test("is taken back by a thrown fault: the same life tries again, and so does another, and neither takes it for interrupted", async () => {
    const { extractor, happened } = buyer((_memo, call) => {
      if (call < 3) throw busy;
      return bought;
    });
    const { works, nextLife, clock } = await stage(extractor);
    await step(works);
    expect(await openTask(works, "extract")).toMatchObject({ memo: null, attempts: 1, fault: { code: "service.busy" } });
    await step(works);
    const next = await nextLife();
    clock.pass(60_000);
    await step(next);
    expect(happened.filter((one) => one !== "sent")).toEqual(["advance null", "advance null", "advance null"]);
    expect((await openTask(next, "extract")).memo).toEqual({ runId: "run" });
  });

  test("is not there while a call waits for its turn: the life that ends then leaves no doubt", async () => {
    const dying = new AbortController();
    let doomed = true;
    const { extractor, happened } = buyer(
      () => bought,
      () => {
        if (!doomed) return;
        dying.abort();
        throw new Fault("http.stopped", "stopped before it was sent");
      },
    );
    const { works, nextLife, saves } = await stage(extractor);
    expect(await advance(await openTask(works, "extract"), works, dying.signal)).toBeNull();
    expect(saves).toEqual([]);
    doomed = false;
    const next = await nextLife();
    await step(next);
    expect(happened).toEqual(["advance null", "advance null", "sent"]);
  });

  test("is taken back when we are stopped before it is sent", async () => {
    const dying = new AbortController();
    const { extractor, happened } = buyer(() => {
      dying.abort();
      throw new Fault("http.stopped", "stopped before it was sent", { blameless: true });
    });
    const { works, nextLife } = await stage(extractor);
    await advance(await openTask(works, "extract"), works, dying.signal);
    const next = await nextLife();
    expect((await openTask(next, "extract")).memo).toBeNull();
    expect(happened).toEqual(["advance null", "sent"]);
  });

  test("stays when what was thrown is no fault: nobody knows whether it was sent", async () => {
    const { extractor, happened } = buyer((_memo, call) => {
      if (call === 1) throw new TypeError("not a function");
      return bought;
    });
    const { works } = await stage(extractor);
    await step(works);
    expect(await openTask(works, "extract")).toMatchObject({ memo: { place: true, begun: true }, attempts: 1 });
    await step(works);
    await step(works);
    expect(happened).toEqual(["advance null", "sent", "interrupted null", 'advance {"possiblyTwice":1}', "sent"]);
    expect((await openTask(works, "extract")).memo).toEqual({ runId: "run" });
  });

  test("of a life that ended in between is asked about exactly once, then bought with that known", async () => {
    const dying = new AbortController();
    const { extractor, happened } = buyer((_memo, call) => {
      if (call > 1) return bought;
      // It was sent, and the process ends before its answer.
      dying.abort();
      throw new Error("cut short");
    });
    const { works, message, nextLife } = await stage(extractor);
    await advance(await openTask(works, "extract"), works, dying.signal);
    const next = await nextLife();
    expect((await openTask(next, "extract")).memo).toEqual({ place: true, begun: true });
    await step(next);
    expect(happened).toEqual(["advance null", "sent", "interrupted null"]);
    await step(next);
    expect(happened.slice(3)).toEqual(['advance {"possiblyTwice":1}', "sent"]);
    expect((await openTask(next, "extract")).memo).toEqual({ runId: "run" });
    expect((await next.ledger.events(message)).filter(({ faultCode }) => faultCode !== null)).toEqual([]);
  });

  test("dying once more while asking asks once more and buys nothing in between", async () => {
    const dying = new AbortController();
    const { extractor, happened } = buyer(() => {
      dying.abort();
      throw new Error("cut short");
    });
    const { works, nextLife } = await stage(extractor);
    await advance(await openTask(works, "extract"), works, dying.signal);
    const second = await nextLife();
    const killed: Works = { ...second, ledger: { ...second.ledger, save: () => Promise.reject(permanent("test.killed", "killed")) } };
    await expect(advance(await openTask(second, "extract"), killed, never)).rejects.toMatchObject({ code: "test.killed" });
    const third = await nextLife();
    await step(third);
    expect(happened).toEqual(["advance null", "sent", "interrupted null", "interrupted null"]);
    expect((await openTask(third, "extract")).memo).toEqual({ possiblyTwice: 1, place: true });
  });

  test("that the ledger cannot take buys nothing", async () => {
    const { extractor, happened } = buyer(() => bought);
    const { works } = await stage(extractor);
    let full = true;
    const ledger: Works["ledger"] = {
      ...works.ledger,
      save: async (...saved) => {
        if (!full) return works.ledger.save(...saved);
        full = false;
        throw new Fault("ledger.full", "no space left");
      },
    };
    await advance(await openTask(works, "extract"), { ...works, ledger }, never);
    expect(happened).toEqual(["advance null"]);
    expect(await openTask(works, "extract")).toMatchObject({ memo: null, attempts: 1, fault: { code: "ledger.full" } });
  });

  test("is told of before and after it is saved: a crash campaign kills there", async () => {
    const points: string[] = [];
    const { extractor, happened } = buyer(() => bought);
    const { works } = await stage(extractor);
    const passing = (point: string) => {
      points.push(`${point}, sent: ${happened.includes("sent")}`);
    };
    await advance(await openTask(works, "extract"), { ...works, passing }, never);
    expect(points.slice(1, 3)).toEqual(["extract buying, sent: false", "extract begun, sent: false"]);
  });

  test("is not saved for a service that could not go on from it, nor for an effect that buys nothing", async () => {
    const act = (memo: Memo | null): Progress => (memo === null ? bought : { is: "answered", memo, answer });
    const { interrupted, ...helpless } = buyer(act).extractor;
    for (const [extractor, saved] of [
      [helpless, ["later", "done"]],
      [buyer(act).extractor, ["later", "later", "done"]],
    ] as const) {
      const { works, clock, saves } = await stage(extractor);
      await drain(works, clock);
      expect(saves.filter(({ kind }) => kind === "extract").map(({ outcome }) => outcome.is)).toEqual(saved);
    }
  });
});

describe("a service that halts", () => {
  const credits = new Fault("service.credits", "the account is out of credits", { advice: "buy some" });
  const MAILS = ["01-single-pdf", "04-xml-only", "05-html-only"];

  test("is paused with the reason; no attempt is counted, the memo stays, and the task goes on after `resume`", async () => {
    let empty = true;
    const { extractor, asked } = extractorOf(({ memo }): Progress => {
      if (memo === null) return { is: "going", memo: { file: "f" }, nextAt: new Date("2026-05-04T10:00:00Z") };
      if (empty) return { is: "halted", memo, fault: credits };
      return { is: "answered", memo, answer };
    });
    const { works, clock, message, invoices } = await stage(extractor);
    await step(works);
    const task = await openTask(works, "extract");
    expect(await advance(task, works, never)).toMatchObject({ what: "extract.halted", faultCode: "service.credits" });
    expect(await works.ledger.paused()).toEqual([
      { name: "service", since: clock.now().toISOString(), why: "the account is out of credits" },
    ]);
    const [, halted] = await works.ledger.tasks(message);
    expect(halted).toMatchObject({
      status: "open",
      attempts: 0,
      failingSince: null,
      memo: { file: "f" },
      fault: { code: "service.credits" },
    });
    expect(await works.ledger.due(FAR, 9, [])).toEqual([]);
    expect(await works.ledger.nextDue([])).toBeNull();
    expect(await works.ledger.backlog()).toEqual({ open: 0, waiting: 1 });
    expect((await works.ledger.summaries(1))[0]?.standing).toBe("waiting");

    empty = false;
    expect(await works.ledger.resume("service", clock.now())).toBe(true);
    await drain(works, clock);
    expect(asked.at(-1)?.memo).toEqual({ file: "f" });
    expect(invoices.told).toMatchObject([{ verdict: "done" }]);
  });

  test("keeps the task waiting that had bought before: its run is over, and the next one would be bought while paused", async () => {
    let empty = true;
    const made = extractorOf(({ memo }): Progress => {
      const nextAt = new Date("2026-05-04T10:00:00Z");
      if (memo === null) return { is: "going", memo: { runId: "one" }, nextAt };
      if (empty) return { is: "halted", memo: { ...memo, over: true }, fault: credits };
      return { is: "answered", memo: { ...memo, runId: "two" }, answer };
    });
    const { asked } = made;
    const extractor = { ...made.extractor, buys: (memo: Memo | null) => memo?.runId === undefined || memo.over === true };
    const { works, clock, message } = await stage(extractor);
    await step(works);
    await step(works);
    expect(await works.ledger.due(FAR, 9, [])).toEqual([]);
    expect(asked).toHaveLength(2);
    empty = false;
    await works.ledger.resume("service", clock.now());
    await drain(works, clock);
    expect(asked[2]?.memo).toEqual({ runId: "one", over: true });
    expect((await works.ledger.runs(message)).map(({ runId, credits: paid }) => [runId, paid])).toEqual([
      ["one", null],
      ["two", 3],
    ]);
  });

  test("leaves the others in peace: what was bought is asked after and delivered, what was not waits", async () => {
    const calls = new Map<string, number>();
    const { extractor } = extractorOf(({ document, memo }): Progress => {
      calls.set(document.message, (calls.get(document.message) ?? 0) + 1);
      if (memo === null) return { is: "going", memo: { runId: `run of ${document.message}` }, nextAt: new Date("2026-05-04T10:01:00Z") };
      return { is: "answered", memo, answer };
    });
    const { works, clock, messages, invoices } = await stage(extractor, MAILS);
    const [first] = await open(works);
    await advance(first as Task, works, never);
    await works.ledger.pause("service", "paused by hand", clock.now());
    await drain(works, clock);
    expect(invoices.told).toHaveLength(1);
    expect(calls).toEqual(new Map([[first?.message, 2]]));
    expect(await works.ledger.backlog()).toEqual({ open: 0, waiting: 2 });
    await works.ledger.resume("service", clock.now());
    await drain(works, clock);
    expect(new Set(calls.keys())).toEqual(new Set(messages));
  });

  test("keeps the first reason, when several find out together", async () => {
    const { extractor } = extractorOf(({ document }) => ({
      is: "halted",
      memo: null,
      fault: new Fault("service.credits", `out of credits at ${document.message}`),
    }));
    const { works, messages } = await stage(extractor, MAILS);
    for (const task of await open(works)) await advance(task, works, never);
    expect(await works.ledger.paused()).toMatchObject([{ why: `out of credits at ${messages[0]}` }]);
  });
});

describe("a fault nobody is to blame for", () => {
  const retryAt = new Date("2026-05-04T12:00:00.000Z");

  test.each(["http.resting", "http.rate-limited"])("%s: no attempt is counted, and it waits until it is told to come", async (code) => {
    const { extractor } = extractorOf(() => {
      throw new Fault(code, "not now", { blameless: true, retryAt });
    });
    const { works } = await stage(extractor);
    expect(await step(works)).toMatchObject({ what: "extract.later", faultCode: code });
    const task = await openTask(works, "extract");
    expect(task).toMatchObject({ attempts: 0, failingSince: null, dueAt: retryAt.toISOString(), fault: { code } });
    expect((await works.ledger.summaries(1))[0]?.standing).toBe("waiting");
  });

  test("among others: what was failing before goes on failing since then, neither longer nor shorter", async () => {
    const { extractor } = extractorOf((_asked, call) => {
      if (call === 2) throw new Fault("http.resting", "resting", { blameless: true, retryAt: new Date("2026-05-04T10:30:00.000Z") });
      throw busy;
    });
    const { works, clock } = await stage(extractor);
    const seen: (string | number | null)[][] = [];
    for (let call = 0; call < 3; call += 1) {
      await step(works);
      const { attempts, failingSince, dueAt } = await openTask(works, "extract");
      seen.push([attempts, failingSince]);
      clock.set(new Date(dueAt));
    }
    const since = "2026-05-04T10:00:00.000Z";
    expect(seen).toEqual([
      [1, since],
      [1, since],
      [2, since],
    ]);
  });
});

describe("a purchase refused because the service was paused meanwhile", () => {
  test("waits like the others, blamed for nothing, its place and memo kept, and goes on after `resume`", async () => {
    let paused = true;
    const { extractor, asked } = extractorOf(({ memo }): Progress => {
      if (memo === null) return { is: "going", memo: { file: "f" }, nextAt: new Date("2026-05-04T10:00:00Z") };
      if (paused) throw new Fault("service.paused", "service is paused", { blameless: true, retryAt: new Date("2026-05-04T10:00:00Z") });
      return { is: "answered", memo, answer };
    });
    const { works, clock, invoices } = await stage(extractor);
    await step(works);
    const task = await openTask(works, "extract");
    await works.ledger.pause("service", "paused by hand", clock.now());
    expect(await advance(task, works, never)).toMatchObject({ what: "extract.later", faultCode: "service.paused" });
    expect(await works.ledger.due(FAR, 9, [])).toEqual([]);
    expect(await works.ledger.backlog()).toEqual({ open: 0, waiting: 1 });
    const [[, waiting] = []] = (await works.ledger.summaries(1)).map(({ tasks }) => tasks);
    expect(waiting).toMatchObject({ status: "open", attempts: 0, failingSince: null, memo: { file: "f" } });
    paused = false;
    await works.ledger.resume("service", clock.now());
    await drain(works, clock);
    expect(asked).toHaveLength(3);
    expect(invoices.told).toMatchObject([{ verdict: "done" }]);
  });
});

describe("parts the service is not given", () => {
  test.each([
    ["on the way", ["extract.later", "extract.done"]],
    ["at once", ["extract.done"]],
  ])("%s: are told once in the trail, and marked in the delivery", async (how, whats) => {
    const { extractor } = extractorOf(({ memo, document }): Progress => {
      const skipped = document.parts.slice(0, 1).map(({ id }) => id);
      if (how === "on the way" && memo === null) return { is: "going", memo: { runId: "run", skipped }, nextAt: FAR };
      return { is: "answered", memo: { runId: "run", skipped }, answer };
    });
    const { works, clock, message, given } = await stage(extractor);
    await drain(works, clock);
    const parts = (await works.ledger.parts(message)).map(({ id }) => id);
    const events = (await works.ledger.events(message)).filter(({ what }) => what.startsWith("extract."));
    expect(events.map(({ what }) => what)).toEqual(whats);
    expect(events.filter(({ note }) => note?.includes(`not submitted: part ${parts[0]}`))).toHaveLength(1);
    expect(parts.length).toBeGreaterThan(1);
    expect(given[0]?.delivery.body).toMatchObject({ document: { parts: parts.map((id, index) => ({ id, submitted: index > 0 })) } });
  });
});

describe("the bill", () => {
  test("is one row a run: told when it is bought, its credits when it is answered", async () => {
    const { extractor } = extractorOf(({ memo }): Progress => {
      const nextAt = new Date("2026-05-04T10:00:00Z");
      if (memo === null) return { is: "going", memo: { runId: "run", possiblyTwice: 1 }, nextAt };
      if (memo.polls === undefined) return { is: "going", memo: { ...memo, polls: 1 }, nextAt };
      return { is: "answered", memo, answer };
    });
    const { works, clock, message } = await stage(extractor);
    const row = { document: `${message}.1`, service: "service", mailbox: "invoices", runId: "run", possiblyTwice: 1 };
    await step(works);
    expect(await works.ledger.runs(message)).toEqual([{ ...row, credits: null }]);
    clock.pass(24 * 3_600_000);
    await drain(works, clock);
    expect(await works.ledger.runs(message)).toEqual([{ ...row, credits: 3 }]);
    expect(await works.ledger.spending(new Date(0))).toEqual([
      { day: "2026-05-04", service: "service", mailbox: "invoices", runs: 1, credits: 3, possiblyTwice: 1 },
    ]);
  });

  test("is one row for a run given up without its id and found by a later retry, counted when it was found", async () => {
    const ambiguous = permanent("service.ambiguous", "its answer was lost");
    const { extractor } = extractorOf((_asked, call): Progress => {
      if (call === 1) return { is: "refused", memo: { perhapsBought: true }, fault: ambiguous };
      return { is: "going", memo: { runId: "run", possiblyTwice: 1 }, nextAt: FAR };
    });
    const { works, clock, message } = await stage(extractor);
    await step(works);
    const row = { document: `${message}.1`, service: "service", mailbox: "invoices", credits: null };
    expect(await works.ledger.runs(message)).toEqual([{ ...row, runId: null, possiblyTwice: 0 }]);
    clock.pass(24 * 3_600_000);
    await works.ledger.reopen(message, clock.now());
    await step(works);
    expect(await works.ledger.runs(message)).toEqual([{ ...row, runId: "run", possiblyTwice: 1 }]);
    expect(await works.ledger.bought("service", clock.now())).toMatchObject({ runs: 1 });
  });

  test("is two rows for a run that was known and another that may have been bought after it, whatever is told of the first", async () => {
    const ambiguous = permanent("service.ambiguous", "its answer was lost");
    const { extractor } = extractorOf((_asked, call): Progress => {
      if (call === 1) return { is: "going", memo: { runId: "one" }, nextAt: new Date("2026-05-04T10:00:00Z") };
      if (call === 2) return { is: "refused", memo: { runId: "one", perhapsBought: true }, fault: ambiguous };
      if (call === 3) return { is: "going", memo: { runId: "one", perhapsBought: true, possiblyTwice: 1 }, nextAt: FAR };
      return { is: "going", memo: { runId: "two", possiblyTwice: 1 }, nextAt: FAR };
    });
    const { works, clock, message } = await stage(extractor);
    const runs = async () => (await works.ledger.runs(message)).map(({ runId }) => runId);
    await step(works);
    await step(works);
    await works.ledger.reopen(message, clock.now());
    await step(works);
    expect(new Set(await runs())).toEqual(new Set(["one", null]));
    await step(works);
    expect(new Set(await runs())).toEqual(new Set(["one", "two"]));
  });

  test("is for the mailbox where the message was seen first", async () => {
    const { works, clock, message } = await stage(patientExtractor(testClock()).extractor);
    await arrive(works, "01-single-pdf", 5, "archive");
    await advance((await open(works))[0] as Task, works, never);
    await advance((await open(works))[0] as Task, works, never);
    clock.pass(0);
    expect(await works.ledger.runs(message)).toMatchObject([{ mailbox: "invoices" }]);
  });

  test("a ledger that cannot be read keeps from buying, not from saving what was bought", async () => {
    let bought = 0;
    const { extractor } = extractorOf((): Progress => {
      bought += 1;
      return { is: "going", memo: { runId: "run" }, nextAt: FAR };
    });
    const { works, message } = await stage(extractor);
    // Whichever question comes first, or second, or …: the one that fails must not come after the purchase.
    for (let failing = 0; bought === 0; failing += 1) {
      let asked = 0;
      const questions = ["document", "message", "parts", "arrivals"] as const;
      const fails = Object.fromEntries(
        questions.map((name) => [
          name,
          async (id: string) => {
            if (asked++ === failing) throw new Fault("ledger.failed", "disk");
            return works.ledger[name](id);
          },
        ]),
      );
      await advance(await openTask(works, "extract"), { ...works, ledger: { ...works.ledger, ...fails } }, never);
    }
    expect(await openTask(works, "extract")).toMatchObject({ memo: { runId: "run" } });
    expect(await works.ledger.runs(message)).toMatchObject([{ runId: "run" }]);
  });

  /** A document whose order was lost, or whose upload was, and that comes to its end by something thrown. */
  const endings: readonly [string, (works: Works, clock: TestClock) => Promise<void>][] = [
    ["by a permanent fault", async (works) => void (await step(works))],
    [
      "by failing for too long",
      async (works, clock) => {
        await step(works);
        clock.pass(3_600_001);
        await step(works);
      },
    ],
    [
      "for its service is not there any more",
      async (works) => void (await advance(await openTask(works, "extract"), { ...works, services: new Map() }, never)),
    ],
  ];
  test.each(endings)("counts what was in doubt when a document fails %s", async (how, end) => {
    for (const [memo, run, runs] of [
      [{ perhapsBought: true, possiblyTwice: 1 }, { runId: null, possiblyTwice: 1 }, 1],
      [{ possiblyTwice: 1 }, { runId: null, possiblyTwice: 1, onlyDoubt: true }, 0],
    ] as const) {
      const { extractor } = extractorOf((_asked, call): Progress => {
        if (call === 1) return { is: "going", memo, nextAt: FAR };
        throw how === "by a permanent fault" ? permanent("service.refused", "no") : busy;
      });
      const { works, clock, message } = await stage(extractor);
      await step(works);
      expect(await works.ledger.runs(message)).toEqual([]);
      await end(works, clock);
      expect((await works.ledger.tasks(message)).find(({ kind }) => kind === "extract")?.status).toBe("failed");
      const row = { document: `${message}.1`, service: "service", mailbox: "invoices", credits: null };
      expect(await works.ledger.runs(message)).toEqual([{ ...row, ...run }]);
      expect(await works.ledger.bought("service", new Date(0))).toMatchObject({ runs });
      const bill = { day: "2026-05-04", service: "service", mailbox: "invoices", runs, credits: null, possiblyTwice: 1 };
      expect(await works.ledger.spending(new Date(0))).toEqual([bill]);
    }
  });

  test("counts a purchase about to be sent that nobody knows the end of, when the document fails of it", async () => {
    const { extractor } = extractorOf(() => {
      throw new TypeError("not a function");
    });
    const blind: Extractor = {
      ...extractor,
      advance: async (document, memo, key, signal, buying) => {
        await buying?.();
        return extractor.advance(document, memo, key, signal);
      },
      interrupted: () => ({ is: "going", memo: {}, nextAt: FAR }),
    };
    const { works, message } = await stage(blind);
    await advance(await openTask(works, "extract"), { ...works, retry: { ...works.retry, giveUpAfterMs: 0 } }, never);
    expect(await works.ledger.runs(message)).toMatchObject([{ runId: null, possiblyTwice: 0 }]);
    expect(await works.ledger.bought("service", new Date(0))).toMatchObject({ runs: 1 });
  });

  test("keeps what was only a doubt apart from the runs until a retry buys one: then it is that one's row, counted from then", async () => {
    const ambiguous = permanent("service.ambiguous", "its answer was lost");
    const { extractor } = extractorOf((_asked, call): Progress => {
      if (call === 1) return { is: "refused", memo: { possiblyTwice: 1 }, fault: ambiguous };
      if (call === 2) return { is: "refused", memo: { possiblyTwice: 1, perhapsBought: true }, fault: ambiguous };
      if (call === 3) return { is: "refused", memo: { possiblyTwice: 2, perhapsBought: true }, fault: ambiguous };
      return { is: "going", memo: { runId: "run", possiblyTwice: 3 }, nextAt: FAR };
    });
    const { works, clock, message } = await stage(extractor);
    const seen: unknown[] = [];
    for (let call = 1; call <= 4; call += 1) {
      await step(works);
      const [row, ...others] = await works.ledger.runs(message);
      const { runs } = await works.ledger.bought("service", clock.now());
      seen.push([row?.runId, row?.onlyDoubt, row?.possiblyTwice, others.length, runs]);
      clock.pass(24 * 3_600_000);
      await works.ledger.reopen(message, clock.now());
    }
    expect(seen).toEqual([
      [null, true, 1, 0, 0],
      [null, undefined, 1, 0, 1],
      [null, undefined, 2, 0, 1],
      ["run", undefined, 3, 0, 1],
    ]);
  });

  test("trouble on the way is in the trail with its code, told once as long as it is the same", async () => {
    const lost = new Fault("service.lost", "the answer was lost");
    const { extractor } = extractorOf((_asked, call): Progress => {
      const going = { is: "going", memo: { call }, nextAt: FAR } as const;
      return call < 3 ? { ...going, fault: lost } : going;
    });
    const { works, message } = await stage(extractor);
    await step(works);
    expect(await openTask(works, "extract")).toMatchObject({ attempts: 0, failingSince: null, fault: { code: "service.lost" } });
    await step(works);
    await step(works);
    expect(await openTask(works, "extract")).toMatchObject({ fault: null });
    const told = (await works.ledger.events(message)).filter(({ what }) => what === "extract.later");
    expect(told).toMatchObject([{ note: "the answer was lost", faultCode: "service.lost" }]);
  });

  const nextAt = FAR;
  const fault = permanent("service.refused", "no");
  const told = (runId: string | null, possiblyTwice = 0, credits: number | null = null) => ({ runId, credits, possiblyTwice });
  const doubt = (possiblyTwice: number) => ({ ...told(null, possiblyTwice), onlyDoubt: true as const });
  test.each<[string, Progress, Memo | null, ReturnType<typeof told | typeof doubt> | null]>([
    ["nothing bought yet", { is: "going", memo: { file: "f" }, nextAt }, null, null],
    ["bought", { is: "going", memo: { runId: "a" }, nextAt }, { file: "f" }, told("a")],
    ["asked after", { is: "going", memo: { runId: "a", polls: 1 }, nextAt }, { runId: "a" }, null],
    ["bought again", { is: "going", memo: { runId: "b" }, nextAt }, { runId: "a" }, told("b")],
    ["a doubt about a run known", { is: "going", memo: { runId: "a", possiblyTwice: 1 }, nextAt }, { runId: "a" }, told("a", 1)],
    ["a doubt, no run known yet", { is: "going", memo: { possiblyTwice: 1 }, nextAt }, null, null],
    ["answered", { is: "answered", memo: { runId: "a" }, answer }, { runId: "a" }, told("a", 0, 3)],
    ["answered at once, the id only in the answer", { is: "answered", memo: {}, answer }, null, told("run", 0, 3)],
    ["refused before anything was bought", { is: "refused", memo: null, fault }, null, null],
    ["refused, the run known and told", { is: "refused", memo: { runId: "a" }, fault }, { runId: "a" }, null],
    ["uploaded in doubt, given up before any purchase", { is: "refused", memo: { possiblyTwice: 1 }, fault }, null, doubt(1)],
    ["uploaded in doubt after a run that was told", { is: "refused", memo: { runId: "a", possiblyTwice: 2 }, fault }, null, told("a", 2)],
    ["perhaps bought, given up", { is: "refused", memo: { perhapsBought: true, possiblyTwice: 1 }, fault }, null, told(null, 1)],
    ["a second one perhaps bought", { is: "refused", memo: { runId: "a", perhapsBought: true }, fault }, { runId: "a" }, told(null)],
    ["perhaps bought, still looked for", { is: "going", memo: { perhapsBought: true }, nextAt }, null, null],
    ["credits learnt on the way", { is: "going", memo: { runId: "a" }, nextAt, credits: 2 }, { runId: "a" }, told("a", 0, 2)],
    ["credits of a run that failed", { is: "refused", memo: { runId: "a" }, fault, credits: 2 }, { runId: "a" }, told("a", 0, 2)],
    ["credits of a run that used up the last", { is: "halted", memo: { runId: "a" }, fault, credits: 2 }, { runId: "a" }, told("a", 0, 2)],
    ["credits of no run that is known", { is: "refused", memo: null, fault, credits: 2 }, null, null],
    ["halted by a run that was bought just now", { is: "halted", memo: { runId: "a" }, fault }, null, told("a")],
  ])("%s", (_what, progress, before, expected) => {
    expect(runOf(progress, before)).toEqual(expected);
  });
});
