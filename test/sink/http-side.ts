/** The other side of the http sink, for the role's suite: a receiver that checks signature, head and body of all it takes. */
import { systemClock } from "../../src/base/clock.ts";
import { createHttp, type HttpDoor, type HttpOptions } from "../../src/http/http.ts";
import { createRender } from "../../src/mapping/template.ts";
import { createHttpSink, type HttpSinkDeps, type HttpSinkOptions } from "../../src/sink/http.ts";
import type { Sink } from "../../src/sink/sink.ts";
import type { Failure, SinkUnderTest } from "../contract/sinks.ts";
import { LOCATION_SECRET, startReceiver, type Taken, type Way } from "../servers/receiver.ts";

export const TOKEN = "token-that-nobody-may-see";
export const SECRET = `whsec_${Buffer.from("a secret of thirty-two bytes, ok").toString("base64")}`;
export const OLD_SECRET = `whsec_${Buffer.from("an older secret of thirty bytes.").toString("base64")}`;

const PLAIN: Omit<HttpSinkOptions, "url"> = {
  name: "erp",
  method: "POST",
  format: "json",
  attachments: false,
  raw: false,
  headers: {},
  body: null,
  auth: null,
  secrets: [],
  id: null,
};

/** A sink with a client of its own. */
export function sinkAt(
  url: string,
  options: Partial<HttpSinkOptions> = {},
  http: Partial<HttpOptions> = {},
  deps: Partial<HttpSinkDeps> = {},
): { readonly sink: Sink; readonly http: HttpDoor } {
  const door = createHttp({ name: "sink erp", connections: 8, timeoutMs: 10_000, ...http });
  return {
    sink: createHttpSink({ ...PLAIN, url, ...options }, { clock: systemClock, http: door, render: createRender, ...deps }),
    http: door,
  };
}

const refused = { code: "http.refused", temporary: false };
const redirected = { code: "http.redirected", temporary: false };
const lost = { code: "http.ambiguous", temporary: true };

const SHUT = "takes no connection";
const FAILURES: readonly (Failure & { readonly what: Way | typeof SHUT })[] = [
  { what: SHUT, code: "http.unreachable", temporary: true, knocked: true },
  { what: "answers 301", ...redirected },
  { what: "answers 302 to nowhere", ...redirected },
  { what: "answers 304", ...redirected },
  { what: "answers 308", ...redirected },
  { what: "answers 400", ...refused },
  { what: "answers 401", code: "http.unauthorized", temporary: false, halts: true },
  { what: "answers 403", ...refused },
  { what: "answers 404", ...refused },
  { what: "answers 408", code: "http.busy", temporary: true },
  { what: "answers 410", code: "http.gone", temporary: false, halts: true },
  { what: "answers 413 before it has read", ...refused },
  { what: "answers 422", ...refused },
  { what: "answers 425", code: "http.busy", temporary: true },
  { what: "answers 429", code: "http.busy", temporary: true },
  { what: "answers 500", code: "http.failed", temporary: true },
  { what: "answers 502", code: "http.failed", temporary: true },
  { what: "answers 503", code: "http.busy", temporary: true },
  { what: "answers 599", code: "http.failed", temporary: true },
  { what: "answers with a status that is none", code: "http.failed", temporary: true },
  { what: "speaks another protocol", ...lost },
  { what: "takes it and hangs up", ...lost, taken: true },
  { what: "takes it and never answers", ...lost, taken: true },
];
/** Ways in which the deadline ends it. */
const SLOW: readonly string[] = ["takes it and never answers"];

const EXPECTED = new Set(
  (
    "host connection content-length content-type user-agent authorization idempotency-key " +
    "webhook-id webhook-timestamp webhook-signature"
  ).split(" "),
);

/** The fields of a form, as Node reads them. */
export async function formIn({ headers, body }: Taken): Promise<readonly (readonly [name: string, value: string | File])[]> {
  const type = String(headers["content-type"]);
  if (type === "application/json") return [["delivery", body.toString()]];
  const form = await new Response(new Uint8Array(body), { headers: { "content-type": type } }).formData();
  return [...form.entries()] as (readonly [string, string | File])[];
}

async function textOf(taken: Taken): Promise<string> {
  const fields = await formIn(taken);
  const texts = fields.map(
    async ([name, value]) => `${name}: ${typeof value === "string" ? value : `${value.name} ${await value.text()}`}`,
  );
  return (await Promise.all(texts)).join("\n");
}

async function straysOf(taken: Taken): Promise<readonly string[]> {
  const names = (await formIn(taken)).map(([name]) => name);
  const fields = Object.keys(taken.headers).filter((name) => !EXPECTED.has(name));
  return [...fields, ...names.filter((name, at) => (at === 0 ? name !== "delivery" : !/^(part-[\w.-]*|raw)$/.test(name)))];
}

export const httpSinks: readonly SinkUnderTest[] = (["json", "multipart"] as const).map((format) => ({
  name: `http, ${format}`,
  attachments: format === "multipart",
  repeats: "told",
  failures: FAILURES,
  silences: ["takes it and never answers", "never reads"],
  secrets: [TOKEN, SECRET, SECRET.slice(6), "secret-in-the-query", LOCATION_SECRET, "/invoices"],
  start: async () => {
    const receiver = await startReceiver({ secrets: [SECRET] });
    const doors: HttpDoor[] = [];
    let timeoutMs = 10_000;
    return {
      make: () => {
        const whole = format === "multipart";
        const options = { format, attachments: whole, raw: whole, auth: { bearer: TOKEN }, secrets: [SECRET] };
        const { sink, http } = sinkAt(receiver.url, options, { timeoutMs });
        doors.push(http);
        return sink;
      },
      received: async () => Promise.all(receiver.taken.map(async (taken) => ({ id: taken.id, text: await textOf(taken) }))),
      strays: async () => (await Promise.all(receiver.taken.map(straysOf))).flat(),
      break: async (what) => {
        if (what === SHUT) await receiver.shut();
        else receiver.behave(what as Way);
        if (SLOW.includes(what)) timeoutMs = 500;
        return async () => {
          timeoutMs = 10_000;
          if (what === SHUT) await receiver.open();
          receiver.behave("takes it");
        };
      },
      stop: async () => {
        for (const door of doors) await door.close();
        await receiver.stop();
      },
    };
  },
}));
