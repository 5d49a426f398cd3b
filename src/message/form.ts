/** A multipart/form-data body (RFC 7578) of exactly known length, whose files are read while it is sent. */
import { createHash } from "node:crypto";
import { safeSegment } from "../base/files.ts";

export type FormField = {
  readonly name: string;
  /** Null for a field that is no file. Made a safe file name on the way out, whatever it is. */
  readonly filename: string | null;
  /** Anything that is no media type becomes application/octet-stream. */
  readonly contentType: string;
  readonly size: number;
  readonly sha256: string;
  /** Yields exactly `size` bytes, the same each time. */
  readonly open: () => AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
};

export type Form = {
  /** With the boundary. */
  readonly contentType: string;
  readonly length: number;
  /** The same bytes each time. */
  readonly open: () => AsyncIterable<Uint8Array>;
};

const MEDIA_TYPE = /^[\w!#$&^.+-]{1,127}\/[\w!#$&^.+-]{1,127}$/;

export function formOf(fields: readonly FormField[]): Form {
  // No content can hold a hash made of its own: a boundary that is never found in it, and the same at each repetition.
  const boundary = createHash("sha256")
    .update(fields.map(({ sha256 }) => sha256).join())
    .digest("hex");
  const heads = fields.map((field) => Buffer.from(`--${boundary}\r\n${headOf(field)}\r\n\r\n`));
  const line = Buffer.from("\r\n");
  const tail = Buffer.from(`--${boundary}--\r\n`);
  return {
    contentType: `multipart/form-data; boundary=${boundary}`,
    length: fields.reduce((sum, { size }, at) => sum + (heads[at]?.length ?? 0) + size + line.length, tail.length),
    open: async function* () {
      for (const [at, { open }] of fields.entries()) {
        yield heads[at] ?? line;
        yield* open();
        yield line;
      }
      yield tail;
    },
  };
}

/** Names in UTF-8 as they are (RFC 7578 section 5.1.1); `filename*` must not be used (section 4.2). */
function headOf({ name, filename, contentType }: FormField): string {
  const file = filename === null ? "" : `; filename="${safeSegment(filename)}"`;
  const type = MEDIA_TYPE.test(contentType) ? contentType : "application/octet-stream";
  return `Content-Disposition: form-data; name="${name.slice(0, 100).replace(/[^\w.-]/g, "_")}"${file}\r\nContent-Type: ${type}`;
}
