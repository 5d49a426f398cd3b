/** What the ledger forgets: only of messages that are over, after their time, in the record before the file; and never what makes "once" true. */
import { copyFile, readFile } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import Database from "better-sqlite3";
import { expect, onTestFinished, test } from "vitest";
import { LEDGER_FILE, openLedger } from "../../src/store/sql.ts";
import type { Ledger } from "../../src/store/store.ts";
import { goneFault } from "../../src/store/upkeep.ts";
import { temporaryDirectory } from "./disk.ts";
import { at, deliverDone, extractDone, id, origin, receive, refused, splitDone, taskOf, work } from "./ledgers/story.ts";

const DAY = 86_400;

async function opened(directory?: string): Promise<{ readonly ledger: Ledger; readonly directory: string }> {
  const place = directory ?? (await temporaryDirectory());
  const ledger = await openLedger({ directory: place, own: true, now: at(0) });
  onTestFinished(() => ledger.close());
  return { ledger, directory: place };
}

/** From its arrival to the end, all at `uid` seconds. */
async function finish(ledger: Ledger, name: string, uid: number): Promise<void> {
  await work(ledger, name, uid);
  await settle(ledger, name, uid);
}

async function settle(ledger: Ledger, name: string, seconds: number): Promise<void> {
  const open = (await ledger.tasks(id(name))).filter(({ kind, status }) => kind === "settle" && status === "open");
  for (const task of open) await ledger.save(task, { is: "done" }, at(seconds));
}

const all = ["raw", "parts", "results"] as const;
async function pruneAll(ledger: Ledger, names: readonly string[], before: number, now: number): Promise<void> {
  for (const kept of all) await ledger.prune(kept, names.map(id), at(before), at(now));
}

test("what is over loses what had its time, and says so", async () => {
  const { ledger } = await opened();
  await finish(ledger, "a", 11);
  expect(await ledger.prunable("raw", at(11), null, 10)).toEqual([id("a")]);
  expect(await ledger.prune("raw", [id("a")], at(10), at(99))).toEqual({ messages: [], blobs: [], last: id("a") });
  expect(await ledger.prune("raw", [id("a")], at(11), at(99))).toEqual({ messages: [id("a")], blobs: [id("a")], last: id("a") });
  expect(await ledger.prunable("raw", at(999), null, 10)).toEqual([]);
  expect(await ledger.prune("parts", [id("a")], at(11), at(100))).toMatchObject({ messages: [id("a")], blobs: [id("pdf"), id("text")] });
  const message = await ledger.message(id("a"));
  expect(message).toMatchObject({
    gone: { raw: at(99).toISOString(), parts: at(100).toISOString(), results: null, events: null },
    // There is a result still that they describe.
    facts: { subject: expect.any(String) },
  });
  expect(await ledger.parts(id("a"))).toHaveLength(2);
  expect(message && goneFault(message, "raw")).toMatchObject({
    code: "kept.gone",
    temporary: false,
    message: `the mail itself was removed from message ${id("a").slice(0, 16)} on ${at(99).toISOString()} by keep.raw`,
  });
  expect(message && goneFault(message, "results")).toBeNull();

  await ledger.prune("results", [id("a")], at(11), at(101));
  expect(await ledger.result(`${id("a")}.1`)).toBeNull();
  expect(await ledger.message(id("a"))).toMatchObject({ gone: { results: at(101).toISOString() }, facts: null });
  expect(await ledger.parts(id("a"))).toEqual([]);
});

test.each([
  ["is on its way", async () => {}],
  [
    "waits for a try",
    async (ledger: Ledger) => {
      await ledger.save(await taskOf(ledger, "a", "split"), { is: "later", at: at(9), memo: null }, at(8));
    },
  ],
  [
    "has failed",
    async (ledger: Ledger) => {
      await ledger.save(await taskOf(ledger, "a", "split"), { is: "failed", fault: refused }, at(8));
      await settle(ledger, "a", 8);
    },
  ],
  [
    "is held",
    async (ledger: Ledger) => {
      await ledger.save(await taskOf(ledger, "a", "split"), { is: "held", fault: refused }, at(8));
    },
  ],
  [
    "has one failed delivery",
    async (ledger: Ledger) => {
      await ledger.save(await taskOf(ledger, "a", "split"), splitDone("a"), at(8));
      await ledger.save(await taskOf(ledger, "a", "extract"), extractDone("a"), at(8));
      await ledger.save(await taskOf(ledger, "a", "deliver"), { is: "failed", fault: refused }, at(8));
      await settle(ledger, "a", 8);
    },
  ],
])("a message that %s keeps everything, however old it is", async (_what, until) => {
  const { ledger } = await opened();
  await receive(ledger, "a", 7);
  await until(ledger);
  const events = await ledger.events(id("a"));
  await pruneAll(ledger, ["a"], 999 * DAY, 999 * DAY);
  expect(await ledger.pruneEvents(at(999 * DAY), null, 100, at(999 * DAY))).toMatchObject({ messages: 0, last: null });
  expect(await ledger.message(id("a"))).toMatchObject({ gone: { raw: null, parts: null, results: null, events: null } });
  expect(await ledger.events(id("a"))).toEqual(events);
});

test("what a person gave up is over", async () => {
  const { ledger } = await opened();
  await receive(ledger, "a", 7);
  await ledger.save(await taskOf(ledger, "a", "split"), { is: "failed", fault: refused }, at(8));
  await ledger.ignore(id("a"), "advertising", at(9));
  await settle(ledger, "a", 10);
  expect(await ledger.prune("raw", [id("a")], at(10), at(11))).toMatchObject({ messages: [id("a")] });
});

test("its age counts from when it was over, not from when it came", async () => {
  const { ledger } = await opened();
  await work(ledger, "a", 11);
  await settle(ledger, "a", 50);
  expect(await ledger.prune("raw", [id("a")], at(49), at(60))).toMatchObject({ messages: [] });
  // Seen once more, it is not over until the mailbox was told.
  await receive(ledger, "a", 55, "archive");
  expect(await ledger.prune("raw", [id("a")], at(60), at(60))).toMatchObject({ messages: [] });
  await settle(ledger, "a", 58);
  expect(await ledger.prune("raw", [id("a")], at(57), at(60))).toMatchObject({ messages: [] });
  expect(await ledger.prune("raw", [id("a")], at(58), at(60))).toMatchObject({ messages: [id("a")] });
});

test("bytes that another message keeps are not to be removed; the last that keeps them gives them free", async () => {
  const { ledger } = await opened();
  await finish(ledger, "a", 11);
  await finish(ledger, "b", 12);
  const { blobs } = await ledger.prune("parts", [id("a")], at(99), at(99));
  const removed: string[] = [];
  const remove = async (one: string) => removed.push(one) > 0;
  await ledger.discard("parts", blobs, remove);
  expect(removed).toEqual([]);
  expect(await ledger.unwanted("parts", [id("text"), id("never")])).toEqual([id("never")]);
  expect(await ledger.unwanted("raw", [id("a"), id("never")])).toEqual([id("never")]);
  expect((await ledger.prune("parts", [id("b")], at(99), at(99))).blobs.toSorted()).toEqual(blobs.toSorted());
  await ledger.discard("parts", blobs, remove);
  expect(removed.toSorted()).toEqual([id("pdf"), id("text")].toSorted());
  expect(await ledger.unwanted("parts", [id("text")])).toEqual([id("text")]);
});

test("what was recorded as gone and not discarded is told until it is", async () => {
  const { ledger } = await opened();
  await finish(ledger, "a", 11);
  for (const kept of ["raw", "parts", "results"] as const) await ledger.prune(kept, [id("a")], at(99), at(99));
  const told = async () => [await ledger.removals("raw", "", 9), await ledger.removals("parts", "", 9)];
  const parts = [id("pdf"), id("text")].toSorted();
  expect(await told()).toEqual([[id("a")], parts]);
  expect(await ledger.removals("parts", "", 1)).toEqual([parts[0]]);
  expect(await ledger.removals("parts", parts[0] ?? "", 9)).toEqual([parts[1]]);
  await ledger.discard("raw", [id("a")], async () => false);
  await expect(ledger.discard("raw", [id("a")], () => Promise.reject(new Error("EIO")))).rejects.toThrow("EIO");
  expect(await told()).toEqual([[id("a")], parts]);
  await ledger.discard("raw", [id("a")], async () => true);
  await ledger.discard("parts", parts, async (one) => one !== parts[0]);
  expect(await told()).toEqual([[], [parts[0]]]);
  await ledger.discard("parts", parts, async () => true);
  expect(await told()).toEqual([[], []]);
  // Its bytes are there once more.
  await receive(ledger, "a", 100, "archive");
  expect(await told()).toEqual([[id("a")], []]);
});

test("more parts than one statement takes go like any others", async () => {
  const directory = await temporaryDirectory();
  const { ledger } = await opened(directory);
  await finish(ledger, "a", 11);
  const database = new Database(join(directory, LEDGER_FILE));
  database
    .prepare(
      `WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < 17009)
       INSERT INTO part (message, position, id, role, content_type, sha256, size)
       SELECT ?, i, 'p' || i, 'attachment', 'text/plain', printf('%064x', i), 1 FROM n`,
    )
    .run(id("a"));
  database.close();
  const { messages, blobs } = await ledger.prune("parts", [id("a")], at(99), at(99));
  expect([messages, blobs.length]).toEqual([[id("a")], 17_002]);
  expect(await ledger.removals("parts", "", 20_000)).toHaveLength(17_002);
});

test("the same mail next year is known, and nothing of it is done again", async () => {
  const { ledger } = await opened();
  await finish(ledger, "a", 11);
  await pruneAll(ledger, ["a"], 99, 99);
  await ledger.pruneEvents(at(99), null, 100, at(99));
  const kept = { runs: await ledger.runs(id("a")), receipts: await ledger.receipts(id("a")), arrivals: await ledger.arrivals(id("a")) };
  expect(kept.receipts).toMatchObject([{ key: `${id("a")}.1.files`, sink: "files", receipt: {} }]);
  const year = 365 * DAY;
  expect(await receive(ledger, "a", year, "archive")).toMatchObject({ isNew: false, event: { what: "seen-again" } });
  expect(await ledger.due(at(2 * year), 10, [])).toMatchObject([{ kind: "settle" }]);
  await settle(ledger, "a", year);
  expect(await ledger.due(at(2 * year), 10, [])).toEqual([]);
  expect(await ledger.runs(id("a"))).toEqual(kept.runs);
  expect(await ledger.receipts(id("a"))).toEqual(kept.receipts);
  // Its bytes came once more, and nobody wants them.
  expect(await ledger.unwanted("raw", [id("a")])).toEqual([id("a")]);
  // What was written since goes when it has had its time.
  expect(await ledger.events(id("a"))).toHaveLength(2);
  await ledger.pruneEvents(at(2 * year), null, 100, at(2 * year));
  expect(await ledger.events(id("a"))).toEqual([]);
});

test("events go by themselves, oldest first and a few at a time, those of no message too", async () => {
  const { ledger, directory } = await opened();
  const fault = { code: "imap.unreadable", message: "NO", advice: null, temporary: false };
  await ledger.receiveUnreadable({ origin: origin(1), fault, cursor: { uidValidity: "1", uid: 1, since: null, until: 0 }, now: at(1) });
  await finish(ledger, "a", 11);
  await receive(ledger, "stuck", 12);
  await finish(ledger, "b", 13);
  await finish(ledger, "young", 500);
  let after: number | null = null;
  let pruned = 0;
  let steps = 0;
  do {
    const { messages, last } = await ledger.pruneEvents(at(100), after, 2, at(600));
    pruned += messages;
    after = last;
    steps += 1;
  } while (after !== null);
  expect(pruned).toBe(2);
  expect(steps).toBeGreaterThan(1);
  const left = await Promise.all(["a", "stuck", "b", "young"].map(async (name) => (await ledger.events(id(name))).length));
  expect(left).toEqual([0, 1, 0, 5]);
  const database = new Database(join(directory, LEDGER_FILE), { readonly: true });
  expect(database.prepare("SELECT count(*) FROM event WHERE message IS NULL").pluck().get()).toBe(0);
  database.close();
  expect(await ledger.message(id("a"))).toMatchObject({ gone: { raw: null, events: at(600).toISOString() }, faults: [] });
  expect(await ledger.unreadable()).toMatchObject([{ fault }]);
});

test("messages are looked through in the order they came, and each step goes on where the last one ended", async () => {
  const { ledger } = await opened();
  for (const [index, name] of ["a", "b", "c", "d", "e"].entries()) await finish(ledger, name, 10 + index);
  await receive(ledger, "stuck", 20);
  await finish(ledger, "young", 500);
  expect(await ledger.prunable("results", at(100), null, 3)).toEqual(["a", "b", "c"].map(id));
  expect(await ledger.prunable("results", at(100), id("c"), 10)).toEqual(["d", "e", "stuck"].map(id));
  expect(await ledger.prunable("results", at(100), id("stuck"), 10)).toEqual([]);
});

test("a step that has removed much ends early", async () => {
  const { ledger } = await opened();
  const names = Array.from({ length: 5 }, (_, n) => `big ${n}`);
  for (const [index, name] of names.entries()) {
    await receive(ledger, name, 11 + index);
    await ledger.save(await taskOf(ledger, name, "split"), splitDone(name), at(20));
    const { growth } = extractDone(name) as { growth: { result: object } };
    const result = { ...growth.result, data: "x".repeat(2_000_000), raw: "y".repeat(1_000_000) };
    await ledger.save(await taskOf(ledger, name, "extract"), { is: "done", growth: { ...growth, result } } as never, at(20));
    await ledger.save(await taskOf(ledger, name, "deliver"), deliverDone(name), at(20));
    await settle(ledger, name, 20);
  }
  const ids = names.map(id);
  expect(await ledger.prune("results", ids, at(20), at(30))).toMatchObject({ messages: ids.slice(0, 2), last: ids[1] });
  expect(await ledger.prune("results", ids.slice(2), at(20), at(30))).toMatchObject({ messages: ids.slice(2, 4), last: ids[3] });
});

test("the room is given back, and nothing of what was removed is left in the file or in its log", async () => {
  const { ledger, directory } = await opened();
  const file = join(directory, LEDGER_FILE);
  const marker = "RE-2026-0815-Seilerei";
  const names = Array.from({ length: 60 }, (_, n) => `m${n}`);
  for (const [index, name] of names.entries()) {
    await receive(ledger, name, 11 + index);
    await ledger.save(await taskOf(ledger, name, "split"), splitDone(name), at(100));
    const { growth } = extractDone(name) as { growth: { result: object } };
    // Some stand whole among others on a page, others fill pages of their own.
    const result = { ...growth.result, data: { text: marker.repeat(1 + ((index * 37) % 700)) } };
    await ledger.save(await taskOf(ledger, name, "extract"), { is: "done", growth: { ...growth, result } } as never, at(100));
    await ledger.save(await taskOf(ledger, name, "deliver"), deliverDone(name), at(100));
    if (index % 2 === 0) await settle(ledger, name, 100);
  }
  const bytes = async () =>
    Buffer.concat(await Promise.all([file, `${file}-wal`].map((path) => readFile(path).catch(() => Buffer.alloc(0)))));
  expect((await bytes()).includes(marker)).toBe(true);
  for (const name of names) if (!name.endsWith("9")) await settle(ledger, name, 100);
  await settle(ledger, "m59", 100);
  for (const name of names) await settle(ledger, name, 100);
  const before = (await bytes()).length;
  for (const name of names) await pruneAll(ledger, [name], 100, 200);
  const reader = new Database(file, { readonly: true });
  reader.exec("BEGIN");
  reader.prepare("SELECT count(*) FROM message").get();
  while ((await ledger.compact()) === "more");
  expect(await ledger.compact()).toBe("busy");
  reader.close();
  expect(await ledger.compact()).toBe("done");
  const left = await bytes();
  expect(left.includes(marker)).toBe(false);
  // Sender and subject neither.
  expect(left.includes("rechnung@seilerei.example")).toBe(false);
  expect(left.includes("Rechnung")).toBe(false);
  expect(left.length).toBeLessThan(before / 2);
});

test.each(["v1", "v2", "v4", "v5", "v8", "v10"])("a ledger written by %s forgets too, and gives its room back", async (version) => {
  const directory = await temporaryDirectory();
  await copyFile(new URL(`ledgers/${version}.sqlite`, import.meta.url), join(directory, LEDGER_FILE));
  const { ledger } = await opened(directory);
  const before = await ledger.prunable("raw", at(99_999), null, 100);
  expect(before.length).toBeGreaterThan(2);
  for (const kept of all) {
    const { messages } = await ledger.prune(kept, before, at(99_999), at(99_999));
    expect(messages).toContain(id("good"));
    expect(messages).not.toContain(id("waiting"));
    expect(messages).not.toContain(id("bad"));
  }
  expect(await ledger.message(id("good"))).toMatchObject({ facts: null, gone: { raw: at(99_999).toISOString() } });
  while ((await ledger.compact()) === "more");
  const database = new Database(join(directory, LEDGER_FILE), { readonly: true });
  expect(database.pragma("auto_vacuum", { simple: true })).toBe(2);
  expect(database.pragma("freelist_count", { simple: true })).toBe(0);
  expect(database.pragma("integrity_check", { simple: true })).toBe("ok");
  database.close();
});

test("while bytes are being discarded no row is saved that wants them", async () => {
  const { ledger } = await opened();
  await finish(ledger, "a", 11);
  await receive(ledger, "b", 12);
  const split = await taskOf(ledger, "b", "split");
  const { blobs } = await ledger.prune("parts", [id("a")], at(99), at(99));
  const order: string[] = [];
  const saving: Promise<unknown>[] = [];
  await ledger.discard("parts", blobs, async (one) => {
    saving.push(ledger.save(split, splitDone("b"), at(100)).then(() => order.push("saved")));
    for (let turn = 0; turn < 20; turn += 1) await setImmediate();
    return order.push(one) > 0;
  });
  await Promise.all(saving);
  expect(order.slice(0, 2).toSorted()).toEqual([id("pdf"), id("text")].toSorted());
  // Now it is wanted again.
  expect(await ledger.unwanted("parts", blobs)).toEqual([]);
});
