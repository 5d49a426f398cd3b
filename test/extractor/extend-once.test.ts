/** Whatever fails and whenever the process dies: a document is bought once, or the second time is counted. */
import type { ServerResponse } from "node:http";
import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { Fault } from "../../src/base/errors.ts";
import type { Memo, Progress } from "../../src/extractor/extractor.ts";
import { createHttp } from "../../src/http/http.ts";
import { type Asked, json, startScriptedHttp } from "../servers/scripted-http.ts";
import { documentOf, piece, testClock } from "./documents.ts";
import { extend, never } from "./extend-service.ts";

/** What happens to a call: `done` is whether it took effect. */
type Mishap = { readonly done: boolean; readonly how: "fine" | "cut" | "html" | 429 | 500 | 503 };
/** When the process dies in a call of advance(): an order about to be sent, before or after the memo is saved. */
type Death = "none" | "sending" | "before" | "after";
type Life = {
  readonly mishaps: readonly Mishap[];
  readonly deaths: readonly Death[];
  /** How long a list does not show a new run. */
  readonly lagMs: number;
};

const unanswered: fc.Arbitrary<Mishap> = fc.oneof(
  fc.constant({ done: true, how: "fine" } as const),
  fc.record({ done: fc.boolean(), how: fc.constant("cut" as const) }),
  fc.constant({ done: true, how: "html" } as const),
  fc.constant({ done: false, how: 429 } as const),
);
const mishap: fc.Arbitrary<Mishap> = fc.oneof(
  { weight: 2, arbitrary: unanswered },
  { weight: 1, arbitrary: fc.record({ done: fc.boolean(), how: fc.constantFrom(500 as const, 503 as const) }) },
);
const death = fc.constantFrom<Death>("none", "sending", "before", "after");
const life = (lagMs: fc.Arbitrary<number>, one = mishap): fc.Arbitrary<Life> =>
  fc.record({ mishaps: fc.array(one, { maxLength: 14 }), deaths: fc.array(death, { maxLength: 20 }), lagMs });

let clock = testClock();
let mishaps: Mishap[] = [];
let lagMs = 0;
let files = 0;
/** Those about to be sent. */
let orders = 0;
let runs: { readonly id: string; readonly metadata: unknown; readonly madeMs: number }[] = [];

/** The service as far as it matters here. */
function answer(asked: Asked, response: ServerResponse): void {
  const { done, how } = mishaps.shift() ?? { done: true, how: "fine" };
  const effect = done ? effectOf(asked) : {};
  if (how === "fine") json(response, 200, effect);
  else if (how === "cut") response.destroy();
  else if (how === "html") response.writeHead(200, { "content-type": "text/html" }).end("<html>");
  else json(response, how, { code: "X", message: "no", retryable: true }, how === 503 ? { "retry-after": "5" } : {});
}

function effectOf({ method, path, body }: Asked): unknown {
  if (path === "/files/upload") return { id: `file_${++files}` };
  if (method === "POST") {
    const run = { id: `exr_${runs.length + 1}`, metadata: JSON.parse(String(body)).metadata, madeMs: clock.now().getTime() };
    runs.push(run);
    return { id: run.id, status: "PENDING" };
  }
  if (!path.startsWith("/extract_runs?")) return { status: "PROCESSED", output: { value: { run: path.split("/").at(-1) } } };
  const shown = runs.filter(({ madeMs }) => madeMs + lagMs <= clock.now().getTime());
  return { data: shown.map(({ madeMs, ...run }) => ({ ...run, createdAt: new Date(madeMs).toISOString() })).reverse() };
}

const server = await startScriptedHttp(answer);
const http = createHttp({ name: "extend", connections: 1, timeoutMs: 2_000 });
afterAll(() => Promise.all([http.close(), server.stop()]));
const document = documentOf(piece("text", "text.txt", "text/plain", "Dear Sir"), piece("2", "a.pdf", "application/pdf", "%PDF"));

async function live({ mishaps: some, deaths, lagMs: lag }: Life): Promise<Progress> {
  clock = testClock();
  mishaps = [...some];
  lagMs = lag;
  files = 0;
  orders = 0;
  runs = [];
  let process = extend(server.url, { clock, http }, {});
  let saved: { readonly memo: Memo | null; readonly begun: boolean } = { memo: null, begun: false };
  for (let call = 0; call < 200; call += 1) {
    const { memo, begun } = saved;
    const death = deaths[call] ?? "none";
    const dead = new Error("the process is gone");
    const buying = async () => {
      saved = { memo, begun: true };
      orders += 1;
      if (death === "sending") throw dead;
    };
    const progress = begun
      ? process.interrupted?.(memo)
      : await process.advance(document, memo, "the key", never, buying).catch((thrown: unknown) => {
          if (thrown === dead) return null;
          if (thrown instanceof Fault && thrown.temporary) return thrown;
          throw thrown;
        });
    if (progress === undefined) throw new Error("unreachable");
    if (death !== "before" && progress !== null) {
      if (progress instanceof Fault) {
        saved = { memo, begun: false };
        clock.set(new Date(Math.max(progress.retryAt?.getTime() ?? 0, clock.now().getTime() + 30_000)));
      } else if (progress.is !== "going") return progress;
      else {
        saved = { memo: JSON.parse(JSON.stringify(progress.memo)) as Memo, begun: false };
        clock.set(new Date(Math.max(progress.nextAt.getTime(), clock.now().getTime())));
      }
    }
    if (death !== "none") process = extend(server.url, { clock, http }, {});
  }
  throw new Error("200 calls were not enough");
}

test("while lists show a run within 29 s, it is bought exactly once, and that is its answer", async () => {
  await fc.assert(
    fc.asyncProperty(life(fc.constantFrom(0, 1_000, 7_000, 15_000, 29_000)), async (one) => {
      const end = await live(one);
      if (end.is === "answered") {
        expect(runs).toHaveLength(1);
        expect(end.answer.data).toEqual({ run: "exr_1" });
      } else {
        expect(end).toMatchObject({ is: "refused", fault: { code: "extend.ambiguous" } });
        expect(runs.length, "it was asked for twice and never made").toBe(0);
      }
      expect(end.memo?.possiblyTwice).toBeLessThanOrEqual(Math.max(0, orders - 1));
    }),
    { numRuns: 300 },
  );
});

const atMostTwice = async (one: Life) => {
  const { memo } = await live(one);
  expect(runs.length).toBeLessThanOrEqual(2);
  expect(runs.length).toBeLessThanOrEqual(1 + Number(memo?.possiblyTwice));
};

test("while they show it within ten minutes, it is bought at most twice, and the second time is counted", async () => {
  await fc.assert(fc.asyncProperty(life(fc.constantFrom(31_000, 120_000, 599_000)), atMostTwice), { numRuns: 300 });
});

test("where they never show it, the same holds for orders whose answers are lost", async () => {
  await fc.assert(fc.asyncProperty(life(fc.constant(Number.MAX_SAFE_INTEGER), unanswered), atMostTwice), { numRuns: 300 });
});
