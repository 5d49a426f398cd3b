/** The memory of the Cloudsquid half: rows and their runs, how far each run has come by the clock, and the limits that keep it small. */
import { randomUUID } from "node:crypto";
import type { Clock } from "../../base/clock.ts";
import { type Reading, readSubmitted, type Submission } from "../answer.ts";
import { type Pace, phaseOf } from "../pace.ts";

export type Place = { readonly project: string; readonly table: string };

export type Row = Place & {
  readonly id: string;
  readonly fileId: string;
  readonly filename: string;
  readonly createdAt: Date;
  /** Null once it was read. */
  submission: Submission | null;
  reading: Promise<Reading> | null;
  zeroRetention: boolean;
  runs: number;
  /** What is told beside the data once it is done. */
  remarks: Remarks;
};

export type Remarks = { readonly reasoning?: string; readonly review?: object };

export type Run = { readonly id: string; readonly row: Row; readonly startedMs: number };

export type RowsOptions = {
  readonly clock: Clock;
  readonly pace: Pace;
  /** Beyond these the oldest are forgotten. */
  readonly mostRows: number;
  readonly mostBytes: number;
};

export type Rows = {
  readonly add: (place: Place, submission: Submission) => Row;
  readonly row: (place: Place, id: string) => Row | null;
  readonly start: (row: Row, zeroRetention: boolean) => Run;
  readonly run: (place: Place, id: string) => Run | null;
  /** The DataRow of a run as it stands now. */
  readonly look: (run: Run) => Promise<DataRow>;
  /** The DataRow of a row read at once. */
  readonly read: (row: Row) => Promise<DataRow>;
  readonly all: () => readonly Row[];
};

export type DataRow = {
  readonly status: "pending" | "running" | "done" | "error";
  readonly data: unknown;
  readonly [field: string]: unknown;
};

/**
 * The bytes of a row are let go once they are read; its answer stays, so a second run says the same.
 * With zero retention the answer stays too (a client that lost it asks again), but the row cannot be run once more.
 */
export function createRows(options: RowsOptions): Rows {
  const { clock, pace } = options;
  const rows = new Map<string, Row>();
  const runs = new Map<string, Run>();
  let heldBytes = 0;

  function letGo(row: Row): void {
    heldBytes -= row.submission?.size ?? 0;
    row.submission = null;
  }

  function makeRoom(): void {
    for (const row of rows.values()) {
      if (rows.size <= options.mostRows && heldBytes <= options.mostBytes) return;
      letGo(row);
      rows.delete(row.id);
    }
  }

  async function read(row: Row): Promise<DataRow> {
    row.reading ??= row.submission ? readSubmitted(row.submission) : Promise.resolve(GONE);
    const { status, ...found } = await row.reading;
    letGo(row);
    return dataRow(row, { status, data: {}, ...found, ...(status === "done" ? row.remarks : {}) });
  }

  return {
    add: (place, submission) => {
      const row: Row = {
        ...place,
        id: randomUUID(),
        fileId: randomUUID(),
        filename: submission.filename,
        createdAt: clock.now(),
        submission,
        reading: null,
        zeroRetention: false,
        runs: 0,
        remarks: {},
      };
      rows.set(row.id, row);
      heldBytes += submission.size;
      makeRoom();
      return row;
    },
    row: (place, id) => at(place, rows.get(id)),
    start: (row, zeroRetention) => {
      const run = { id: randomUUID(), row, startedMs: clock.now().getTime() };
      row.runs += 1;
      row.zeroRetention ||= zeroRetention;
      runs.set(run.id, run);
      const [oldest] = runs.keys();
      if (runs.size > options.mostRows && oldest !== undefined) runs.delete(oldest);
      return run;
    },
    run: (place, id) => {
      const run = runs.get(id);
      return run && at(place, run.row) ? run : null;
    },
    look: async (run) => {
      const phase = phaseOf(pace, run.startedMs, clock);
      return phase === "over" ? read(run.row) : dataRow(run.row, { status: phase, data: {} });
    },
    read,
    all: () => [...rows.values()],
  };
}

const GONE: Reading = { status: "error", result: "the row was forgotten before it was read" };

function at(place: Place, row: Row | undefined): Row | null {
  return row && row.project === place.project && row.table === place.table ? row : null;
}

function dataRow(row: Row, found: Pick<DataRow, "status" | "data"> & { readonly result?: string }): DataRow {
  return { ...found, created_at: row.createdAt.toISOString(), row_id: row.id, input: { data: {}, files: [{ id: row.fileId }] } };
}
