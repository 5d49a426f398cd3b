/** Extend's webhooks: only a genuine one counts, and it tells which run to ask after. */
import { createHmac } from "node:crypto";
import { afterEach, describe, expect, test } from "vitest";
import { verified } from "../../src/extractor/extend/webhook.ts";
import type { WebhookRequest } from "../../src/extractor/extractor.ts";
import { createHttp } from "../../src/http/http.ts";
import { json, startScriptedHttp } from "../servers/scripted-http.ts";
import { testClock } from "./documents.ts";
import { extend, never } from "./extend-service.ts";

const SECRET = "wss_test";
const AT = 1_700_000_000;
const now = (shiftS = 0) => new Date((AT + shiftS) * 1_000);
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

function signed(body: unknown, secret = SECRET) {
  const bytes = Buffer.from(typeof body === "string" ? body : JSON.stringify(body));
  const signature = createHmac("sha256", secret).update(`v0:${AT}:`).update(bytes).digest("hex");
  return { headers: { "x-extend-request-timestamp": String(AT), "x-extend-request-signature": signature }, bytes };
}

function request({ headers, bytes }: { headers: WebhookRequest["headers"]; bytes: Buffer }, isRepeat = false): WebhookRequest {
  return { headers, body: async () => bytes, isRepeat: async () => isRepeat };
}
const verify = (given: Parameters<typeof request>[0], at = now()) => verified(request(given), SECRET, at);

const run = { eventId: "event_1", eventType: "extract_run.processed", payload: { object: "extract_run", id: "exr_1" } };

test("the signature of the contract's test vector is right: it is the event that is missing", async () => {
  const headers = {
    "x-extend-request-timestamp": "1700000000",
    "x-extend-request-signature": "7fdd380a158e728269a758d61dc872912331405048991e36e2900530f78372b3",
  };
  await expect(verify({ headers, bytes: Buffer.from('{"a":1}') })).rejects.toThrow(/no event with an eventId/);
  await expect(verify({ headers, bytes: Buffer.from('{"a":2}') })).rejects.toThrow(/does not match/);
});

test.each([
  [run, "exr_1"],
  [{ ...run, payload: { object: "parse_run", id: "pr_1" } }, null],
  [{ ...run, payload: { object: "extract_run", id: "../other" } }, null],
  [{ ...run, payload: null }, null],
  [{ eventId: "event_1" }, null],
])("%o speaks of run %s", async (event, runId) => {
  expect(await verify(signed(event))).toEqual({ eventId: "event_1", runId, payloadUrl: null });
});

test("a signature in capitals counts too", async () => {
  const { headers, bytes } = signed(run);
  const capitals = { ...headers, "x-extend-request-signature": headers["x-extend-request-signature"]?.toUpperCase() };
  expect((await verify({ headers: capitals, bytes })).runId).toBe("exr_1");
});

test.each([300, 0, -60])("signed %i s ago: accepted", async (ageS) => {
  expect((await verify(signed(run), now(ageS))).eventId).toBe("event_1");
});

describe("not accepted, for good:", () => {
  const { headers, bytes } = signed(run);
  const altered = Buffer.from(bytes);
  altered.writeUInt8((altered[5] ?? 0) ^ 1, 5);
  type Case = [string, Parameters<typeof request>[0], number];
  const byHeaders: Case[] = [
    ["too old", { headers, bytes }, 301],
    ["from the future", { headers, bytes }, -61],
    ["no headers", { headers: {}, bytes }, 0],
    ["a timestamp that is none", { headers: { ...headers, "x-extend-request-timestamp": "1e9" }, bytes }, 0],
    ["a short signature", { headers: { ...headers, "x-extend-request-signature": "00" }, bytes }, 0],
  ];
  const byBody: Case[] = [
    ["another secret", signed(run, "wss_other"), 0],
    ["one bit of the body", { headers, bytes: altered }, 0],
    ["another timestamp", { headers: { ...headers, "x-extend-request-timestamp": String(AT + 1) }, bytes }, 0],
    ["not JSON", signed("<html>"), 0],
    ["no eventId", signed({ payload: run.payload }), 0],
    ["a payload over http", signed({ eventId: "e", payload: { object: "signed_data_url", data: "http://example.com/x" } }), 0],
    ["a payload from a file", signed({ eventId: "e", payload: { object: "signed_data_url", data: "file:///etc/passwd" } }), 0],
    ["a payload with a password", signed({ eventId: "e", payload: { object: "signed_data_url", data: "https://a:b@example.com/" } }), 0],
    ["a payload from nowhere", signed({ eventId: "e", payload: { object: "signed_data_url" } }), 0],
  ];
  test.each([...byHeaders, ...byBody])("%s", async (_, given, ageS) => {
    const thrown = await verify(given, now(ageS)).catch((error: unknown) => error);
    expect(thrown).toMatchObject({ code: "extend.webhook", temporary: false });
    expect(String(thrown)).not.toContain("wss_");
  });

  test.each(byHeaders)("%s: the body is not even read", async (_, given, ageS) => {
    let isRead = false;
    const body = async () => {
      isRead = true;
      return given.bytes;
    };
    await expect(verified({ headers: given.headers, body }, SECRET, now(ageS))).rejects.toMatchObject({ code: "extend.webhook" });
    expect(isRead).toBe(false);
  });
});

describe("a payload behind a signed URL", () => {
  async function follow(status: number, payload: unknown, isRepeat = false) {
    const server = await startScriptedHttp((_, response) => json(response, status, payload));
    const http = createHttp({ name: "extend", connections: 1, timeoutMs: 2_000 });
    cleanups.push(http.close, server.stop);
    const extractor = extend(server.url, { clock: testClock(now().toISOString()), http }, { webhookSecret: SECRET });
    const data = `${server.url}/payload?signature=secret`;
    const pointing = signed({ ...run, payload: { object: "signed_data_url", id: "exr_1", data } });
    const told = extractor.verifyWebhook?.(request(pointing, isRepeat), never);
    return { server, told };
  }

  test("is fetched, without the API key, and tells the run", async () => {
    const { server, told } = await follow(200, { object: "extract_run", id: "exr_9" });
    expect(await told).toEqual({ eventId: "event_1", runId: "exr_9" });
    expect(server.asked).toMatchObject([{ method: "GET", path: "/payload?signature=secret" }]);
    expect(server.asked[0]?.headers.authorization).toBeUndefined();
  });

  test("is not fetched for an event that was heard before", async () => {
    const { server, told } = await follow(200, { object: "extract_run", id: "exr_9" }, true);
    expect(await told).toEqual({ eventId: "event_1", runId: null });
    expect(server.asked).toEqual([]);
  });

  test.each([
    [403, {}],
    [302, {}],
    [200, "text"],
  ])("answered %i %o: a temporary fault without the URL's secret", async (status, payload) => {
    const { told } = await follow(status, payload);
    const fault = await told?.catch((thrown: unknown) => thrown);
    expect(fault).toMatchObject({ code: "extend.webhook-payload", temporary: true });
    expect(String(fault)).not.toContain("signature=");
  });
});

test("without a secret there are no webhooks", () => {
  const http = createHttp({ name: "extend", connections: 1, timeoutMs: 1_000 });
  cleanups.push(http.close);
  expect(extend("http://127.0.0.1:1", { clock: testClock(), http }, {}).verifyWebhook).toBeUndefined();
});
