/** The runs of the Extend half: how each stands by the clock, how it ends, and what it cost. */
import type { Clock } from "../../base/clock.ts";
import { readSubmitted } from "../answer.ts";
import { type Pace, phaseOf } from "../pace.ts";
import { kindOf, pieceOf, type StoredFile } from "./files.ts";
import { newId } from "./reply.ts";
import type { RunRequest } from "./request.ts";

export type Run = {
  readonly id: string;
  readonly parseRunId: string;
  readonly request: RunRequest;
  /** The batch it was ordered in; null when it was ordered by itself. */
  readonly batchId: string | null;
  readonly files: readonly StoredFile[];
  /** By URL: this sandbox fetches nothing, so such a run fails as one whose file could not be fetched. */
  readonly unfetched: boolean;
  readonly failureReason: string | null;
  readonly createdMs: number;
  readonly pace: Pace;
  /** What a person changed, by field, and when; null until one has looked at it. */
  review: { readonly edits: { readonly [field: string]: unknown }; readonly atMs: number } | null;
  ended: Ended | null;
  reading: Promise<Ended> | null;
  deleted: boolean;
};

export type Ended =
  | { readonly status: "PROCESSED"; readonly value: unknown; readonly atMs: number }
  /** `code` is what the synchronous call answers instead, where that is an error. */
  | { readonly status: "FAILED"; readonly reason: string; readonly message: string; readonly code: string | null; readonly atMs: number }
  | { readonly status: "CANCELLED"; readonly atMs: number };

export type Standing = Ended | { readonly status: "PENDING" | "PROCESSING"; readonly atMs: number };

export type NewRun = Pick<Run, "request" | "batchId" | "files" | "unfetched" | "failureReason" | "pace">;

export type Runs = {
  readonly add: (run: NewRun) => Run;
  readonly get: (id: string) => Run | null;
  /** Reads the files when the time for it has come; never rejects. */
  readonly standing: (run: Run) => Promise<Standing>;
  readonly cancel: (run: Run) => Promise<boolean>;
  /** Those there are, earliest first. */
  readonly all: () => readonly Run[];
  /** Those ever made, deleted ones too; the oldest are forgotten. */
  readonly made: () => readonly Run[];
};

export function createRuns({ clock, mostKept }: { readonly clock: Clock; readonly mostKept: number }): Runs {
  const runs = new Map<string, Run>();

  async function standing(run: Run): Promise<Standing> {
    if (run.ended) return run.ended;
    const phase = phaseOf(run.pace, run.createdMs, clock);
    if (phase === "pending") return { status: "PENDING", atMs: run.createdMs };
    if (phase === "running") return { status: "PROCESSING", atMs: run.createdMs + run.pace.pendingMs };
    run.reading ??= end(run);
    run.ended = await run.reading;
    return run.ended;
  }

  return {
    add: (wanted) => {
      const run: Run = {
        ...wanted,
        id: newId("exr"),
        parseRunId: newId("pr"),
        createdMs: clock.now().getTime(),
        review: null,
        ended: null,
        reading: null,
        deleted: false,
      };
      runs.set(run.id, run);
      const [oldest] = runs.keys();
      if (runs.size > mostKept && oldest !== undefined) runs.delete(oldest);
      return run;
    },
    get: (id) => {
      const run = runs.get(id);
      return run === undefined || run.deleted ? null : run;
    },
    standing,
    cancel: async (run) => {
      if ((await standing(run)).status !== "PROCESSING") return false;
      run.ended = { status: "CANCELLED", atMs: clock.now().getTime() };
      return true;
    },
    all: () => [...runs.values()].filter((run) => !run.deleted),
    made: () => [...runs.values()],
  };
}

async function end(run: Run): Promise<Ended> {
  const atMs = overMs(run);
  const fail = (reason: string, message: string, code: string | null = null): Ended => ({ status: "FAILED", reason, message, code, atMs });
  if (run.failureReason !== null) return fail(run.failureReason, "a fault on order");
  if (run.unfetched) {
    return fail(
      "FAILED_TO_PROCESS_FILE",
      "UNABLE_TO_DOWNLOAD_FILE: this sandbox fetches nothing, upload the file",
      "UNABLE_TO_DOWNLOAD_FILE",
    );
  }
  const pieces = [];
  for (const file of run.files) {
    if (kindOf(file) === null) {
      return fail("FAILED_TO_PROCESS_FILE", `FILE_TYPE_NOT_SUPPORTED: ${file.id}`, "FILE_TYPE_NOT_SUPPORTED");
    }
    if (file.bytes === null) return fail("FAILED_TO_PROCESS_FILE", `FILE_PURGED: ${file.id}`, "FILE_PURGED");
    pieces.push(pieceOf(file, file.bytes));
  }
  const size = pieces.reduce((sum, piece) => sum + piece.bytes.length, 0);
  const reading = await readSubmitted({ filename: run.files[0]?.name ?? "", pieces, size });
  if (reading.status === "error") return fail("FAILED_TO_PROCESS_FILE", reading.result);
  return { status: "PROCESSED", value: reading.data, atMs };
}

/** When it ends unless it is cancelled. */
export function overMs(run: Run): number {
  return run.createdMs + run.pace.pendingMs + run.pace.runningMs;
}

/** Two credits a file to extract, and one more to parse it: an extraction from a new file makes a parse run too. */
export function usageOf(run: Run, standing: Standing) {
  if (standing.status !== "PROCESSED") return null;
  const files = run.files.length;
  return {
    credits: 2 * files,
    totalCredits: 3 * files,
    breakdown: [
      { object: "extract_run", id: run.id, credits: 2 * files },
      { object: "parse_run", id: run.parseRunId, credits: files },
    ],
  };
}
