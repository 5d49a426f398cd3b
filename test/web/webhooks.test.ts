/** Webhooks over real HTTP into a real ledger: a genuine one wakes the worker, nothing else does anything. */
import { createHmac } from "node:crypto";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { describe, expect, onTestFinished, test } from "vitest";
import { Fault } from "../../src/base/errors.ts";
import type { Fields, Logger } from "../../src/base/logger.ts";
import { createWorker } from "../../src/daemon/worker.ts";
import type { Extractor, Progress } from "../../src/extractor/extractor.ts";
import { createHttp } from "../../src/http/http.ts";
import { advance } from "../../src/pipeline/pipeline.ts";
import type { Works } from "../../src/pipeline/step.ts";
import { startWeb } from "../../src/web/web.ts";
import { webhookRoute } from "../../src/web/webhooks.ts";
import { testClock } from "../extractor/documents.ts";
import { extend } from "../extractor/extend-service.ts";
import { arrive, extractorOf, openTask, sinkOf, sourceOf, worksIn } from "../pipeline/works.ts";
import { temporaryDirectory } from "../store/disk.ts";

const SECRET = "wss_test";
const never = new AbortController().signal;

type Said = { readonly level: string; readonly name: string; readonly fields: Fields };

/** A run that waits for an hour, and answers when it is asked after. */
async function stage(verifyWebhook?: Extractor["verifyWebhook"]) {
  const clock = testClock();
  const http = createHttp({ name: "extend", connections: 1, timeoutMs: 1_000 });
  const genuine = extend("http://127.0.0.1:1", { clock, http }, { webhookSecret: SECRET }).verifyWebhook;
  const made = extractorOf(({ memo }): Progress => {
    const nextAt = new Date(clock.now().getTime() + 3_600_000);
    if (memo === null) return { is: "going", memo: { runId: "exr_1" }, nextAt };
    const answer = { runId: "exr_1", data: {}, credits: 3, reasoning: null, review: null, raw: {} };
    return { is: "answered", memo, answer };
  });
  const verify = verifyWebhook ?? genuine;
  const extractor: Extractor = { ...made.extractor, ...(verify === undefined ? {} : { verifyWebhook: verify }) };
  const { works } = await worksIn(await temporaryDirectory(), {
    extractor,
    sinks: [sinkOf("files").sink],
    source: sourceOf("invoices").source,
    clock,
  });
  const said: Said[] = [];
  const log: Logger = { event: (level, name, fields = {}) => void said.push({ level, name, fields }) };
  const order: string[] = [];
  let wake = () => {};
  const route = webhookRoute({
    works,
    log,
    wake: () => {
      order.push("woken");
      wake();
    },
  });
  const web = await startWeb({ host: "127.0.0.1", port: 0, log, routes: [route] });
  onTestFinished(async () => {
    await web.stop();
    await http.close();
    await works.ledger.close();
  });
  const message = await arrive(works, "01-single-pdf");
  await advance(await openTask(works, "split"), works, never);
  await advance(await openTask(works, "extract"), works, never);

  const post = async (body: string, headers: Record<string, string> = signatureOf(body), service = "service") => {
    const answer = await fetch(`http://127.0.0.1:${web.port}/webhooks/${service}`, { method: "POST", body, headers });
    return [answer.status, await answer.json()];
  };
  const signatureOf = (body: string, secret = SECRET) => {
    const at = String(Math.floor(clock.now().getTime() / 1_000));
    const signature = createHmac("sha256", secret).update(`v0:${at}:${body}`).digest("hex");
    return { "x-extend-request-timestamp": at, "x-extend-request-signature": signature };
  };
  const onWake = (act: () => void) => {
    wake = act;
  };
  return { works, clock, message, port: web.port, post, signatureOf, said, order, log, onWake };
}

const event = (eventId: string, runId: string) =>
  JSON.stringify({
    eventId,
    eventType: "extract_run.processed",
    payload: { object: "extract_run", id: runId, iban: "DE90999000100000147001" },
  });
const due = async (works: Works, now: Date) => (await works.ledger.due(now, 9, [])).map(({ kind }) => kind);

describe("a webhook", () => {
  test("that is genuine makes the poll of its run due now; a repeat is a repeat and wakes nobody", async () => {
    const { works, clock, post, order, said } = await stage();
    expect(await due(works, clock.now())).toEqual([]);
    expect(await post(event("e1", "exr_1"))).toEqual([200, { heard: "due" }]);
    expect(await due(works, clock.now())).toEqual(["extract"]);
    expect(await post(event("e1", "exr_1"))).toEqual([200, { heard: "repeat" }]);
    expect(order).toEqual(["woken"]);
    expect(said.map(({ name, fields }) => [name, fields.meaning])).toEqual([
      ["webhook.heard", "due"],
      ["webhook.heard", "repeat"],
    ]);
  });

  test("wakes the worker from its nap: asked after, answered and delivered before any clock has moved", async () => {
    const { works, clock, message, post, onWake, log } = await stage();
    // A nap ends when it is woken, never by itself.
    const napping: Works = {
      ...works,
      clock: {
        ...clock,
        sleep: (_ms, signal) =>
          new Promise((resolve) => {
            if (signal?.aborted) return resolve();
            signal?.addEventListener("abort", () => resolve(), { once: true });
          }),
      },
    };
    const stop = new AbortController();
    const order: string[] = [];
    const over = new Promise<void>((resolve) => {
      const worker = createWorker({
        works: napping,
        concurrency: 2,
        log,
        clock: napping.clock,
        tell: ({ what }) => {
          order.push(what);
          worker.wake();
          if (what === "settle.done") resolve();
        },
      });
      onWake(() => {
        order.push("woken");
        worker.wake();
      });
      const running = worker.run(stop.signal, never);
      onTestFinished(async () => {
        stop.abort();
        await running;
      });
    });
    expect(await post(event("e1", "exr_1"))).toEqual([200, { heard: "due" }]);
    await over;
    expect(order).toEqual(["woken", "extract.done", "deliver.done", "settle.done"]);
    expect(await works.ledger.runs(message)).toMatchObject([{ runId: "exr_1", credits: 3 }]);
  });

  test.each([
    ["a run that is not ours", event("e2", "exr_other")],
    ["something that is no run", JSON.stringify({ eventId: "e2", eventType: "workflow.created", payload: { object: "workflow" } })],
  ])("of %s is heard, and changes nothing", async (_what, body) => {
    const { works, clock, post, order } = await stage();
    expect(await post(body)).toEqual([200, { heard: "unknown" }]);
    expect(await due(works, clock.now())).toEqual([]);
    expect(order).toEqual([]);
  });

  test("of a run that is over changes nothing", async () => {
    const { works, clock, message, post } = await stage();
    clock.pass(3_600_000);
    await advance(await openTask(works, "extract"), works, never);
    const before = await works.ledger.tasks(message);
    expect(await post(event("e3", "exr_1"))).toEqual([200, { heard: "unknown" }]);
    expect(await works.ledger.tasks(message)).toEqual(before);
  });

  test("that is not genuine is 401 and changes nothing; its event may still come for real", async () => {
    const { works, clock, post, signatureOf, said } = await stage();
    const body = event("e1", "exr_1");
    for (const headers of [{}, signatureOf(body, "wss_other"), signatureOf(event("e1", "exr_2"))]) {
      expect(await post(body, headers)).toEqual([401, { error: "not genuine" }]);
    }
    expect(await due(works, clock.now())).toEqual([]);
    expect(said.map(({ name, fields }) => [name, fields.fault])).toEqual([["webhook.refused", "extend.webhook"]]);
    expect(await post(body)).toEqual([200, { heard: "due" }]);
  });

  test("that is refused is one line a minute, with how many were left out before it", async () => {
    const { clock, post, said } = await stage();
    const counts = () => said.map(({ level, fields }) => [level, fields.leftOut]);
    for (let n = 0; n < 5; n += 1) await post("{}", {});
    expect(counts()).toEqual([["warn", undefined]]);
    clock.pass(60_000);
    await post("{}", {});
    await post("{}", {});
    expect(counts().slice(1)).toEqual([["warn", 4]]);
    // Set back by an hour, it is not silent for an hour.
    clock.pass(-3_600_000);
    await post("{}", {});
    expect(counts().slice(2)).toEqual([["warn", 1]]);
  });

  test("of more than 1 MB is not heard, genuine as it may be", async () => {
    const { works, clock, post } = await stage();
    const large = event("e1", "exr_1").replace("}}", `,"more":"${"x".repeat(1024 * 1024)}"}}`);
    // It is answered 413 and cut off; which of the two the client sees first is chance.
    expect(await post(large).catch(() => [413])).toMatchObject({ 0: 413 });
    expect(await due(works, clock.now())).toEqual([]);
    expect(await post(event("e1", "exr_1"))).toEqual([200, { heard: "due" }]);
  });

  test("whose headers cannot be genuine is 401 before its body is sent", async () => {
    const { said, port } = await stage();
    const socket = connect(port, "127.0.0.1");
    onTestFinished(() => void socket.destroy());
    socket.write("POST /webhooks/service HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
    expect(await text(socket)).toMatch(/^HTTP\/1.1 401 /);
    expect(said.map(({ fields }) => fields.fault)).toEqual(["extend.webhook"]);
  });

  test("that was heard before is not followed to its payload again", async () => {
    const asked: boolean[] = [];
    const { post } = await stage(async ({ isRepeat }) => {
      asked.push(await isRepeat("e1"));
      return { eventId: "e1", runId: "exr_1" };
    });
    expect(await post("{}")).toEqual([200, { heard: "due" }]);
    expect(await post("{}")).toEqual([200, { heard: "repeat" }]);
    expect(asked).toEqual([false, true]);
  });

  test("whose payload cannot be had now is 503: the service sends it again", async () => {
    const { post } = await stage(async () => {
      throw new Fault("extend.webhook-payload", "the payload was answered 403");
    });
    expect((await post("{}"))[0]).toBe(503);
  });

  test.each(["", "other", "service/x", "__proto__", "toString"])("for a service named %j is 404", async (service) => {
    const { post } = await stage();
    expect((await post(event("e1", "exr_1"), undefined, service))[0]).toBe(404);
  });

  test("that the ledger cannot take is 500, so that it comes again", async () => {
    const { works, post } = await stage();
    await works.ledger.close();
    expect((await post(event("e1", "exr_1")))[0]).toBe(500);
  });

  test("leaves nothing of its body and no secret in the log", async () => {
    const { clock, post, signatureOf, said } = await stage();
    const body = event("e1", "exr_1");
    await post(body);
    await post(body, signatureOf(body, "wss_other"));
    clock.pass(60_000);
    await post("DE90999000100000147001 is no JSON");
    expect(said).toHaveLength(3);
    const logged = JSON.stringify(said);
    for (const secret of ["DE90999", "wss_", signatureOf(body)["x-extend-request-signature"]]) expect(logged).not.toContain(secret);
  });
});
