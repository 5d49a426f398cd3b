/** What the Extend half tells of by itself: each run, and each batch, once, when it is over. */
import type { Clock } from "../../base/clock.ts";
import type { Signer } from "../signer.ts";
import { type Batch, type Batches, batchShape } from "./batches.ts";
import type { Endpoints } from "./endpoints.ts";
import { SIGNED } from "./route.ts";
import { overMs, type Run, type Runs } from "./runs.ts";
import { wholeRun } from "./shape.ts";
import type { Payload, Webhooks } from "./webhooks.ts";

export type AnnouncerOptions = {
  readonly clock: Clock;
  readonly runs: Runs;
  readonly batches: Batches;
  readonly endpoints: Endpoints;
  readonly webhooks: Webhooks;
  readonly signer: Signer;
  readonly stopping: AbortSignal;
};

export type Announcer = {
  /** It will be told of when it is over; asked for again, still once. */
  readonly run: (run: Run) => void;
  readonly batch: (batch: Batch) => void;
  /** Whatever is under way. */
  readonly all: () => void;
};

const PAYLOAD_URL_MS = 60 * 60_000;

export function createAnnouncer({ clock, runs, batches, endpoints, webhooks, signer, stopping }: AnnouncerOptions): Announcer {
  const told = new WeakMap<Run, Promise<void>>();
  const batched = new WeakSet<Batch>();

  function once(run: Run): Promise<void> {
    const telling = told.get(run) ?? whenOver(run);
    told.set(run, telling);
    return telling;
  }

  /** There is no event for a cancelled one. */
  async function whenOver(run: Run): Promise<void> {
    for (let left = 1; left > 0 && !stopping.aborted; left = overMs(run) - clock.now().getTime()) {
      await clock.sleep(overMs(run) - clock.now().getTime(), stopping);
    }
    if (stopping.aborted || run.deleted) return;
    const standing = await runs.standing(run);
    if (standing.status !== "PROCESSED" && standing.status !== "FAILED") return;
    await tell("extract_run", standing.status, run.request.extractor?.id ?? null, `extract_runs/${run.id}`, wholeRun(run, standing));
  }

  async function whenAllOver(batch: Batch): Promise<void> {
    await Promise.all(batch.runs.map(once));
    if (stopping.aborted) return;
    const shape = batchShape(batch, await Promise.all(batch.runs.map(runs.standing)));
    if (shape.status !== "PROCESSED" && shape.status !== "FAILED") return;
    await tell("batch_processor_run", shape.status, batch.extractorId, `batch_runs/${batch.id}`, shape);
  }

  function tell(
    what: string,
    status: "PROCESSED" | "FAILED",
    extractorId: string | null,
    path: string,
    json: Payload["json"],
  ): Promise<void> {
    const eventType = `${what}.${status.toLowerCase()}`;
    const signedUrl = () => signer.sign(`${SIGNED}/${path}`, PAYLOAD_URL_MS);
    return webhooks.tell(endpoints.wanting(eventType, extractorId), eventType, { json, signedUrl });
  }

  function batch(one: Batch): void {
    if (batched.has(one)) return;
    batched.add(one);
    void whenAllOver(one);
  }

  return {
    run: (run) => void once(run),
    batch,
    all: () => {
      for (const run of runs.all()) {
        if (run.ended !== null) continue;
        const within = run.batchId === null ? null : batches.get(run.batchId);
        if (within === null) void once(run);
        else batch(within);
      }
    },
  };
}
