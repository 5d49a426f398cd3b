/** Which mail a person means: the beginning of an id, a Message-ID, `u12`, or a mail file of theirs. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { Fault, permanent, reasonOf } from "../base/errors.ts";
import type { Desk } from "../desk/desk.ts";

/**
 * The whole id. What the ledger knows by that name comes before a file of that name; a file is known by its bytes, else by its Message-ID.
 * Throws `desk.unknown`, `desk.ambiguous`, and `config.usage` for nothing at all.
 */
export async function meant(desk: Pick<Desk, "find">, text: string): Promise<string> {
  // Every id begins with nothing: an empty variable of a script must not mean a mail.
  if (text === "")
    throw permanent("config.usage", "say which mail: the beginning of its id, its Message-ID, u and a number, or a mail file");
  const known = await unlessUnknown(desk.find(text));
  if (known.id !== null) return known.id;
  if (!(await isFile(text))) throw known.fault;
  const { sha256, messageId } = await lookInto(text);
  for (const name of [sha256, messageId]) {
    const found = name === null ? null : await unlessUnknown(desk.find(name));
    if (found !== null && found.id !== null) return found.id;
  }
  throw permanent(
    "desk.unknown",
    `the mail in ${text} is not in the ledger, neither by its bytes nor by its Message-ID`,
    "`billhook list` shows what there is; `billhook explain` says what would become of a file",
  );
}

type Known = { readonly id: string } | { readonly id: null; readonly fault: Fault };

async function unlessUnknown(finding: Promise<string>): Promise<Known> {
  try {
    return { id: await finding };
  } catch (thrown) {
    if (thrown instanceof Fault && thrown.code === "desk.unknown") return { id: null, fault: thrown };
    throw thrown;
  }
}

async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
}

async function lookInto(path: string): Promise<{ readonly sha256: string; readonly messageId: string | null }> {
  // Only who names a file pays for what it takes to read one.
  const [{ parse }, { measure }] = await Promise.all([import("../message/parse.ts"), import("./split.ts")]);
  const hash = createHash("sha256");
  async function* hashed(): AsyncGenerator<Uint8Array> {
    for await (const chunk of createReadStream(path)) {
      hash.update(chunk as Uint8Array);
      yield chunk as Uint8Array;
    }
  }
  try {
    const { facts } = await parse(hashed(), measure);
    return { sha256: hash.digest("hex"), messageId: facts.messageId };
  } catch (thrown) {
    throw permanent("desk.file", `${path} cannot be read: ${reasonOf(thrown)}`, "check the path and its permissions", thrown);
  }
}
