/** Pruning over a real ledger and a real spool: what goes, what stays, and that the others go on meanwhile. */
import { readdir, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as others } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { Fault } from "../../src/base/errors.ts";
import type { Logger } from "../../src/base/logger.ts";
import { type Ages, createPruner } from "../../src/daemon/prune.ts";
import type { Answer, Memo } from "../../src/extractor/extractor.ts";
import { forget } from "../../src/pipeline/forget.ts";
import { advance } from "../../src/pipeline/pipeline.ts";
import { openSpool } from "../../src/store/spool.ts";
import type { Spool } from "../../src/store/store.ts";
import { arrive, drain, extractorOf, sinkOf, sourceOf, worksIn } from "../pipeline/works.ts";
import { guardedDirectory, makeReadOnly, makeWritable, temporaryDirectory } from "../store/disk.ts";

const HOUR = 3_600_000;
const FOREVER: Ages = { raw: null, parts: null, results: null, events: null };
const NOTHING: Ages = { raw: 0, parts: 0, results: 0, events: 24 * HOUR };
const never = new AbortController().signal;

async function stage(keep: Ages) {
  const directory = await temporaryDirectory();
  const answer: Answer = { runId: "run", data: { total: "119.00" }, credits: 1, reasoning: null, review: null, raw: {} };
  const { extractor, asked } = extractorOf(() => ({ is: "answered", memo: { runId: "run" }, answer }));
  const files = sinkOf("files");
  const { works, clock } = await worksIn(directory, { extractor, sinks: [files.sink], source: sourceOf("invoices").source });
  onTestFinished(() => works.ledger.close());
  const lines: { readonly name: string; readonly fields: unknown }[] = [];
  const log: Logger = { event: (_, name, fields) => void lines.push({ name, fields }) };
  const pruner = createPruner({ ledger: works.ledger, spool: works.spool, keep, forget: null, clock, log });
  const spool = join(directory, "spool");
  /** The files of a shelf, or of both. */
  const kept = async (shelf = "") => {
    const entries = await readdir(join(spool, shelf), { recursive: true, withFileTypes: true });
    return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  };
  /** As long as it takes to look through all of the spool. */
  const tidyAll = async () => {
    for (let turns = 0; turns < 256; turns += 1) await pruner.tidy();
  };
  return { works, clock, pruner, lines, kept, tidyAll, asked, files };
}

test("each of them goes at its own age, counted from the end", async () => {
  const { works, clock, pruner, lines, kept } = await stage({ raw: 10 * HOUR, parts: 20 * HOUR, results: 30 * HOUR, events: 40 * HOUR });
  const id = await arrive(works, "01-single-pdf");
  clock.pass(100 * HOUR);
  await pruner.prune();
  expect(await kept("raw")).toHaveLength(1);
  await drain(works, clock);
  const here = async () => [
    (await kept("raw")).length,
    (await kept("parts")).length > 0,
    (await works.ledger.result(`${id}.1`)) !== null,
    (await works.ledger.events(id)).length > 0,
  ];
  const steps = [
    [1, true, true, true],
    [0, true, true, true],
    [0, false, true, true],
    [0, false, false, true],
    [0, false, false, false],
  ];
  for (const expected of steps) {
    await pruner.prune();
    expect(await here()).toEqual(expected);
    clock.pass(10 * HOUR);
  }
  expect(lines.map(({ name, fields }) => [name, Object.keys(fields as object)])).toEqual([
    ["pruned", ["raw", "files", "bytes"]],
    ["pruned", ["parts", "files", "bytes"]],
    ["pruned", ["results"]],
    ["pruned", ["events"]],
  ]);
});

test("forever is forever", async () => {
  const { works, clock, pruner, lines, kept, tidyAll } = await stage(FOREVER);
  await arrive(works, "01-single-pdf");
  await drain(works, clock);
  await works.spool.keep("raw")([Buffer.from("nobody's")] as never);
  const before = await kept();
  clock.pass(9_999 * 24 * HOUR);
  await pruner.prune();
  await tidyAll();
  expect(await kept()).toEqual(before);
  expect(lines).toEqual([]);
});

test("kept not at all, it is gone as soon as it is over; what is not over stays", async () => {
  const { works, clock, pruner, kept } = await stage(NOTHING);
  const id = await arrive(works, "01-single-pdf");
  pruner.over(id);
  await pruner.prune();
  expect(await kept("raw")).toHaveLength(1);
  await drain(works, clock);
  pruner.over(id);
  await pruner.tidy();
  expect(await kept()).toEqual([]);
  expect(await works.ledger.result(`${id}.1`)).toBeNull();
  expect(await works.ledger.message(id)).toMatchObject({ facts: null });
  expect((await works.ledger.events(id)).length).toBeGreaterThan(3);
});

test("killed between the record and the files: the next process removes them at once", async () => {
  const { works, clock, pruner, kept, lines } = await stage(NOTHING);
  const id = await arrive(works, "01-single-pdf");
  await drain(works, clock);
  const now = clock.now();
  for (const shelf of ["raw", "parts"] as const) await works.ledger.prune(shelf, [id], now, now);
  expect((await kept("raw")).length).toBe(1);
  await pruner.prune();
  expect(await kept()).toEqual([]);
  expect(lines[0]).toEqual({ name: "pruned", fields: { files: 3, bytes: expect.any(Number) } });
});

test("a file that cannot be removed holds up no other, and is removed when it can be", async () => {
  const { works, clock, kept, lines } = await stage(FOREVER);
  const mails = ["01-single-pdf", "04-xml-only", "05-html-only"];
  const ids: string[] = [];
  for (const [uid, mail] of mails.entries()) ids.push(await arrive(works, mail, uid + 1));
  await drain(works, clock);
  const stuck = new Set([ids.toSorted()[0]]);
  const remove: Spool["remove"] = (shelf, sha256, before) =>
    stuck.has(sha256) ? Promise.reject(new Error("EIO")) : works.spool.remove(shelf, sha256, before);
  const log: Logger = { event: (_, name, fields) => void lines.push({ name, fields }) };
  const spool = { ...works.spool, remove };
  const pruner = createPruner({ ledger: works.ledger, spool, keep: NOTHING, forget: null, clock, log });
  for (let times = 0; times < 2; times++) {
    await pruner.prune();
    expect((await kept("raw")).map((path) => path.includes([...stuck][0] ?? "?"))).toEqual([true]);
    expect(await kept("parts")).toEqual([]);
  }
  expect(lines.map(({ name }) => name)).toContain("prune.retry");
  // Nor does it keep what has just ended from going.
  const late = await arrive(works, "14-credit-note", 9);
  await drain(works, clock);
  pruner.over(late);
  await pruner.tidy();
  expect(await kept("raw")).toHaveLength(1);
  stuck.clear();
  await pruner.prune();
  expect(await kept()).toEqual([]);
});

test("what is on the list and too young to be tidied up stays on it", async () => {
  const { works, clock, pruner, kept, tidyAll } = await stage({ ...FOREVER, raw: 30 * 24 * HOUR });
  await arrive(works, "01-single-pdf");
  await drain(works, clock);
  clock.pass(31 * 24 * HOUR);
  await pruner.prune();
  expect(await kept("raw")).toEqual([]);
  await arrive(works, "01-single-pdf", 2);
  await drain(works, clock);
  await tidyAll();
  expect(await kept("raw")).toHaveLength(1);
  await pruner.prune();
  expect(await kept("raw")).toEqual([]);
});

test("a mail that comes again after it was pruned does not stay in the spool", async () => {
  const { works, clock, pruner, kept } = await stage(NOTHING);
  await arrive(works, "01-single-pdf");
  await drain(works, clock);
  await pruner.prune();
  expect(await kept()).toEqual([]);
  await arrive(works, "01-single-pdf", 2);
  expect(await kept("raw")).toHaveLength(1);
  await drain(works, clock);
  await pruner.prune();
  expect(await kept()).toEqual([]);
});

test("what a person wants of a mail that is gone is told as that, not as missing", async () => {
  const { works, clock, pruner, files, asked } = await stage(NOTHING);
  const id = await arrive(works, "01-single-pdf");
  await drain(works, clock);
  await pruner.prune();
  const again = await works.ledger.replay(id, null, clock.now());
  expect(again).toHaveLength(1);
  for (const task of again) {
    expect(await advance(task, works, never)).toMatchObject({ what: "deliver.failed", faultCode: "kept.gone" });
  }
  const anew = await works.ledger.reextract(id, null, clock.now());
  expect(anew && (await advance(anew, works, never))).toMatchObject({ what: "split.failed", faultCode: "kept.gone" });
  expect(files.given).toHaveLength(1);
  expect(asked).toHaveLength(1);
});

test("with the parts gone a result is still delivered anew; a sink that wants the bytes is told where they went", async () => {
  const { works, clock, pruner, files } = await stage({ ...FOREVER, raw: 0, parts: 0 });
  const id = await arrive(works, "01-single-pdf");
  await drain(works, clock);
  await pruner.prune();
  const again = await works.ledger.replay(id, null, clock.now());
  expect(again).toHaveLength(1);
  for (const task of again) {
    expect(await advance(task, works, never)).toMatchObject({ what: "deliver.done" });
  }
  const { raw, attachments } = files.given.at(-1)?.delivery ?? {};
  for (const piece of [raw, ...(attachments ?? [])]) {
    const bytes = piece?.open()[Symbol.asyncIterator]();
    await expect(bytes?.next()).rejects.toMatchObject({ code: "kept.gone", temporary: false });
  }
});

test("with the mail kept and the parts gone it can be read anew, and all of that goes again", async () => {
  const { works, clock, pruner, kept, files } = await stage({ ...FOREVER, parts: 10 * HOUR, results: 10 * HOUR });
  const id = await arrive(works, "01-single-pdf");
  await drain(works, clock);
  clock.pass(10 * HOUR);
  await pruner.prune();
  expect(await kept("parts")).toEqual([]);
  await works.ledger.reextract(id, null, clock.now());
  await drain(works, clock);
  expect(files.given.map(({ delivery }) => delivery.body.per)).toEqual(["document", "document"]);
  expect((await kept("parts")).length).toBeGreaterThan(0);
  expect(await works.ledger.message(id)).toMatchObject({ gone: { parts: null, results: null } });
  clock.pass(10 * HOUR);
  await pruner.prune();
  expect(await kept("parts")).toEqual([]);
  expect(await works.ledger.result(`${id}.2`)).toBeNull();
});

test("a part of two messages stays until both are over", async () => {
  const { works, clock, pruner, kept } = await stage(NOTHING);
  const first = await arrive(works, "01-single-pdf", 1);
  await drain(works, clock);
  const parts = await works.ledger.parts(first);
  // The same mail under another header: other bytes, the same parts.
  const bytes = Buffer.concat([
    Buffer.from("X-Copy: 1\r\n"),
    ...(await collected(works.spool.open("raw", (await works.ledger.message(first)) ?? { sha256: "", size: 0 }))),
  ]);
  const { sha256, size } = await works.spool.keep("raw")([bytes] as never);
  const cursor = { uidValidity: "1", uid: 2, since: null, until: 0 };
  const origin = { mailbox: "invoices", uidValidity: "1", uid: 2 };
  await works.ledger.receive({ blob: { sha256, size }, origin, receivedAt: null, cursor, now: clock.now() });
  const [split] = await works.ledger.due(clock.now(), 1, [], "split");
  if (split === undefined) throw new Error("nothing to split");
  await advance(split, works, never);
  await pruner.prune();
  expect(await kept("raw")).toHaveLength(1);
  expect((await kept("parts")).length).toBe(new Set(parts.map((part) => part.sha256)).size);
  await drain(works, clock);
  await pruner.prune();
  expect(await kept()).toEqual([]);
});

test("a part that is kept anew before its rows are saved is not removed with those of another message", async () => {
  const { works, clock, pruner, kept } = await stage(NOTHING);
  const first = await arrive(works, "01-single-pdf", 1);
  await drain(works, clock);
  const [part] = await works.ledger.parts(first);
  if (part === undefined) throw new Error("no part");
  // Another mail with the same part is just being split.
  await works.spool.keep("parts", "another")(works.spool.open("parts", part));
  await pruner.prune();
  expect(await kept("parts")).toEqual([works.spool.path("parts", part.sha256)]);
  // It did not get to save its rows: nobody wants it, and it goes after its hour.
  works.spool.left("another");
  expect(await works.spool.remove("parts", part.sha256)).toBe(part.size);
});

test("what a crash left between the record and the file, and what nobody ever knew, is found; not what is young or wanted", async () => {
  const { works, clock, pruner, kept, tidyAll, lines } = await stage({ ...FOREVER, raw: HOUR / 2, parts: 10 * HOUR });
  const gone = await arrive(works, "01-single-pdf", 1);
  await drain(works, clock);
  const wanted = await arrive(works, "04-xml-only", 2);
  const orphan = async (shelf: "raw" | "parts", text: string, hours: number) => {
    const { sha256 } = await works.spool.keep(shelf)([Buffer.from(text)] as never);
    await aged(works.spool.path(shelf, sha256), hours);
    return works.spool.path(shelf, sha256);
  };
  const aged = (path: string, hours: number) => {
    const at = new Date(clock.now().getTime() - hours * HOUR);
    return utimes(path, at, at);
  };
  clock.pass(HOUR);
  // The record says so, and then the power failed.
  await works.ledger.prune("raw", [gone], clock.now(), clock.now());
  await aged(works.spool.path("raw", gone), 2);
  await aged(works.spool.path("raw", wanted), 99);
  const stay = [
    await orphan("raw", "half an hour", 0.5),
    await orphan("parts", "younger than what is kept", 9),
    works.spool.path("raw", wanted),
  ];
  const go = [await orphan("raw", "nobody's", 2), await orphan("parts", "nobody's part", 11), works.spool.path("raw", gone)];
  await tidyAll();
  const left = await kept();
  for (const path of stay) expect(left).toContain(path);
  for (const path of go) expect(left).not.toContain(path);
  expect(lines.filter(({ name }) => name !== "pruned")).toEqual([]);
  await pruner.prune();
});

test("the same mail a year later is not read again, and its bytes go again", async () => {
  const { works, clock, pruner, kept, tidyAll, asked, files } = await stage(NOTHING);
  const id = await arrive(works, "01-single-pdf", 1);
  await drain(works, clock);
  await pruner.prune();
  clock.pass(365 * 24 * HOUR);
  expect(await arrive(works, "01-single-pdf", 1, "invoices")).toBe(id);
  await arrive(works, "01-single-pdf", 2);
  await drain(works, clock);
  expect(asked).toHaveLength(1);
  expect(files.given).toHaveLength(1);
  expect(await kept("raw")).toHaveLength(1);
  const [path = ""] = await kept("raw");
  clock.set(new Date((await stat(path)).mtimeMs + HOUR + 1));
  await tidyAll();
  expect(await kept()).toEqual([]);
});

test("the others go on between the steps, and when told to stop it does", async () => {
  const { works, clock, pruner, kept } = await stage({ ...FOREVER, raw: HOUR, events: HOUR });
  const cursor = { uidValidity: "1", uid: 1, since: null, until: 0 };
  for (let uid = 1; uid <= 120; uid += 1) {
    const { sha256, size } = await works.spool.keep("raw")([Buffer.from(`Subject: ${uid}\r\n\r\n`)] as never);
    const origin = { mailbox: "invoices", uidValidity: "1", uid };
    await works.ledger.receive({ blob: { sha256, size }, origin, receivedAt: null, cursor, now: clock.now() });
    await works.ledger.ignore(sha256, "a test", clock.now());
  }
  for (const task of await works.ledger.due(clock.now(), 999, [])) await works.ledger.save(task, { is: "done" }, clock.now());
  clock.pass(2 * HOUR);
  let turns = 0;
  let isOver = false;
  const pruning = pruner.prune().then(() => {
    isOver = true;
  });
  while (!isOver && turns < 6) {
    await others();
    turns += 1;
  }
  expect(isOver).toBe(false);
  await pruner.stop();
  await pruning;
  const left = (await kept("raw")).length;
  expect(left).toBeGreaterThan(0);
  expect(left).toBeLessThan(120);
});

test("what cannot be removed now is removed later", async () => {
  const { works: made, clock, lines } = await stage(FOREVER);
  const disk = await guardedDirectory();
  const works = { ...made, spool: await openSpool(disk) };
  await arrive(works, "01-single-pdf", 1);
  await drain(works, clock);
  const log: Logger = { event: (_, name, fields) => void lines.push({ name, fields }) };
  const pruner = createPruner({ ledger: works.ledger, spool: works.spool, keep: { ...FOREVER, raw: 0 }, forget: null, clock, log });
  await makeReadOnly(disk);
  await pruner.prune();
  expect(lines).toContainEqual({ name: "prune.retry", fields: expect.objectContaining({ fault: "spool.unwritable" }) });
  await makeWritable(disk);
  // The record says that it is gone: it is found as what nobody wants.
  const [path = ""] = (await readdir(join(disk, "raw"), { recursive: true })).filter((name) => name.endsWith(".eml"));
  clock.set(new Date((await stat(join(disk, "raw", path))).mtimeMs + HOUR + 1));
  for (let turn = 0; turn < 256; turn += 1) await pruner.tidy();
  expect(lines.at(-1)).toMatchObject({ name: "pruned", fields: { files: 1 } });
  await expect(stat(join(disk, "raw", path))).rejects.toMatchObject({ code: "ENOENT" });
});

test("the services forget first, and only what is over; while one cannot, our results stay and the rest goes", async () => {
  const { works: made, clock, lines, kept } = await stage(NOTHING);
  const forgotten: unknown[] = [];
  let isDown = true;
  const service = made.services.get("service");
  if (service === undefined) throw new Error("no service");
  const forgetful = async (memo: Memo) => {
    if (isDown) throw new Fault("service.down", "the service is down");
    forgotten.push(memo.runId);
  };
  const works = { ...made, services: new Map([["service", { ...service, extractor: { ...service.extractor, forget: forgetful } }]]) };
  const log: Logger = { event: (_, name, fields) => void lines.push({ name, fields }) };
  const pruner = createPruner({
    ledger: works.ledger,
    spool: works.spool,
    keep: NOTHING,
    forget: (message, signal) => forget(message, works, signal),
    clock,
    log,
  });
  const id = await arrive(works, "01-single-pdf", 1);
  isDown = false;
  pruner.over(id);
  await pruner.prune();
  expect(forgotten).toEqual([]);
  await drain(works, clock);
  const late = await arrive(works, "04-xml-only", 2);
  isDown = true;
  pruner.over(id);
  await pruner.prune();
  expect(lines).toContainEqual({
    name: "prune.retry",
    fields: { message: id.slice(0, 16), fault: "service.down", why: "the service is down" },
  });
  expect(await works.ledger.result(`${id}.1`)).not.toBeNull();
  expect(await kept()).toEqual([works.spool.path("raw", late)]);
  isDown = false;
  await pruner.prune();
  expect(forgotten).toEqual(["run"]);
  expect(await works.ledger.message(id)).toMatchObject({ facts: null, gone: { results: clock.now().toISOString() } });
  await pruner.prune();
  expect(forgotten).toHaveLength(1);
});

async function collected(bytes: AsyncIterable<Uint8Array>): Promise<Uint8Array[]> {
  const all: Uint8Array[] = [];
  for await (const chunk of bytes) all.push(chunk);
  return all;
}
