/** What a response of Cloudsquid means: an answer, a refusal, or a temporary fault; statuses it does not document are judged by RFC 9110. */
import { Fault, permanent } from "../../base/errors.ts";
import { type HttpResponse, retryAfter } from "../../http/http.ts";
import type { Answer } from "../extractor.ts";
import { isStructured, type JsonObject, object, parsedObject, shortText } from "../json.ts";

export type Judged =
  | { readonly is: "answer"; readonly json: JsonObject }
  /** Asking again cannot help. */
  | { readonly is: "refused"; readonly fault: Fault }
  /** The account has to be paid for first. */
  | { readonly is: "halted"; readonly fault: Fault }
  /** What was asked for may have been done: a 2xx nobody can read, or an error of the server, or of a proxy before it, in the middle of it. */
  | { readonly is: "unclear"; readonly fault: Fault };

/** What is asked again later; of these only a 429 says for certain that nothing was done. */
const COME_BACK = new Set([408, 425, 429]);

/** Judges a response to `call` (`cloudsquid: POST /api/…`); throws a temporary Fault when surely nothing was done and it may be asked again. */
export function judge(call: string, response: HttpResponse, now: Date): Judged {
  const { status } = response;
  if (status >= 200 && status < 300) return parsed(call, response);
  // `errorMessage` is the one text of the service that is repeated: any other may quote the mail.
  const said = shortText(object(parsedObject(response.text())).errorMessage, 300);
  const message = `${call} was answered ${status}${said === null ? "" : `: ${said}`}`;
  const retryAt = retryAfter(response.headers, now) ?? undefined;
  const unavailable = new Fault("cloudsquid.unavailable", message, { retryAt, advice: "it is asked again by itself" });
  if (status === 429) throw unavailable;
  if (status >= 500 || COME_BACK.has(status)) return { is: "unclear", fault: unavailable };
  if (status === 402) {
    const advice = "look at the account's plan and credits in Cloudsquid, then resume the service";
    return { is: "halted", fault: new Fault("cloudsquid.payment-required", message, { advice }) };
  }
  if (status === 401 || status === 403) {
    const advice = "check apiKey and the account; keys belong to one project";
    throw new Fault("cloudsquid.unauthorized", message, { advice, retryAt: response.comeBack, blameless: response.comeBack !== undefined });
  }
  if (status === 404) {
    throw new Fault("cloudsquid.not-found", message, { advice: "check url, project (its name) and table (its id)" });
  }
  if (status < 400) throw new Fault("cloudsquid.redirected", message, { advice: "check url; redirects are not followed" });
  return { is: "refused", fault: permanent("cloudsquid.refused", message, status === 413 ? "lower maxBytes of the service" : undefined) };
}

function parsed(call: string, response: HttpResponse): Judged {
  const json = parsedObject(response.text());
  if (json !== null) return { is: "answer", json };
  // Without the text: it can be anything.
  const type = shortText(response.headers["content-type"], 60) ?? "no type";
  const came = `${response.status} with ${response.bytes.length} bytes of ${type}`;
  const message = `${call} was answered ${came}, expected a JSON object, neither nested too deep nor of too many values`;
  return { is: "unclear", fault: new Fault("cloudsquid.unexpected", message) };
}

/** The fault for an answer that is JSON and not what was asked for; an error in it is told. */
export function unexpected(call: string, json: JsonObject, expected: string): Fault {
  const said = shortText(json.errorMessage, 300);
  return new Fault("cloudsquid.unexpected", `${call} was answered without ${expected}${said === null ? "" : `: ${said}`}`);
}

/** What is read of a DataRow, the service's state of a run; nothing of its shape is taken for granted. */
export type Row = {
  readonly status: "absent" | "done" | "error" | "pending" | "other";
  /** The status as given; null when it is not text. */
  readonly given: string | null;
  /** False when neither a status nor data is there: then it is no DataRow. */
  readonly isRow: boolean;
  /** Null when it is neither an object nor a list: then it is no result. */
  readonly data: JsonObject | null;
  readonly json: JsonObject;
};

export function readRow(json: JsonObject): Row {
  const given = shortText(json.status, 40);
  const word = given?.toLowerCase();
  const absent = json.status === undefined || json.status === null || json.status === "";
  // `result` is what the service's older API called the data.
  const found = json.data ?? json.result;
  const data = isStructured(found) ? found : null;
  const isRow = !Array.isArray(json) && (!absent || "data" in json || "result" in json);
  const status = absent ? "absent" : word === "done" || word === "error" || word === "pending" ? word : "other";
  return { status, given, isRow, data, json };
}

export function answerOf(runId: string | null, { data, json }: Row): Answer {
  const reasoning = typeof json.reasoning === "string" && json.reasoning !== "" ? json.reasoning : null;
  return { runId, data, credits: null, reasoning, review: json.review ?? null, raw: json };
}

/** The fault for a run that ended in an error; the service has no field for why. */
export function failed(run: string, { json }: Row): Fault {
  const said = shortText(json.errorMessage, 300);
  return permanent(
    "cloudsquid.failed",
    `the service could not read it: status error${said === null ? "" : `: ${said}`} (${run})`,
    "look at the mail; `billhook retry` buys another run, `billhook ignore` gives it up",
  );
}

/** The fault for a run that is done and has no data; `temporary` while it may yet come. */
export function empty(run: string, temporary: boolean): Fault {
  const advice = temporary ? undefined : "look at it in Cloudsquid; `billhook retry` buys another run";
  return new Fault("cloudsquid.unexpected", `${run} is done, and its data is neither an object nor a list`, { temporary, advice });
}
