/** HTTP calls: one client a service, one deadline a call, and failures that say whether the request can have been acted upon. */
import type { lookup as resolve } from "node:dns";
import type { Socket } from "node:net";
import { Agent, buildConnector, type Dispatcher, EnvHttpProxyAgent, Pool, request as send } from "undici";
import { asFault, Fault, permanent, reasonOf } from "../base/errors.ts";
import { failed, failure, placeOf, type Sent } from "./http-faults.ts";
import { type Proxies, publicOnly, refusePrivate, secureContextOf, type TlsFiles } from "./network.ts";

export type HttpOptions = {
  /** Who is called, for errors: `cloudsquid`. */
  readonly name: string;
  /** Most sockets open to one origin; further calls wait. */
  readonly connections: number;
  /** From the last byte that was sent to the last byte of the answer; and the longest the sending may make no progress. */
  readonly timeoutMs: number;
  /** A longer answer is cut off; 32 MB unless said otherwise. */
  readonly maxResponseBytes?: number;
  /**
   * False: addresses that are not of the public internet are refused, before anything is sent. It is the address connected to that is
   * checked, so a name that changes its mind does not help. Behind a proxy, which looks names up by itself, only what the URL says.
   */
  readonly allowPrivate?: boolean;
  /** None unless given. */
  readonly proxies?: Proxies;
  readonly tls?: TlsFiles;
  /** How names become addresses: as the system does it, unless given. */
  readonly lookup?: typeof resolve;
};

/** Bytes at hand, or bytes of a known length read while they are sent. */
export type HttpBody = Uint8Array | { readonly length: number; readonly open: () => AsyncIterable<Uint8Array> };

export type HttpRequest = {
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  readonly url: string;
  readonly headers: { readonly [name: string]: string };
  readonly body?: HttpBody;
  /** What kind of call it is to the service's rate limits (`manners.ts`): `read` for a GET, else `write`, unless said otherwise; `run` for what is paid for. */
  readonly category?: string;
  /** A longer answer is cut off; the client's own limit unless said otherwise. */
  readonly maxResponseBytes?: number;
  /**
   * An answer that is longer, breaks off or is late after its head is no failure: its beginning is the answer. Only to a request that was
   * sent whole, unless the answer was merely too long.
   */
  readonly beginningOnly?: boolean;
  /** Awaited right before anything is sent, when the turn has come (`manners.ts`); what it throws is thrown, and nothing is sent. Not part of the deadline. */
  readonly beforeSend?: () => Promise<void>;
};

export type HttpResponse = {
  readonly status: number;
  /** Names in lower case; a repeated field is joined with commas (RFC 9110 section 5.3). */
  readonly headers: { readonly [name: string]: string };
  readonly bytes: Uint8Array;
  /** The bytes as UTF-8; what is not UTF-8 becomes U+FFFD. */
  readonly text: () => string;
  /** A 401 that is about our key, for all we know, and no fault of what was asked: when to ask again (`manners.ts`). */
  readonly comeBack?: Date;
};

/**
 * `call` resolves with any complete answer, whatever its status; redirects are not followed. Else it throws a temporary Fault:
 * - `http.unreachable`: no connection (name, TCP, TLS); nothing was sent.
 * - `http.interrupted`: the connection or the deadline ended before the request was sent whole, or it was a GET: repeating is safe,
 *   because a request cut short must not be taken for a complete one (RFC 9112 section 8).
 * - `http.ambiguous`: sent whole, and no complete answer came: it may or may not have been acted upon.
 * - `http.stopped`: the caller's signal was aborted before the request was sent whole.
 * A permanent `http.private-address` says that the address is refused (`allowPrivate`). What the body's own stream throws is passed on as it is.
 */
export type Http = {
  readonly call: (request: HttpRequest, signal: AbortSignal) => Promise<HttpResponse>;
  /** Cuts whatever is still open. Never rejects. */
  readonly close: () => Promise<void>;
};

export type HttpDoor = Http & {
  /**
   * Resolves when a connection was made, with TLS for `https:`, and cut again: no request is sent. With a proxy for `http:` it is the
   * connection to the proxy; what a server thinks of our certificate is not known before a request (TLS 1.3). Throws like `call`.
   */
  readonly knock: (url: string, signal: AbortSignal) => Promise<void>;
};

const CONNECT_MS = 10_000;
const RESPONSE_BYTES = 32 * 1024 * 1024;

/** Throws a permanent Fault `config.tls` for a certificate or key that cannot be used. */
export function createHttp(options: HttpOptions): HttpDoor {
  const { name, timeoutMs } = options;
  // undici reports a failed connection with the same errors as a broken one; only the connector knows which it was.
  const unconnected = new WeakSet<Error>();
  const dial = dialling(options);
  const ways = dial((thrown) => {
    if (thrown !== null) unconnected.add(thrown);
    return thrown;
  });

  async function call(request: HttpRequest, signal: AbortSignal): Promise<HttpResponse> {
    let sent = "nothing" as Sent;
    let bodyFault: Fault | null = null;
    let ended: string | null = null;
    let begun = null as Begun | null;
    const cut = new AbortController();
    const end = (why: string) => {
      ended ??= why;
      cut.abort();
    };
    const stop = () => end("it was stopped");

    async function* body(source: HttpBody): AsyncGenerator<Uint8Array> {
      let left = source.length;
      sent = left === 0 ? "whole" : "part";
      try {
        for await (const chunk of source instanceof Uint8Array ? [source] : source.open()) {
          left -= chunk.length;
          if (left < 0) break;
          if (left === 0) sent = "whole";
          yield chunk;
          // A slow line is no dead one: as long as bytes are taken, the answer is not overdue.
          timer.refresh();
        }
        if (left !== 0)
          throw permanent("http.body-length", `${placeOf(name, request)}: the body is not ${source.length} bytes long as announced`);
      } catch (thrown) {
        bodyFault = asFault(thrown, "http.body");
        throw thrown;
      }
    }

    async function exchange(): Promise<HttpResponse> {
      const answer = await send(request.url, {
        dispatcher: ways.to(request.url),
        method: request.method,
        headers: {
          "user-agent": "billhook",
          ...request.headers,
          ...(request.body ? { "content-length": String(request.body.length) } : {}),
        },
        // undici takes any async iterable; its type knows only streams.
        body: request.body ? (body(request.body) as never) : null,
        signal: cut.signal,
      });
      const chunks: Uint8Array[] = [];
      begun = { status: answer.statusCode, headers: answer.headers, chunks };
      let size = 0;
      const maxResponseBytes = request.maxResponseBytes ?? options.maxResponseBytes ?? RESPONSE_BYTES;
      for await (const chunk of answer.body as AsyncIterable<Uint8Array>) {
        size += chunk.length;
        if (size > maxResponseBytes && request.beginningOnly) {
          chunks.push(chunk.subarray(0, chunk.length - (size - maxResponseBytes)));
          break;
        }
        if (size > maxResponseBytes) end(`the answer is longer than ${maxResponseBytes} bytes`);
        if (ended !== null) break;
        chunks.push(chunk);
      }
      if (ended !== null) throw new Error(ended);
      return response(begun);
    }

    if (options.allowPrivate === false) refusePrivate(name, request.url);
    await request.beforeSend?.();
    const timer = setTimeout(() => end(`no complete answer came within ${timeoutMs} ms`), timeoutMs);
    signal.addEventListener("abort", stop, { once: true });
    try {
      // The race: undici looks at the signal only once a socket is there.
      const cutOff = new Promise<never>((_, reject) => cut.signal.addEventListener("abort", () => reject(cut.signal.reason)));
      if (signal.aborted) stop();
      return await Promise.race([cutOff, ...(cut.signal.aborted ? [] : [exchange()])]);
    } catch (thrown) {
      if (bodyFault) throw bodyFault;
      if (thrown instanceof Fault) throw thrown;
      if (begun !== null && request.beginningOnly && sent === "whole") return response(begun);
      const code = failure(request.method, sent, thrown instanceof Error && unconnected.has(thrown), signal.aborted);
      throw failed(code, placeOf(name, request), request.url, ended ?? reasonOf(thrown), thrown);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
    }
  }

  async function knock(url: string, signal: AbortSignal): Promise<void> {
    if (options.allowPrivate === false) refusePrivate(name, url);
    const arrived = new Error("the connection is there");
    const once = dial((thrown, socket) => {
      socket?.destroy();
      return thrown ?? arrived;
    });
    const late = AbortSignal.timeout(timeoutMs);
    const either = AbortSignal.any([signal, late]);
    try {
      either.throwIfAborted();
      const cutOff = new Promise<never>((_, reject) => either.addEventListener("abort", () => reject(either.reason)));
      await Promise.race([cutOff, send(url, { dispatcher: once.to(url), signal: either })]);
    } catch (thrown) {
      if (thrown === arrived) return;
      if (thrown instanceof Fault) throw thrown;
      const why = late.aborted ? `not within ${timeoutMs} ms` : signal.aborted ? "it was stopped" : reasonOf(thrown);
      throw failed(signal.aborted ? "http.stopped" : "http.unreachable", `${name}: ${new URL(url).origin}`, url, why, thrown);
    } finally {
      await once.close();
    }
  }

  return { call, knock, close: ways.close };
}

/** Told of each connection that was made or failed; what it gives back is the failure the caller sees. */
type Met = (thrown: Error | null, socket: Socket | null) => Error | null;
type Ways = { readonly to: (url: string) => Dispatcher; readonly close: () => Promise<void> };

function dialling(options: HttpOptions): (met: Met) => Ways {
  const { connections, proxies } = options;
  const timeout = Math.min(CONNECT_MS, options.timeoutMs);
  const own = options.tls !== undefined && Object.values(options.tls).some((file) => file !== null);
  const tls = own ? { secureContext: secureContextOf(options.name, options.tls ?? {}) } : {};
  const lookup = options.allowPrivate === false ? { lookup: publicOnly(options.name, options.lookup) } : {};
  const direct = buildConnector({ allowH2: false, timeout, ...tls, ...lookup });
  return (met) => {
    // One way for all connections, made directly, through a tunnel or to a proxy that forwards.
    const factory = (origin: string | URL, given: object) => {
      const { connect } = given as { readonly connect: buildConnector.connector };
      return new Pool(origin, {
        connections,
        allowH2: false,
        headersTimeout: 0,
        bodyTimeout: 0,
        connect: (target, callback) =>
          connect(target, (thrown, socket) => {
            const failure = met(thrown, socket);
            if (failure !== null || socket === null) callback(failure ?? new Error("no connection"), null);
            else callback(null, socket);
          }),
      });
    };
    const through = (proxy: string | null) =>
      proxy === null
        ? new Agent({ factory, connect: direct })
        : new EnvHttpProxyAgent({
            factory,
            connect: direct,
            connectTimeout: timeout,
            httpProxy: proxy,
            httpsProxy: proxy,
            noProxy: proxies?.except ?? "",
            requestTls: { allowH2: false, ...tls },
          });
    const plain = through(proxies?.http ?? null);
    const secure = through(proxies?.https ?? null);
    return {
      to: (url) => (new URL(url).protocol === "https:" ? secure : plain),
      close: async () => {
        for (const agent of [plain, secure]) await agent.destroy().catch(() => {});
      },
    };
  };
}

/** An answer as far as it came. */
type Begun = { readonly status: number; readonly headers: NodeJS.Dict<string | string[]>; readonly chunks: readonly Uint8Array[] };

function response({ status, headers, chunks }: Begun): HttpResponse {
  const bytes = Buffer.concat(chunks);
  const flat = Object.entries(headers).map(([field, value]) => [field, Array.isArray(value) ? value.join(", ") : (value ?? "")] as const);
  return { status, headers: Object.fromEntries(flat), bytes, text: () => new TextDecoder().decode(bytes) };
}

const DAY_MS = 86_400_000;

/**
 * When the other side lets us come back; null when it does not say. Retry-After (RFC 9110 section 10.2.3: seconds or an HTTP date), at
 * most `longestMs` ahead, goes before X-RateLimit-Reset (no standard; seconds since 1970), at most a day ahead.
 */
export function retryAfter(headers: HttpResponse["headers"], now: Date, longestMs = DAY_MS): Date | null {
  const wait = headers["retry-after"]?.trim() ?? "";
  const reset = headers["x-ratelimit-reset"]?.trim() ?? "";
  const byWait = /^\d+$/.test(wait) ? now.getTime() + Number(wait) * 1_000 : / GMT$/.test(wait) ? Date.parse(wait) : Number.NaN;
  const saysWait = !Number.isNaN(byWait);
  const at = !saysWait && /^\d+$/.test(reset) ? Number(reset) * 1_000 : byWait;
  const longest = saysWait ? longestMs : DAY_MS;
  return Number.isNaN(at) ? null : new Date(Math.min(Math.max(now.getTime(), at), now.getTime() + longest));
}
