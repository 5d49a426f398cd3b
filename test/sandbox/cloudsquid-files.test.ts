/** The sandbox keeps Cloudsquid's files: paths, folders, signed URLs, and documents sent by such a URL. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Sandbox, startSandbox } from "../../src/sandbox/sandbox.ts";
import { RAW, type TestClock, testClock, UBL } from "../extractor/documents.ts";

const TABLE = "tables/3c90c3cc-0d44-4b50-8888-8dd25736052a";
const MINUTES = 60_000;

let clock: TestClock;
let sandbox: Sandbox;
beforeEach(async () => {
  clock = testClock();
  sandbox = await startSandbox({ port: 0, apiKey: "key", pace: { pendingMs: 0, runningMs: 0 }, clock, maxRequestBytes: 10_000 });
});
afterEach(() => sandbox.stop());

type Json = Record<string, unknown>;
type Answer = { readonly status: number; readonly json: Json };

async function ask(method: string, path: string, body?: unknown, project = "Accounts / Payable"): Promise<Answer> {
  const response = await fetch(`${sandbox.url}/projects/${encodeURIComponent(project)}/${path}`, {
    method,
    headers: { "X-API-Key": "key" },
    ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  return { status: response.status, json: (await response.json()) as Json };
}

const mail = { filename: "m.eml", mimetype: "message/rfc822", file_type: "binary", file: Buffer.from(RAW).toString("base64") };
const put = (path: string, body: unknown = mail) => ask("PUT", `files?path=${encodeURIComponent(path)}`, body);
const get = (path: string, project?: string) => ask("GET", `files?path=${encodeURIComponent(path)}`, undefined, project);
const urlOf = async (path: string) => (await get(path)).json.url as string;
const byUrl = (url: unknown) => ({ ...mail, file_type: "uri", file: url });
const file = { ftype: "file", name: "m.eml", size: RAW.length, mimetype: "message/rfc822", modified_at: "2026-05-04T10:00:00.000Z" };

describe("paths", () => {
  test("a file is put, is read at its path and only there, and makes its folders", async () => {
    const signed = { ...file, url: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+\//) };
    expect(await put("/billhook/2026/m.eml")).toEqual({ status: 201, json: signed });
    expect(await get("/billhook/2026/m.eml")).toEqual({ status: 200, json: signed });
    await put("/billhook/other.eml");
    expect((await get("/billhook/2026")).json).toEqual({ ftype: "folder", name: "2026", entries: [file] });
    expect((await get("/billhook")).json).toEqual({
      ftype: "folder",
      name: "billhook",
      entries: [
        { ftype: "folder", name: "2026" },
        { ...file, name: "other.eml" },
      ],
    });
    expect((await get("/")).json).toEqual({ ftype: "folder", name: "/", entries: [{ ftype: "folder", name: "billhook" }] });
    expect((await get("/", "other")).json).toEqual({ ftype: "folder", name: "/", entries: [] });
    expect((await get("/billhook/2026/m.eml", "other")).status).toBe(404);
    for (const path of ["/bill", "/billhook/2026/m", "/billhook/2026/m.eml/x"]) expect((await get(path)).status, path).toBe(404);
    expect(sandbox.counts()).toMatchObject({ stores: 2, uploads: 0, rows: [] });
  });

  test("409 for a path that is taken, by a file or a folder, or that leads through a file; what is there stays", async () => {
    await put("/a/b.eml");
    for (const path of ["/a/b.eml", "/a", "/a/b.eml/c.eml"]) {
      expect(await put(path, { ...mail, file: "Zm9v" }), path).toMatchObject({ status: 409, json: { errorMessage: expect.any(String) } });
    }
    expect((await put("/a/b")).status).toBe(201);
    expect((await get("/a/b.eml")).json).toMatchObject({ size: RAW.length });
    expect(sandbox.counts().stores).toBe(2);
  });

  test.each(["", "/", "a.eml", "/a/", "//a", "/a/../b", "/./a"])("400 for the path %j", async (path) => {
    expect(await put(path)).toMatchObject({ status: 400, json: { errorMessage: expect.stringContaining("path") } });
    if (path !== "/") expect((await get(path)).status).toBe(400);
  });

  test.each([
    ["{", "not JSON"],
    [{ ...mail, mimetype: "text/html" }, "mimetype"],
    [{ ...mail, file: "Zm9" }, "expected base64"],
    [{ ...mail, file_type: "multipart", file: [mail] }, "file_type"],
    [byUrl("https://example.com/m.eml"), "fetches nothing"],
  ])("400 for the file %#: %s", async (body, said) => {
    expect(await put("/a.eml", body)).toMatchObject({ status: 400, json: { errorMessage: expect.stringContaining(said) } });
    expect((await get("/a.eml")).status).toBe(404);
  });

  test("405 for other methods; faults on order reach each call", async () => {
    expect((await ask("DELETE", "files?path=/a")).status).toBe(405);
    sandbox.faults.add({ call: "store", status: 500 });
    sandbox.faults.add({ call: "file", status: 503 });
    sandbox.faults.add({ call: "signed", status: 502 });
    expect((await put("/a")).status).toBe(500);
    await put("/a");
    expect((await get("/a")).status).toBe(503);
    const url = await urlOf("/a");
    expect((await fetch(url)).status).toBe(502);
    expect((await fetch(url, { method: "POST" })).status).toBe(405);
    expect((await fetch(url)).status).toBe(200);
  });

  test("what is not held any more is forgotten, oldest first", async () => {
    const paths = Array.from({ length: 60 }, (_, nth) => `/${nth}.eml`);
    for (const path of paths) expect((await put(path)).status).toBe(201);
    const { entries } = (await get("/")).json as { entries: { name: string }[] };
    expect(entries.length).toBeLessThan(60);
    expect(entries.map(({ name }) => `/${name}`)).toEqual(paths.slice(-entries.length));
  });
});

describe("signed URLs", () => {
  test("open without the key for 15 minutes, and only as they were signed", async () => {
    await put("/a.eml");
    await put("/b.eml");
    const [url, other] = [await urlOf("/a.eml"), await urlOf("/b.eml")];
    const opened = await fetch(url);
    expect([opened.headers.get("content-type"), await opened.text()]).toEqual(["message/rfc822", RAW]);
    const forged = [
      url.replace(/.$/, (last) => (last === "0" ? "1" : "0")),
      url.replace(/expires=\d+/, "expires=9999999999999"),
      url.replace(/\?.*/, ""),
      new URL(other).origin + new URL(other).pathname + new URL(url).search,
    ];
    for (const one of forged) expect((await fetch(one)).status, one).toBe(403);
    clock.pass(15 * MINUTES - 1);
    expect((await fetch(url)).status).toBe(200);
    clock.pass(1);
    expect((await fetch(url)).status).toBe(403);
    expect((await fetch(await urlOf("/a.eml"))).status).toBe(200);
  });

  test("a document sent by its URL is read like any other, in both ways, and as a file", async () => {
    await put("/a.eml");
    const url = await urlOf("/a.eml");
    const { row_id } = (await ask("POST", `${TABLE}/files`, byUrl(url))).json;
    const { run_id } = (await ask("POST", `${TABLE}/run`, { row_id })).json;
    const done = { status: "done", data: { invoice_number: "RE-2026-0815" } };
    expect((await ask("GET", `${TABLE}/run/${run_id}`)).json).toMatchObject(done);
    expect((await ask("POST", `${TABLE}/extract`, byUrl(url))).json).toMatchObject(done);
    expect((await put("/copy.eml", byUrl(url))).json).toMatchObject({ size: RAW.length });
    expect(sandbox.counts()).toMatchObject({ stores: 2, uploads: 1, runs: 1, extracts: 1 });
  });

  test("400 for a URL that is not its own, is forged or has expired, or is none; nothing is fetched", async () => {
    await put("/a.eml");
    const url = await urlOf("/a.eml");
    const { id } = (await (await extendUpload()).json()) as { id: string };
    const { presignedUrl } = (await (await fetch(`${sandbox.extendUrl}/files/${id}`, { headers: EXTEND })).json()) as Json;
    const elsewhere = url.replace("127.0.0.1", "localhost");
    for (const wrong of [elsewhere, `${url}0`, presignedUrl, `${sandbox.url}/projects`, "a.eml", "", 7, null, [url]]) {
      for (const path of [`${TABLE}/files`, `${TABLE}/extract`]) {
        const said = { errorMessage: expect.stringContaining("fetches nothing") };
        expect(await ask("POST", path, byUrl(wrong)), String(wrong)).toMatchObject({ status: 400, json: said });
      }
    }
    clock.pass(15 * MINUTES);
    expect((await ask("POST", `${TABLE}/files`, byUrl(url))).status).toBe(400);
    expect(sandbox.counts()).toMatchObject({ uploads: 0, extracts: 0 });
  });
});

const EXTEND = { authorization: "Bearer key", "x-extend-api-version": "2026-02-09" };

function extendUpload(): Promise<Response> {
  const body = new FormData();
  body.append("file", new File([UBL], "invoice.xml"));
  return fetch(`${sandbox.extendUrl}/files/upload`, { method: "POST", headers: EXTEND, body });
}
