/** The http sink: a request for each delivery, as JSON or as a form with the files, signed, answered and kept as a receipt. */
import { createHash } from "node:crypto";
import type { Clock } from "../base/clock.ts";
import { permanent } from "../base/errors.ts";
import type { HttpBody, HttpDoor } from "../http/http.ts";
import { formOf } from "../message/form.ts";
import type { Piece } from "../message/message.ts";
import { answerFault, receiptOf, restFault, restOf } from "./http/answer.ts";
import { type Auth, authorizationOf, checkNames, fieldValue } from "./http/header.ts";
import { keysOf, signatureOf } from "./http/signature.ts";
import type { Delivery, Sink } from "./sink.ts";

export type HttpSinkOptions = {
  readonly name: string;
  /** http or https; user and password belong into `auth`. */
  readonly url: string;
  readonly method: "POST" | "PUT";
  /** `multipart`: a field `delivery` with the JSON, then the files. */
  readonly format: "json" | "multipart";
  /** Multipart only: each as `part-<id>`, the id as in the JSON. */
  readonly attachments: boolean;
  /** Multipart only: the message as it arrived, as `raw`. */
  readonly raw: boolean;
  /** Texts with `{{ JSONata }}` on the delivered body. */
  readonly headers: { readonly [name: string]: string };
  /** JSONata on the delivered body; null: the body itself. */
  readonly body: string | null;
  readonly auth: Auth | null;
  /** Of Standard Webhooks, `whsec_…`: none, one, or two while they are changed. */
  readonly secrets: readonly string[];
  /** Path of a field of the JSON answer that is kept in the receipt: `id`, `data.id`. */
  readonly id: string | null;
};

export type HttpSinkDeps = {
  readonly clock: Clock;
  /** With the timeout, the certificates and the proxies, and with `allowPrivate: false` unless the owner says otherwise. */
  readonly http: HttpDoor;
  /** `createRender` of mapping/template.ts. */
  readonly render: (
    written: Pick<HttpSinkOptions, "headers" | "body">,
    of: string,
  ) => (delivered: unknown) => Promise<{ readonly headers: { readonly [name: string]: string }; readonly body: unknown }>;
};

/** Enough of an answer to find an id in. */
const ANSWER_BYTES = 64 * 1024;

/**
 * Delivered is what is answered with 2xx, though the rest of the answer may be lost. Every try carries the delivery's key as
 * `idempotency-key` and, without full stops, as `webhook-id`, and the same body, so that a repetition after a lost answer can be told.
 * The timestamp is that of the try.
 *
 * A 429 or 503 with Retry-After counts for the whole sink: until then `deliver` throws `http.rate-limited`, blameless, and sends nothing.
 * That is forgotten with the process.
 *
 * Throws permanent Faults `config.url`, `config.header`, `config.auth`, `config.secret` and those of `render`.
 * `deliver` throws, besides what `http`, `render` and the attachments throw, the Faults of http-answer.ts.
 */
export function createHttpSink(options: HttpSinkOptions, { clock, http, render }: HttpSinkDeps): Sink {
  const { name, method, format } = options;
  const place = placeOf(options);
  const authorization = authorizationOf(name, options.auth);
  const keys = keysOf(name, options.secrets);
  checkNames(name, Object.keys(options.headers), [
    ...(authorization === null ? [] : ["authorization"]),
    ...(format === "multipart" ? ["content-type"] : []),
  ]);
  const rendered = render({ headers: options.headers, body: options.body }, `sink ${name}`);
  const hidden = hiddenOf(options, authorization);
  let notBefore = new Date(0);

  const deliver: Sink["deliver"] = async (delivery, key, signal) => {
    signal.throwIfAborted();
    if (clock.now() < notBefore) throw restFault(notBefore, { sink: name, place });
    const words = await rendered(delivery.body);
    const json = Buffer.from(JSON.stringify(options.body === null ? delivery.body : words.body));
    const { contentType, body } = format === "json" ? { contentType: "application/json", body: json } : formWith(json, delivery, options);
    const own = Object.entries(words.headers).map(([field, value]) => [field.toLowerCase(), fieldValue(value)] as const);
    const timestamp = String(Math.floor(clock.now().getTime() / 1_000));
    const id = webhookIdOf(key);
    const signature = await signatureOf(keys, id, timestamp, body, signal);
    const headers = {
      "content-type": contentType,
      ...Object.fromEntries(own.filter(([, value]) => value !== "")),
      ...(authorization === null ? {} : { authorization }),
      "idempotency-key": key,
      "webhook-id": id,
      "webhook-timestamp": timestamp,
      ...(signature === null ? {} : { "webhook-signature": signature }),
    };
    const request = { method, url: options.url, headers, body, maxResponseBytes: ANSWER_BYTES, beginningOnly: true };
    const answer = await http.call(request, signal);
    const now = clock.now();
    const rest = restOf(answer, now);
    // Of several answers at once the longest wait counts.
    if (rest !== null && rest > notBefore) notBefore = rest;
    const fault = answerFault(answer, { sink: name, place, url: options.url, now });
    if (fault !== null) throw fault;
    return receiptOf(answer, options.id, hidden);
  };

  const probe: Sink["probe"] = async (signal) => {
    await http.knock(options.url, signal);
    return { said: `${new URL(options.url).origin} can be reached; no request was sent, so path and credentials were not tried` };
  };

  return { name, deliver, probe, destination: () => place };
}

/** Standard Webhooks signs `id.timestamp.body`: an id with full stops would be read in more than one way. No name holds a colon. */
function webhookIdOf(key: string): string {
  return key.replaceAll(".", ":");
}

/** Method and origin: with Slack, Teams and n8n the path is the secret, elsewhere the query. */
function placeOf({ name, method, url }: HttpSinkOptions): string {
  const parsed = URL.parse(url);
  if (parsed === null || !["http:", "https:"].includes(parsed.protocol)) {
    throw permanent("config.url", `sink ${name}: url is not one of http or https`, "write it like https://erp.example.com/invoices");
  }
  if (parsed.username + parsed.password !== "") {
    throw permanent("config.url", `sink ${name}: url holds a user or a password`, "write them as auth: { basic: { user, password } }");
  }
  return `${method} ${parsed.origin}`;
}

function formWith(json: Buffer, { body, attachments, raw }: Delivery, options: HttpSinkOptions): { contentType: string; body: HttpBody } {
  const sha256 = createHash("sha256").update(json).digest("hex");
  const file = (name: string, { filename, contentType, size, sha256, open }: Piece) => ({
    name,
    filename,
    contentType,
    size,
    sha256,
    open,
  });
  const eml = { ...raw, filename: `${body.message.id.slice(0, 16)}.eml`, contentType: "message/rfc822" };
  const { contentType, length, open } = formOf([
    { name: "delivery", filename: null, contentType: "application/json", size: json.length, sha256, open: () => [json] },
    ...(options.attachments ? attachments.map((piece) => file(`part-${piece.id}`, piece)) : []),
    ...(options.raw ? [file("raw", eml)] : []),
  ]);
  return { contentType, body: { length, open } };
}

/** What is shorter guards nothing, and hiding it would spoil numbers and ids. */
const SHORTEST_HIDDEN = 8;
/** Shorter ones are words: `invoices`. */
const SHORTEST_SEGMENT = 16;

/** What an answer that repeats our request must not bring into the receipt. A header that is no template may be a key. */
function hiddenOf({ url, auth, headers, secrets }: HttpSinkOptions, authorization: string | null): readonly string[] {
  const fixed = [...Object.values(headers).filter((value) => !value.includes("{{")), ...queryValues(url)].filter(
    (value) => value.length >= SHORTEST_HIDDEN,
  );
  const segments = new URL(url).pathname.split("/").filter((segment) => segment.length >= SHORTEST_SEGMENT);
  const basic = auth !== null && "basic" in auth ? [auth.basic.password] : [];
  const whole = authorization === null ? [] : [authorization.slice(authorization.indexOf(" ") + 1)];
  return [...fixed, ...segments, ...basic, ...whole, ...secrets].filter((value) => value !== "");
}

/** As they are written, and as a receiver reads them. */
function queryValues(url: string): readonly string[] {
  const { search, searchParams } = new URL(url);
  const written = search.slice(1).split("&");
  return [...written.map((pair) => pair.slice(pair.indexOf("=") + 1)), ...searchParams.values()];
}
