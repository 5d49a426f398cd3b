/** The role of the ledger towards a person: what they find in it, and what they decide about a mail. */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { STANDINGS, standingOf, type Task } from "../../src/store/record.ts";
import { inspect } from "../../src/store/sql/verify.ts";
import { LEDGER_FILE, openLedger } from "../../src/store/sql.ts";
import type { Ledger } from "../../src/store/store.ts";
import { temporaryDirectory } from "../store/disk.ts";
import {
  at,
  deliverDone,
  extractDone,
  facts,
  id,
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

const implementations = [{ name: "sqlite", open: (directory: string) => openLedger({ directory, own: true, now: at(0) }) }];

describe.each(implementations)("a ledger in $name", ({ open }) => {
  const withLedger = (body: (ledger: Ledger, directory: string) => Promise<void>) => async () => {
    const directory = await temporaryDirectory();
    const ledger = await open(directory);
    try {
      await body(ledger, directory);
    } finally {
      await ledger.close();
    }
  };
  const kinds = async (ledger: Ledger, name: string) => (await ledger.tasks(id(name))).map(({ kind, status }: Task) => `${kind} ${status}`);
  const whats = async (ledger: Ledger, name: string) => (await ledger.events(id(name))).map(({ what }) => what);
  const listed = async (ledger: Ledger, wanted: Partial<Parameters<Ledger["list"]>[0]> = {}) => {
    const names = new Map(["good", "bad", "waiting", "new"].map((name) => [id(name), name]));
    return (await ledger.list({ limit: 100, ...wanted })).map(({ message }) => names.get(message.id));
  };

  describe("finding", () => {
    test(
      "a message is found by the beginning of its id and by its Message-ID, with angle brackets or without",
      withLedger(async (ledger) => {
        await tell(ledger);
        expect(await ledger.find(id("good").slice(0, 6))).toEqual([id("good")]);
        expect(await ledger.find(id("good"))).toEqual([id("good")]);
        const both = [id("good"), id("bad")].toSorted();
        expect(await ledger.find("<1@seilerei.example>")).toEqual(both);
        expect(await ledger.find("1@seilerei.example")).toEqual(both);
        for (const text of ["", id("good").slice(0, 3), "%", "' OR 1 = 1 --", "2@seilerei.example", `${id("good")}0`])
          expect(await ledger.find(text)).toEqual([]);
      }),
    );

    test(
      "a list has the newest first, a page after another",
      withLedger(async (ledger) => {
        await tell(ledger);
        expect(await listed(ledger)).toEqual(["new", "waiting", "bad", "good"]);
        expect(await listed(ledger, { limit: 2 })).toEqual(["new", "waiting"]);
        expect(await listed(ledger, { limit: 2, before: id("waiting") })).toEqual(["bad", "good"]);
        expect(await listed(ledger, { before: id("good") })).toEqual([]);
      }),
    );

    test(
      "a list has what was asked for: state, age, sender, subject, mailbox, and all of it together",
      withLedger(async (ledger) => {
        await tell(ledger);
        expect(await listed(ledger, { from: "SEILEREI" })).toEqual(["bad", "good"]);
        expect(await listed(ledger, { from: "rechnung@seilerei.example" })).toEqual(["bad", "good"]);
        expect(await listed(ledger, { from: "%" })).toEqual([]);
        expect(await listed(ledger, { subject: "re-2026-0815" })).toEqual(["bad", "good"]);
        expect(await listed(ledger, { subject: "rechnung@" })).toEqual([]);
        expect(await listed(ledger, { since: at(15) })).toEqual(["new", "waiting"]);
        expect(await listed(ledger, { mailbox: "archive" })).toEqual(["bad"]);
        expect(await listed(ledger, { state: "done", mailbox: "archive" })).toEqual([]);
        expect(await listed(ledger, { state: "retrying" })).toEqual(["waiting"]);
      }),
    );

    test(
      "the state a list is asked for is the state its messages are told to have, and the tally counts the same",
      withLedger(async (ledger) => {
        await tell(ledger);
        await receive(ledger, "held", 19);
        await ledger.save(await taskOf(ledger, "held", "split"), { is: "held", fault: refused }, at(20));
        await receive(ledger, "given up", 20);
        await ledger.ignore(id("given up"), "no invoice", at(21));
        const all = await ledger.list({ limit: 100 });
        for (const state of STANDINGS) {
          const expected = all.filter(({ tasks }) => standingOf(tasks) === state).map(({ message }) => message.id);
          const found = await ledger.list({ limit: 100, state });
          expect(found.map(({ message }) => message.id)).toEqual(expected);
          expect(found.every(({ standing }) => standing === state)).toBe(true);
          expect((await ledger.tally(at(0)))[state]).toBe(expected.length);
        }
        expect(Object.values(await ledger.tally(at(18))).reduce((a, b) => a + b)).toBe(2);
        expect(await ledger.summary(id("good"))).toEqual(all.find(({ message }) => message.id === id("good")));
        expect(await ledger.summary(id("nobody"))).toBeNull();
      }),
    );
  });

  describe("giving up", () => {
    test(
      "nothing more is done for it, the mailbox is told that it is done with, and it says why",
      withLedger(async (ledger) => {
        await receive(ledger, "a", 11);
        await ledger.save(await taskOf(ledger, "a", "split"), splitDone("a"), at(12));
        await ledger.save(await taskOf(ledger, "a", "extract"), { is: "failed", fault: refused }, at(13));
        expect(await kinds(ledger, "a")).toEqual(["split done", "extract failed", "settle open"]);
        expect(await ledger.ignore(id("a"), "a private letter", at(14))).toMatchObject([{ kind: "extract" }, { kind: "settle" }]);
        expect(await kinds(ledger, "a")).toEqual(["split done", "extract ignored", "settle open"]);
        expect((await ledger.summary(id("a")))?.standing).toBe("working");
        await ledger.save(await taskOf(ledger, "a", "settle"), { is: "done" }, at(15));
        expect((await ledger.summary(id("a")))?.standing).toBe("ignored");
        expect((await ledger.events(id("a"))).find(({ what }) => what === "ignored")?.note).toBe("a private letter");
        expect(await ledger.ignore(id("a"), "again", at(16))).toEqual([]);
        expect(await ledger.counts()).toMatchObject({ open: 0, failed: 0, held: 0, ignored: 1 });
        expect(await ledger.summaries(10, "stuck")).toEqual([]);
        expect(await ledger.reopen(null, at(17))).toEqual([]);
      }),
    );

    test(
      "what is in hand meanwhile is recorded, and nothing follows from it until it is taken back",
      withLedger(async (ledger) => {
        await receive(ledger, "a", 11);
        const inHand = await taskOf(ledger, "a", "split");
        await ledger.ignore(id("a"), "not ours", at(12));
        await ledger.save(inHand, splitDone("a"), at(13));
        expect(await kinds(ledger, "a")).toEqual(["split done", "settle open", "extract ignored"]);
        expect(await ledger.documents(id("a"))).toHaveLength(1);
        const extracting = await taskOf(ledger, "a", "extract");
        await ledger.save(extracting, { is: "retry", at: at(60), fault: temporary }, at(14));
        expect((await taskOf(ledger, "a", "extract")).status).toBe("ignored");

        await ledger.reopen(id("a"), at(20));
        expect(await kinds(ledger, "a")).toEqual(["split done", "extract open"]);
        await ledger.save(await taskOf(ledger, "a", "extract"), extractDone("a"), at(21));
        expect(await kinds(ledger, "a")).toEqual(["split done", "extract done", "deliver open"]);
      }),
    );

    test(
      "a result that comes in meanwhile is kept, as it is paid, and delivered to nobody until it is taken back",
      withLedger(async (ledger) => {
        await receive(ledger, "a", 11);
        await ledger.save(await taskOf(ledger, "a", "split"), splitDone("a"), at(12));
        const inHand = await taskOf(ledger, "a", "extract");
        await ledger.ignore(id("a"), "not ours", at(13));
        await ledger.save(inHand, extractDone("a"), at(14));
        expect(await ledger.result(`${id("a")}.1`)).toMatchObject({ runId: "run" });
        expect(await kinds(ledger, "a")).toEqual(["split done", "extract done", "settle open"]);
        await ledger.save(await taskOf(ledger, "a", "settle"), { is: "done" }, at(15));
        expect(await ledger.reopen(id("a"), at(16))).toMatchObject([{ kind: "deliver", status: "open" }]);
        expect(await kinds(ledger, "a")).toEqual(["split done", "extract done", "deliver open"]);
        await ledger.save(await taskOf(ledger, "a", "deliver"), deliverDone("a"), at(17));
        expect(await kinds(ledger, "a")).toEqual(["split done", "extract done", "deliver done", "settle open"]);
      }),
    );

    test(
      "a purchase of which nobody knows what came stays on its bill, and is the run that gets to be known",
      withLedger(async (ledger) => {
        await receive(ledger, "a", 11);
        await ledger.save(await taskOf(ledger, "a", "split"), splitDone("a"), at(12));
        const buying = { rowId: "row", place: true, begun: true };
        await ledger.save(await taskOf(ledger, "a", "extract"), { is: "later", at: at(13), memo: buying, quiet: true }, at(13));
        const inHand = await taskOf(ledger, "a", "extract");
        await ledger.ignore(id("a"), "not ours", at(14));
        expect(await ledger.runs(id("a"))).toMatchObject([{ document: `${id("a")}.1`, service: "cloudsquid", runId: null }]);
        expect(await ledger.bought("cloudsquid", at(0))).toMatchObject({ runs: 1 });
        const run = { document: `${id("a")}.1`, service: "cloudsquid", mailbox: "invoices", runId: "run", credits: 1, possiblyTwice: 0 };
        await ledger.save(inHand, { ...extractDone("a"), run }, at(15));
        expect(await ledger.runs(id("a"))).toEqual([run]);
      }),
    );

    test(
      "is not delivered once more, nor said to be, before it is taken back",
      withLedger(async (ledger) => {
        await receive(ledger, "a", 11);
        await ledger.save(await taskOf(ledger, "a", "split"), splitDone("a"), at(12));
        await ledger.save(await taskOf(ledger, "a", "extract"), extractDone("a"), at(13));
        await ledger.ignore(id("a"), "not ours", at(14));
        expect(await ledger.replay(id("a"), null, at(15))).toEqual([]);
        await ledger.reopen(id("a"), at(16));
        expect((await taskOf(ledger, "a", "deliver")).status).toBe("open");
      }),
    );

    test(
      "an arrival without bytes is nobody's trouble any more, and is mended when it comes after all",
      withLedger(async (ledger) => {
        await tell(ledger);
        const [unread] = await ledger.unreadable();
        const arrival = unread?.id ?? "";
        await ledger.fetchAgain(arrival, at(29));
        expect(await ledger.wanted("invoices")).toMatchObject([{ id: arrival }]);
        expect(await ledger.ignoreArrival(arrival, "spam", at(30))).toMatchObject({ id: arrival });
        expect(await ledger.wanted("invoices"), "nor is it fetched any more").toEqual([]);
        expect(await ledger.ignoreArrival(arrival, "spam", at(31))).toBeNull();
        expect(await ledger.ignoreArrival("4711", "spam", at(31))).toBeNull();
        const [whole] = await ledger.arrivals(id("good"));
        expect(await ledger.ignoreArrival(whole?.id ?? "", "spam", at(31))).toBeNull();
        expect(await ledger.unreadable()).toEqual([]);
        expect(await ledger.counts()).toMatchObject({ unreadable: 0 });
        expect((await ledger.lastEvents(1))[0]).toMatchObject({ what: "unreadable.ignored", note: "spam", subject: "UID 18" });
        await receive(ledger, "late", 18);
        expect(await ledger.arrivals(id("late"))).toHaveLength(1);
      }),
    );
  });

  describe("reading anew", () => {
    const anew = (name: string, service: string): ReturnType<typeof splitDone> => ({
      is: "done",
      growth: {
        documents: [{ id: `${id(name)}.2`, message: id(name), position: 2, service, whole: true, parts: ["text", "2"] }],
        tasks: [{ kind: "extract", subject: `${id(name)}.2` }],
      },
    });
    const answered = (name: string): ReturnType<typeof extractDone> => {
      const document = `${id(name)}.2`;
      const found = { service: "extend", runId: "run 2", data: {}, credits: 1, reasoning: null, review: null, raw: {} };
      return { is: "done", growth: { result: { document, ...found } } };
    };

    test(
      "makes new documents, delivered under keys of their own; the old ones stay on record",
      withLedger(async (ledger) => {
        await work(ledger, "a", 11);
        await ledger.save(await taskOf(ledger, "a", "settle"), { is: "done" }, at(12));
        const split = await ledger.reextract(id("a"), "extend", at(20));
        expect(split).toMatchObject({ kind: "split", status: "open", memo: { service: "extend", from: 2 } });
        expect(await ledger.reextract(id("a"), "extend", at(20))).toBeNull();
        await ledger.save(await taskOf(ledger, "a", "split"), anew("a", "extend"), at(21));
        await ledger.save(await taskOf(ledger, "a", "extract", `${id("a")}.2`), answered("a"), at(22));
        const deliveries = (await ledger.tasks(id("a"))).filter(({ kind }) => kind === "deliver");
        expect(deliveries.map(({ subject, status }) => [subject, status])).toEqual([
          [`${id("a")}.1.files`, "done"],
          [`${id("a")}.2.files`, "open"],
        ]);
        await ledger.save(await taskOf(ledger, "a", "deliver", `${id("a")}.2.files`), { is: "done" }, at(23));
        expect((await ledger.replay(id("a"), null, at(24))).map(({ subject }) => subject)).toEqual([`${id("a")}.2.files~2`]);
        expect(await ledger.result(`${id("a")}.1`)).toMatchObject({ service: "cloudsquid" });
        expect(await ledger.receipts(id("a"))).toHaveLength(1);
        expect(await whats(ledger, "a")).toContain("reextract");
      }),
    );

    test(
      "gives up what had failed, which then does not make the message fail",
      withLedger(async (ledger) => {
        await receive(ledger, "a", 11);
        await ledger.save(await taskOf(ledger, "a", "split"), splitDone("a"), at(12));
        await ledger.save(await taskOf(ledger, "a", "extract"), { is: "failed", fault: refused }, at(13));
        await ledger.reextract(id("a"), null, at(20));
        await ledger.save(await taskOf(ledger, "a", "split"), anew("a", "cloudsquid"), at(21));
        await ledger.save(await taskOf(ledger, "a", "extract", `${id("a")}.2`), answered("a"), at(22));
        const delivered: ReturnType<typeof deliverDone> = {
          is: "done",
          growth: { receipt: { key: `${id("a")}.2.files`, document: `${id("a")}.2`, sink: "files", receipt: {} } },
        };
        await ledger.save(await taskOf(ledger, "a", "deliver"), delivered, at(23));
        expect(await kinds(ledger, "a")).toEqual(["split done", "extract replaced", "extract done", "deliver done", "settle open"]);
        expect((await ledger.summary(id("a")))?.standing).toBe("working");
        expect(await ledger.reopen(id("a"), at(24))).toEqual([]);
        await ledger.save(await taskOf(ledger, "a", "settle"), { is: "done" }, at(25));
        expect((await ledger.summary(id("a")))?.standing).toBe("done");
        expect(await ledger.tally(at(0))).toMatchObject({ done: 1, ignored: 0 });
        expect(await ledger.list({ limit: 10, state: "done" })).toHaveLength(1);
        expect(await ledger.list({ limit: 10, state: "ignored" })).toEqual([]);
      }),
    );

    test(
      "uses no key twice, and forgets nothing that was given to a service",
      withLedger(async (ledger) => {
        const message = id("a");
        const erp = [{ name: "erp", per: "message" as const, failures: false }];
        const splitAs = (positions: readonly number[]): ReturnType<typeof splitDone> => {
          const of = { message, service: "cloudsquid", whole: false, parts: ["2"] };
          const documents = positions.map((position) => ({ ...of, id: `${message}.${position}`, position }));
          const tasks = documents.map(({ id: subject }) => ({ kind: "extract" as const, subject }));
          return { is: "done", growth: { split: { facts, parts, faults: [], route: { ...route, sinks: erp } }, documents, tasks } };
        };
        const read = async (position: number, seconds: number) => {
          const found = { service: "cloudsquid", runId: `run ${position}`, data: {}, credits: 1, reasoning: null, review: null, raw: {} };
          const task = await taskOf(ledger, "a", "extract", `${message}.${position}`);
          await ledger.save(task, { is: "done", growth: { result: { document: `${message}.${position}`, ...found } } }, at(seconds));
        };
        const fail = async (kind: "extract" | "deliver", subject: string, seconds: number) =>
          ledger.save(await taskOf(ledger, "a", kind, subject), { is: "failed", fault: refused, memo: { files: ["file_1"] } }, at(seconds));
        const deliveries = async () =>
          (await ledger.tasks(message)).flatMap(({ kind, subject, status }) =>
            kind === "deliver" ? `${subject.slice(65)} ${status}` : [],
          );

        await receive(ledger, "a", 11);
        await ledger.save(await taskOf(ledger, "a", "split"), splitAs([1, 2]), at(12));
        await read(1, 13);
        await fail("extract", `${message}.2`, 13);
        // Whether the receiver took it nobody knows.
        await ledger.save(await taskOf(ledger, "a", "deliver"), { is: "failed", fault: temporary }, at(14));
        await ledger.reopen(message, at(15));
        await read(2, 16);
        await ledger.save(await taskOf(ledger, "a", "deliver", `${message}.erp`), { is: "failed", fault: temporary }, at(17));
        await ledger.save(await taskOf(ledger, "a", "deliver", `${message}.erp~2`), { is: "done" }, at(18));
        await ledger.reextract(message, null, at(20));
        await ledger.save(await taskOf(ledger, "a", "split"), splitAs([3]), at(21));
        await fail("extract", `${message}.3`, 22);
        expect(await deliveries()).toEqual(["erp replaced", "erp~2 done"]);
        await ledger.reextract(message, null, at(30));
        await ledger.save(await taskOf(ledger, "a", "split"), splitAs([4]), at(31));
        await read(4, 32);
        expect(await deliveries()).toEqual(["erp replaced", "erp~2 done", "erp~3 open"]);
        expect(await taskOf(ledger, "a", "extract", `${message}.3`)).toMatchObject({ status: "replaced", memo: { files: ["file_1"] } });
      }),
    );

    test(
      "what had its time before is not taken for lost",
      withLedger(async (ledger, directory) => {
        await work(ledger, "a", 11);
        await ledger.save(await taskOf(ledger, "a", "settle"), { is: "done" }, at(12));
        expect((await ledger.prune("results", [id("a")], at(13), at(13))).messages).toEqual([id("a")]);
        await ledger.reextract(id("a"), "extend", at(20));
        await ledger.save(await taskOf(ledger, "a", "split"), anew("a", "extend"), at(21));
        await ledger.save(await taskOf(ledger, "a", "extract", `${id("a")}.2`), answered("a"), at(22));
        const ledgerFile = inspect(join(directory, LEDGER_FILE));
        const found = [...ledgerFile.findings(true)].filter(({ code }) => code === "verify.result");
        ledgerFile.close();
        expect(found).toEqual([]);
      }),
    );

    test(
      "is not undone by a splitting that was in hand when it was given up",
      withLedger(async (ledger) => {
        await receive(ledger, "a", 11);
        const inHand = await taskOf(ledger, "a", "split");
        await ledger.ignore(id("a"), "wrong service", at(12));
        await ledger.reextract(id("a"), "extend", at(13));
        await ledger.save(inHand, splitDone("a"), at(14));
        expect(await taskOf(ledger, "a", "split")).toMatchObject({ status: "open", memo: { service: "extend", from: 1 } });
        expect(await kinds(ledger, "a")).toEqual(["split open"]);
      }),
    );
  });
});
