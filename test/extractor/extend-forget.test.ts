/** What Extend was given and what it made of it is deleted there: all of it, again without harm, and said when it is not. */
import type { ServerResponse } from "node:http";
import { afterEach, expect, test } from "vitest";
import { createHttp } from "../../src/http/http.ts";
import { type Asked, json, startScriptedHttp } from "../servers/scripted-http.ts";
import { testClock } from "./documents.ts";
import { extend, never } from "./extend-service.ts";

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

async function service(answer: (asked: Asked, response: ServerResponse, nth: number) => void) {
  const server = await startScriptedHttp(answer);
  const http = createHttp({ name: "extend", connections: 1, timeoutMs: 2_000 });
  cleanups.push(http.close, server.stop);
  const asked = () => server.asked.map(({ method, path }) => `${method} ${path}`);
  return { extractor: extend(server.url, { clock: testClock(), http }, {}), asked };
}

const memo = {
  step: "running",
  files: ["file_1", "file_2"],
  skipped: [],
  past: ["exr_1"],
  reruns: 1,
  possiblyTwice: 0,
  runId: "exr_2",
  place: true,
};
const ALL = ["DELETE /extract_runs/exr_1", "DELETE /extract_runs/exr_2", "DELETE /files/file_1", "DELETE /files/file_2"];

test("every run and every file is deleted, the runs first", async () => {
  const { extractor, asked } = await service((_, response) => json(response, 200, { id: "x" }));
  await extractor.forget?.(memo, never);
  expect(asked()).toEqual(ALL);
});

test("what is not there any more is deleted", async () => {
  const { extractor, asked } = await service((_, response) => json(response, 404, { code: "NOT_FOUND" }));
  await extractor.forget?.(memo, never);
  expect(asked()).toEqual(ALL);
});

test.each([
  [500, "extend.unavailable"],
  [401, "extend.unauthorized"],
  [422, "extend.refused"],
])("an answer of %i is no deletion", async (status, code) => {
  const { extractor } = await service((_, response, nth) => json(response, nth === 1 ? status : 200, {}));
  await expect(extractor.forget?.(memo, never)).rejects.toMatchObject({ code });
});

test("nothing was uploaded, nothing is asked", async () => {
  const { extractor, asked } = await service(() => {});
  await extractor.forget?.({ step: "upload", files: [], skipped: [], past: [], reruns: 0, possiblyTwice: 0 }, never);
  expect(asked()).toEqual([]);
});
