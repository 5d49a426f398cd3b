/** `billhook split`: what is in a message file, as a tree for people or as one JSON line a file. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { EXIT, reasonOf } from "../base/errors.ts";
import { type Address, type Keep, type Part, type Split, typeOf } from "../message/message.ts";
import { parse } from "../message/parse.ts";
import { HEAD_BYTES } from "../message/sniff.ts";
import { visible } from "./visible.ts";

/** Prints each file in turn; one that cannot be read is said so and the others go on. Gives the exit code. */
export async function split(files: readonly string[], options: { readonly json: boolean }, out: (line: string) => void): Promise<number> {
  let code: number = EXIT.done;
  for (const file of files) {
    try {
      const found = await parse(createReadStream(file), measure);
      if (options.json) out(JSON.stringify(recordOf(file, found)));
      else for (const line of treeOf(file, found)) out(line);
    } catch (thrown) {
      code = EXIT.door;
      const error = `cannot be read: ${reasonOf(thrown)}`;
      out(options.json ? JSON.stringify({ file, error }) : `${visible(file)}: ${error}`);
    }
  }
  return code;
}

/** Looking into a message leaves nothing behind: the bytes are hashed and forgotten, those of forwarded mails are read on the way. */
export const measure: Keep = async (bytes) => {
  const hash = createHash("sha256");
  const first: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of bytes) {
    hash.update(chunk);
    if (size < HEAD_BYTES) first.push(chunk);
    size += chunk.length;
  }
  return { sha256: hash.digest("hex"), size, head: Buffer.concat(first).subarray(0, HEAD_BYTES) };
};

function recordOf(file: string, { facts, text, html, parts, faults }: Split) {
  const { subject, from, to, date, messageId } = facts;
  const attachments = parts
    .filter((part) => part.role === "attachment")
    .map(({ id, parent, filename, contentType, sniffedType, disposition, size, sha256 }) => {
      return { id, parent, filename, contentType, sniffedType, disposition, size, sha256 };
    });
  return { file, subject, from, to, date, messageId, text, html, parts: attachments, ...(faults.length > 0 && { faults }) };
}

function treeOf(file: string, { facts, parts, faults }: Split): readonly string[] {
  const who = (addresses: readonly Address[]) => addresses.map(({ name, address }) => (name ? `${name} <${address}>` : address)).join(", ");
  const lines = [
    file,
    `  subject  ${facts.subject ?? "(none)"}`,
    `  from     ${who(facts.from) || "(none)"}`,
    `  to       ${who(facts.to) || "(none)"}`,
    `  date     ${facts.date ?? "(none)"}`,
    ...branchesOf(parts, null, "  "),
    ...faults.map((fault) => `  ! ${fault.message} [${fault.code}]`),
  ];
  return lines.map(visible);
}

function branchesOf(parts: readonly Part[], parent: string | null, indent: string): readonly string[] {
  const own = parts.filter((part) => part.parent === parent);
  return own.flatMap((part, at) => {
    const last = at === own.length - 1;
    const type = typeOf(part) === part.contentType ? part.contentType : `${part.contentType} (looks like ${part.sniffedType})`;
    const name = part.role === "body" ? "" : `${part.filename ?? "(no name)"}  `;
    const line = `${indent}${last ? "└─" : "├─"} ${part.id}  ${name}${type}  ${part.size} bytes`;
    return [line, ...branchesOf(parts, part.id, `${indent}${last ? "   " : "│  "}`)];
  });
}
