/** The files of Cloudsquid's projects: each at its path, with a signed URL; a folder is there as long as a file is below it. */
import { randomUUID } from "node:crypto";
import type { Clock } from "../../base/clock.ts";
import type { SubmittedPiece } from "../answer.ts";
import { createFiles, type Held, type Limits } from "../files.ts";
import type { Signer } from "../signer.ts";

export type StoredFile = Held & {
  readonly project: string;
  readonly path: string;
  readonly mimetype: string;
  readonly modifiedAt: Date;
};

export type ProjectFiles = {
  /** Null when something is in the way: the path is taken, by a file or a folder, or leads through a file. */
  readonly store: (project: string, path: string, piece: SubmittedPiece) => object | null;
  /** The File or Folder there. */
  readonly read: (project: string, path: string) => object | null;
  /** The file that stands at the path of a signed URL. */
  readonly signed: (path: string) => StoredFile | null;
};

/** Below it, files open by their signature. */
export const SIGNED = "/api/_signed/";
const URL_MS = 15 * 60_000;

/** Whether it is `/` or like `/a/b.eml`. */
export function isPath(path: string): boolean {
  const names = path.slice(1).split("/");
  return path === "/" || (path.startsWith("/") && names.every((name) => name !== "" && name !== "." && name !== ".."));
}

export function createProjectFiles({
  clock,
  signer,
  ...limits
}: Limits & { readonly clock: Clock; readonly signer: Signer }): ProjectFiles {
  const files = createFiles<StoredFile>(limits);
  const of = (project: string) => files.all().filter((file) => file.project === project);

  function short(file: StoredFile) {
    const { path, mimetype, modifiedAt, bytes } = file;
    return { ftype: "file", name: nameOf(path), size: bytes?.length ?? 0, mimetype, modified_at: modifiedAt.toISOString() } as const;
  }

  function whole(file: StoredFile) {
    return { ...short(file), url: signer.sign(SIGNED + file.id, URL_MS) };
  }

  /** GUESS: how the entries of a folder look, and that their files have no URL. */
  function folder(project: string, path: string): object | null {
    const start = path === "/" ? path : `${path}/`;
    const below = of(project).filter((file) => file.path.startsWith(start));
    if (below.length === 0 && path !== "/") return null;
    const rest = (file: StoredFile) => file.path.slice(start.length);
    const folders = new Set(below.filter((file) => rest(file).includes("/")).map((file) => rest(file).split("/", 1)[0]));
    return {
      ftype: "folder",
      name: nameOf(path),
      entries: [
        ...[...folders].map((name) => ({ ftype: "folder", name })),
        ...below.filter((file) => !rest(file).includes("/")).map(short),
      ],
    };
  }

  return {
    store: (project, path, { mimetype, bytes }) => {
      const isTaken = of(project).some((file) => file.path === path || path.startsWith(`${file.path}/`));
      if (isTaken || folder(project, path) !== null) return null;
      return whole(files.add({ id: randomUUID(), project, path, mimetype, modifiedAt: clock.now(), bytes }));
    },
    read: (project, path) => {
      const file = of(project).find((one) => one.path === path);
      return file ? whole(file) : folder(project, path);
    },
    signed: (path) => (path.startsWith(SIGNED) ? files.get(path.slice(SIGNED.length)) : null),
  };
}

function nameOf(path: string): string {
  return path === "/" ? path : path.slice(path.lastIndexOf("/") + 1);
}
