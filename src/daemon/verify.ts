/** Compares the spool with the ledger: every file that should be there is read in full, and every file that is there should be. */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { asFault, Fault } from "../base/errors.ts";
import { isTemporaryName } from "../base/files.ts";
import type { Finding, Inspection } from "../store/recovery.ts";
import type { Shelf, Spool } from "../store/store.ts";

/** `leftover`: nothing wants it. `stranger`: raw mail that the ledger does not know. */
export type Odd = {
  readonly is: "missing" | "damaged" | "unreadable" | "leftover" | "stranger" | "temporary";
  readonly shelf: Shelf;
  /** The SHA-256, or the name of a temporary file. */
  readonly name: string;
  readonly path: string;
  /** Of what is wanted: the first of the messages it belongs to. */
  readonly message: string | null;
  readonly size: number;
};

export type Progress = { readonly files: number; readonly of: number; readonly bytes: number };

export type Examination = {
  readonly inspection: Inspection;
  readonly spool: Spool;
  /** Of the spool. */
  readonly directory: string;
  /** Beside a daemon: files younger than this are not looked at, for they may be under way; null: nobody is at work. */
  readonly before: Date | null;
  readonly tell: (progress: Progress) => void;
};

const SHELVES = ["raw", "parts"] as const;

/** Everything that is wrong, in the ledger, in the spool, and between them; rejects for no ledger that can be opened. */
export async function* findingsOf(examination: Examination, signal: AbortSignal): AsyncGenerator<Finding, void, undefined> {
  yield* examination.inspection.findings(examination.before !== null);
  try {
    for await (const odd of examineSpool(examination, signal)) yield findingOf(odd);
  } catch (thrown) {
    if (!(thrown instanceof Fault)) throw thrown;
    yield { code: thrown.code, message: `the spool cannot be compared: ${thrown.message}`, advice: thrown.advice ?? "" };
  }
}

/** Ends early when the signal is aborted. Throws a Fault where the ledger cannot be read. */
export async function* examineSpool(examination: Examination, signal: AbortSignal): AsyncGenerator<Odd, void, undefined> {
  for (const shelf of SHELVES) yield* wantedFiles(shelf, examination, signal);
  for (const shelf of SHELVES) yield* otherFiles(shelf, examination, signal);
}

async function* wantedFiles(shelf: Shelf, { inspection, spool, tell }: Examination, signal: AbortSignal): AsyncGenerator<Odd> {
  const of = inspection.total(shelf);
  let [files, bytes] = [0, 0];
  for (const { sha256, size, message } of inspection.blobs(shelf)) {
    if (signal.aborted) return;
    const is = await conditionOf(shelf, { sha256, size }, spool);
    // It may have been removed after its time meanwhile.
    if (is !== "whole" && inspection.wants(shelf, sha256) === "kept")
      yield { is, shelf, name: sha256, path: spool.path(shelf, sha256), message, size };
    files += 1;
    bytes += size;
    tell({ files, of, bytes });
  }
}

async function conditionOf(shelf: Shelf, blob: { readonly sha256: string; readonly size: number }, spool: Spool) {
  try {
    for await (const _ of spool.open(shelf, blob)) {
      // Its last piece says whether they are the bytes that were kept.
    }
    return "whole";
  } catch (thrown) {
    const { code } = asFault(thrown);
    if (code === "spool.missing") return "missing";
    if (code === "spool.damaged") return "damaged";
    if (thrown instanceof Fault) return "unreadable";
    throw thrown;
  }
}

async function* otherFiles(shelf: Shelf, { inspection, spool, directory, before }: Examination, signal: AbortSignal): AsyncGenerator<Odd> {
  const isOld = async (path: string) => {
    const found = await stat(path).catch(() => null);
    return found !== null && (before === null || found.mtime < before) ? found : null;
  };
  for (let shard = 0; shard < 256; shard += 1) {
    if (signal.aborted) return;
    for (const name of await spool.list(shelf, shard.toString(16).padStart(2, "0"))) {
      const path = spool.path(shelf, name);
      if (inspection.wants(shelf, name) === "kept") continue;
      const file = await isOld(path);
      const wanted = inspection.wants(shelf, name);
      if (file === null || wanted === "kept") continue;
      yield { is: shelf === "raw" && wanted === "unknown" ? "stranger" : "leftover", shelf, name, path, message: null, size: file.size };
    }
  }
  for (const name of await readdir(join(directory, shelf))) {
    const path = join(directory, shelf, name);
    const file = isTemporaryName(name) ? await isOld(path) : null;
    if (file !== null) yield { is: "temporary", shelf, name, path, message: null, size: file.size };
  }
}

function findingOf({ is, shelf, path, message, name }: Odd): Finding {
  const what = shelf === "raw" ? "the mail itself" : "a part";
  const of = message === null ? "" : ` of message ${message.slice(0, 16)}`;
  const code = `verify.${is}`;
  const mend = "stop the daemon and run `billhook recover`";
  switch (is) {
    case "missing":
      return { code, message: `${what}${of} is not in the spool: ${path}`, advice: mend };
    case "damaged":
      return { code, message: `${what}${of} is damaged in the spool: ${path} does not hold the bytes that were kept`, advice: mend };
    case "unreadable":
      return { code, message: `${what}${of} cannot be read: ${path}`, advice: "check the disk and its permissions" };
    case "stranger":
      return { code, message: `the mail ${name.slice(0, 16)} is in the spool and the ledger does not know it: ${path}`, advice: mend };
    case "leftover":
      return { code, message: `no message wants ${path}`, advice: "`billhook recover` moves it aside" };
    case "temporary":
      return { code, message: `an interrupted write left ${path}`, advice: "the next start of `billhook run` removes it" };
  }
}
