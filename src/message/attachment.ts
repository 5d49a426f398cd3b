/** One attachment on its way to where it is kept: looked at, named, and read as a message at the same time when it is one. */
import { type Announced, labelsOf } from "./facts.ts";
import type { Keep, Part, Split } from "./message.ts";
import { HEAD_BYTES, sniff } from "./sniff.ts";

/** Reads a message that is pushed to it. */
export type Reader = {
  /** Resolves when more can be taken. After a fault the bytes are taken and ignored. */
  readonly write: (chunk: Uint8Array) => Promise<void>;
  readonly end: () => Promise<Omit<Split, "faults">>;
  /** Ends what is being kept with this error; resolves when all of it has ended. Never rejects. */
  readonly abort: (reason: unknown) => Promise<void>;
};

/** The part, and after it what `inside` found when it is a message; null from `inside` leaves it closed. */
export async function keepAttachment(
  id: string,
  parent: string | null,
  announced: Announced,
  content: AsyncIterable<Uint8Array>,
  keep: Keep,
  inside: () => Reader | null,
): Promise<readonly Part[]> {
  const labels = labelsOf(announced);
  const { head, bytes } = await peek(content);
  const sniffedType = await sniff(head, labels.filename);
  const reader = isMessage(labels.contentType, sniffedType) ? inside() : null;
  try {
    const { sha256, size } = await keep(reader ? tee(bytes, reader) : bytes);
    const part: Part = { id, parent, role: "attachment", ...labels, sniffedType, sha256, size };
    return reader ? [part, ...(await reader.end()).parts] : [part];
  } catch (thrown) {
    await reader?.abort(thrown);
    throw thrown;
  }
}

/** A declared message is believed unless its bytes are clearly something else; an undeclared one only for its bytes. */
function isMessage(contentType: string, sniffedType: string | null): boolean {
  if (sniffedType === "message/rfc822") return true;
  const declared = contentType === "message/rfc822" || contentType === "message/global";
  return declared && (sniffedType === null || sniffedType.startsWith("text/"));
}

async function* tee(bytes: AsyncIterable<Uint8Array>, reader: Reader): AsyncIterable<Uint8Array> {
  for await (const chunk of bytes) {
    await reader.write(chunk);
    yield chunk;
  }
}

/** The first bytes, and all of them. */
async function peek(content: AsyncIterable<Uint8Array>): Promise<{ head: Uint8Array; bytes: AsyncIterable<Uint8Array> }> {
  const rest = content[Symbol.asyncIterator]();
  const first: Uint8Array[] = [];
  for (let length = 0; length < HEAD_BYTES; ) {
    const next = await rest.next();
    if (next.done) break;
    first.push(next.value);
    length += next.value.length;
  }
  async function* bytes() {
    yield* first;
    yield* { [Symbol.asyncIterator]: () => rest };
  }
  return { head: Buffer.concat(first).subarray(0, HEAD_BYTES), bytes: bytes() };
}
