/** What a plan says goes to a service is what goes there; every other part is told, with a reason; nothing is opened for it. */
import { createHash } from "node:crypto";
import { createReadStream, readdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { describe, expect, onTestFinished, test } from "vitest";
import { encode } from "../../src/extractor/cloudsquid/encode.ts";
import { type CloudsquidOptions, createCloudsquid } from "../../src/extractor/cloudsquid.ts";
import type { ExtendOptions } from "../../src/extractor/extend.ts";
import type { Document, Extractor, Memo, Progress } from "../../src/extractor/extractor.ts";
import { createHttp, type Http } from "../../src/http/http.ts";
import { NO_FACTS } from "../../src/message/facts.ts";
import { typeOf } from "../../src/message/message.ts";
import { parse } from "../../src/message/parse.ts";
import { json, startScriptedHttp } from "../servers/scripted-http.ts";
import { documentOf, piece, testClock } from "./documents.ts";
import { extend as extendAt, never } from "./extend-service.ts";

const MAIL = new URL("../../fixtures/mail/", import.meta.url);
const http = { call: () => Promise.reject(new Error("a plan asks nobody")), close: async () => {} };
const deps = { clock: testClock(), http };

const fields = { name: "filename", type: "mimetype", kind: "file_type", content: "file" };
const common = { url: "http://127.0.0.1:1", apiKey: "key", maxBytes: 1_000_000, poll: { firstMs: 1, longestMs: 1 } };
const deadlines = { pendingMs: 1, runningMs: 1 };

type Choice = Partial<CloudsquidOptions> & { readonly body?: "text" | "html" | "both" | "none" };

function cloudsquid(more: Choice = {}, through: Http = http): Extractor {
  const { body = "text", ...rest } = more;
  const multipart = { mimetype: "message/rfc822", fields, body } as const;
  const own = { name: "cloudsquid", project: "p", table: "t", encoding: "multipart", multipart, zeroRetention: false } as const;
  return createCloudsquid({ ...common, deadlines, ...own, ...rest }, { ...deps, http: through });
}
function extend(more: Partial<ExtendOptions> = {}): Extractor {
  return extendAt("http://127.0.0.1:1", deps, { maxBytes: 1_000_000, ...more });
}

/** A fixture as a document; `closed` when opening a part must not happen. */
async function mailOf(name: string): Promise<{ readonly open: Document; readonly closed: Document }> {
  const contents = new Map<string, Buffer>();
  const { parts } = await parse(createReadStream(new URL(name, MAIL)), async (bytes) => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of bytes) chunks.push(chunk);
    const content = Buffer.concat(chunks);
    const sha256 = createHash("sha256").update(content).digest("hex");
    contents.set(sha256, content);
    return { sha256, size: content.length, head: content.subarray(0, 4_100) };
  });
  const pieces = parts.map((part) => piece(part.id, part.filename ?? `part-${part.id}`, typeOf(part), contents.get(part.sha256) ?? ""));
  const open = {
    ...documentOf(...pieces),
    facts: NO_FACTS,
    raw: piece("raw", "m.eml", "message/rfc822", await readFile(new URL(name, MAIL))),
  };
  const shut = (one: Document["raw"]) => ({ ...one, open: () => expect.unreachable("opened") as never });
  return { open, closed: { ...open, raw: shut(open.raw), parts: open.parts.map(shut) } };
}

const mails = readdirSync(MAIL).filter((name) => name.endsWith(".eml"));
const services = {
  "extend, parts": extend(),
  "extend, html": extend({ body: "html" }),
  "extend, no body": extend({ body: "none" }),
  "extend, eml": extend({ submit: "eml" }),
  "cloudsquid, multipart": cloudsquid(),
  "cloudsquid, both bodies": cloudsquid({ body: "both" }),
  "cloudsquid, skip": cloudsquid({ unsupported: "skip" }),
  "cloudsquid, refuse": cloudsquid({ unsupported: "refuse" }),
  "cloudsquid, rfc822": cloudsquid({ encoding: "rfc822" }),
  "cloudsquid, uri": cloudsquid({ encoding: "uri" }),
  "cloudsquid, attachments": cloudsquid({ encoding: "attachments" }),
  "cloudsquid, tiny": cloudsquid({ maxBytes: 10 }),
  "extend, tiny": extend({ maxBytes: 10 }),
};

describe("a plan", () => {
  test.each(Object.entries(services))(
    "%s: every part goes or stays, once; a refusal is the one that `advance` gives",
    async (_name, service) => {
      for (const name of mails) {
        const { open, closed } = await mailOf(name);
        const { submitted, left, refusal } = service.plan(closed);
        const ids = [...submitted, ...left].map(({ part }) => part);
        expect(ids.toSorted()).toEqual(ids.includes("raw") ? ["raw"] : open.parts.map(({ id }) => id).toSorted());
        const progress = await service.advance(open, null, "key", never).catch(() => null);
        expect(progress?.is === "refused" ? progress.fault.code : null).toBe(refusal?.code ?? null);
      }
    },
  );

  test("cloudsquid: what is submitted is what the upload holds, in its order and with its types", async () => {
    for (const body of ["text", "html", "both", "none"] as const) {
      for (const name of mails) {
        const { open } = await mailOf(name);
        const upload = encode(open, "multipart", { mimetype: "message/rfc822", fields, body });
        const chunks: Uint8Array[] = [];
        for await (const chunk of upload?.open() ?? []) chunks.push(chunk);
        const nested =
          upload === null ? [] : (JSON.parse(Buffer.concat(chunks).toString()) as { file: { mimetype: string; file: string }[] }).file;
        const contents = await Promise.all(
          cloudsquid({ body })
            .plan(open)
            .submitted.map(async ({ part, as }) => ({ as, file: await base64Of(open, part) })),
        );
        expect(nested.map(({ mimetype, file }) => ({ as: mimetype, file }))).toEqual(contents);
      }
    }
  });

  const html = piece("html", "body.html", "text/html", "<p>x</p>");
  const text = piece("text", "body.txt", "text/plain", "x");
  const forwarded = [piece("2", "m.eml", "message/rfc822", "x"), piece("2.text", "body.txt", "text/plain", "y")];
  const odd = [piece("3", "a.exe", "application/x-msdownload", "MZ"), piece("4", "a.pdf", "application/pdf", "")];
  test("says why a part stays behind", () => {
    const { submitted, left } = extend().plan(documentOf(text, html, ...forwarded, ...odd));
    expect(submitted.map(({ part }) => part)).toEqual(["text", "2.text"]);
    expect(Object.fromEntries(left.map(({ part, why }) => [part, why]))).toEqual({
      html: "the other body is sent",
      2: "what it holds goes by itself",
      3: "the service does not take application/x-msdownload",
      4: "it is empty",
    });
    expect(extend({ body: "none" }).plan(documentOf(text, ...odd)).left[0]?.why).toBe("bodies are not sent");
    expect(cloudsquid({ unsupported: "skip", body: "html" }).plan(documentOf(html)).left[0]?.why).toBe(
      "the service does not take text/html",
    );
  });

  test("refuses what cannot be submitted, and says so", () => {
    expect(extend().plan(documentOf(...odd)).refusal?.code).toBe("extend.nothing-to-send");
    expect(cloudsquid().plan(documentOf(...odd.slice(0, 1))).refusal?.code).toBe("cloudsquid.nothing-to-send");
    expect(cloudsquid({ unsupported: "refuse" }).plan(documentOf(text, ...odd)).refusal?.code).toBe("cloudsquid.unsupported");
    expect(cloudsquid({ maxBytes: 0 }).plan(documentOf(text)).refusal?.code).toBe("cloudsquid.too-large");
    expect(extend().plan(documentOf(text)).refusal).toBeNull();
  });
});

describe("the memo says what the service was not given", () => {
  const body = piece("text", "body.txt", "text/plain", "see below");
  const other = piece("html", "body.html", "text/html", "<p>see below</p>");
  const pdf = piece("2", "a.pdf", "application/pdf", "%PDF");
  const odd = piece("3", "a.exe", "application/x-msdownload", "MZ");
  const opened = [piece("4", "m.eml", "message/rfc822", "x"), piece("4.text", "body.txt", "text/plain", "y")];
  const mail = documentOf(body, other, pdf, odd, ...opened);
  const every = mail.parts.map(({ id }) => id);
  const kinds: Readonly<Record<string, (url: string, http: Http) => Extractor>> = {
    extend: (url, http) => extendAt(url, { ...deps, http }, { maxBytes: 1_000_000 }),
    cloudsquid: (url, http) => cloudsquid({ url }, http),
  };

  /** Every call is answered with this status, and as if it had been any of those that make something. */
  async function service(make: (url: string, http: Http) => Extractor, statuses: { now: number }) {
    const made = { id: "one", row_id: "row", run_id: "run", status: "PENDING", url: "https://files.example/1", message: "no" };
    const server = await startScriptedHttp((_, response) => json(response, statuses.now, made));
    const door = createHttp({ name: "service", connections: 1, timeoutMs: 2_000 });
    onTestFinished(server.stop);
    onTestFinished(door.close);
    return make(server.url, door);
  }

  test("cloudsquid, uri: what was refused after it was stored, and is bought in the end, was given whole", async () => {
    const statuses = { now: 200 };
    const extractor = await service((url, through) => cloudsquid({ url, encoding: "uri" }, through), statuses);
    const stored = await extractor.advance(mail, null, "key", never);
    expect(stored.memo).toMatchObject({ step: "stored", skipped: [] });
    statuses.now = 400;
    const refused = await buy(extractor, stored.memo);
    expect(refused).toMatchObject({ is: "refused", memo: { step: "stored", skipped: every } });
    statuses.now = 200;
    expect((await buy(extractor, refused.memo)).memo).toMatchObject({ runId: "run", skipped: [] });
  });

  /** Until a run is bought, or nothing goes on. */
  async function buy(extractor: Extractor, memo: Memo | null): Promise<Progress> {
    const progress = await extractor.advance(mail, memo, "key", never);
    return progress.is === "going" && progress.memo.runId === undefined ? buy(extractor, progress.memo) : progress;
  }

  test.each(Object.entries(kinds))("%s: once a run is bought, everything the plan leaves behind, the other body too", async (_, make) => {
    const extractor = await service(make, { now: 200 });
    const { memo } = await buy(extractor, null);
    expect(memo?.skipped).toEqual(extractor.plan(mail).left.map(({ part }) => part));
    expect(memo?.skipped).toEqual(["html", "3", "4"]);
  });

  test.each(Object.entries(kinds))(
    "%s: refused before a run is bought, everything; what a retry then buys, as planned",
    async (_, make) => {
      const statuses = { now: 400 };
      const extractor = await service(make, statuses);
      const refused = await buy(extractor, null);
      expect(refused).toMatchObject({ is: "refused", memo: { skipped: every } });
      statuses.now = 200;
      expect((await buy(extractor, refused.memo)).memo).toMatchObject({ runId: expect.any(String), skipped: ["html", "3", "4"] });
    },
  );

  test.each(Object.entries({ ...services, "extend, refuse": extend({ unsupported: "refuse" }) }))(
    "%s: refused by us, everything",
    async (_, extractor) => {
      for (const document of [mail, documentOf(odd)]) {
        if (extractor.plan(document).refusal === null) continue;
        const { memo } = await extractor.advance(document, null, "key", never);
        expect(memo?.skipped).toEqual(document.parts.map(({ id }) => id));
      }
    },
  );
});

async function base64Of(document: Document, part: string): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of document.parts.find(({ id }) => id === part)?.open() ?? []) chunks.push(chunk);
  return Buffer.concat(chunks).toString("base64");
}
