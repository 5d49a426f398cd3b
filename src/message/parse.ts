/** The door to mailparser: the bytes of a message go in, its parts go to where they are kept, and its facts come out. */
import { Readable } from "node:stream";
import { type AttachmentStream, type HeaderLines, type Headers, MailParser, type MailParserOptions, type MessageText } from "mailparser";
import { type FaultRecord, permanent, recordOf } from "../base/errors.ts";
import { keepAttachment, type Reader } from "./attachment.ts";
import { factsOf, NO_FACTS } from "./facts.ts";
import { unpadded, utf8Field } from "./mend.ts";
import type { Facts, Keep, Part, Split } from "./message.ts";
import { createPace } from "./pace.ts";

export type Limits = {
  /** MIME entities, multiparts and those of forwarded messages included. */
  readonly entities: number;
  /** Messages within messages. */
  readonly depth: number;
  /** Bytes of header fields of one entity; the fields beyond are left out. */
  readonly header: number;
  /** Bytes of header fields of all entities together. */
  readonly headers: number;
  /** Bytes of text and HTML bodies, as encoded, all together. The parser holds them in memory, several times over. */
  readonly text: number;
};

export const LIMITS: Limits = { entities: 1_000, depth: 8, header: 2 ** 20, headers: 4 * 2 ** 20, text: 8 * 2 ** 20 };

/**
 * Splits a message. Each attachment goes to `keep` while it is being read, so memory does not grow with the message; a forwarded
 * message is kept whole and is split as well. Any bytes resolve: what cannot be read is a record in `faults`, the rest is good.
 * Rejects only with the error of `raw` or the error of `keep`. Nothing is left running then, and all of it may be repeated.
 */
export async function parse(
  raw: AsyncIterable<Uint8Array>,
  keep: Keep,
  options: { readonly limits?: Partial<Limits> } = {},
): Promise<Split> {
  const job: Job = {
    keep,
    limits: { ...LIMITS, ...options.limits },
    faults: [],
    ids: new Set(),
    spent: { entities: 0, headers: 0, text: 0 },
  };
  const reader = read(job, null, 0);
  try {
    for await (const chunk of raw) await reader.write(chunk);
    const split = await reader.end();
    return { ...split, faults: job.faults };
  } catch (thrown) {
    await reader.abort(thrown);
    throw thrown;
  }
}

/** What a message and the messages inside it share. */
type Job = {
  readonly keep: Keep;
  readonly limits: Limits;
  readonly faults: FaultRecord[];
  readonly ids: Set<string>;
  readonly spent: { entities: number; headers: number; text: number };
};

/** What is used of mailparser 3.9.31 beyond its documentation. test/message/parse.test.ts notices when it changes. */
type Internals = {
  processChunk: (chunk: Chunk, done: (error?: Error) => void) => void;
  readonly getTextContent: () => Bodies;
  readonly splitter: {
    compareBoundary: (line: Buffer, start: number, boundary: Buffer) => number | false;
    checkHeadSize: (pending?: number) => Error | null;
    readonly takePendingLine: () => void;
    pendingLineTruncated: boolean;
    readonly node: Node;
  };
  readonly curnode: { readonly isAttachment?: boolean } | false;
};
type Chunk = Node | { readonly type: "body" | "data"; value: Buffer };
type Node = {
  readonly type: "node";
  readonly _headersLines: Buffer[];
  _headerlen: number;
  readonly headers: { readonly getList: () => { readonly key: string; line: string }[] };
  contentType: string | false;
  readonly multipart: string | false;
  readonly parentNode: Node | false;
};
type Bodies = { readonly text?: string | undefined; readonly html?: string | undefined };

const OPTIONS = {
  ignoreEmbedded: true,
  maxChildNodes: Number.MAX_SAFE_INTEGER,
  skipHtmlToText: true,
  skipTextToHtml: true,
  skipTextLinks: true,
  skipImageLinks: true,
} satisfies MailParserOptions & { ignoreEmbedded: boolean; maxChildNodes: number };

/** Reads one message; `parent` is the id of the part it was found in. */
function read(job: Job, parent: string | null, depth: number): Reader {
  const { limits, spent } = job;
  const prefix = parent === null ? "" : `${parent}.`;
  const parser = new MailParser(OPTIONS);
  const internals = parser as unknown as Internals;
  const pace = createPace();
  const taken: Promise<readonly Part[]>[] = [];
  const open = new Set<Readable>();
  const childless = new Set<Node>();
  let headers: Headers | null = null;
  let facts: Facts = NO_FACTS;
  let bodies: Bodies | null = null;
  let ended = false;
  /** Nothing more is read: the parser gave up, or `failure`. */
  let stopped = false;
  /** Why the whole split fails: what `keep` threw. */
  let failure: { readonly reason: unknown } | null = null;

  const { splitter } = internals;
  const compareBoundary = splitter.compareBoundary.bind(splitter);
  splitter.compareBoundary = (line, start, boundary) =>
    compareBoundary(line, start, boundary) || compareBoundary(unpadded(line), start, boundary);
  // With an error here the parser would lose the parts it has split but not handed over yet.
  splitter.checkHeadSize = (pending = 0) => {
    const { node } = splitter;
    if (node._headerlen + pending <= limits.header) return null;
    note("message.header-too-long", `The header fields of one part are longer than ${limits.header} bytes and were cut`);
    if (pending === 0) node._headerlen -= node._headersLines.pop()?.length ?? 0;
    else splitter.takePendingLine();
    splitter.pendingLineTruncated = pending > 0;
    return null;
  };
  const processChunk = internals.processChunk.bind(parser);
  internals.processChunk = (chunk, done) => {
    pace.step();
    if (stopped) return;
    try {
      if (chunk.type === "node" && !admit(chunk)) return;
      if (chunk.type === "body" && internals.curnode && !internals.curnode.isAttachment) chunk.value = affordable(chunk.value);
      processChunk(chunk, done);
    } catch (thrown) {
      unreadable(thrown); // Thrown from here it would end the process: the parser calls from its own stream events.
    }
  };
  parser.on("headers", (map) => {
    headers = map;
  });
  parser.on("headerLines", (lines: HeaderLines) => {
    if (headers) facts = factsOf(headers, lines);
  });
  parser.on("data", (found: AttachmentStream | MessageText) => {
    if (found.type === "attachment") taken.push(pace.working(() => take(found)));
    else bodies = { text: found.text, html: typeof found.html === "string" ? found.html : "" };
  });
  parser.on("drain", pace.step);
  parser.on("end", () => {
    ended = true;
    pace.step();
  });
  parser.on("error", unreadable);

  /** Whether one more entity is within the limits. */
  function admit(node: Node): boolean {
    const { parentNode: within, headers: fields } = node;
    for (const field of fields.getList()) field.line = utf8Field(field.line);
    if (within) childless.delete(within);
    if (node.multipart) childless.add(node);
    // RFC 2046 section 5.1.5: what a digest holds is a message unless it says otherwise.
    if (within && within.multipart === "digest" && !fields.getList().some(({ key }) => key === "content-type"))
      node.contentType = "message/rfc822";
    spent.entities += 1;
    spent.headers += node._headerlen;
    if (spent.entities > limits.entities) refuse("message.too-many-parts", `There are more than ${limits.entities} parts`);
    else if (spent.headers > limits.headers)
      refuse("message.headers-too-long", `All header fields are longer than ${limits.headers} bytes`);
    return !stopped;
  }

  function affordable(value: Buffer): Buffer {
    const room = limits.text - spent.text;
    spent.text += value.length;
    if (value.length > room) note("message.text-too-long", `The text is longer than ${limits.text} bytes and was cut`);
    return value.length > room ? value.subarray(0, Math.max(0, room)) : value;
  }

  async function take(found: AttachmentStream): Promise<readonly Part[]> {
    const content = found.content as Readable;
    const id = freshId(found.partId ?? "1");
    content.on("error", () => {}); // Told to whoever reads it; nobody may be reading yet.
    open.add(content);
    try {
      return await keepAttachment(id, parent, found, pace.fed(whole(content)), job.keep, () => inside(id));
    } catch (thrown) {
      if (!stopped) fail(thrown);
      else if (!failure) note("message.part-cut", `Part ${id} was not read to its end and is left out`);
      return [];
    } finally {
      open.delete(content);
      content.destroy();
      found.release?.();
    }
  }

  /** A stream that breaks is the parser's fault, not that of `keep`. */
  async function* whole(content: Readable): AsyncIterable<Uint8Array> {
    try {
      yield* content;
    } catch (thrown) {
      unreadable(thrown);
      throw thrown;
    }
  }

  function inside(id: string): Reader | null {
    if (depth < limits.depth) return read(job, id, depth + 1);
    note("message.too-deep", `Messages are nested more than ${limits.depth} deep`);
    return null;
  }

  /** The IMAP part number; a malformed tree can give the same one twice. */
  function freshId(number: string): string {
    let id = prefix + number;
    for (let again = 2; job.ids.has(id); again += 1) id = `${prefix}${number}-${again}`;
    job.ids.add(id);
    return id;
  }

  async function until(reached: () => boolean): Promise<void> {
    if (!(await pace.until(() => stopped || reached()))) refuse("message.stalled", "The parser came to a halt");
  }

  async function keepBody(name: "text" | "html", contentType: string, text: string): Promise<readonly Part[]> {
    if (text === "") return [];
    const bytes = Buffer.from(text, "utf8");
    const { sha256, size } = await job.keep(Readable.from([bytes]));
    const body = { filename: null, disposition: null, contentId: null, sniffedType: null } as const;
    return [{ id: prefix + name, parent, role: "body", contentType, ...body, sha256, size }];
  }

  function fail(reason: unknown): void {
    failure ??= { reason };
    stop();
  }

  function unreadable(thrown: unknown): void {
    refuse("message.unparsable", `The parser failed (${thrown instanceof Error ? thrown.name : typeof thrown})`);
  }

  function refuse(code: string, what: string): void {
    if (stopped) return;
    note(code, `${what}; what follows is not read`);
    stop();
  }

  function stop(): void {
    stopped = true;
    for (const content of open) content.destroy(new Error("the message is not read any further"));
    pace.step();
  }

  function note(code: string, what: string): void {
    const message = `${what} (${parent === null ? "in the message itself" : `in part ${parent}`})`;
    if (job.faults.some((fault) => fault.message === message)) return;
    job.faults.push(recordOf(permanent(code, message, "The message is kept as it arrived: open it in a mail program")));
  }

  return {
    write: async (chunk) => {
      if (!stopped && chunk.length > 0 && !parser.write(chunk)) await until(() => !parser.writableNeedDrain);
      if (failure) throw failure.reason;
    },
    end: async () => {
      if (!stopped) {
        parser.end();
        await until(() => ended && pace.idle());
      }
      const attachments = (await Promise.all(taken)).flat();
      if (failure) throw failure.reason;
      if (childless.size > 0 && !stopped) note("message.multipart-empty", "A multipart holds no part: its boundary never comes");
      const { text = "", html = "" } = bodies ?? internals.getTextContent();
      const kept = [...(await keepBody("text", "text/plain", text)), ...(await keepBody("html", "text/html", html))];
      return { facts, text, html, parts: [...kept, ...attachments] };
    },
    abort: async (reason) => {
      fail(reason);
      await Promise.all(taken);
    },
  };
}
