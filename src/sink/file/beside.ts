/** What stands beside a delivery's file: the attachments of its documents and the message itself, each whole, none over another. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { type Fault, permanent } from "../../base/errors.ts";
import { safeSegment } from "../../base/files.ts";
import type { Piece } from "../../message/message.ts";
import { inTurn } from "../turn.ts";
import { finish, isThere, type Rights, writeNew } from "./rights.ts";

export type Beside = {
  /** The delivery's own file: nothing beside it takes its place. */
  readonly path: string;
  readonly stem: string;
  /** The delivery's key. */
  readonly key: string;
  readonly rights: Rights;
  /** What its place is called in a fault: the path itself may hold what a mail says. */
  readonly called: string;
};

/** `<stem>.<part>.<file name>`: the part id keeps two attachments of one name apart, the mark those of two deliveries with one stem. */
export async function writeAttachments(beside: Beside, attachments: readonly Piece[], signal: AbortSignal): Promise<void> {
  for (const piece of attachments) {
    await write(beside, `.${safeSegment(piece.id, "part", 36)}.${safeSegment(piece.filename, "unnamed", 64)}`, piece, signal);
  }
}

/** `<stem>.eml`. */
export async function writeRaw(beside: Beside, raw: Piece, signal: AbortSignal): Promise<void> {
  await write(beside, ".eml", raw, signal);
}

async function write({ path, stem, key, rights, called }: Beside, end: string, piece: Piece, signal: AbortSignal): Promise<void> {
  const wanted = [`${stem}${end}`, `${stem}-${markOf(key)}${end}`].filter((place) => place.toLowerCase() !== path.toLowerCase());
  await inTurn((wanted[0] ?? "").toLowerCase(), async () => {
    for (const place of wanted) {
      if (!(await isThere(place)) && (await writeNew(place, untilAborted(piece.open(), signal), rights))) return;
      if (await holds(place, piece)) return finish(place);
    }
    throw taken(called, key);
  });
}

async function* untilAborted(bytes: AsyncIterable<Uint8Array>, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  for await (const chunk of bytes) {
    signal.throwIfAborted();
    yield chunk;
  }
}

/** Whether these bytes stand there already. */
async function holds(path: string, piece: Piece): Promise<boolean> {
  if (!(await isThere(path))) return false;
  const found = await stat(path);
  if (!found.isFile() || found.size !== piece.size) return false;
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) hash.update(chunk);
  return hash.digest("hex") === piece.sha256;
}

/** Keeps deliveries apart whose names fall together. */
export function markOf(key: string): string {
  return createHash("sha256").update(key).digest("hex").slice(0, 12);
}

export function taken(called: string, key: string): Fault {
  return permanent(
    "file.taken",
    `${called} is there already and is not this delivery's, and so is the one marked -${markOf(key)}`,
    "move these files away, or choose another name template",
  );
}
