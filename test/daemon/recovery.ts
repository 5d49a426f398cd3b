/** A state directory with mails at every point of their way, ways to damage it, and a recovery of it against a mailbox made by hand. */
import { createHash } from "node:crypto";
import { openSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { permanent } from "../../src/base/errors.ts";
import { applyRecovery, type Done, type Plan, planRecovery } from "../../src/daemon/recover.ts";
import { findingsOf } from "../../src/daemon/verify.ts";
import type { Progress } from "../../src/extractor/extractor.ts";
import type { Works } from "../../src/pipeline/step.ts";
import type { Source } from "../../src/source/source.ts";
import type { Recovery } from "../../src/store/recovery.ts";
import { openSpool } from "../../src/store/spool.ts";
import { openRecovery } from "../../src/store/sql/recover.ts";
import { inspect } from "../../src/store/sql/verify.ts";
import { LEDGER_FILE } from "../../src/store/sql.ts";
import { mailOf } from "../cli/desk.ts";
import { drain, extractorOf, sinkOf, sourceOf, worksIn } from "../pipeline/works.ts";

const never = new AbortController().signal;
export const MAILBOX = "invoices";

/** What the world outside remembers, whatever becomes of the state directory. */
export type Outside = {
  /** UID -> raw mail. */
  readonly box: Map<number, Buffer>;
  /** Documents that were bought, and deliveries that were taken, in order. */
  readonly bought: string[];
  readonly delivered: string[];
};

export type Daemon = {
  readonly works: Works;
  readonly drain: () => Promise<unknown>;
  readonly take: (uid: number) => Promise<string>;
  readonly stop: () => Promise<void>;
};

/** The service goes on asking for mails that say "waiting", refuses "refuse", and fails to deliver "undelivered". */
export async function startDaemon(directory: string, outside: Outside, isWell = false): Promise<Daemon> {
  const { extractor } = extractorOf(({ document, memo, key }): Progress => {
    const subject = document.facts.subject ?? "";
    if (!isWell && subject.includes("refuse")) return { is: "refused", memo: {}, fault: permanent("service.refused", "it cannot be read") };
    if (memo?.runId === undefined) {
      outside.bought.push(key);
      return { is: "going", memo: { runId: `run ${outside.bought.length}` }, nextAt: new Date(0) };
    }
    if (!isWell && subject.includes("waiting"))
      return { is: "going", memo: { runId: String(memo.runId) }, nextAt: new Date("2026-08-01T00:00:00Z") };
    const answer = {
      runId: String(memo.runId),
      data: { total: "119.00", subject },
      credits: 2,
      reasoning: null,
      review: null,
      raw: { status: "done" },
    };
    return { is: "answered", memo, answer };
  });
  const { sink } = sinkOf("files", (delivery) => {
    if (!isWell && delivery.facts.subject?.includes("undelivered")) throw permanent("files.refused", "not now");
    outside.delivered.push(delivery.body.id);
  });
  const { works, clock } = await worksIn(join(directory), { extractor, sinks: [sink], source: sourceOf(MAILBOX).source });
  clock.set(new Date("2026-03-02T12:00:00Z"));
  return {
    works,
    drain: async () => {
      for (let effects = 0; effects < 2_000; effects += 1) {
        const next = await works.ledger.nextDue([]);
        if (next === null || next.getTime() > Date.parse(isWell ? "2027-01-01T00:00:00Z" : "2026-07-01T00:00:00Z")) return;
        await drain(works, clock, 1).catch(() => {});
      }
    },
    take: async (uid) => {
      const bytes = outside.box.get(uid) ?? Buffer.alloc(0);
      const { sha256, size } = await works.spool.keep("raw")([bytes] as unknown as AsyncIterable<Uint8Array>);
      const cursor = { uidValidity: "1", uid, since: null, until: 0 };
      await works.ledger.receive({ blob: { sha256, size }, origin: originOf(uid), receivedAt: null, cursor, now: clock.now() });
      return sha256;
    },
    stop: () => works.ledger.close(),
  };
}

export const originOf = (uid: number) => ({ mailbox: MAILBOX, uidValidity: "1", uid });
export const idOf = (raw: Uint8Array) => createHash("sha256").update(raw).digest("hex");

/** `mails` of each kind that ends, one that waits, and three that nothing was done for yet. Stopped in good order. */
export async function seed(directory: string, mails = 6): Promise<Outside> {
  const outside: Outside = { box: new Map(), bought: [], delivered: [] };
  const daemon = await startDaemon(directory, outside);
  const subjects = Array.from({ length: mails }, (_, n) => [`good ${n}`, `refuse ${n}`, `undelivered ${n}`]).flat();
  let uid = 0;
  const put = (subject: string) => {
    uid += 1;
    outside.box.set(uid, mailOf(`${subject} ${"x".repeat(300)}`));
    return daemon.take(uid);
  };
  for (const subject of [...subjects, "waiting"]) await put(subject);
  await daemon.drain();
  for (const n of [1, 2, 3]) await put(`open ${n}`);
  await daemon.works.ledger.beat({ at: "2026-03-02T12:00:00.000Z", alive: false, pid: 1, mailboxes: [] });
  await daemon.stop();
  return outside;
}

export function sourceIn({ box }: Outside, isThere: (uid: number) => boolean = () => true): Source {
  return {
    ...sourceOf(MAILBOX).source,
    list: async function* () {
      yield { uidValidity: "1", messages: [...box.keys()].map((uid) => ({ uid, size: 1, receivedAt: "2026-03-01T00:00:00.000Z" })) };
    },
    read: async (uid) => {
      const raw = box.get(uid);
      if (raw === undefined || !isThere(uid)) return null;
      return (async function* () {
        yield raw;
      })();
    },
  };
}

export type Recovered = { readonly plan: Plan; readonly done: Done; readonly kept: string | null; readonly held: number } & Pick<
  Recovery,
  "wrong" | "carried" | "wentBack"
>;

export async function recoverIn(directory: string, outside: Outside, source = sourceIn(outside)): Promise<Recovered> {
  const spool = await openSpool(join(directory, "spool"));
  const sizeOf = (sha256: string) => statSync(spool.path("raw", sha256), { throwIfNoEntry: false })?.size ?? null;
  const recovery = await openRecovery({ directory, now: new Date(), sizeOf });
  let isOver = false;
  try {
    const { wrong, carried, wentBack } = recovery;
    const works = {
      recovery,
      spool,
      directory: join(directory, "spool"),
      sources: new Map([[MAILBOX, source]]),
      names: ["service", "files"],
      routing: { rules: [], fallback: { service: "service", sinks: [{ name: "files", per: "document" as const, failures: false }] } },
    };
    const plan = await planRecovery(works, () => {}, never);
    const done = await applyRecovery(plan, works, never);
    const held = recovery.held();
    const kept = await recovery.finish();
    isOver = true;
    return { plan, done, kept, held, wrong, carried, wentBack };
  } finally {
    if (!isOver) await recovery.abandon();
  }
}

/** Codes and sentences of everything `billhook status --verify` says. */
export async function findingsIn(directory: string): Promise<readonly string[]> {
  const spool = await openSpool(join(directory, "spool"));
  const inspection = inspect(join(directory, LEDGER_FILE));
  try {
    const examination = { inspection, spool, directory: join(directory, "spool"), before: null, tell: () => {} };
    const found: string[] = [];
    for await (const { code, message } of findingsOf(examination, never)) found.push(`${code}: ${message}`);
    return found;
  } finally {
    inspection.close();
  }
}

/** The pages of a table, without those of its indexes. */
export function pagesOf(directory: string, table: string): readonly number[] {
  const database = new Database(join(directory, LEDGER_FILE));
  try {
    return database.prepare("SELECT pageno FROM dbstat WHERE name = ? ORDER BY pageno").pluck().all(table) as number[];
  } finally {
    database.close();
  }
}

export function overwrite(file: string, offset: number, bytes: Uint8Array): void {
  const handle = openSync(file, "r+");
  writeSync(handle, bytes, 0, bytes.length, offset);
}

export type OpenTask = { readonly kind: string; readonly subject: string; readonly memo: string | null; readonly run_id: string | null };

/** What the ledger would have done by itself, but telling mailboxes, which may be repeated. */
export function openTasks(directory: string): readonly OpenTask[] {
  const database = new Database(join(directory, LEDGER_FILE), { readonly: true });
  try {
    const query = "SELECT kind, subject, memo, run_id FROM task WHERE status = 'open' AND kind != 'settle' ORDER BY kind, subject";
    return database.prepare(query).all() as OpenTask[];
  } finally {
    database.close();
  }
}
