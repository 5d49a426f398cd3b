/** What a response of Cloudsquid means: an answer, a refusal, or a temporary fault; statuses it does not document are judged by RFC 9110. */
import { Fault, permanent } from "../base/errors.ts";
import { type HttpResponse, retryAfter } from "../base/http.ts";

export type Judged =
  | { readonly is: "answer"; readonly json: unknown }
  /** 2xx, and not JSON: what was asked for may have been done. */
  | { readonly is: "unreadable"; readonly fault: Fault }
  /** Asking again cannot help. */
  | { readonly is: "refused"; readonly fault: Fault };

const COME_BACK = new Set([408, 425, 429]);
const NO_ENTRY = new Set([401, 402, 403]);

/** Judges a response to `call` (`cloudsquid: POST /api/…`); throws what may pass or can be mended as a temporary Fault. */
export function judge(call: string, response: HttpResponse, now: Date): Judged {
  const { status } = response;
  if (status >= 200 && status < 300) return parsed(call, response);
  const said = messageOf(response);
  const message = `${call} was answered ${status}${said === null ? "" : `: ${said}`}`;
  if (status >= 500 || COME_BACK.has(status)) {
    throw new Fault("cloudsquid.unavailable", message, { retryAt: retryAfter(response.headers, now) ?? undefined });
  }
  if (NO_ENTRY.has(status)) {
    throw new Fault("cloudsquid.unauthorized", message, { advice: "check apiKey and the account; keys belong to one project" });
  }
  if (status === 404) {
    throw new Fault("cloudsquid.not-found", message, { advice: "check url, project (its name) and table (its id)" });
  }
  if (status < 400) throw new Fault("cloudsquid.redirected", message, { advice: "check url; redirects are not followed" });
  return { is: "refused", fault: permanent("cloudsquid.refused", message, status === 413 ? "lower maxBytes of the service" : undefined) };
}

function parsed(call: string, response: HttpResponse): Judged {
  try {
    const json: unknown = JSON.parse(response.text());
    if (typeof json === "object" && json !== null) return { is: "answer", json };
  } catch {
    // Told below, without the text: it can be anything.
  }
  const type = shortText(response.headers["content-type"], 60) ?? "no type";
  return {
    is: "unreadable",
    fault: new Fault("cloudsquid.unexpected", `${call} was answered ${response.status} with ${type}, expected a JSON object`),
  };
}

/** `errorMessage` is the one text of the service that is repeated: any other may quote the mail. */
function messageOf(response: HttpResponse): string | null {
  try {
    return shortText(object(JSON.parse(response.text())).errorMessage, 300);
  } catch {
    return null;
  }
}

/** One line of at most `most` characters; null when it is not text or empty. */
export function shortText(value: unknown, most: number): string | null {
  if (typeof value !== "string") return null;
  const line = value
    .slice(0, 4 * most)
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\s]+/gu, " ")
    .trim();
  return line === "" ? null : line.slice(0, most);
}

export function object(value: unknown): { readonly [field: string]: unknown } {
  return typeof value === "object" && value !== null ? (value as { readonly [field: string]: unknown }) : {};
}
