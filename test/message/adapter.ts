/** Speaks the corpus tool's JSON lines for `parse`: a message in base64 a line in, what was found a line out. */
import { createHash } from "node:crypto";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import type { Keep } from "../../src/message/message.ts";
import { parse } from "../../src/message/parse.ts";

for await (const line of createInterface({ input: process.stdin })) {
  const { id, raw } = JSON.parse(line) as { id: unknown; raw: string };
  console.log(JSON.stringify({ id, ...(await answer(Buffer.from(raw, "base64"))), rss: process.memoryUsage().rss }));
}

async function answer(raw: Buffer) {
  const kept = new Map<string, Buffer>();
  const keep: Keep = async (bytes) => {
    const content = await Readable.from(bytes).toArray().then(Buffer.concat);
    const sha256 = createHash("sha256").update(content).digest("hex");
    kept.set(sha256, content);
    return { sha256, size: content.length, head: content.subarray(0, 4_100) };
  };
  try {
    const { facts, parts, faults } = await parse(Readable.from([raw]), keep);
    const contentOf = (sha256: string) => kept.get(sha256) ?? Buffer.alloc(0);
    const bodies = (type: string) => parts.filter((part) => part.role === "body" && part.contentType === type);
    const opened = new Set(parts.map((part) => part.parent));
    return {
      ok: true,
      subject: facts.subject,
      text: bodies("text/plain")
        .map((part) => contentOf(part.sha256).toString())
        .join("\n"),
      html: bodies("text/html")
        .map((part) => contentOf(part.sha256).toString())
        .join("\n"),
      faults: faults.map((fault) => fault.code),
      // What `parse` opened already is given without its content, so that the tool does not open it again.
      parts: parts
        .filter((part) => part.role === "attachment")
        .map(({ id, parent, filename, contentType, sha256 }) => ({
          filename,
          contentType,
          sha256,
          nested: parent !== null,
          ...(!opened.has(id) && { content: contentOf(sha256).toString("base64") }),
        })),
    };
  } catch (thrown) {
    return { ok: false, error: String(thrown) };
  }
}
