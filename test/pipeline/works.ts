/** The works of a test: a real ledger and spool in a directory, and roles made by hand that write down what they were asked. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import type { Document, Extractor, Grain, Memo, Progress } from "../../src/extractor/extractor.ts";
import { createMapping } from "../../src/mapping/mapping.ts";
import { createGate } from "../../src/pipeline/limits.ts";
import { advance } from "../../src/pipeline/pipeline.ts";
import { receive } from "../../src/pipeline/receive.ts";
import type { Works } from "../../src/pipeline/step.ts";
import type { Delivery, Sink } from "../../src/sink/sink.ts";
import type { Afterwards, Origin, Source, Verdict } from "../../src/source/source.ts";
import type { Event, Task, TaskKind } from "../../src/store/record.ts";
import { openSpool } from "../../src/store/spool.ts";
import { openLedger } from "../../src/store/sql.ts";
import { type TestClock, testClock } from "../extractor/documents.ts";

type Asked = { readonly document: Document; readonly memo: Memo | null; readonly key: string; readonly signal: AbortSignal };

/** Answers as `answer` says; `asked` is every call. */
export function extractorOf(answer: (asked: Asked, call: number) => Progress | Promise<Progress>, grain: Grain = "message") {
  const asked: Asked[] = [];
  const extractor: Extractor = {
    name: "service",
    grain,
    buys: (memo) => typeof memo?.runId !== "string",
    plan: () => ({ submitted: [], left: [], refusal: null }),
    accepts: (contentType) => contentType === "application/pdf",
    advance: async (document, memo, key, signal) => {
      asked.push({ document, memo, key, signal });
      return answer({ document, memo, key, signal }, asked.length);
    },
    probe: async () => ({ said: "ok" }),
  };
  return { extractor, asked };
}

/** A service that uploads, starts, waits once, and answers: four effects, each with the memo of the one before. */
export function patientExtractor(clock: TestClock, grain: Grain = "message") {
  const nextAt = () => new Date(clock.now().getTime() + 5_000);
  return extractorOf(({ memo }): Progress => {
    if (memo === null) return { is: "going", memo: { rowId: "row" }, nextAt: nextAt() };
    if (memo.runId === undefined) return { is: "going", memo: { ...memo, runId: "run" }, nextAt: nextAt() };
    if (memo.polled === undefined) return { is: "going", memo: { ...memo, polled: 1 }, nextAt: nextAt() };
    return {
      is: "answered",
      memo: { ...memo, answered: true },
      answer: { runId: "run", data: { total: "119.00" }, credits: null, reasoning: null, review: null, raw: { status: "done" } },
    };
  }, grain);
}

export function sinkOf(name: string, deliver: (delivery: Delivery, call: number) => void = () => {}) {
  const given: { readonly delivery: Delivery; readonly key: string }[] = [];
  const sink: Sink = {
    name,
    deliver: async (delivery, key) => {
      given.push({ delivery, key });
      deliver(delivery, given.length);
      return { path: `/out/${key}` };
    },
    destination: () => name,
    probe: async () => ({ said: "ok" }),
  };
  return { sink, given };
}

export function sourceOf(name: string) {
  const told: { readonly origin: Origin; readonly verdict: Verdict; readonly instead?: Afterwards | null | undefined }[] = [];
  const source: Source = {
    name,
    arrivals: async function* () {},
    stall: () => {},
    sweep: () => {},
    read: async () => null,
    async *list() {},
    settle: async (origin, verdict, _signal, instead) => {
      told.push({ origin, verdict, ...(instead == null ? {} : { instead }) });
      return "told";
    },
    probe: async () => ({ said: "ok" }),
    freshness: () => ({ sweptAt: null, trouble: null }),
    close: async () => {},
  };
  return { source, told };
}

const NO_LIMITS = { runsPerDay: null, runsPerHour: null, maxBytes: null, maxParts: null };

type Roles = { readonly extractor: Extractor; readonly sinks: readonly Sink[]; readonly source: Source; readonly clock?: TestClock };

export async function worksIn(directory: string, { extractor, sinks, source, clock = testClock() }: Roles) {
  const retry = { firstMs: 10_000, longestMs: 600_000, giveUpAfterMs: 3_600_000 };
  const works: Works = {
    ledger: await openLedger({ directory, own: true, now: clock.now() }),
    spool: await openSpool(join(directory, "spool")),
    sources: new Map([[source.name, source]]),
    services: new Map([[extractor.name, { extractor, limits: NO_LIMITS, mapping: createMapping(null) }]]),
    gate: createGate(),
    sinks: new Map(sinks.map((sink) => [sink.name, { sink, retry }])),
    routing: {
      rules: [],
      fallback: { service: extractor.name, sinks: sinks.map(({ name }) => ({ name, per: "document", failures: false })) },
    },
    retry,
    clock,
  };
  return { works, clock };
}

/** Takes in a message of fixtures/mail as a backfill does. Resolves with its id. */
export async function backfilled(works: Works, fixture: string, uid: number, mailbox = "invoices"): Promise<string> {
  const bytes = await readFile(new URL(`../../fixtures/mail/${fixture}.eml`, import.meta.url));
  const blob = await works.spool.keep("raw")(Readable.from([bytes]));
  const origin = { mailbox, uidValidity: "1", uid };
  return (await works.ledger.receive({ blob, origin, receivedAt: null, cursor: null, rank: 1, now: works.clock.now() })).message;
}

const never = new AbortController().signal;

/** Takes in a message of fixtures/mail as the mailbox `invoices` would give it. Resolves with its id. */
export async function arrive(works: Works, fixture: string, uid = 1, mailbox = "invoices"): Promise<string> {
  const bytes = await readFile(new URL(`../../fixtures/mail/${fixture}.eml`, import.meta.url));
  const origin = { mailbox, uidValidity: "1", uid };
  const cursor = { uidValidity: "1", uid, since: null, until: 0 };
  const arrival = {
    origin,
    receivedAt: null,
    size: bytes.length,
    bytes: (async function* () {
      yield bytes;
    })(),
  };
  const event = await receive({ is: "arrival", arrival, cursor }, mailbox, works);
  return event?.message ?? "";
}

/** The one open task, when it is of this kind. */
export async function openTask(works: Works, kind: TaskKind): Promise<Task> {
  const open = await works.ledger.due(new Date("9999-01-01T00:00:00Z"), 10, []);
  const [task] = open;
  if (open.length !== 1 || task?.kind !== kind) throw new Error(`open: ${open.map((one) => one.kind).join(", ")}, expected ${kind}`);
  return task;
}

/** Works until nothing is open, moving the clock to what is due next; at most 100 effects unless said otherwise. */
export async function drain(works: Works, clock: TestClock, most = 100): Promise<readonly Event[]> {
  const events: Event[] = [];
  for (let effects = 0; effects < most; effects += 1) {
    const next = await works.ledger.nextDue([]);
    if (next === null) return events;
    clock.set(new Date(Math.max(next.getTime(), clock.now().getTime())));
    const [task] = await works.ledger.due(clock.now(), 1, []);
    if (task === undefined) throw new Error("nothing is due when something should be");
    const event = await advance(task, works, never);
    if (event !== null) events.push(event);
  }
  throw new Error(`${most} effects were not enough`);
}
