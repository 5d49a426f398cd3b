/** The role of the ledger: what it remembers of a message's way, all or nothing, and what it answers. */
import { copyFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Fault, permanent, recordOf } from "../../src/base/errors.ts";
import type { Outcome, Task } from "../../src/store/record.ts";
import { LEDGER_FILE, openLedger } from "../../src/store/sql.ts";
import type { Ledger } from "../../src/store/store.ts";
import { temporaryDirectory } from "../store/disk.ts";
import {
  at,
  cursor,
  deliverDone,
  everything,
  extractDone,
  facts,
  id,
  origin,
  parts,
  receive,
  refused,
  route,
  splitDone,
  taskOf,
  tell,
  temporary,
  work,
} from "../store/ledgers/story.ts";

/** Every implementation: how its ledger in this directory is opened. */
const implementations = [{ name: "sqlite", open: (directory: string) => openLedger({ directory, own: true, now: at(0) }) }];

describe.each(implementations)("a ledger in $name", ({ open }) => {
  /** Works on a new ledger, then closes it. */
  const withLedger = (body: (ledger: Ledger) => Promise<void>) => async () => {
    const ledger = await open(await temporaryDirectory());
    try {
      await body(ledger);
    } finally {
      await ledger.close();
    }
  };
  const extracted = async (ledger: Ledger, name: string) => {
    await receive(ledger, name, 11);
    await ledger.save(await taskOf(ledger, name, "split"), splitDone(name), at(20));
    await ledger.save(await taskOf(ledger, name, "extract"), extractDone(name), at(21));
  };
  const kinds = async (ledger: Ledger, name: string) => (await ledger.tasks(id(name))).map(({ kind, status }: Task) => `${kind} ${status}`);
  const whats = async (ledger: Ledger, name: string) => (await ledger.events(id(name))).map(({ what }) => what);

  describe("receiving", () => {
    test(
      "bytes never seen before are a message, an arrival, a moved cursor and one task",
      withLedger(async (ledger) => {
        expect(await ledger.mailbox("invoices")).toBeNull();
        const received = await receive(ledger, "a", 11);
        expect(received).toMatchObject({ message: id("a"), isNew: true, event: { what: "received", mailbox: "invoices" } });
        expect(await ledger.message(id("a"))).toEqual({
          id: id("a"),
          sha256: id("a"),
          size: 1_011,
          receivedAt: at(11).toISOString(),
          facts: null,
          faults: [],
          route: null,
          gone: { raw: null, parts: null, results: null, events: null },
        });
        expect(await ledger.arrivals(id("a"))).toMatchObject([{ origin: origin(11), message: id("a"), receivedAt: at(-60).toISOString() }]);
        expect(await ledger.mailbox("invoices")).toEqual({ mailbox: "invoices", cursor: cursor(11), sweptAt: null });
        expect(await ledger.tasks(id("a"))).toMatchObject([
          { kind: "split", subject: id("a"), status: "open", attempts: 0, memo: null, dueAt: at(11).toISOString() },
        ]);
        expect(await ledger.events(id("a"))).toEqual([received.event]);
      }),
    );

    test(
      "the same bytes elsewhere are one more arrival of the same message, not one more task",
      withLedger(async (ledger) => {
        await receive(ledger, "a", 11);
        expect(await receive(ledger, "a", 3, "archive")).toMatchObject({ isNew: false, event: { what: "seen-again", mailbox: "archive" } });
        expect((await ledger.arrivals(id("a"))).map((arrival) => arrival.origin)).toEqual([origin(11), origin(3, "archive")]);
        expect(await kinds(ledger, "a")).toEqual(["split open"]);
        expect(await ledger.mailbox("archive")).toMatchObject({ cursor: cursor(3) });
        expect(await ledger.mailbox("invoices")).toMatchObject({ cursor: cursor(11) });
      }),
    );

    test(
      "the same origin twice is one arrival",
      withLedger(async (ledger) => {
        await receive(ledger, "a", 11);
        expect(await receive(ledger, "a", 11)).toMatchObject({ isNew: false });
        expect(await ledger.arrivals(id("a"))).toHaveLength(1);
        expect(await ledger.counts()).toMatchObject({ messages: 1, open: 1 });
      }),
    );

    test(
      "what could not be read is visible, moves the cursor, and is mended when it arrives after all",
      withLedger(async (ledger) => {
        const fault = recordOf(refused);
        const event = await ledger.receiveUnreadable({ origin: origin(11), fault, cursor: cursor(11), now: at(11) });
        expect(event).toMatchObject({ what: "unreadable", message: null, subject: "UID 11", faultCode: refused.code });
        await ledger.receiveUnreadable({ origin: origin(11), fault, cursor: cursor(11), now: at(12) });
        expect(await ledger.unreadable()).toMatchObject([{ origin: origin(11), message: null, fault }]);
        expect(await ledger.mailbox("invoices")).toMatchObject({ cursor: cursor(11) });
        expect(await ledger.counts()).toMatchObject({ unreadable: 1, messages: 0, open: 0 });

        await receive(ledger, "a", 11);
        expect(await ledger.unreadable()).toEqual([]);
        expect(await ledger.arrivals(id("a"))).toMatchObject([{ fault: null, receivedAt: at(-60).toISOString() }]);
        await ledger.receiveUnreadable({ origin: origin(11), fault, cursor: cursor(11), now: at(13) });
        expect(await ledger.arrivals(id("a"))).toMatchObject([{ fault: null }]);
      }),
    );

    test(
      "another message under a known origin is told the mailbox too, though the server breaks the rules",
      withLedger(async (ledger) => {
        await work(ledger, "a", 11);
        await ledger.save(await taskOf(ledger, "a", "settle"), { is: "done" }, at(12));
        await receive(ledger, "b", 11);
        await ledger.save(await taskOf(ledger, "b", "split"), { is: "done" }, at(13));
        expect(await kinds(ledger, "b")).toEqual(["split done", "settle open"]);
      }),
    );

    test(
      "a sweep moves the cursor and is remembered; an arrival does not take its moment away",
      withLedger(async (ledger) => {
        await ledger.swept("invoices", cursor(20), at(20));
        expect(await ledger.mailbox("invoices")).toEqual({ mailbox: "invoices", cursor: cursor(20), sweptAt: at(20).toISOString() });
        await receive(ledger, "a", 21);
        expect(await ledger.mailbox("invoices")).toEqual({ mailbox: "invoices", cursor: cursor(21), sweptAt: at(20).toISOString() });
      }),
    );

    test(
      "what cannot be saved whole is not saved at all",
      withLedger(async (ledger) => {
        const arrival = { blob: { sha256: id("a"), size: 1 }, origin: origin(11), receivedAt: null, now: at(11) };
        const hopeless = { ...cursor(11), uidValidity: null as unknown as string };
        await expect(ledger.receive({ ...arrival, cursor: hopeless })).rejects.toMatchObject({ code: "ledger.refused", temporary: false });
        expect(await ledger.message(id("a"))).toBeNull();
        expect(await ledger.events(id("a"))).toEqual([]);
        await ledger.receive({ ...arrival, cursor: cursor(11) });
      }),
    );
  });

  describe("saving", () => {
    test(
      "done: the split message has its facts, parts, faults and documents, and the next task",
      withLedger(async (ledger) => {
        await receive(ledger, "a", 11);
        const event = await ledger.save(await taskOf(ledger, "a", "split"), splitDone("a"), at(20));
        expect(event).toMatchObject({ what: "split.done", message: id("a"), at: at(20).toISOString() });
        expect(await ledger.message(id("a"))).toMatchObject({ facts, faults: [{ code: "message.odd" }] });
        expect(await ledger.parts(id("a"))).toEqual(parts);
        const document = { id: `${id("a")}.1`, message: id("a"), position: 1, service: "cloudsquid", whole: true, parts: ["text", "2"] };
        expect(await ledger.documents(id("a"))).toEqual([document]);
        expect(await ledger.document(document.id)).toEqual(document);
        expect(await kinds(ledger, "a")).toEqual(["split done", "extract open"]);
      }),
    );

    test(
      "done: results and receipts are there as they were given",
      withLedger(async (ledger) => {
        await work(ledger, "a", 11);
        expect(await ledger.result(`${id("a")}.1`)).toEqual({
          document: `${id("a")}.1`,
          service: "cloudsquid",
          runId: "run",
          data: { total: "119.00" },
          credits: null,
          reasoning: null,
          review: null,
        });
        expect(await ledger.raw(`${id("a")}.1`)).toEqual({ status: "done" });
        expect(await ledger.receipts(id("a"))).toEqual([
          { key: `${id("a")}.1.files`, document: `${id("a")}.1`, sink: "files", receipt: { path: "/out/a.json", bytes: 12 } },
        ]);
        expect(await whats(ledger, "a")).toEqual(["received", "split.done", "extract.done", "deliver.done"]);
      }),
    );

    test(
      "later, retry and failed are the task's next state",
      withLedger(async (ledger) => {
        await receive(ledger, "a", 11);
        const save = async (outcome: Outcome) => {
          await ledger.save(await taskOf(ledger, "a", "split"), outcome, at(20));
          return taskOf(ledger, "a", "split");
        };
        expect(await save({ is: "retry", at: at(30), fault: temporary })).toMatchObject({
          status: "open",
          attempts: 1,
          failingSince: at(20).toISOString(),
          dueAt: at(30).toISOString(),
          fault: recordOf(temporary),
          updatedAt: at(20).toISOString(),
        });
        expect(await save({ is: "later", at: at(40), memo: { rowId: "r", tries: 2, whole: true, none: null } })).toMatchObject({
          status: "open",
          attempts: 0,
          failingSince: null,
          fault: null,
          dueAt: at(40).toISOString(),
          memo: { rowId: "r", tries: 2, whole: true, none: null },
        });
        expect(await save({ is: "failed", fault: refused })).toMatchObject({
          status: "failed",
          fault: recordOf(refused),
          memo: { rowId: "r" },
        });
      }),
    );

    test(
      "the same outcome saved twice changes nothing but the trail, also when the next task has moved on",
      withLedger(async (ledger) => {
        await receive(ledger, "a", 11);
        const steps = [
          ["split", splitDone("a")],
          ["extract", extractDone("a")],
          ["deliver", deliverDone("a")],
          ["settle", { is: "done" }],
        ] as const;
        const saved: (readonly [Task, Outcome])[] = [];
        for (const [kind, outcome] of steps) {
          const task = await taskOf(ledger, "a", kind);
          saved.push([task, outcome]);
          await ledger.save(task, outcome, at(20));
        }
        const before = withoutEvents(await everything(ledger));
        for (const [task, outcome] of saved) await ledger.save(task, outcome, at(20));
        expect(withoutEvents(await everything(ledger))).toEqual(before);
      }),
    );

    test(
      "deliveries of one message to one sink go in the order of its documents; those to others, and of others, do not wait",
      withLedger(async (ledger) => {
        const [one, two] = [`${id("a")}.1`, `${id("a")}.2`];
        await receive(ledger, "a", 11);
        const sinks = ["files", "erp"].map((name) => ({ name, per: "document" as const, failures: false }));
        const documents = [1, 2].map((position) => ({
          id: `${id("a")}.${position}`,
          message: id("a"),
          position,
          service: "cloudsquid",
          whole: false,
          parts: ["2"],
        }));
        const growth = { split: { facts, parts, faults: [], route: { ...route, sinks } }, documents };
        const tasks = documents.map((document) => ({ kind: "extract" as const, subject: document.id }));
        await ledger.save(await taskOf(ledger, "a", "split"), { is: "done", growth: { ...growth, tasks } }, at(20));
        const due = async () => (await ledger.due(at(60), 10, [], "deliver")).map(({ subject }) => subject.replace(`${id("a")}.`, ""));
        await ledger.save(await taskOf(ledger, "a", "extract", two), { is: "done" }, at(21));
        expect(await due()).toEqual(["2.files", "2.erp"]);
        await ledger.save(await taskOf(ledger, "a", "extract", one), { is: "done" }, at(22));
        expect(await due()).toEqual(["1.files", "1.erp"]);
        await ledger.save(await taskOf(ledger, "a", "deliver", `${one}.files`), { is: "retry", at: at(90), fault: temporary }, at(23));
        expect(await due()).toEqual(["1.erp"]);
        expect(await ledger.nextDue([], "deliver")).toEqual(at(22));
        await ledger.save(await taskOf(ledger, "a", "deliver", `${one}.erp`), { is: "failed", fault: refused }, at(24));
        expect(await due()).toEqual(["2.erp"]);
      }),
    );

    test(
      "what is for a sink without a hand free is passed over, the rest is not",
      withLedger(async (ledger) => {
        await receive(ledger, "a", 11);
        const sinks = ["files", "erp"].map((name) => ({ name, per: "document" as const, failures: false }));
        const document = { id: `${id("a")}.1`, message: id("a"), position: 1, service: "cloudsquid", whole: true, parts: ["2"] };
        const tasks = [{ kind: "extract" as const, subject: document.id }];
        const growth = { split: { facts, parts, faults: [], route: { ...route, sinks } }, documents: [document], tasks };
        await ledger.save(await taskOf(ledger, "a", "split"), { is: "done", growth }, at(20));
        await ledger.save(await taskOf(ledger, "a", "extract"), { is: "done" }, at(21));
        await receive(ledger, "b", 30);
        const due = async (...except: string[]) => (await ledger.due(at(60), 10, [], undefined, except)).map(({ subject }) => subject);
        const [files, erp] = ["files", "erp"].map((sink) => `${id("a")}.1.${sink}`);
        expect(await due()).toEqual([files, erp, id("b")]);
        expect(await due("files")).toEqual([erp, id("b")]);
        expect(await due("files", "erp")).toEqual([id("b")]);
        expect(await ledger.nextDue([], undefined, ["files"])).toEqual(at(21));
        expect(await ledger.nextDue([], undefined, ["files", "erp"])).toEqual(at(30));
        expect(await ledger.nextDue([], "deliver", ["files", "erp"])).toBeNull();
      }),
    );

    test(
      "what a backfill brought comes after what came by itself, with all that follows from it",
      withLedger(async (ledger) => {
        const blob = { sha256: id("old"), size: 9 };
        const old = { blob, origin: origin(1), receivedAt: null, cursor: null, rank: 1 as const, now: at(1) };
        await ledger.receive(old);
        await receive(ledger, "new", 50);
        await receive(ledger, "newer", 70);
        const due = async (kind: "split" | "extract", limit: number) =>
          (await ledger.due(at(60), limit, [], kind)).map(({ message, rank }) => [message, rank]);
        expect(await due("split", 9)).toEqual([
          [id("new"), 0],
          [id("old"), 1],
        ]);
        // So many of each: what is to come by itself must not hide what is due.
        expect(await ledger.due(at(99), 1, [], "split")).toMatchObject([{ message: id("new") }, { message: id("old") }]);
        expect(await ledger.nextDue([], "split")).toEqual(at(1));
        await ledger.save(await taskOf(ledger, "old", "split"), splitDone("old"), at(20));
        await ledger.save(await taskOf(ledger, "new", "split"), splitDone("new"), at(51));
        expect(await due("extract", 9)).toEqual([
          [id("new"), 0],
          [id("old"), 1],
        ]);
        const ranks = async (name: string) => new Set((await ledger.tasks(id(name))).map(({ rank }) => rank));
        expect([await ranks("old"), await ranks("new")]).toEqual([new Set([1]), new Set([0])]);
        // A backfill that finds new mail takes nothing from it; what comes by itself as well is new mail.
        await ledger.receive({ ...old, blob: { sha256: id("new"), size: 9 }, origin: origin(51), now: at(79) });
        await ledger.receive({ ...old, origin: origin(80), rank: 0, now: at(80) });
        expect([await ranks("old"), await ranks("new")]).toEqual([new Set([0]), new Set([0])]);
      }),
    );

    test(
      "what waits for a limit or a key is due at once when told so; what failed by itself keeps its time",
      withLedger(async (ledger) => {
        const later = { is: "later" as const, at: at(9_000), memo: null };
        const waits = (code: string) => ({ ...later, waiting: new Fault(code, "it waits", { blameless: true }) });
        const retries = { is: "retry" as const, at: at(9_000), fault: new Fault("extend.unauthorized", "refused") };
        const outcomes = {
          a: waits("limit.runs"),
          b: waits("http.unauthorized"),
          c: waits("extend.unauthorized"),
          d: retries,
          e: waits("http.resting"),
        };
        for (const [index, [name, outcome]] of Object.entries(outcomes).entries()) {
          await receive(ledger, name, index + 1);
          await ledger.save(await taskOf(ledger, name, "split"), splitDone(name), at(20));
          await ledger.save(await taskOf(ledger, name, "extract"), outcome, at(30));
        }
        await ledger.hasten(at(40));
        expect((await ledger.due(at(50), 9, [], "extract")).map(({ message }) => message)).toEqual([id("a"), id("b"), id("c")]);
      }),
    );

    describe("since when a delivery fails", () => {
      /** Documents 1 and 2, read at these moments, and a way to what is due of them. */
      async function two(ledger: Ledger, first: number, second: number) {
        await receive(ledger, "a", 11);
        const documents = [1, 2].map((position) => ({
          id: `${id("a")}.${position}`,
          message: id("a"),
          position,
          service: "cloudsquid",
          whole: false,
          parts: ["2"],
        }));
        const tasks = documents.map((document) => ({ kind: "extract" as const, subject: document.id }));
        const growth = { split: { facts, parts, faults: [], route }, documents, tasks };
        await ledger.save(await taskOf(ledger, "a", "split"), { is: "done", growth }, at(12));
        for (const [position, moment] of [first, second].entries())
          await ledger.save(await taskOf(ledger, "a", "extract", `${id("a")}.${position + 1}`), { is: "done" }, at(moment));
        return {
          due: async (seconds: number) => {
            const [task, ...more] = await ledger.due(at(seconds), 9, [], "deliver");
            if (task === undefined || more.length > 0) throw new Error("one delivery should be due");
            return task;
          },
          save: async (seconds: number, outcome: Outcome) => {
            const [task] = await ledger.due(at(seconds), 1, [], "deliver");
            if (task !== undefined) await ledger.save(task, outcome, at(seconds));
          },
        };
      }
      const failed: Outcome = { is: "failed", fault: refused };
      const again = (seconds: number): Outcome => ({ is: "retry", at: at(seconds), fault: temporary });
      const wait = (seconds: number): Outcome => ({ is: "later", at: at(seconds), memo: null, waiting: temporary });

      test(
        "one that stood behind another counts from when that one began to fail, and it stays so",
        withLedger(async (ledger) => {
          const { due, save } = await two(ledger, 20, 21);
          await save(30, again(40));
          await save(40, failed);
          expect(await due(50)).toMatchObject({ subject: `${id("a")}.2.files`, attempts: 0, failingSince: at(30).toISOString() });
          await save(50, again(60));
          expect(await due(60)).toMatchObject({ attempts: 1, failingSince: at(30).toISOString() });
        }),
      );

      test(
        "but not from before it was there",
        withLedger(async (ledger) => {
          const { due, save } = await two(ledger, 20, 35);
          await save(30, again(40));
          await save(40, failed);
          expect(await due(50)).toMatchObject({ failingSince: at(35).toISOString() });
        }),
      );

      test(
        "nor behind one that was delivered, nor when a person has put it back or its sink was paused meanwhile",
        withLedger(async (ledger) => {
          const { due, save } = await two(ledger, 20, 21);
          await save(30, again(40));
          await save(40, { is: "done" });
          expect(await due(50)).toMatchObject({ subject: `${id("a")}.2.files`, failingSince: null });
          await save(50, again(60));
          await save(60, { is: "halted", name: "files", fault: temporary, memo: null });
          await ledger.resume("files", at(99));
          expect(await due(99)).toMatchObject({ failingSince: null });
          await save(99, failed);
          await ledger.reopen(null, at(100));
          expect(await due(100)).toMatchObject({ failingSince: null });
        }),
      );

      test(
        "and one that waits for its sink from when it began to wait",
        withLedger(async (ledger) => {
          const { due, save } = await two(ledger, 20, 21);
          await save(30, wait(40));
          expect(await due(40)).toMatchObject({ attempts: 0, failingSince: at(30).toISOString() });
          await save(40, wait(50));
          await save(50, wait(60));
          expect(await due(60)).toMatchObject({ attempts: 0, failingSince: at(30).toISOString() });
        }),
      );
    });

    test(
      "nothing is delivered to a paused sink until it is resumed",
      withLedger(async (ledger) => {
        await extracted(ledger, "a");
        const fault = permanent("http.gone", "410");
        const task = await taskOf(ledger, "a", "deliver");
        await ledger.save(task, { is: "halted", name: "files", fault, memo: task.memo }, at(22));
        expect(await ledger.paused()).toEqual([{ name: "files", since: at(22).toISOString(), why: "410" }]);
        expect(await ledger.due(at(99), 10, [])).toEqual([]);
        expect(await ledger.backlog()).toEqual({ open: 0, waiting: 1 });
        await ledger.resume("files", at(30));
        expect(await ledger.due(at(30), 10, [])).toMatchObject([{ kind: "deliver", attempts: 0 }]);
      }),
    );

    test(
      "replay tells once more, under the next key, what was told; what was not is left alone, or tried again",
      withLedger(async (ledger) => {
        await extracted(ledger, "a");
        await ledger.save(await taskOf(ledger, "a", "deliver"), deliverDone("a"), at(22));
        expect(await ledger.replay(id("a").slice(0, 12), "elsewhere", at(30))).toEqual([]);
        expect(await ledger.replay(id("a").slice(0, 12), null, at(30))).toMatchObject([
          { subject: `${id("a")}.1.files~2`, status: "open" },
        ]);
        // On its way: nobody was told under that key yet.
        expect(await ledger.replay(id("a"), "files", at(31))).toMatchObject([{ subject: `${id("a")}.1.files~2`, status: "open" }]);
        expect((await whats(ledger, "a")).at(-1)).toBe("deliver.replayed");
        const second = await taskOf(ledger, "a", "deliver", `${id("a")}.1.files~2`);
        await ledger.save(second, { is: "failed", fault: refused }, at(32));
        expect(await ledger.replay(id("a"), null, at(33))).toMatchObject([{ id: second.id, status: "open", fault: null }]);
        expect((await whats(ledger, "a")).at(-1)).toBe("deliver.reopened");
        expect((await ledger.due(at(40), 10, [], "deliver")).map(({ subject }) => subject)).toEqual([`${id("a")}.1.files~2`]);
      }),
    );

    test(
      "what was sent to an address is counted by sink and from a moment on",
      withLedger(async (ledger) => {
        await extracted(ledger, "a");
        const receipt = { key: `${id("a")}.1.files`, document: null, sink: "files", receipt: { to: "a@b.example" } };
        await ledger.save(await taskOf(ledger, "a", "deliver"), { is: "done", growth: { receipt } }, at(22));
        expect(await ledger.receipts(id("a"))).toEqual([receipt]);
        expect(await ledger.sentTo("files", "a@b.example", at(22))).toBe(1);
        expect(await ledger.sentTo("files", "a@b.example", at(23))).toBe(0);
        expect(await ledger.sentTo("files", "b@b.example", at(0))).toBe(0);
        expect(await ledger.sentTo("erp", "a@b.example", at(0))).toBe(0);
      }),
    );

    test(
      "a record the ledger cannot take is refused whole, for good, and the next one is taken",
      withLedger(async (ledger) => {
        await receive(ledger, "a", 11);
        const task = await taskOf(ledger, "a", "split");
        const twins: Outcome = { is: "done", growth: { split: { facts, parts: [...parts, ...parts], faults: [], route } } };
        await expect(ledger.save(task, twins, at(20))).rejects.toMatchObject({ code: "ledger.refused", temporary: false });
        await expect(ledger.save(task, { is: "retry", at: new Date(Number.NaN), fault: temporary }, at(20))).rejects.toMatchObject({
          code: "ledger.refused",
        });
        expect(await taskOf(ledger, "a", "split")).toEqual(task);
        expect(await ledger.parts(id("a"))).toEqual([]);
        await ledger.save(task, splitDone("a"), at(20));
      }),
    );

    test(
      "records of many messages at once do not mix",
      withLedger(async (ledger) => {
        await Promise.all(Array.from({ length: 30 }, (_, n) => work(ledger, `m${n}`, 100 + n)));
        expect(await ledger.counts()).toEqual({ open: 30, done: 90, failed: 0, held: 0, ignored: 0, messages: 30, unreadable: 0 });
        for (let n = 0; n < 30; n += 1)
          expect(await kinds(ledger, `m${n}`)).toEqual(["split done", "extract done", "deliver done", "settle open"]);
      }),
    );
  });

  describe("the end of the list", () => {
    test(
      "the mailbox is told when nothing else is open: once for each arrival",
      withLedger(async (ledger) => {
        await receive(ledger, "a", 11);
        await receive(ledger, "a", 3, "archive");
        await ledger.save(await taskOf(ledger, "a", "split"), splitDone("a"), at(20));
        await ledger.save(await taskOf(ledger, "a", "extract"), extractDone("a"), at(21));
        expect(await kinds(ledger, "a")).toEqual(["split done", "extract done", "deliver open"]);
        await ledger.save(await taskOf(ledger, "a", "deliver"), deliverDone("a"), at(22));
        const settling = (await ledger.tasks(id("a"))).filter(({ kind }) => kind === "settle");
        expect(settling.map(({ subject }) => subject)).toEqual((await ledger.arrivals(id("a"))).map((arrival) => arrival.id));
        for (const { subject } of settling) expect(await ledger.arrival(subject)).toMatchObject({ message: id("a") });
        for (const task of settling) await ledger.save(task, { is: "done" }, at(23));
        expect(await ledger.nextDue([])).toBeNull();
      }),
    );

    test(
      "a second arrival of a message that is over is told by itself, and nothing is done twice",
      withLedger(async (ledger) => {
        await work(ledger, "a", 11);
        await ledger.save(await taskOf(ledger, "a", "settle"), { is: "done" }, at(12));
        await receive(ledger, "a", 12);
        expect(await kinds(ledger, "a")).toEqual(["split done", "extract done", "deliver done", "settle done", "settle open"]);
        const [, second] = await ledger.arrivals(id("a"));
        expect((await ledger.due(at(60), 9, [])).map(({ subject }) => subject)).toEqual([second?.id]);
      }),
    );

    test(
      "a failure ends the list too, unless other work is open",
      withLedger(async (ledger) => {
        await receive(ledger, "a", 11);
        await ledger.save(await taskOf(ledger, "a", "split"), { is: "retry", at: at(30), fault: temporary }, at(20));
        expect(await kinds(ledger, "a")).toEqual(["split open"]);
        await ledger.save(await taskOf(ledger, "a", "split"), { is: "failed", fault: refused }, at(30));
        expect(await kinds(ledger, "a")).toEqual(["split failed", "settle open"]);
      }),
    );
  });

  describe("putting back", () => {
    const failed = async (ledger: Ledger, name: string, uid: number) => {
      await receive(ledger, name, uid);
      await ledger.save(await taskOf(ledger, name, "split"), splitDone(name), at(uid));
      await ledger.save(await taskOf(ledger, name, "extract"), { is: "later", at: at(uid), memo: { rowId: "r" } }, at(uid));
      await ledger.save(await taskOf(ledger, name, "extract"), { is: "failed", fault: refused }, at(uid));
    };

    test(
      "a failed task is open again with its memo, due at once, and the mailbox is told anew",
      withLedger(async (ledger) => {
        await failed(ledger, "a", 11);
        await ledger.save(await taskOf(ledger, "a", "settle"), { is: "done" }, at(20));
        expect(await ledger.reopen(id("a").slice(0, 10), at(30))).toMatchObject([{ kind: "extract", message: id("a") }]);
        expect(await kinds(ledger, "a")).toEqual(["split done", "extract open"]);
        expect(await taskOf(ledger, "a", "extract")).toMatchObject({
          attempts: 0,
          failingSince: null,
          fault: null,
          dueAt: at(30).toISOString(),
          memo: { rowId: "r" },
        });
        expect((await whats(ledger, "a")).at(-1)).toBe("extract.reopened");
        await ledger.save(await taskOf(ledger, "a", "extract"), { is: "done" }, at(40));
        expect(await kinds(ledger, "a")).toEqual(["split done", "extract done", "deliver open"]);
      }),
    );

    test(
      "a mailbox that is just being told is told again: the verdict in hand is the old one",
      withLedger(async (ledger) => {
        await failed(ledger, "a", 11);
        const inHand = await taskOf(ledger, "a", "settle");
        await ledger.reopen(null, at(30));
        await ledger.save(inHand, { is: "done" }, at(31));
        expect(await kinds(ledger, "a")).toEqual(["split done", "extract open"]);
        await ledger.save(await taskOf(ledger, "a", "extract"), { is: "done" }, at(40));
        expect(await kinds(ledger, "a")).toEqual(["split done", "extract done", "deliver open"]);
      }),
    );

    test(
      "a telling that failed is put back by itself",
      withLedger(async (ledger) => {
        await work(ledger, "a", 11);
        await ledger.save(await taskOf(ledger, "a", "settle"), { is: "failed", fault: refused }, at(20));
        expect(await ledger.reopen(null, at(30))).toMatchObject([{ kind: "settle" }]);
        expect(await kinds(ledger, "a")).toEqual(["split done", "extract done", "deliver done", "settle open"]);
      }),
    );

    test(
      "only of the messages that are meant",
      withLedger(async (ledger) => {
        await failed(ledger, "a", 11);
        await failed(ledger, "b", 12);
        expect(await ledger.reopen("%", at(30))).toEqual([]);
        expect(await ledger.reopen(id("b"), at(30))).toMatchObject([{ message: id("b") }]);
        expect(await kinds(ledger, "a")).toContain("extract failed");
        expect(await ledger.reopen(null, at(30))).toMatchObject([{ message: id("a") }]);
        expect(await ledger.reopen(null, at(30))).toEqual([]);
      }),
    );
  });

  describe("asking", () => {
    test(
      "what is due: longest waiting first, as many as asked, without those in hand",
      withLedger(async (ledger) => {
        for (const [name, uid] of [
          ["a", 11],
          ["b", 12],
          ["c", 13],
        ] as const)
          await receive(ledger, name, uid);
        const [a, b, c] = await Promise.all(["a", "b", "c"].map((name) => taskOf(ledger, name, "split")));
        await ledger.save(a as Task, { is: "later", at: at(50), memo: {} }, at(14));
        const subjects = (tasks: readonly Task[]) => tasks.map(({ subject }) => subject);
        expect(subjects(await ledger.due(at(20), 9, []))).toEqual([id("b"), id("c")]);
        expect(subjects(await ledger.due(at(50), 9, []))).toEqual([id("b"), id("c"), id("a")]);
        expect(subjects(await ledger.due(at(50), 2, []))).toEqual([id("b"), id("c")]);
        expect(subjects(await ledger.due(at(50), 9, [b?.id ?? 0]))).toEqual([id("c"), id("a")]);
        expect(await ledger.nextDue([])).toEqual(at(12));
        expect(await ledger.nextDue([b?.id ?? 0, c?.id ?? 0])).toEqual(at(50));
        expect(await ledger.nextDue([a, b, c].map((task) => task?.id ?? 0))).toBeNull();
      }),
    );

    test(
      "how much is left, and how it stands",
      withLedger(async (ledger) => {
        expect(await ledger.backlog()).toEqual({ open: 0, waiting: 0 });
        expect(await ledger.pulse()).toBeNull();
        await tell(ledger);
        expect(await ledger.backlog()).toEqual({ open: 3, waiting: 1 });
        expect(await ledger.counts()).toEqual({ open: 4, done: 5, failed: 1, held: 0, ignored: 0, messages: 4, unreadable: 1 });
        const summaries = await ledger.summaries(3);
        expect(summaries.map(({ message, standing }) => [message.id, standing])).toEqual([
          [id("good"), "done"],
          [id("bad"), "working"],
          [id("waiting"), "retrying"],
        ]);
        await ledger.beat({ at: at(30).toISOString(), alive: true, pid: 1, mailboxes: [] });
        expect(await ledger.pulse()).toEqual({ at: at(30).toISOString(), alive: true, pid: 1, mailboxes: [] });
      }),
    );

    test(
      "what is not done, by kind, where it goes, and how it stands: each task once",
      withLedger(async (ledger) => {
        expect(await ledger.queues(at(0))).toEqual([]);
        await tell(ledger);
        const [split, extract, deliver] = [
          { kind: "split", name: null },
          { kind: "extract", name: "cloudsquid" },
          { kind: "deliver", name: "files" },
        ];
        const due = (seconds: number) => at(seconds).toISOString();
        const settle = { kind: "settle", name: null, state: "due", tasks: 2, dueSince: due(44) };
        const failed = { ...extract, state: "failed", tasks: 1, dueSince: null };
        expect(await ledger.queues(at(50))).toEqual([
          failed,
          settle,
          { ...split, state: "due", tasks: 1, dueSince: due(17) },
          { ...split, state: "failing", tasks: 1, dueSince: null },
        ]);
        // The time of the one that failed has come.
        expect((await ledger.queues(at(60))).at(-1)).toEqual({ ...split, state: "failing", tasks: 1, dueSince: due(60) });

        await extracted(ledger, "told");
        expect(await ledger.queues(at(50))).toContainEqual({ ...deliver, state: "due", tasks: 1, dueSince: due(21) });
        await ledger.pause("files", "by hand", at(22));
        expect(await ledger.queues(at(50))).toContainEqual({ ...deliver, state: "waiting", tasks: 1, dueSince: null });
        await ledger.save(await taskOf(ledger, "told", "deliver"), { is: "held", fault: temporary }, at(23));
        expect(await ledger.queues(at(50))).toContainEqual({ ...deliver, state: "held", tasks: 1, dueSince: null });
        const { open, failed: dead, held } = await ledger.counts();
        expect((await ledger.queues(at(50))).reduce((sum, { tasks }) => sum + tasks, 0)).toBe(open + dead + held);
      }),
    );

    test(
      "a kind has moved when a task of it was taken further, not when one was added",
      withLedger(async (ledger) => {
        await receive(ledger, "a", 11);
        expect(await ledger.moved("split", at(0))).toBe(false);
        await ledger.save(await taskOf(ledger, "a", "split"), { is: "retry", at: at(30), fault: temporary }, at(20));
        expect(await ledger.moved("split", at(20))).toBe(true);
        expect(await ledger.moved("split", at(21))).toBe(false);
        await ledger.save(await taskOf(ledger, "a", "split"), splitDone("a"), at(30));
        expect(await ledger.moved("extract", at(0))).toBe(false);
      }),
    );

    test(
      "a write that is only tried changes nothing that is remembered",
      withLedger(async (ledger) => {
        await tell(ledger);
        const before = await everything(ledger);
        await ledger.tryWrite(at(90));
        await ledger.tryWrite(at(91));
        expect(await everything(ledger)).toEqual(before);
      }),
    );

    test(
      "what was never there is null or nothing",
      withLedger(async (ledger) => {
        expect(await ledger.message("x")).toBeNull();
        expect(await ledger.document("x")).toBeNull();
        expect(await ledger.result("x")).toBeNull();
        expect(await ledger.raw("x")).toBeNull();
        expect(await ledger.arrival("x")).toBeNull();
        expect(await ledger.arrival("99")).toBeNull();
        expect(await ledger.tasks("x")).toEqual([]);
        expect(await ledger.events("x")).toEqual([]);
      }),
    );
  });

  describe("money", () => {
    const run = { service: "cloudsquid", mailbox: "invoices", credits: null, possiblyTwice: 0 };
    const document = (name: string) => `${id(name)}.1`;
    /** Split: its document is about to be bought. */
    const ready = async (ledger: Ledger, name: string, uid: number) => {
      await receive(ledger, name, uid);
      await ledger.save(await taskOf(ledger, name, "split"), splitDone(name), at(uid));
    };
    const save = async (ledger: Ledger, name: string, outcome: Outcome, seconds: number) =>
      ledger.save(await taskOf(ledger, name, "extract"), outcome, at(seconds));
    const buy = (ledger: Ledger, name: string, runId: string, seconds: number) =>
      save(
        ledger,
        name,
        { is: "later", at: at(seconds), memo: { runId }, underWay: runId, run: { ...run, document: document(name), runId } },
        seconds,
      );
    const subjects = async (ledger: Ledger, seconds: number) => (await ledger.due(at(seconds), 9, [])).map(({ subject }) => subject);

    test(
      "a paused service buys nothing more, and is asked after what it has sold; everything else goes on",
      withLedger(async (ledger) => {
        for (const [index, name] of ["new", "begun", "bought"].entries()) await ready(ledger, name, 11 + index);
        await receive(ledger, "unsplit", 14);
        await save(ledger, "begun", { is: "later", at: at(20), memo: { file: "f" } }, 20);
        await buy(ledger, "bought", "r1", 21);
        await ledger.pause("cloudsquid", "paused by hand", at(30));
        await ledger.pause("cloudsquid", "another reason", at(31));
        await ledger.pause("elsewhere", "down", at(32));
        expect(await ledger.paused()).toEqual([
          { name: "cloudsquid", since: at(30).toISOString(), why: "paused by hand" },
          { name: "elsewhere", since: at(32).toISOString(), why: "down" },
        ]);
        expect(await subjects(ledger, 60)).toEqual([id("unsplit"), document("bought")]);
        expect(await ledger.nextDue([])).toEqual(at(14));
        expect(await ledger.backlog()).toEqual({ open: 2, waiting: 2 });

        expect(await ledger.resume("cloudsquid", at(40))).toBe(true);
        expect(await ledger.resume("cloudsquid", at(41))).toBe(false);
        expect(await ledger.paused()).toMatchObject([{ name: "elsewhere" }]);
        expect(new Set(await subjects(ledger, 60))).toEqual(
          new Set([document("new"), document("begun"), id("unsplit"), document("bought")]),
        );
      }),
    );

    test(
      "halted: the service is paused with the reason, the task waits open with its memo and no failure, all in one save",
      withLedger(async (ledger) => {
        await ready(ledger, "a", 11);
        await save(ledger, "a", { is: "retry", at: at(12), fault: temporary }, 12);
        const fault = new Fault("cloudsquid.credits", "out of credits");
        const event = await save(ledger, "a", { is: "halted", name: "cloudsquid", fault, memo: { rowId: "r" } }, 20);
        expect(event).toMatchObject({ what: "extract.halted", note: "out of credits", faultCode: "cloudsquid.credits" });
        expect(await ledger.paused()).toEqual([{ name: "cloudsquid", since: at(20).toISOString(), why: "out of credits" }]);
        expect(await taskOf(ledger, "a", "extract")).toMatchObject({
          status: "open",
          attempts: 0,
          failingSince: null,
          memo: { rowId: "r" },
          fault: { code: "cloudsquid.credits" },
        });
        expect(await subjects(ledger, 60)).toEqual([]);
        await ledger.resume("cloudsquid", at(30));
        expect(await subjects(ledger, 30)).toEqual([document("a")]);
      }),
    );

    test(
      "what was bought: runs of the service since then, the earliest of them, and documents on their way to one",
      withLedger(async (ledger) => {
        expect(await ledger.bought("cloudsquid", at(0))).toEqual({ runs: 0, oldest: null, coming: [] });
        for (const [index, name] of ["one", "two", "coming", "new", "failed"].entries()) await ready(ledger, name, 11 + index);
        await buy(ledger, "one", "r1", 20);
        await buy(ledger, "two", "r2", 30);
        await save(ledger, "coming", { is: "retry", at: at(50), fault: temporary, memo: { file: "f", place: true } }, 31);
        await save(ledger, "failed", { is: "failed", fault: refused, memo: { file: "f" } }, 32);
        expect(await ledger.bought("cloudsquid", at(0))).toEqual({ runs: 2, oldest: at(20), coming: [document("coming")] });
        expect(await ledger.bought("cloudsquid", at(20))).toMatchObject({ runs: 2 });
        expect(await ledger.bought("cloudsquid", at(21))).toEqual({ runs: 1, oldest: at(30), coming: [document("coming")] });
        expect(await ledger.bought("elsewhere", at(0))).toEqual({ runs: 0, oldest: null, coming: [] });
        await save(ledger, "one", { is: "failed", fault: refused, memo: { runId: "r1" } }, 40);
        expect(await ledger.bought("cloudsquid", at(0))).toMatchObject({ runs: 2 });
      }),
    );

    test(
      "the same run told twice is one row: when it was bought stays, credits and doubts are added when they are known",
      withLedger(async (ledger) => {
        await ready(ledger, "a", 11);
        const told = { ...run, document: document("a"), runId: "r1" };
        const tell = (more: object, seconds: number) =>
          save(ledger, "a", { is: "later", at: at(seconds), memo: { runId: "r1" }, run: { ...told, ...more } }, seconds);
        await tell({}, 20);
        await tell({ credits: 2.5 }, 30);
        await tell({ possiblyTwice: 1 }, 40);
        await tell({}, 50);
        expect(await ledger.runs(id("a"))).toEqual([{ ...told, credits: 2.5, possiblyTwice: 1 }]);
        expect(await ledger.bought("cloudsquid", at(0))).toMatchObject({ runs: 1, oldest: at(20) });
        await save(ledger, "a", { is: "failed", fault: refused, run: { ...told, runId: null, possiblyTwice: 1 } }, 60);
        expect((await ledger.runs(id("a"))).map(({ runId }) => runId)).toEqual(["r1", null]);
        expect(await ledger.runs(id("b"))).toEqual([]);
      }),
    );

    test(
      "spending: runs and credits by day of UTC, service and mailbox, newest day first; a document's doubts count once",
      withLedger(async (ledger) => {
        expect(await ledger.spending(at(0))).toEqual([]);
        for (const [index, name] of ["a", "b", "c"].entries()) await ready(ledger, name, 11 + index);
        const pay = (name: string, more: object, seconds: number) =>
          save(
            ledger,
            name,
            { is: "later", at: at(seconds), memo: {}, run: { ...run, document: document(name), runId: `${name}${seconds}`, ...more } },
            seconds,
          );
        const midnight = 14 * 3_600;
        await pay("a", { credits: 1.5, possiblyTwice: 1 }, 20);
        await pay("a", { credits: 1.5, possiblyTwice: 1 }, 21);
        await pay("b", {}, midnight - 1);
        await pay("b", { mailbox: "archive" }, midnight - 2);
        await pay("c", { service: "extend", credits: 3, possiblyTwice: 1 }, midnight);
        const first = { day: "2026-03-02", service: "cloudsquid" };
        const second = { day: "2026-03-03", service: "extend", mailbox: "invoices", runs: 1, credits: 3, possiblyTwice: 1 };
        expect(await ledger.spending(at(0))).toEqual([
          second,
          { ...first, mailbox: "archive", runs: 1, credits: null, possiblyTwice: 0 },
          { ...first, mailbox: "invoices", runs: 3, credits: 3, possiblyTwice: 1 },
        ]);
        expect(await ledger.spending(at(midnight))).toEqual([second]);
      }),
    );

    test(
      "a webhook makes the poll of its run due now, once; what it does not know changes nothing",
      withLedger(async (ledger) => {
        await ready(ledger, "a", 11);
        await ready(ledger, "b", 12);
        await buy(ledger, "a", "r1", 1_000);
        await buy(ledger, "b", "r2", 1_001);
        const hear = (eventId: string, runId: string | null, service = "cloudsquid", seconds = 100) =>
          ledger.hear({ service, eventId, runId, now: at(seconds) });
        const before = await everything(ledger);
        expect(await hear("e0", null)).toBe("unknown");
        expect(await hear("e1", "other")).toBe("unknown");
        expect(await hear("e1", "r1")).toBe("repeat");
        expect(await ledger.heard("cloudsquid", "e1")).toBe(true);
        expect(await ledger.heard("cloudsquid", "e2")).toBe(false);
        expect(await ledger.heard("elsewhere", "e1")).toBe(false);
        expect(await everything(ledger)).toEqual(before);
        expect(await hear("e2", "r1")).toBe("due");
        expect(await subjects(ledger, 100)).toEqual([document("a")]);
        expect(await taskOf(ledger, "a", "extract")).toMatchObject({ memo: { runId: "r1" }, attempts: 0, status: "open" });
        expect(await hear("e2", "r1")).toBe("repeat");
        // The same event id, and the same run id, of another service are not the same.
        expect(await hear("e2", "r2", "elsewhere")).toBe("unknown");
        expect(await subjects(ledger, 100)).toEqual([document("a")]);
        await save(ledger, "a", { is: "done" }, 110);
        expect(await hear("e3", "r1")).toBe("unknown");
        // A service does not repeat an event for longer than it is remembered.
        expect(await hear("e2", "r1", "cloudsquid", 100 + 7 * 86_400)).toBe("repeat");
        expect(await hear("e2", "r1", "cloudsquid", 101 + 7 * 86_400)).toBe("unknown");
      }),
    );

    test(
      "a webhook that comes while the poll is in hand is not lost with its save; the next poll is not hurried by it",
      withLedger(async (ledger) => {
        await ready(ledger, "a", 11);
        await buy(ledger, "a", "r1", 50);
        const inHand = await taskOf(ledger, "a", "extract");
        await ledger.hear({ service: "cloudsquid", eventId: "e1", runId: "r1", now: at(61) });
        const wait = (seconds: number) => ({ is: "later" as const, at: at(seconds), memo: { runId: "r1" }, underWay: "r1" });
        await ledger.save(inHand, wait(600), at(62));
        const hurried = await taskOf(ledger, "a", "extract");
        expect(hurried.dueAt).toBe(at(61).toISOString());
        await ledger.save(hurried, wait(600), at(63));
        expect(await taskOf(ledger, "a", "extract")).toMatchObject({ dueAt: at(600).toISOString() });
      }),
    );

    test(
      "held: the message stays open, is not told and not put back; released it is due at once and is not held again",
      withLedger(async (ledger) => {
        const fault = permanent("limit.size", "too big");
        for (const [index, name] of ["a", "b"].entries()) {
          await ready(ledger, name, 11 + index);
          expect(await save(ledger, name, { is: "held", fault }, 20)).toMatchObject({ what: "extract.held", faultCode: "limit.size" });
        }
        expect(await kinds(ledger, "a")).toEqual(["split done", "extract held"]);
        expect(await taskOf(ledger, "a", "extract")).toMatchObject({ released: false, attempts: 0, fault: { code: "limit.size" } });
        expect(await ledger.counts()).toMatchObject({ open: 0, held: 2 });
        expect(await ledger.backlog()).toEqual({ open: 0, waiting: 0 });
        expect((await ledger.summaries(1))[0]?.standing).toBe("held");
        expect(await ledger.reopen(null, at(30))).toEqual([]);
        expect(await ledger.release("%", at(30))).toEqual([]);

        expect(await ledger.release(id("a").slice(0, 12), at(30))).toMatchObject([{ kind: "extract", message: id("a") }]);
        expect(await taskOf(ledger, "a", "extract")).toMatchObject({
          status: "open",
          released: true,
          fault: null,
          dueAt: at(30).toISOString(),
        });
        expect((await whats(ledger, "a")).at(-1)).toBe("extract.released");
        expect(await kinds(ledger, "b")).toEqual(["split done", "extract held"]);
        expect(await ledger.release(id("a"), at(31))).toEqual([]);
        await save(ledger, "a", { is: "failed", fault: refused }, 40);
        await ledger.reopen(null, at(50));
        expect(await taskOf(ledger, "a", "extract")).toMatchObject({ status: "open", released: true });
      }),
    );
  });

  test("everything is there again after closing and opening", async () => {
    const directory = await temporaryDirectory();
    const first = await open(directory);
    await tell(first);
    const told = await everything(first);
    await first.close();
    const second = await open(directory);
    expect(await everything(second)).toEqual(told);
    await second.close();
  });
});

describe.each(implementations)("what the intake of a mailbox asks of a ledger in $name", ({ open }) => {
  const blobOf = (name: string, uid: number) => ({ sha256: id(name), size: 1_000 + uid });
  const arriving = (name: string, uid: number, mailbox = "invoices") => ({
    blob: blobOf(name, uid),
    origin: origin(uid, mailbox),
    receivedAt: null,
    cursor: cursor(uid),
    now: at(uid),
  });
  const unreadable = (uid: number, mailbox = "invoices") => ({
    origin: origin(uid, mailbox),
    fault: recordOf(refused),
    cursor: cursor(uid),
    now: at(uid),
  });
  const withLedger = (body: (ledger: Ledger) => Promise<void>) => async () => {
    const ledger = await open(await temporaryDirectory());
    try {
      await body(ledger);
    } finally {
      await ledger.close();
    }
  };

  test(
    "several at once are what each by itself would be, equal ones too",
    withLedger(async (ledger) => {
      const received = await ledger.receiveAll([arriving("a", 11), arriving("b", 12), arriving("a", 13)]);
      expect(received.map(({ message, isNew, event }) => [message, isNew, event.what])).toEqual([
        [id("a"), true, "received"],
        [id("b"), true, "received"],
        [id("a"), false, "seen-again"],
      ]);
      expect((await ledger.arrivals(id("a"))).map((arrival) => arrival.origin.uid)).toEqual([11, 13]);
      expect(await ledger.counts()).toMatchObject({ messages: 2, open: 2 });
      expect(await ledger.mailbox("invoices")).toMatchObject({ cursor: cursor(13) });
      expect(await ledger.unsplit()).toBe(2);
      await ledger.save(await taskOf(ledger, "a", "split"), splitDone("a"), at(20));
      expect(await ledger.unsplit()).toBe(1);
      expect(await ledger.receiveAll([])).toEqual([]);
    }),
  );

  test(
    "of several none is there when one is refused",
    withLedger(async (ledger) => {
      await ledger.receive(arriving("a", 11));
      const hopeless = { ...arriving("c", 13), origin: { ...origin(13), uidValidity: null as unknown as string } };
      await expect(ledger.receiveAll([arriving("b", 12), hopeless])).rejects.toMatchObject({ code: "ledger.refused" });
      expect(await ledger.counts()).toMatchObject({ messages: 1 });
      expect(await ledger.mailbox("invoices")).toMatchObject({ cursor: cursor(11) });
    }),
  );

  test(
    "out of turn, a mailbox has been read as far as before",
    withLedger(async (ledger) => {
      await ledger.receive({ ...arriving("a", 5, "never swept"), cursor: null });
      expect(await ledger.mailbox("never swept")).toBeNull();
      await ledger.receive(arriving("b", 11));
      await ledger.receive({ ...arriving("c", 7), cursor: null });
      await ledger.receiveUnreadable({ ...unreadable(8), cursor: null });
      expect(await ledger.mailbox("invoices")).toMatchObject({ cursor: cursor(11) });
      expect(await ledger.counts()).toMatchObject({ messages: 3, unreadable: 1 });
    }),
  );

  test(
    "a person wants what is without bytes, until it came or could not be had once more",
    withLedger(async (ledger) => {
      for (const [uid, mailbox] of [
        [11, "invoices"],
        [12, "invoices"],
        [11, "archive"],
      ] as const)
        await ledger.receiveUnreadable(unreadable(uid, mailbox));
      expect(await ledger.wanted("invoices")).toEqual([]);
      const [first, second, other] = await ledger.unreadable();
      expect(await ledger.fetchAgain(second?.id ?? "", at(20))).toEqual(second);
      await ledger.fetchAgain(other?.id ?? "", at(20));
      await ledger.fetchAgain(first?.id ?? "", at(21));
      expect(await ledger.wanted("invoices")).toEqual([first, second]);
      expect(await ledger.wanted("archive")).toEqual([other]);

      await ledger.receive({ ...arriving("a", 11), cursor: null });
      const worse = recordOf(permanent("receive.gone", "it is gone"));
      await ledger.receiveUnreadable({ ...unreadable(12), fault: worse, cursor: null });
      expect(await ledger.wanted("invoices")).toEqual([]);
      expect(await ledger.unreadable()).toEqual([{ ...second, fault: worse }, other]);
      // What has its bytes, or never was, cannot be wanted.
      for (const unknown of [first?.id ?? "", "4711", "", "u12", "1e400"]) expect(await ledger.fetchAgain(unknown, at(22))).toBeNull();
      expect(await ledger.arrivals(id("a"))).toMatchObject([{ fault: null }]);
    }),
  );

  test(
    "what a person gave up, and then wants, is trouble again",
    withLedger(async (ledger) => {
      await ledger.receiveUnreadable(unreadable(11));
      const [arrival] = await ledger.unreadable();
      await ledger.ignoreArrival(arrival?.id ?? "", "spam", at(12));
      expect(await ledger.unreadable()).toEqual([]);
      await ledger.fetchAgain(arrival?.id ?? "", at(13));
      expect(await ledger.unreadable()).toMatchObject([{ id: arrival?.id }]);
    }),
  );
});

test("a ledger of the first version has its runs: bought when their tasks began", async () => {
  const directory = await temporaryDirectory();
  await copyFile(new URL("../store/ledgers/v1.sqlite", import.meta.url), join(directory, LEDGER_FILE));
  const ledger = await openLedger({ directory, own: true, now: at(0) });
  const run = { service: "cloudsquid", mailbox: "invoices", runId: "run", credits: null, possiblyTwice: 0 };
  expect(await ledger.runs(id("good"))).toEqual([{ ...run, document: `${id("good")}.1` }]);
  expect(await ledger.runs(id("bad"))).toEqual([]);
  expect(await ledger.bought("cloudsquid", at(0))).toEqual({ runs: 1, oldest: at(11), coming: [] });
  expect(await ledger.spending(at(0))).toMatchObject([{ day: "2026-03-02", runs: 1, credits: null }]);
  expect(await ledger.paused()).toEqual([]);
  await ledger.close();
});

function withoutEvents(told: unknown): unknown {
  return JSON.parse(JSON.stringify(told, (key, value) => (key === "events" ? undefined : value)));
}
