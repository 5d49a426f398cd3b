/** What of a document goes to its service and what stays behind, told before anything is sent. */
import type { Fault } from "../base/errors.ts";
import type { Piece } from "../message/message.ts";
import { type BodyChoice, bodyKind, messageOf } from "./bodies.ts";
import type { Document, Progress, Submission } from "./extractor.ts";

/** `body`: which bodies were chosen. */
export function submissionOf({ parts }: Document, submitted: Submission["submitted"], body: BodyChoice, refusal: Fault | null): Submission {
  const going = new Set(submitted.map(({ part }) => part));
  // The message as it arrived leaves nothing behind.
  const behind = going.has("raw") ? [] : parts.filter((part) => !going.has(part.id));
  const opened = new Set(parts.flatMap(({ id }) => [...id.matchAll(/\./g)].map((dot) => id.slice(0, dot.index))));
  const bodiesOf = new Set(parts.filter((part) => bodyKind(part) !== null && going.has(part.id)).map(messageOf));

  function why(part: Piece): string {
    if (bodyKind(part) !== null && body === "none") return "bodies are not sent";
    if (bodyKind(part) !== null && bodiesOf.has(messageOf(part))) return "the other body is sent";
    if (opened.has(part.id)) return "what it holds goes by itself";
    return part.size === 0 ? "it is empty" : `the service does not take ${part.contentType}`;
  }

  return { submitted, left: behind.map((part) => ({ part: part.id, why: why(part) })), refusal };
}

/** The ids of the parts that stay behind, for the memo: a few KB at most, since a mail is split into a thousand parts at most. */
export function skippedBy({ left }: Submission): readonly string[] {
  return left.map(({ part }) => part);
}

/** Refused before any run was bought, nothing was read: the memo names every part as skipped. A person's retry plans anew. */
export function unread(progress: Progress, { parts }: Document): Progress {
  const { is, memo } = progress;
  if (is !== "refused" || memo === null || memo.runId !== undefined || memo.perhapsBought === true) return progress;
  return { ...progress, memo: { ...memo, skipped: parts.map(({ id }) => id) } };
}
