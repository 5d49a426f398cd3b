/** Extend's batches and webhook subscriptions in the sandbox, asked by Extend's own SDK: a client we did not write must work with it. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { Extend, ExtendClient } from "extend-ai";
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { type Sandbox, startSandbox } from "../../src/sandbox/sandbox.ts";
import { type TestClock, testClock, UBL } from "../extractor/documents.ts";

/** For other work on the machine; what is waited for comes at once. */
const PATIENT = { timeout: 20_000 };
const EVENTS = ["extract_run.processed", "extract_run.failed", "batch_processor_run.processed", "batch_processor_run.failed"];

let clock: TestClock;
let sandbox: Sandbox;
let client: ExtendClient;

beforeEach(async () => {
  clock = testClock();
  sandbox = await startSandbox({ port: 0, apiKey: "key", pace: { pendingMs: 1_000, runningMs: 2_000 }, clock });
  client = new ExtendClient({ token: "key", baseUrl: sandbox.extendUrl, maxRetries: 0 });
});
afterEach(() => sandbox.stop());

const extractor = { id: "ex_1" };
const invoice = { file: { text: UBL, name: "invoice.xml" } };
const nothing = { file: { text: "Hello" } };
const order = (...inputs: Extend.ExtractRunsCreateBatchRequestInputsItem[]) => client.extractRuns.createBatch({ extractor, inputs });
const standing = async (id: string) => (await client.batchRuns.get(id)).status;

describe("a batch", () => {
  test("is one run for each input, and stands as they do: PENDING, PROCESSING, PROCESSED", async () => {
    const { id: fileId } = await client.files.upload(new File([UBL], "invoice.xml"), {});
    const batch = await order(
      { ...invoice, metadata: { "billhook:key": "a" } },
      { file: { id: fileId }, metadata: { "billhook:key": "b" } },
    );
    expect(batch).toEqual({
      object: "batch_run",
      id: expect.stringMatching(/^bpr_/),
      status: "PENDING",
      runCount: 2,
      createdAt: "2026-05-04T10:00:00.000Z",
    });
    clock.pass(1_000);
    expect(await standing(batch.id)).toBe("PROCESSING");
    clock.pass(2_000);
    expect(await standing(batch.id)).toBe("PROCESSED");
    const { data } = await client.extractRuns.list({ batchId: batch.id, sortDir: "asc" });
    expect(data).toMatchObject([
      { status: "PROCESSED", extractor, metadata: { "billhook:key": "a" } },
      { status: "PROCESSED", metadata: { "billhook:key": "b" }, file: { id: fileId } },
    ]);
    expect(sandbox.counts().extend).toMatchObject({ runs: 2, credits: 6, made: [{ key: "a" }, { key: "b" }] });
    expect((await client.extractRuns.list({ batchId: "bpr_other" })).data).toEqual([]);
  });

  test("with a run that failed is FAILED, with all of them cancelled CANCELLED", async () => {
    const failing = await order(invoice, nothing);
    clock.pass(1_000);
    const cancelled = await order(invoice);
    clock.pass(1_000);
    for (const { id } of (await client.extractRuns.list({ batchId: cancelled.id })).data) await client.extractRuns.cancel(id);
    clock.pass(9_000);
    expect(await standing(failing.id)).toBe("FAILED");
    expect(await standing(cancelled.id)).toBe("CANCELLED");
  });

  test("that is not well-made is refused whole, with nothing begun", async () => {
    const wrong: [object, number, RegExp][] = [
      [{ inputs: [invoice] }, 422, /^extractor/],
      [{ extractor, inputs: [] }, 422, /^inputs/],
      [{ extractor, inputs: Array(1_001).fill(nothing) }, 422, /^inputs/],
      [{ extractor, inputs: [{ package: { files: [{ id: "file_1" }] } }] }, 422, /^inputs\.0/],
      [{ extractor, inputs: [{ ...invoice, metadata: { note: "x".repeat(10_240) } }] }, 422, /larger than 10 KB/],
      [{ extractor, config: {}, inputs: [invoice] }, 422, /config/],
      [{ extractor, inputs: [invoice], priority: 0 }, 422, /^priority/],
      [{ extractor: { id: "proc_1" }, inputs: [invoice] }, 404, /extractor/],
      [{ extractor, inputs: [invoice, { file: { id: "file_1" } }] }, 404, /file/],
    ];
    for (const [body, statusCode, message] of wrong) {
      const request = client.extractRuns.createBatch(body as Extend.ExtractRunsCreateBatchRequest);
      await expect(request).rejects.toMatchObject({ statusCode, body: { message: expect.stringMatching(message), retryable: false } });
    }
    await expect(client.batchRuns.get("bpr_1")).rejects.toThrow(Extend.NotFoundError);
    expect(sandbox.counts().extend.runs).toBe(0);
  });

  test("fails on order: in each of its runs, before it is begun, or after", async () => {
    sandbox.faults.add({ call: "extend.batch", failureReason: "OUT_OF_CREDITS" });
    const { id } = await order(invoice);
    clock.pass(3_000);
    expect((await client.extractRuns.list({ batchId: id })).data).toMatchObject([{ failureReason: "OUT_OF_CREDITS" }]);
    sandbox.faults.add({ call: "extend.batch", status: 429 });
    await expect(order(invoice)).rejects.toMatchObject({ statusCode: 429 });
    expect(sandbox.counts().extend.runs).toBe(1);
    sandbox.faults.add({ call: "extend.batch", thenStatus: 503 });
    await expect(order(invoice)).rejects.toMatchObject({ statusCode: 503 });
    expect(sandbox.counts().extend.runs).toBe(2);
    sandbox.faults.add({ call: "extend.batch-run", status: 500 });
    await expect(standing(id)).rejects.toThrow(Extend.InternalServerError);
  });
});

describe("webhooks", () => {
  /** A receiver, and what it was told: the event and the ids of its payload. */
  async function receiver(enabledEvents: string[]) {
    const told: [string, unknown][] = [];
    const server = createServer(async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk);
      const { eventType, payload } = JSON.parse(Buffer.concat(chunks).toString());
      told.push([eventType, payload.id]);
      response.end();
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => void server.close());
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    const endpoint = await client.webhookEndpoints.create({ url, name: "billhook", enabledEvents, apiVersion: "2026-02-09" });
    return { told, endpoint };
  }

  test("tell of each run of a batch and then of the batch; of one that failed likewise", async () => {
    const { told } = await receiver(EVENTS);
    const batch = await order(invoice, nothing);
    await expect.poll(() => told.length, PATIENT).toBe(3);
    const ids = (await client.extractRuns.list({ batchId: batch.id, sortDir: "asc" })).data.map(({ id }) => id);
    expect(told).toEqual(
      expect.arrayContaining([
        ["extract_run.processed", ids[0]],
        ["extract_run.failed", ids[1]],
      ]),
    );
    expect(told[2]).toEqual(["batch_processor_run.failed", batch.id]);
  });

  test("tell a subscription of its own extractor, and an endpoint never twice of one event", async () => {
    const { told, endpoint } = await receiver(["extract_run.failed"]);
    const { id, ...subscription } = await client.webhookSubscriptions.create({
      webhookEndpointId: endpoint.id,
      resourceType: "extractor",
      resourceId: "ex_1",
      enabledEvents: ["extract_run.processed", "extract_run.failed"],
    });
    expect(subscription).toMatchObject({ object: "webhook_subscription", webhookEndpointId: endpoint.id, resourceId: "ex_1" });
    const run = (file: Extend.FileFromText, extractorId: string) => client.extractRuns.create({ file, extractor: { id: extractorId } });
    await run(invoice.file, "ex_2");
    const failed = await run(nothing.file, "ex_1");
    await expect.poll(() => told, PATIENT).toEqual([["extract_run.failed", failed.id]]);
    const processed = await run(invoice.file, "ex_1");
    await expect.poll(() => told.slice(1), PATIENT).toEqual([["extract_run.processed", processed.id]]);
    await client.webhookSubscriptions.update(id, { enabledEvents: ["extract_run.failed"] });
    await run(invoice.file, "ex_1");
    const last = await run(nothing.file, "ex_1");
    await expect.poll(() => told.slice(2), PATIENT).toEqual([["extract_run.failed", last.id]]);
  });

  test("endpoints and subscriptions are listed, looked at, changed and removed; the secret is told once", async () => {
    const { endpoint } = await receiver(EVENTS);
    expect(endpoint.signingSecret).toMatch(/^wss_/);
    const { signingSecret, ...known } = endpoint;
    expect(await client.webhookEndpoints.retrieve(endpoint.id)).toEqual(known);
    expect(await client.webhookEndpoints.update(endpoint.id, { status: "disabled" })).toEqual({ ...known, status: "disabled" });
    expect((await client.webhookEndpoints.list({ status: "enabled" })).data).toEqual([]);
    expect((await client.webhookEndpoints.list()).data).toMatchObject([{ id: endpoint.id, status: "disabled" }]);

    const enabledEvents: Extend.WebhookSubscriptionEventType[] = ["extract_run.processed"];
    const wanted = { webhookEndpointId: endpoint.id, resourceType: "extractor", resourceId: "ex_1", enabledEvents };
    const { id } = await client.webhookSubscriptions.create(wanted);
    expect(await client.webhookSubscriptions.retrieve(id)).toMatchObject(wanted);
    expect((await client.webhookSubscriptions.list({ resourceId: "ex_1" })).data).toMatchObject([{ id }]);
    expect((await client.webhookSubscriptions.list({ webhookEndpointId: "wh_other" })).data).toEqual([]);
    expect(await client.webhookSubscriptions.delete(id)).toEqual({ id });
    const { id: second } = await client.webhookSubscriptions.create(wanted);
    expect(await client.webhookEndpoints.delete(endpoint.id)).toEqual({ id: endpoint.id });
    for (const gone of [client.webhookEndpoints.retrieve(endpoint.id), client.webhookSubscriptions.retrieve(second)]) {
      await expect(gone).rejects.toThrow(Extend.NotFoundError);
    }
    await expect(client.webhookSubscriptions.create(wanted)).rejects.toThrow(Extend.NotFoundError);
    const workflow = { ...wanted, resourceType: "workflow" };
    await expect(client.webhookSubscriptions.create(workflow)).rejects.toThrow(Extend.UnprocessableEntityError);
  });
});
