/** What is due of the extractions: orders and questions apart, by service, and what is paused. */
import { expect, onTestFinished, test } from "vitest";
import { openLedger } from "../../src/store/sql.ts";
import { temporaryDirectory } from "./disk.ts";
import { at, facts, id, parts, receive, route, taskOf } from "./ledgers/story.ts";

/** Messages of one document each, whose services are these; the first is asked after at second 40. */
async function stage(...services: readonly string[]) {
  const ledger = await openLedger({ directory: await temporaryDirectory(), own: true, now: at(0) });
  onTestFinished(() => ledger.close());
  for (const [index, service] of services.entries()) {
    const name = `m${index}`;
    await receive(ledger, name, 11 + index);
    const document = { id: `${id(name)}.1`, message: id(name), position: 1, service, whole: true, parts: ["2"] };
    const tasks = [{ kind: "extract" as const, subject: document.id }];
    const growth = { split: { facts, parts, faults: [], route: { ...route, service } }, documents: [document], tasks };
    await ledger.save(await taskOf(ledger, name, "split"), { is: "done", growth }, at(20 + index));
  }
  await ledger.save(await taskOf(ledger, "m0", "extract"), { is: "later", at: at(40), memo: { runId: "run" }, underWay: "run" }, at(30));
  const due = async (asks?: boolean, exceptNames: readonly string[] = []) =>
    (await ledger.due(at(60), 9, [], "extract", exceptNames, asks)).map(({ message, name }) => [message, name]);
  return { ledger, due };
}

test("what asks after a run and what is on its way to one are told apart, each with its service", async () => {
  const { ledger, due } = await stage("cloudsquid", "extend", "cloudsquid");
  const [asks, ...orders] = [
    [id("m0"), "cloudsquid"],
    [id("m1"), "extend"],
    [id("m2"), "cloudsquid"],
  ];
  expect(await due()).toEqual([...orders, asks]);
  expect(await due(true)).toEqual([asks]);
  expect(await due(false)).toEqual(orders);
  expect(await ledger.nextDue([], "extract", [], true)).toEqual(at(40));
  expect(await ledger.nextDue([], "extract", [], false)).toEqual(at(21));
});

test("what is for a service without a hand free is passed over", async () => {
  const { ledger, due } = await stage("cloudsquid", "extend", "cloudsquid");
  expect(await due(false, ["cloudsquid"])).toEqual([[id("m1"), "extend"]]);
  expect(await due(true, ["cloudsquid"])).toEqual([]);
  expect(await ledger.nextDue([], "extract", ["cloudsquid", "extend"])).toBeNull();
});

test("a paused service is ordered nothing, whichever line is asked for, and is asked after", async () => {
  const { ledger, due } = await stage("cloudsquid", "extend", "cloudsquid");
  await ledger.pause("cloudsquid", "a person said so", at(31));
  expect(await due(false)).toEqual([[id("m1"), "extend"]]);
  expect(await due(true)).toEqual([[id("m0"), "cloudsquid"]]);
});
