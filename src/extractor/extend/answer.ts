/** What a response of Extend means: an answer, a refusal, an account at its end, an answer lost, or a temporary fault. */
import { Fault, permanent } from "../../base/errors.ts";
import { type HttpResponse, retryAfter } from "../../http/http.ts";
import { type JsonObject, object, parsedObject, shortText } from "../json.ts";

export type Judged =
  | { readonly is: "answer"; readonly json: JsonObject }
  /** Asking again cannot help. */
  | { readonly is: "refused"; readonly fault: Fault }
  /** The account is blocked or out of credits. */
  | { readonly is: "halted"; readonly fault: Fault }
  /** What was asked for may have been done. `withError`: an error of the server, or one it calls passing; else no answer anybody can read. */
  | { readonly is: "unclear"; readonly withError: boolean; readonly fault: Fault };

/** Judges a response to `call` (`extend: POST /extract_runs`); throws a temporary Fault when surely nothing was done and it may be asked again. */
export function judge(call: string, response: HttpResponse, now: Date): Judged {
  const { status } = response;
  if (status >= 200 && status < 300) return parsed(call, response);
  const error = errorOf(response);
  const message = `${call} was answered ${status}${error.told}`;
  const retryAt = retryAfter(response.headers, now) ?? undefined;
  if (status === 402 || error.code === "USAGE_BLOCKED") {
    const advice = "look at credits and limits in Extend's billing settings, then resume the service";
    return { is: "halted", fault: new Fault("extend.usage-blocked", message, { advice }) };
  }
  if (status === 401 || status === 403) {
    const advice = "check apiKey, its region (url), and workspace: a key of an organization needs the workspace's id";
    throw new Fault("extend.unauthorized", message, { advice, retryAt: response.comeBack, blameless: response.comeBack !== undefined });
  }
  if (status === 429)
    throw new Fault("extend.rate-limited", message, { retryAt, advice: "it is asked again by itself; lower `rates` if it is often" });
  if (status >= 500 || status === 408 || status === 425 || error.retryable) {
    return {
      is: "unclear",
      withError: true,
      fault: new Fault("extend.unavailable", message, { retryAt, advice: "it is asked again by itself" }),
    };
  }
  if (status < 400) throw new Fault("extend.redirected", message, { advice: "check url; redirects are not followed" });
  if (status === 404) return { is: "refused", fault: permanent("extend.not-found", message, "check url, workspace and extractor.id") };
  return { is: "refused", fault: permanent("extend.refused", message, status === 413 ? "lower maxBytes of the service" : undefined) };
}

function parsed(call: string, response: HttpResponse): Judged {
  const json = parsedObject(response.text());
  if (json !== null) return { is: "answer", json };
  const type = shortText(response.headers["content-type"], 60) ?? "no type";
  const message = `${call} was answered ${response.status} with ${type}, expected a JSON object, neither nested too deep nor of too many values`;
  return { is: "unclear", withError: false, fault: new Fault("extend.unexpected", message) };
}

/** The fault for an answer that is JSON and not what was asked for; an error in it is told. */
export function unexpected(call: string, json: JsonObject, expected: string): Fault {
  return new Fault("extend.unexpected", `${call} was answered without ${expected}${readError(json).told}`);
}

type Said = { readonly code: string | null; readonly retryable: boolean; readonly told: string };

function errorOf(response: HttpResponse): Said {
  return readError(parsedObject(response.text()) ?? {}, response.headers["x-extend-request-id"]);
}

/** The documented shape is `{code, message, retryable, requestId}`; `{error: text}` and `{error: {…}}` are seen in the vendor's clients. */
function readError(body: JsonObject, requestHeader?: string): Said {
  const error = typeof body.error === "object" ? object(body.error) : body;
  const code = shortText(error.code, 60);
  const text = shortText(error.message, 300) ?? shortText(body.error, 300);
  const request = shortText(error.requestId, 80) ?? shortText(requestHeader, 80);
  const told = [code, text].filter((one) => one !== null).join(" ");
  return {
    code,
    retryable: error.retryable === true,
    told: `${told === "" ? "" : `: ${told}`}${request === null ? "" : ` (request ${request})`}`,
  };
}
