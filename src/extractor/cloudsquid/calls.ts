/** Cloudsquid's calls: paths, headers, bodies, and what each answer must hold; only `advance` knows in which order they come. */
import type { Clock } from "../../base/clock.ts";
import { Fault } from "../../base/errors.ts";
import type { Http, HttpBody, HttpRequest, HttpResponse } from "../../http/http.ts";
import type { Buying } from "../extractor.ts";
import { idOf, type JsonObject, LONGEST_ANSWER, object } from "../json.ts";
import { type Judged, judge, type Row, readRow, unexpected } from "./answer.ts";

export type CallOptions = {
  readonly name: string;
  /** `https://api.cloudsquid.io/api`. */
  readonly url: string;
  readonly apiKey: string;
  /** The project's name, as `GET /projects` lists it. */
  readonly project: string;
  /** The table's id, a UUID. */
  readonly table: string;
};

/** How a call that makes something ended. */
export type Effect<Made> =
  | { readonly is: "made"; readonly made: Made }
  | { readonly is: "refused" | "halted"; readonly fault: Fault }
  /** Nobody knows whether it was made. */
  | { readonly is: "lost"; readonly fault: Fault };

/** How a question ended. */
export type Known<Found> = { readonly is: "known"; readonly found: Found } | { readonly is: "refused" | "halted"; readonly fault: Fault };

export type Calls = {
  /** A row for a Document; its id. */
  readonly upload: (body: HttpBody, signal: AbortSignal, buying?: Buying) => Promise<Effect<string>>;
  /** A run on a row; its id. */
  readonly start: (rowId: string, zeroRetention: boolean, signal: AbortSignal, buying?: Buying) => Promise<Effect<string>>;
  /** Row and run of a Document at once; blocks until it is over, or the service thinks it has blocked long enough. */
  readonly extract: (body: HttpBody, signal: AbortSignal, buying?: Buying) => Promise<Effect<Row>>;
  /** Throws a temporary `cloudsquid.unexpected` for what is no DataRow. */
  readonly look: (runId: string, signal: AbortSignal) => Promise<Exclude<Judged, { is: "unclear" | "answer" }> | { is: "row"; row: Row }>;
  /** Puts a file among those of the project. May be repeated: a path that is taken holds the same bytes, by its name. */
  readonly store: (path: string, body: HttpBody, signal: AbortSignal) => Promise<Exclude<Effect<null>, { is: "lost" }>>;
  /** Where a stored file can be fetched, for 15 minutes; a secret, so it is never saved. */
  readonly signedUrl: (path: string, signal: AbortSignal) => Promise<Known<string>>;
  /** The names of the projects the key opens. */
  readonly projects: (signal: AbortSignal) => Promise<Known<readonly unknown[]>>;
};

const LONGEST_URL = 8_000;

/** What a call counts as to the rate limits, and its longest answer. */
type Kind = Required<Pick<HttpRequest, "category" | "maxResponseBytes">>;

const MB = 1024 * 1024;
const READ: Kind = { category: "read", maxResponseBytes: 1 * MB };
const WRITE: Kind = { category: "write", maxResponseBytes: 1 * MB };
const START: Kind = { category: "run", maxResponseBytes: 1 * MB };
/** These are answered with a DataRow. */
const POLL: Kind = { category: "read", maxResponseBytes: LONGEST_ANSWER };
const EXTRACT: Kind = { category: "run", maxResponseBytes: LONGEST_ANSWER };

export function createCalls(options: CallOptions, { clock, http }: { readonly clock: Clock; readonly http: Http }): Calls {
  const api = options.url.replace(/\/+$/, "");
  const project = `${api}/projects/${encodeURIComponent(options.project)}`;
  const table = `${project}/tables/${encodeURIComponent(options.table)}`;
  const nameOf = (method: string, url: string) => `${options.name}: ${method} ${new URL(url).pathname}`;

  function send(method: HttpRequest["method"], url: string, kind: Kind, body: HttpBody | null, signal: AbortSignal, buying?: Buying) {
    const headers = { "x-api-key": options.apiKey, accept: "application/json", ...(body ? { "content-type": "application/json" } : {}) };
    return http.call({ method, url, headers, ...kind, ...(body ? { body } : {}), ...(buying ? { beforeSend: buying } : {}) }, signal);
  }

  function judged(method: string, url: string, response: HttpResponse): Judged {
    return judge(nameOf(method, url), response, clock.now());
  }

  async function make<Made>(
    url: string,
    kind: Kind,
    body: HttpBody,
    read: (json: JsonObject, call: string) => Made | Fault,
    signal: AbortSignal,
    buying: Buying | undefined,
  ): Promise<Effect<Made>> {
    try {
      const answer = judged("POST", url, await send("POST", url, kind, body, signal, buying));
      if (answer.is === "unclear") return { is: "lost", fault: answer.fault };
      if (answer.is !== "answer") return answer;
      const made = read(answer.json, nameOf("POST", url));
      return made instanceof Fault ? { is: "lost", fault: made } : { is: "made", made };
    } catch (thrown) {
      if (thrown instanceof Fault && thrown.code === "http.ambiguous") return { is: "lost", fault: thrown };
      throw thrown;
    }
  }

  const idIn = (field: "row_id" | "run_id") => (json: JsonObject, call: string) =>
    idOf(json[field]) ?? unexpected(call, json, `a usable ${field}`);

  async function get(url: string, kind: Kind, signal: AbortSignal): Promise<Exclude<Judged, { is: "unclear" }>> {
    const answer = judged("GET", url, await send("GET", url, kind, null, signal));
    if (answer.is === "unclear") throw answer.fault;
    return answer;
  }

  return {
    upload: (body, signal, buying) => make(`${table}/files`, WRITE, body, idIn("row_id"), signal, buying),

    start: (rowId, zeroRetention, signal, buying) => {
      const body = Buffer.from(JSON.stringify({ row_id: rowId, zero_retention: zeroRetention }));
      return make(`${table}/run`, START, body, idIn("run_id"), signal, buying);
    },

    extract: (body, signal, buying) => {
      const read = (json: JsonObject, call: string) => {
        const row = readRow(json);
        return row.isRow && (row.status !== "other" || row.given !== null) ? row : unexpected(call, json, "data or a status");
      };
      return make(`${table}/extract`, EXTRACT, body, read, signal, buying);
    },

    look: async (runId, signal) => {
      const url = `${table}/run/${runId}`;
      const answer = await get(url, POLL, signal);
      if (answer.is !== "answer") return answer;
      const row = readRow(answer.json);
      if (!row.isRow) throw unexpected(nameOf("GET", url), answer.json, "a status or data");
      return { is: "row", row };
    },

    store: async (path, body, signal) => {
      const url = `${project}/files?path=${path}`;
      const response = await send("PUT", url, WRITE, body, signal);
      if (response.status === 409) return { is: "made", made: null };
      const answer = judged("PUT", url, response);
      if (answer.is === "unclear") throw answer.fault;
      return answer.is === "answer" ? { is: "made", made: null } : answer;
    },

    signedUrl: async (path, signal) => {
      const url = `${project}/files?path=${path}`;
      const answer = await get(url, READ, signal);
      if (answer.is !== "answer") return answer;
      const signed = answer.json.url;
      if (typeof signed === "string" && signed.length <= LONGEST_URL && /^https?:\/\/\S+$/.test(signed))
        return { is: "known", found: signed };
      throw unexpected(nameOf("GET", url), answer.json, "a url");
    },

    projects: async (signal) => {
      const answer = await get(`${api}/projects`, READ, signal);
      if (answer.is !== "answer") return answer;
      return { is: "known", found: Array.isArray(answer.json) ? answer.json.map((one) => object(one).name) : [] };
    },
  };
}
