/** The shapes of Extend's answers: ids, errors with their request id, and pages. */
import { randomBytes } from "node:crypto";
import { jsonReply, type Reply } from "../exchange.ts";
import type { Page } from "./request.ts";

/** As `exr_Xj8mK2pL9nR4vT7qY5wZ`. */
export function newId(prefix: string): string {
  return `${prefix}_${randomBytes(15).toString("base64url")}`;
}

export function ok(value: unknown): Reply {
  return jsonReply(200, value, { "x-extend-request-id": newId("req") });
}

const CODES: { readonly [status: number]: string } = {
  400: "INVALID_REQUEST",
  401: "UNAUTHORIZED",
  402: "USAGE_BLOCKED",
  403: "FORBIDDEN",
  404: "NOT_FOUND",
  413: "FILE_SIZE_TOO_LARGE",
  422: "INVALID_REQUEST",
  429: "RATE_LIMIT_EXCEEDED",
};

type ErrorOptions = {
  /** Where the status has more than one. */
  readonly code?: string | undefined;
  /** As Extend's own clients expect it here and there: `{error: text}` or `{error: {…}}`. */
  readonly wrapped?: "text" | "object" | undefined;
};

export function problem(status: number, message: string, { code, wrapped }: ErrorOptions = {}): Reply {
  const requestId = newId("req");
  const known = code ?? CODES[status] ?? (status < 500 ? "INVALID_REQUEST" : "INTERNAL_ERROR");
  const error = {
    code: known,
    message,
    retryable: known === "OCR_ERROR" || status === 429 || status >= 500,
    requestId,
    docUrl: "https://docs.extend.ai/2026-02-09/developers/error-codes",
  };
  const body = wrapped === "text" ? { error: message } : wrapped === "object" ? { error } : error;
  return jsonReply(status, body, { "x-extend-request-id": requestId });
}

export type Listed<T> = { readonly object: "list"; readonly data: readonly T[]; readonly nextPageToken?: string };

/** One page of what is sorted already, earliest first. The token names the last item of the page before. */
export function pageOf<T extends { readonly id: string }>(items: readonly T[], page: Page): Listed<T> | string {
  const sorted = page.sortDir === "asc" ? items : items.toReversed();
  const after = page.nextPageToken === undefined ? null : Buffer.from(page.nextPageToken, "base64url").toString();
  const from = after === null ? 0 : sorted.findIndex(({ id }) => id === after) + 1;
  if (after !== null && from === 0) return "nextPageToken: not one of these results";
  const data = sorted.slice(from, from + page.maxPageSize);
  const last = data.at(-1);
  const more = last !== undefined && from + data.length < sorted.length;
  return { object: "list", data, ...(more ? { nextPageToken: Buffer.from(last.id).toString("base64url") } : {}) };
}
