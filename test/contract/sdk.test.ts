/** Extend's own SDK against the sandbox: a client we did not write must work with it. */
import { createReadStream } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Extend, ExtendClient } from "extend-ai";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { type Sandbox, startSandbox } from "../../src/sandbox/sandbox.ts";
import { RAW, UBL } from "../extractor/documents.ts";

/** For other work on the machine; what is waited for comes at once. */
const PATIENT = { timeout: 20_000 };
/** The SDK asks every second at first, whatever it is told. */
const POLLED = { maxWaitMs: 20_000 };

let sandbox: Sandbox;
let client: ExtendClient;

beforeEach(async () => {
  sandbox = await startSandbox({ port: 0, apiKey: "sk_sandbox", pace: { pendingMs: 50, runningMs: 100 }, clock: systemClock });
  client = connect();
});
afterEach(() => sandbox.stop());

const connect = (token = "sk_sandbox", maxRetries = 0) => new ExtendClient({ token, baseUrl: sandbox.extendUrl, maxRetries });
const upload = (name = "invoice.xml", content = UBL) => client.files.upload(new File([content], name), {});
const processed = { status: "PROCESSED", output: { value: { invoice_number: "RE-2026-0815", gross_amount: "119.00" }, metadata: {} } };

describe("files", () => {
  test("a File and a stream are uploaded, found, fetched and deleted", async () => {
    const directory = await mkdtemp(join(tmpdir(), "billhook-sdk-"));
    try {
      await writeFile(join(directory, "token.eml"), RAW);
      const mail = await client.files.upload(createReadStream(join(directory, "token.eml")), { password: "none" });
      expect(mail).toMatchObject({ object: "file", name: "token.eml", type: null, parentFileId: null });
      const file = await upload();
      expect(file).toMatchObject({ name: "invoice.xml", type: "XML" });
      expect((await client.files.list({ nameContains: "token" })).data.map(({ id }) => id)).toEqual([mail.id]);
      const { presignedUrl } = await client.files.retrieve(mail.id);
      expect(await (await fetch(presignedUrl ?? "")).text()).toBe(RAW);
      expect(await client.files.delete(file.id)).toEqual({ id: file.id });
      await expect(client.files.retrieve(file.id)).rejects.toThrow(Extend.NotFoundError);
    } finally {
      await rm(directory, { recursive: true });
    }
  });
});

describe("runs", () => {
  test("create and retrieve", async () => {
    const { id } = await upload();
    const run = await client.extractRuns.create({
      extractor: { id: "ex_1" },
      file: { id },
      priority: 1,
      metadata: { "billhook:key": "k" },
    });
    expect(run).toMatchObject({ object: "extract_run", status: "PENDING", metadata: { "billhook:key": "k" } });
    const now = async () => (await client.extractRuns.retrieve(run.id)).status;
    await expect.poll(now, PATIENT).toBe("PROCESSED");
    expect(await client.extractRuns.retrieve(run.id)).toMatchObject({ ...processed, usage: { totalCredits: 3 } });
    expect(sandbox.counts().extend).toMatchObject({ runs: 1, credits: 3, made: [{ id: run.id, key: "k" }] });
  });

  test("createAndPoll, for one file and for a package", async () => {
    const [xml, body] = [await upload(), await upload("body.txt", "Please find our invoice attached.")];
    expect(await client.extractRuns.createAndPoll({ file: { id: xml.id } }, POLLED)).toMatchObject(processed);
    const run = await client.extractRuns.createAndPoll({ package: { files: [{ id: body.id }, { id: xml.id }] } }, POLLED);
    expect(run).toMatchObject({ ...processed, file: null, files: [{ id: body.id }, { id: xml.id }] });
  });

  test("a run that fails says why", async () => {
    const { id } = await upload("a.txt", "Hello");
    const run = await client.extractRuns.createAndPoll({ file: { id } }, POLLED);
    expect(run).toMatchObject({
      status: "FAILED",
      failureReason: "FAILED_TO_PROCESS_FILE",
      failureMessage: expect.stringContaining("no invoice"),
    });
  });

  test("list, page by page", async () => {
    const made = [];
    for (const key of ["a", "b", "c"])
      made.push((await client.extractRuns.create({ file: { text: UBL }, metadata: { "billhook:key": key } })).id);
    const first = await client.extractRuns.list({ sortBy: "createdAt", sortDir: "asc", maxPageSize: 2 });
    expect(first.data.map(({ id }) => id)).toEqual(made.slice(0, 2));
    const second = await client.extractRuns.list({
      sortBy: "createdAt",
      sortDir: "asc",
      maxPageSize: 2,
      nextPageToken: first.nextPageToken ?? "",
    });
    expect(second.data).toMatchObject([{ id: made[2], metadata: { "billhook:key": "c" } }]);
    expect(second.nextPageToken).toBeUndefined();
  });

  test("a run that takes its time: waited for so long and no longer, cancelled, deleted", async () => {
    await sandbox.stop();
    sandbox = await startSandbox({ port: 0, apiKey: "sk_sandbox", pace: { pendingMs: 0, runningMs: 60_000 }, clock: systemClock });
    client = connect();
    await expect(client.extractRuns.createAndPoll({ file: { text: UBL } }, { maxWaitMs: 100 })).rejects.toMatchObject({ maxWaitMs: 100 });
    const { id } = await client.extractRuns.create({ file: { text: UBL } });
    expect(await client.extractRuns.cancel(id)).toMatchObject({ id, status: "CANCELLED" });
    await expect(client.extractRuns.cancel(id)).rejects.toThrow(Extend.BadRequestError);
    expect(await client.extractRuns.delete(id)).toEqual({ id });
    await expect(client.extractRuns.retrieve(id)).rejects.toThrow(Extend.NotFoundError);
  });

  test("the synchronous extraction", async () => {
    expect(await client.extract({ extractor: { id: "ex_1" }, file: { text: UBL, name: "invoice.xml" } })).toMatchObject(processed);
  });

  test("an extractor", async () => {
    expect(await client.extractors.retrieve("ex_1")).toMatchObject({ object: "extractor", id: "ex_1" });
    await expect(client.extractors.retrieve("7")).rejects.toThrow(Extend.NotFoundError);
  });
});

describe("errors", () => {
  test("the SDK knows each by its class, with the body as documented", async () => {
    await expect(connect("wrong").extractRuns.list()).rejects.toThrow(Extend.UnauthorizedError);
    await expect(client.extractRuns.create({ file: { id: "file_1" } })).rejects.toThrow(Extend.NotFoundError);
    await expect(client.extractRuns.create({})).rejects.toThrow(Extend.UnprocessableEntityError);
    for (const [status, kind, code] of [
      [402, Extend.PaymentRequiredError, "USAGE_BLOCKED"],
      [403, Extend.ForbiddenError, "FORBIDDEN"],
      [429, Extend.TooManyRequestsError, "RATE_LIMIT_EXCEEDED"],
      [500, Extend.InternalServerError, "INTERNAL_ERROR"],
    ] as const) {
      sandbox.faults.add({ call: "extend.create", status });
      const thrown: unknown = await client.extractRuns.create({ file: { text: UBL } }).catch((error: unknown) => error);
      expect(thrown).toBeInstanceOf(kind);
      expect(thrown).toMatchObject({
        statusCode: status,
        body: { code, retryable: status === 429 || status === 500, requestId: expect.any(String) },
      });
    }
    expect(sandbox.counts().extend.runs).toBe(0);
  });

  test("the SDK waits as long as Retry-After says, then goes on", async () => {
    sandbox.faults.add({ call: "extend.list", status: 429, retryAfter: 1 });
    const before = Date.now();
    expect(await connect("sk_sandbox", 2).extractRuns.list()).toMatchObject({ object: "list", data: [] });
    expect(Date.now() - before).toBeGreaterThanOrEqual(950);
  });
});

describe("webhooks", () => {
  test("the SDK verifies and parses what the sandbox sends, in full and by a signed URL", async () => {
    const received: { body: string; headers: Record<string, string> }[] = [];
    const receiver = createServer(async (request, response) => {
      let body = "";
      for await (const chunk of request.setEncoding("utf8")) body += chunk;
      received.push({ body, headers: Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, String(value)])) });
      response.end();
    });
    await new Promise<void>((resolve) => receiver.listen(0, "127.0.0.1", resolve));
    try {
      const endpoint = {
        url: `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`,
        name: "billhook",
        enabledEvents: ["extract_run.processed", "extract_run.failed"],
        apiVersion: "2026-02-09",
      };
      const { signingSecret } = await client.webhookEndpoints.create(endpoint);
      const { id } = await client.extractRuns.create({ file: { text: UBL } });
      await expect.poll(() => received.length, PATIENT).toBe(1);
      const [{ body, headers } = { body: "", headers: {} }] = received;
      expect(client.webhooks.verifyAndParse(body, headers, signingSecret)).toMatchObject({
        eventType: "extract_run.processed",
        payload: { id, ...processed },
      });
      expect(client.webhooks.verify(`${body} `, headers, signingSecret)).toBe(false);
      expect(client.webhooks.verify(body, headers, "wss_other")).toBe(false);

      const byUrl = await client.webhookEndpoints.create({
        ...endpoint,
        advancedOptions: { payload: { format: "url", urlThresholdBytes: 0 } },
      });
      const later = await client.extractRuns.create({ file: { text: UBL } });
      await expect.poll(() => received.length, PATIENT).toBe(3);
      const signed = received.find((one) => one.body.includes("signed_data_url"));
      const event = client.webhooks.verifyAndParse(signed?.body ?? "", signed?.headers ?? {}, byUrl.signingSecret, {
        allowSignedUrl: true,
      });
      if (!client.webhooks.isSignedUrlEvent(event)) throw new Error("expected a signed URL");
      expect(await client.webhooks.fetchSignedPayload(event)).toMatchObject({ payload: { id: later.id, ...processed } });
    } finally {
      receiver.close();
    }
  });
});
