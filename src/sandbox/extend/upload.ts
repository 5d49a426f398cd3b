/** The calls of the Extend half that are about files: uploaded, listed, downloaded, deleted. */
import type { Clock } from "../../base/clock.ts";
import type { Reply } from "../exchange.ts";
import { createFiles, type Limits } from "../files.ts";
import type { Signer } from "../signer.ts";
import { type StoredFile, summaryOf } from "./files.ts";
import { newId, ok, pageOf, problem } from "./reply.ts";
import { readFileList } from "./request.ts";
import { type Ask, type Route, SIGNED } from "./route.ts";

const URL_MS = 15 * 60_000;

export type FileCalls = {
  readonly routes: readonly Route[];
  readonly add: (name: string, bytes: Uint8Array) => StoredFile;
  readonly get: (id: string) => StoredFile | null;
  readonly uploads: () => number;
};

export function createFileCalls({ clock, signer, ...limits }: Limits & { readonly clock: Clock; readonly signer: Signer }): FileCalls {
  const files = createFiles<StoredFile>(limits);
  let uploads = 0;

  function add(name: string, bytes: Uint8Array): StoredFile {
    return files.add({ id: newId("file"), name, createdAt: clock.now(), bytes });
  }

  /** Node's own reader of multipart/form-data (RFC 7578); what it does not take is no multipart. */
  async function upload({ headers, body, fault }: Ask): Promise<Reply> {
    const type = headers["content-type"] ?? "";
    if (!/^multipart\/form-data\s*;/i.test(type)) return problem(400, "expected Content-Type: multipart/form-data with a boundary");
    const form = await new Response(body, { headers: { "content-type": type } }).formData().catch(() => null);
    if (form === null) return problem(400, "the body is not multipart/form-data");
    const [file, ...more] = form.getAll("file");
    if (file === undefined || typeof file === "string" || more.length > 0) return problem(422, "file: expected one part with a filename");
    if (file.name === "") return problem(422, "file: expected a filename");
    for (const name of form.keys()) if (name !== "file" && name !== "password") return problem(422, `${name}: not a known field`);
    uploads += 1;
    const stored = { ...summaryOf(add(file.name, new Uint8Array(await file.arrayBuffer()))), presignedUrl: null, contents: null };
    return ok(fault?.older ? { success: true, file: stored } : stored);
  }

  function list({ query, fault }: Ask): Reply {
    const asked = readFileList(query);
    if (typeof asked === "string") return problem(422, asked);
    const until = clock.now().getTime() - (fault?.lagMs ?? 0);
    const known = fault?.empty ? [] : files.all().filter(({ createdAt }) => createdAt.getTime() <= until);
    const found = known.filter(({ name }) => name.includes(asked.nameContains ?? ""));
    const page = pageOf(found.map(summaryOf), asked);
    return typeof page === "string" ? problem(422, page) : ok(page);
  }

  function whole(file: StoredFile): Reply {
    return ok({ ...summaryOf(file), presignedUrl: signer.sign(`${SIGNED}/files/${file.id}`, URL_MS), contents: null });
  }

  function download({ bytes }: StoredFile): Reply {
    return { status: 200, headers: { "content-type": "application/octet-stream" }, body: bytes ?? "" };
  }

  function remove(file: StoredFile): Reply {
    files.remove(file);
    return ok({ id: file.id });
  }

  function withFile(id: string, act: (file: StoredFile) => Reply): Reply {
    const file = files.get(id);
    return file === null ? problem(404, "no such file") : act(file);
  }

  return {
    routes: [
      { call: "extend.upload", asks: "POST /files/upload", act: upload },
      { call: "extend.files", asks: "GET /files", act: list },
      { call: "extend.file", asks: "GET /files/:id", act: ({ id }) => withFile(id, whole) },
      { call: "extend.file", asks: "DELETE /files/:id", act: ({ id }) => withFile(id, remove) },
      { call: "extend.signed", asks: `GET ${SIGNED}/files/:id`, act: ({ id }) => withFile(id, download) },
    ],
    add,
    get: files.get,
    uploads: () => uploads,
  };
}
