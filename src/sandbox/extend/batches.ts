/** The batches of the Extend half: many runs ordered in one call, and how they stand together. */
import type { Clock } from "../../base/clock.ts";
import { newId } from "./reply.ts";
import type { Run, Standing } from "./runs.ts";

export type Batch = { readonly id: string; readonly extractorId: string | null; readonly runs: readonly Run[]; readonly createdAt: string };

export type Batches = {
  readonly add: (id: string, runs: readonly Run[]) => Batch;
  readonly get: (id: string) => Batch | null;
};

export const newBatchId = () => newId("bpr");

export function createBatches({ clock, mostKept }: { readonly clock: Clock; readonly mostKept: number }): Batches {
  const batches = new Map<string, Batch>();
  return {
    add: (id, runs) => {
      const batch = { id, extractorId: runs[0]?.request.extractor?.id ?? null, runs, createdAt: clock.now().toISOString() };
      batches.set(id, batch);
      const [oldest] = batches.keys();
      if (batches.size > mostKept && oldest !== undefined) batches.delete(oldest);
      return batch;
    },
    get: (id) => batches.get(id) ?? null,
  };
}

/** PROCESSED is "all runs in the batch have completed successfully". GUESS: otherwise FAILED, or CANCELLED where all of them were. */
export function batchShape({ id, runs, createdAt }: Batch, standings: readonly Standing[]) {
  const all = (...statuses: readonly string[]) => standings.every(({ status }) => statuses.includes(status));
  const status = all("PENDING")
    ? "PENDING"
    : !all("PROCESSED", "FAILED", "CANCELLED")
      ? "PROCESSING"
      : all("PROCESSED")
        ? "PROCESSED"
        : all("CANCELLED")
          ? "CANCELLED"
          : "FAILED";
  return { object: "batch_run", id, status, runCount: runs.length, createdAt } as const;
}
