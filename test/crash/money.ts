/** A campaign on money: a service that fails in every way at one call, and a daemon that dies before and after its intentions, effects and saves. */
import { createHash } from "node:crypto";
import { join } from "node:path";
import Database from "better-sqlite3";
import { expect } from "vitest";
import { fixtures, invoicesIn, type Stage, type StageOptions, startStage } from "../e2e/stage.ts";

/** Every way a call can fail: before it was sent whole, after it took effect, refused for now, answered wrong, not at all. */
const WAYS = [
  { cut: "before" },
  { cut: "after" },
  { cut: "body" },
  { status: 429, retryAfter: 1 },
  { status: 500 },
  { status: 503, retryAfter: 1 },
  { wrongJson: true },
  { html: true },
  { hang: true },
] as const;
/** At which point each doomed life ends, the first two being those of its sweep: no point between two of them is left out for long. */
const DEATHS = [4, 13, 7, 5, 19, 9, 6, 8, 10, 15];
const DOOMED = 24;
const MOST_LIVES = 150;
/** What is looked for this rarely was looked for longer than any list of these campaigns is late. */
const PATIENT_MS = 60_000;

export type Bill = {
  /** Runs the service says it has made for the document. */
  readonly bought: number;
  /** What billhook counts. */
  readonly possiblyTwice: number;
  /** `delivered`, or the status and fault of a document that waits for a person, or for long. */
  readonly ended: string;
};

/** Runs the campaign and gives what each document cost. `bought` asks the service itself; `more` faults are ordered beside those at `call`. */
export async function campaign(
  options: StageOptions,
  call: string,
  bought: (stage: Stage, documents: readonly string[]) => Promise<ReadonlyMap<string, number>>,
  more: readonly object[] = [],
): Promise<readonly Bill[]> {
  const stage = await startStage({
    ...options,
    concurrency: 2,
    retry: "{ first: 100ms, longest: 500ms }",
    more: ["timeout: 1500ms", "breaker: { failures: 1000, first: 1s, longest: 1s }", ...(options.more ?? [])],
  });
  try {
    const xml = (await fixtures()).find(({ name }) => name.startsWith("04-"));
    const mails = WAYS.map((_, index) => Buffer.concat([Buffer.from(`X-Number: ${index}\r\n`), xml?.raw ?? Buffer.alloc(0)]));
    for (const raw of mails) await stage.dovecot.append("INBOX", raw);
    for (const way of [...WAYS.map((one) => ({ call, ...one })), ...more]) await stage.addFault(way);

    let lives = 0;
    let over = false;
    for (; lives < DOOMED && !over; lives += 1)
      over = (await stage.startDoomed(DEATHS[lives % DEATHS.length] ?? 1, "run", "--once").ended) === 0;
    for (; !over; lives += 1) {
      expect(lives, "the campaign comes to an end").toBeLessThan(MOST_LIVES);
      over = (await stage.start("run", "--once").ended) === 0 || isOnlyWaiting(stage);
    }
    const documents = mails.map((raw) => `${createHash("sha256").update(raw).digest("hex")}.1`);
    const runs = await bought(stage, documents);
    const doubts = doubtsIn(stage);
    const files = await stage.written();
    const delivered = new Set([...files.keys()].map((name) => name.slice(0, 16)));
    expect([...files.values()].flatMap(invoicesIn)).toHaveLength(files.size);
    const bills = documents.map((document) => ({
      bought: runs.get(document) ?? 0,
      possiblyTwice: doubts.get(document) ?? 0,
      ended: delivered.has(document.slice(0, 16)) ? "delivered" : faultOf(stage, document),
    }));
    const sum = (of: (bill: Bill) => number) => bills.reduce((total, bill) => total + of(bill), 0);
    console.log(
      `${call}: ${lives} lives, ${bills.length} documents, ${sum(({ bought }) => bought)} runs, possibly twice ${sum(({ possiblyTwice }) => possiblyTwice)}, ` +
        `given to a person ${sum(({ ended }) => (ended.startsWith("failed") ? 1 : 0))}, still looked for ${sum(({ ended }) => (ended.startsWith("open") ? 1 : 0))}`,
    );
    return bills;
  } finally {
    await stage.stop();
  }
}

/** At least this many were delivered, and what was bought beyond one for each document is counted as such. */
export function expectHonest(bills: readonly Bill[], leastDelivered: number): void {
  const extra = bills.reduce((sum, { bought }) => sum + Math.max(0, bought - 1), 0);
  const counted = bills.reduce((sum, { possiblyTwice }) => sum + possiblyTwice, 0);
  expect(counted, "possibly twice, of what is extra").toBeGreaterThanOrEqual(extra);
  for (const { bought, possiblyTwice } of bills) expect(possiblyTwice).toBeGreaterThanOrEqual(bought - 1);
  expect(bills.filter(({ ended }) => ended === "delivered").length, "delivered").toBeGreaterThanOrEqual(leastDelivered);
}

/** What the ledger says may have been bought twice. */
function doubtsIn(stage: Stage): ReadonlyMap<string, number> {
  return asked(stage, (ledger) => {
    const rows = ledger.prepare("SELECT document, max(possibly_twice) AS doubts FROM run GROUP BY document").all() as {
      document: string;
      doubts: number;
    }[];
    return new Map(rows.map(({ document, doubts }) => [document, doubts]));
  });
}

/** The code of the fault a document failed with. */
function faultOf(stage: Stage, document: string): string {
  return asked(stage, (ledger) => {
    const row = ledger.prepare("SELECT status, fault FROM task WHERE kind = 'extract' AND subject = ?").get(document) as {
      status: string;
      fault: string;
    };
    return `${row.status}: ${(JSON.parse(row.fault) as { code: string }).code}`;
  });
}

/** Whether all that is left to do has a long time to go. */
function isOnlyWaiting(stage: Stage): boolean {
  const soon = new Date(Date.now() + PATIENT_MS).toISOString();
  return asked(stage, (ledger) => ledger.prepare("SELECT 1 FROM task WHERE status = 'open' AND due_at < ?").get(soon) === undefined);
}

function asked<T>(stage: Stage, question: (ledger: Database.Database) => T): T {
  const ledger = new Database(join(stage.state, "ledger.sqlite"));
  try {
    return question(ledger);
  } finally {
    ledger.close();
  }
}
