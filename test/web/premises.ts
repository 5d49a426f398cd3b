/** The page over a real ledger and spool, with mails that came through the real pipeline: good ones, and one written by an enemy. */
import { request as httpRequest } from "node:http";
import { onTestFinished } from "vitest";
import { type Clock, systemClock } from "../../src/base/clock.ts";
import { permanent } from "../../src/base/errors.ts";
import { silent } from "../../src/base/logger.ts";
import { createDesk } from "../../src/desk/clerk.ts";
import { createMapping } from "../../src/mapping/mapping.ts";
import { examine } from "../../src/pipeline/examine.ts";
import { advance } from "../../src/pipeline/pipeline.ts";
import { receive } from "../../src/pipeline/receive.ts";
import type { Works } from "../../src/pipeline/step.ts";
import type { Event } from "../../src/store/record.ts";
import { healthRoutes, sparingly } from "../../src/web/health.ts";
import { createPage, type Page } from "../../src/web/page.ts";
import { startWeb } from "../../src/web/web.ts";
import { testClock } from "../extractor/documents.ts";
import { arrive, drain, extractorOf, sinkOf, sourceOf, worksIn } from "../pipeline/works.ts";
import { temporaryDirectory } from "../store/disk.ts";

export type Asked = {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly form?: Readonly<Record<string, string>>;
};
export type Answered = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  readonly bytes: Buffer;
};

export type Premises = {
  readonly works: Works;
  readonly page: Page;
  readonly url: string;
  readonly port: number;
  /** Moves the time of the page ahead. */
  readonly ahead: (milliseconds: number) => void;
  /** The sinks refuse from now on, or take again. */
  readonly shut: (isShut: boolean) => void;
  /** The web server and the page end, and begin anew at the same port. */
  readonly restart: () => Promise<void>;
  /** From now on the service refuses nothing. */
  readonly heal: () => void;
  readonly woken: () => number;
  /** Takes in a mail and works until it is over; resolves with its id. */
  readonly take: (mail: string | Buffer) => Promise<string>;
  readonly drain: () => Promise<readonly Event[]>;
  /** As it is written: no header is added but Host. */
  readonly ask: (path: string, asked?: Asked) => Promise<Answered>;
  /** As the page's own form would; `csrf` is taken from the page unless it is given. */
  readonly send: (path: string, form?: Readonly<Record<string, string>>, headers?: Readonly<Record<string, string>>) => Promise<Answered>;
};

/** What the enemy writes everywhere. */
export const EVIL = `<script>alert(1)</script>"'><img src=x onerror=alert(2)>`;

/** The service refuses what has this in its subject. */
const REFUSED = /angebote/i;

export async function premises(options: { readonly token?: string } = {}): Promise<Premises> {
  const directory = await temporaryDirectory();
  const started = testClock(new Date().toISOString());
  let isShut = false;
  let isRefusing = true;
  const { extractor } = extractorOf(({ document }) => {
    const subject = document.facts.subject ?? "";
    if (isRefusing && REFUSED.test(subject)) {
      return {
        is: "refused",
        memo: { runId: "run" },
        fault: permanent("service.refused", "the service could not read it", "look at the document"),
      };
    }
    return {
      is: "answered",
      memo: { runId: "run" },
      answer: { runId: "run-1", data: dataFor(subject), credits: 2, reasoning: null, review: null, raw: {} },
    };
  });
  const deliver = () => {
    if (isShut) throw permanent("http.refused", "the receiver refused it", "ask its owner");
  };
  const sinks = [sinkOf("files", deliver).sink, sinkOf("erp", deliver).sink];
  const { works } = await worksIn(directory, { extractor, sinks, source: sourceOf("invoices").source, clock: started });
  onTestFinished(() => works.ledger.close());

  let offset = 0;
  let woken = 0;
  const clock: Clock = { ...systemClock, now: () => new Date(Date.now() + offset) };
  await works.ledger.beat({
    at: clock.now().toISOString(),
    alive: true,
    pid: process.pid,
    startedAt: clock.now().toISOString(),
    mailboxes: [{ mailbox: "invoices", sweptAt: clock.now().toISOString(), missedSweeps: 0, trouble: null }],
  });
  const look = sparingly((at) => examine({ ledger: works.ledger, directory, mailboxes: ["invoices"], minFreeBytes: 1 }, at), clock);
  const mappings = new Map([["service", createMapping(null)]]);
  const desk = createDesk({
    ledger: works.ledger,
    spool: works.spool,
    mappings,
    sinks: ["files", "erp"],
    service: "service",
    clock: started,
  });
  const serve = async (port: number) => {
    const page = createPage({
      desk,
      ledger: works.ledger,
      look,
      services: ["service"],
      sinks: ["files", "erp"],
      clock,
      wake: () => {
        woken += 1;
      },
      token: options.token ?? null,
    });
    const hook = { method: "POST", path: "/webhooks/", answer: async () => ({ status: 200, json: { heard: true } }) } as const;
    const routes = [hook, ...healthRoutes({ look, open: true }), ...page.routes];
    const web = await startWeb({ host: "127.0.0.1", port, log: silent, routes });
    onTestFinished(web.stop);
    return { page, web };
  };
  const { page, web } = await serve(0);

  let uid = 0;
  const work = () => drain(works, started);
  const ask = (path: string, { method = "GET", headers = {}, form }: Asked = {}) => asked(web.port, path, method, headers, form);
  return {
    works,
    page,
    url: `http://127.0.0.1:${web.port}`,
    port: web.port,
    ahead: (milliseconds) => {
      offset += milliseconds;
    },
    shut: (now) => {
      isShut = now;
    },
    restart: async () => {
      await web.stop();
      await serve(web.port);
    },
    heal: () => {
      isRefusing = false;
    },
    woken: () => woken,
    take: async (mail) => {
      uid += 1;
      const id = typeof mail === "string" ? await arrive(works, mail, uid) : await arriveRaw(works, mail, uid);
      await work();
      return id;
    },
    drain: work,
    ask,
    send: async (path, form = {}, headers = {}) => {
      const csrf = form.csrf ?? /name="csrf" value="([^"]+)"/.exec((await ask("/", { headers })).text)?.[1] ?? "";
      return ask(path, { method: "POST", headers: { "sec-fetch-site": "same-origin", ...headers }, form: { csrf, ...form } });
    },
  };
}

function asked(
  port: number,
  path: string,
  method: string,
  headers: Readonly<Record<string, string>>,
  form: Asked["form"],
): Promise<Answered> {
  const body = form === undefined ? null : new URLSearchParams(form).toString();
  const type =
    body === null ? {} : { "content-type": "application/x-www-form-urlencoded", "content-length": String(Buffer.byteLength(body)) };
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      { host: "127.0.0.1", port, path, method, headers: { connection: "close", ...type, ...headers } },
      (answer) => {
        const chunks: Buffer[] = [];
        answer.on("data", (chunk: Buffer) => chunks.push(chunk));
        answer.on("end", () => {
          const bytes = Buffer.concat(chunks);
          resolve({ status: answer.statusCode ?? 0, headers: answer.headers, text: bytes.toString(), bytes });
        });
        answer.on("error", reject);
      },
    );
    request.on("error", reject);
    request.end(body ?? undefined);
  });
}

async function arriveRaw(works: Works, bytes: Buffer, uid: number): Promise<string> {
  const origin = { mailbox: "invoices", uidValidity: "1", uid };
  const arrival = {
    origin,
    receivedAt: null,
    size: bytes.length,
    bytes: (async function* () {
      yield bytes;
    })(),
  };
  const event = await receive({ is: "arrival", arrival, cursor: { uidValidity: "1", uid, since: null, until: 0 } }, "invoices", works);
  return event?.message ?? "";
}

function dataFor(subject: string): Readonly<Record<string, unknown>> {
  if (!subject.includes("script")) {
    return { invoice_number: "RE-1", seller_name: "Seilerei Kronau", gross_amount: "119.00", net_amount: "100.00", currency: "EUR" };
  }
  return { invoice_number: EVIL, seller_name: EVIL, gross_amount: "1.00", currency: "EUR", html: EVIL, lines: [{ name: EVIL }] };
}

/** A mail of the fixtures that is held before it is read. */
export async function hold(works: Works, fixture: string, uid: number): Promise<string> {
  const id = await arrive(works, fixture, uid);
  const [split] = await works.ledger.due(works.clock.now(), 1, []);
  if (split !== undefined) await advance(split, works, new AbortController().signal);
  const [extract] = await works.ledger.due(works.clock.now(), 1, []);
  if (extract === undefined) throw new Error("nothing is to be read");
  const fault = permanent("limit.size", "it is larger than limits.maxBytes", `\`billhook release ${id.slice(0, 16)}\` lets it go`);
  await works.ledger.save(extract, { is: "held", fault }, works.clock.now());
  return id;
}

/** The smallest PNG there is, and a PDF with one empty page. */
export const PNG = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
  "base64",
);

type Attachment = { readonly type: string; readonly name: string; readonly bytes: Buffer | string };

/** A mail with its parts as they stand; names and types are what its sender claims. */
export function written(subject: string, from: string, html: string, attachments: readonly Attachment[]): Buffer {
  const word = (text: string) => `=?UTF-8?B?${Buffer.from(text).toString("base64")}?=`;
  const parts = [
    `Content-Type: text/html; charset=utf-8\r\n\r\n${html}`,
    ...attachments.map(({ type, name, bytes }) => {
      const coded = Buffer.from(bytes).toString("base64").replace(/.{76}/g, "$&\r\n");
      const disposition = `attachment; filename*=UTF-8''${encodeURIComponent(name)}`;
      return `Content-Type: ${type}\r\nContent-Disposition: ${disposition}\r\nContent-Transfer-Encoding: base64\r\n\r\n${coded}`;
    }),
  ];
  const head = [
    `From: ${word(from)} <enemy@example.com>`,
    "To: invoices@example.com",
    `Subject: ${word(subject)}`,
    `Message-ID: <${Buffer.from(subject).toString("hex").slice(0, 40)}@example.com>`,
    "MIME-Version: 1.0",
    'Content-Type: multipart/mixed; boundary="b"',
  ];
  return Buffer.from(`${head.join("\r\n")}\r\n\r\n${parts.map((part) => `--b\r\n${part}\r\n`).join("")}--b--\r\n`);
}

const SVG = `<svg xmlns="http://www.w3.org/2000/svg"><script>alert(3)</script></svg>`;

/** Everything in it tries to get out of the page. */
export const ENEMY = written(`Invoice ${EVIL}`, EVIL, `<p>Hello</p><script>alert(4)</script><img src=x onerror=alert(5)>`, [
  { type: "image/svg+xml", name: "drawing.svg", bytes: SVG },
  { type: "application/pdf", name: "page.pdf", bytes: "<!doctype html><script>alert(6)</script>" },
  { type: "text/html", name: `"><script>alert(7)</script>.png`, bytes: PNG },
  { type: "image/png", name: "../../etc/\u202egnp.exe", bytes: "<script>alert(8)</script>" },
]);
