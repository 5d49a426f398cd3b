/** Which bodies of a mail go along: the text, the HTML, both or none, also those of forwarded mails. */
import type { Piece } from "../message/message.ts";

/** `text` and `html` fall back to the other one when the message has only that. */
export type BodyChoice = "text" | "html" | "both" | "none";

/** The bodies of a message have the ids `text` and `html`; those of a forwarded one `2.text`, `2.html`. Null is an attachment. */
export function bodyKind(piece: Piece): "text" | "html" | null {
  const last = piece.id.slice(piece.id.lastIndexOf(".") + 1);
  return last === "text" || last === "html" ? last : null;
}

export function chosenBodies(parts: readonly Piece[], wanted: BodyChoice): readonly Piece[] {
  if (wanted === "none") return [];
  const found = parts.filter((part) => bodyKind(part) !== null);
  return found.filter((part) => {
    if (wanted === "both" || bodyKind(part) === wanted) return true;
    return !found.some((other) => bodyKind(other) === wanted && messageOf(other) === messageOf(part));
  });
}

/** The part number of the message a body belongs to, with a dot at its end; empty for the mail itself. */
export function messageOf(body: Piece): string {
  return body.id.slice(0, body.id.lastIndexOf(".") + 1);
}
