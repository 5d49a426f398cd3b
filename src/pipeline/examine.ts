/** Examining: looks at everything health is judged by, at one moment; the ledger is written to, for only that proves it can be. */
import { stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { asFault, recordOf } from "../base/errors.ts";
import type { Ledger } from "../store/store.ts";
import { type Condition, type Disk, MIN_FREE_BYTES, type Oldest, oldestDue, STILL_MS } from "./health.ts";

export type Patient = {
  readonly ledger: Pick<Ledger, "tryWrite" | "held" | "pulse" | "mailbox" | "queues" | "moved" | "paused">;
  /** The state directory. */
  readonly directory: string;
  /** In the state directory unless said otherwise, where it may be mounted. */
  readonly spool?: string;
  readonly mailboxes: readonly string[];
  /** 100 MB unless said otherwise. */
  readonly minFreeBytes?: number;
};

type Remembered = Omit<Condition, "at" | "asked" | "ledger" | "disks" | "minFreeBytes">;
const NOTHING = { running: false, pulse: null, mailboxes: [], queues: [], still: [], paused: [] } satisfies Remembered;

/** Never rejects: what cannot be asked is an answer too. */
export async function examine(patient: Patient, at: Date): Promise<Condition> {
  const { ledger, directory, spool = join(directory, "spool"), mailboxes, minFreeBytes = MIN_FREE_BYTES } = patient;
  const refused = await failure(ledger.tryWrite(at));
  let remembered: Remembered = NOTHING;
  const unread = await failure(
    recall(ledger, mailboxes, at).then((found) => {
      remembered = found;
    }),
  );
  const disks = await disksOf({ state: directory, spool });
  return { at, asked: unread === null, ledger: refused ?? unread, disks, minFreeBytes, ...remembered };
}

async function failure(attempt: Promise<void>) {
  return attempt.then(
    () => null,
    (thrown: unknown) => recordOf(asFault(thrown, "ledger.failed")),
  );
}

async function recall(ledger: Patient["ledger"], names: readonly string[], at: Date): Promise<Remembered> {
  const pulse = await ledger.pulse();
  const queues = await ledger.queues(at);
  const limit = new Date(at.getTime() - STILL_MS);
  const still: Oldest[] = [];
  const sinks = new Set(queues.flatMap(({ kind, name }) => (kind === "deliver" ? [name] : [])));
  const shares = [
    { kind: "split" },
    { kind: "extract" },
    ...[...sinks].map((name) => ({ kind: "deliver", name }) as const),
    { kind: "settle" },
  ] as const;
  for (const share of shares) {
    const oldest = oldestDue({ queues, pulse }, share);
    const sink = "name" in share ? share.name : null;
    if (oldest !== null && oldest.since <= limit && !(await ledger.moved(share.kind, limit, sink))) still.push(oldest);
  }
  const mailboxes = [];
  for (const name of names) mailboxes.push({ name, sweptAt: (await ledger.mailbox(name))?.sweptAt ?? null });
  return { running: await ledger.held(), pulse, mailboxes, queues, still, paused: await ledger.paused() };
}

/** Places on one file system are one disk; a place that is not there yet, or cannot be looked at, is left out. */
async function disksOf(places: Readonly<Record<string, string>>): Promise<readonly Disk[]> {
  const disks = new Map<number, Disk>();
  for (const [place, directory] of Object.entries(places)) {
    try {
      const { dev } = await stat(directory);
      const { bavail, blocks, bsize, files, ffree } = await statfs(directory);
      const known = disks.get(dev)?.places ?? [];
      const freeFiles = files === 0 ? null : ffree;
      disks.set(dev, {
        places: [...known, place],
        directory: disks.get(dev)?.directory ?? directory,
        freeBytes: bavail * bsize,
        sizeBytes: blocks * bsize,
        freeFiles,
      });
    } catch {
      // The ledger says what is wrong with its directory, and the spool is made when it is needed.
    }
  }
  return [...disks.values()];
}
