/** The calls to Extend's API (version 2026-02-09) that an extraction is made of. */
import type { Clock } from "../../base/clock.ts";
import { Fault } from "../../base/errors.ts";
import type { Http, HttpBody, HttpRequest } from "../../http/http.ts";
import type { Buying } from "../extractor.ts";
import { type JsonObject, LONGEST_ANSWER, object } from "../json.ts";
import { type Judged, judge, unexpected } from "./answer.ts";
import { fileForm, type NamedFile } from "./files.ts";
import { idIfOurs } from "./run.ts";

export type ApiOptions = {
  readonly name: string;
  /** The region's: `https://api.extend.ai`. */
  readonly url: string;
  readonly apiKey: string;
  /** Only a key of an organization needs it. */
  readonly workspace: string | null;
  /** Whose runs are listed; without one, those of all. */
  readonly extractor: { readonly id: string } | null;
};

export type Api = {
  /** A GET. What may pass is thrown. */
  readonly read: (path: string, signal: AbortSignal) => Promise<Exclude<Judged, { is: "unclear" }>>;
  /** A POST of JSON that makes or changes something; `unclear` also when the answer was lost. */
  readonly write: (path: string, body: JsonObject, signal: AbortSignal, buying?: Buying) => Promise<Judged>;
  readonly upload: (file: NamedFile, signal: AbortSignal) => Promise<Judged>;
  /** A DELETE; what is not there is removed. What was not, for whatever reason, is thrown. */
  readonly remove: (path: string, signal: AbortSignal) => Promise<void>;
  /** The runs of this key not older than `since`, oldest first. */
  readonly find: (key: string, since: Date, signal: AbortSignal) => Promise<Found | Extract<Judged, { is: "refused" | "halted" }>>;
  /** How a call is named in faults. */
  readonly place: (method: HttpRequest["method"], path: string) => string;
};

/** `all`: the list was read back to `since`, so that what is not found is not in it. */
export type Found = { readonly is: "found"; readonly runs: readonly string[]; readonly all: boolean };

/** `category`: the rate limit it falls under. GUESS: that an upload falls under WRITE. */
type Sent = { readonly body: HttpBody; readonly type: string; readonly category: "write" | "run" };

/** The longest answer to what makes or changes something. */
const SHORT_BYTES = 1_000_000;

const PAGE = 100;
const MOST_PAGES = 50;

export function createApi(options: ApiOptions, deps: { readonly clock: Clock; readonly http: Http }): Api {
  const base = options.url.replace(/\/+$/, "");
  const place: Api["place"] = (method, path) => `${options.name}: ${method} ${path.split("?", 1)[0]}`;

  async function ask(method: "GET" | "POST" | "DELETE", path: string, signal: AbortSignal, sent?: Sent, buying?: Buying): Promise<Judged> {
    const headers = {
      authorization: `Bearer ${options.apiKey}`,
      "x-extend-api-version": "2026-02-09",
      accept: "application/json",
      ...(options.workspace === null ? {} : { "x-extend-workspace-id": options.workspace }),
      ...(sent ? { "content-type": sent.type } : {}),
    };
    const response = await deps.http.call(
      {
        method,
        url: `${base}${path}`,
        headers,
        maxResponseBytes: method === "GET" || path === "/extract" ? LONGEST_ANSWER : SHORT_BYTES,
        ...(sent ? { body: sent.body, category: sent.category } : {}),
        ...(method === "DELETE" ? { category: "write" } : {}),
        ...(buying ? { beforeSend: buying } : {}),
      },
      signal,
    );
    return judge(place(method, path), response, deps.clock.now());
  }

  async function read(path: string, signal: AbortSignal) {
    const judged = await ask("GET", path, signal);
    if (judged.is === "unclear") throw judged.fault;
    return judged;
  }

  async function write(path: string, body: JsonObject, signal: AbortSignal, buying?: Buying): Promise<Judged> {
    try {
      const category = path === "/extract" || path === "/extract_runs" ? "run" : "write";
      const sent: Sent = { body: Buffer.from(JSON.stringify(body)), type: "application/json", category };
      return await ask("POST", path, signal, sent, buying);
    } catch (thrown) {
      if (thrown instanceof Fault && thrown.code === "http.ambiguous") return { is: "unclear", withError: false, fault: thrown };
      throw thrown;
    }
  }

  async function find(key: string, since: Date, signal: AbortSignal): ReturnType<Api["find"]> {
    const runs: string[] = [];
    let token = "";
    for (let page = 0; page < MOST_PAGES; page += 1) {
      const query = new URLSearchParams({ sortBy: "createdAt", sortDir: "desc", maxPageSize: String(PAGE) });
      if (options.extractor !== null) query.set("extractorId", options.extractor.id);
      if (token !== "") query.set("nextPageToken", token);
      const judged = await read(`/extract_runs?${query}`, signal);
      if (judged.is !== "answer") return judged;
      const { data } = judged.json;
      if (!Array.isArray(data)) throw unexpected(place("GET", "/extract_runs"), judged.json, "a list of runs");
      const next = judged.json.nextPageToken ?? "";
      // Taken for the last page it would prove that a run is not there.
      if (typeof next !== "string") throw unexpected(place("GET", "/extract_runs"), judged.json, "a nextPageToken that is text");
      runs.unshift(
        ...data
          .map((run) => idIfOurs(run, key))
          .filter((id) => id !== null)
          .reverse(),
      );
      const reached = Date.parse(String(object(data.at(-1)).createdAt));
      if (next === "" || reached < since.getTime()) return { is: "found", runs, all: true };
      token = next;
    }
    return { is: "found", runs, all: false };
  }

  async function remove(path: string, signal: AbortSignal): Promise<void> {
    const judged = await ask("DELETE", path, signal);
    if (judged.is !== "answer" && judged.fault.code !== "extend.not-found") throw judged.fault;
  }

  return {
    read,
    write,
    remove,
    find,
    place,
    upload: (file, signal) => {
      const form = fileForm(file);
      return ask("POST", "/files/upload", signal, { body: form, type: form.contentType, category: "write" });
    },
  };
}
