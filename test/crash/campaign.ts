/** A campaign on money: a service that fails in every way at one call, and a daemon that dies between its effects and their saves. */
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
/** At which point each doomed life ends: no point between two of them is left out for long. */
const DEATHS = [2, 11, 5, 3, 17, 7, 4, 6, 8, 13];
const DOOMED = 24;
const MOST_LIVES = 150;

export type Bill = { readonly document: string; readonly bought: number; readonly possiblyTwice: number };

/** Runs the campaign and gives what each document cost. `bought` asks the service itself. */
export async function campaign(
  options: StageOptions,
  call: string,
  bought: (stage: Stage, documents: readonly string[]) => Promise<ReadonlyMap<string, number>>,
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
    for (const way of WAYS) await stage.addFault({ call, ...way });

    let lives = 0;
    let over = false;
    for (; lives < DOOMED && !over; lives += 1)
      over = (await stage.startDoomed(DEATHS[lives % DEATHS.length] ?? 1, "run", "--once").ended) === 0;
    for (; !over; lives += 1) {
      expect(lives, "the campaign comes to an end").toBeLessThan(MOST_LIVES);
      over = (await stage.start("run", "--once").ended) === 0;
    }
    const files = await stage.written();
    expect([...files.keys()].sort()).toEqual(
      mails.map((raw) => `${createHash("sha256").update(raw).digest("hex").slice(0, 16)}-1.json`).sort(),
    );
    expect([...files.values()].flatMap(invoicesIn)).toHaveLength(mails.length);

    const documents = mails.map((raw) => `${createHash("sha256").update(raw).digest("hex")}.1`);
    const runs = await bought(stage, documents);
    const doubts = doubtsIn(stage);
    console.log(
      `${call}: ${lives} lives, ${mails.length} documents, ${[...runs.values()].reduce((a, b) => a + b, 0)} runs, possibly twice ${[...doubts.values()].reduce((a, b) => a + b, 0)}`,
    );
    return documents.map((document) => ({ document, bought: runs.get(document) ?? 0, possiblyTwice: doubts.get(document) ?? 0 }));
  } finally {
    await stage.stop();
  }
}

/** What the ledger says may have been bought twice. */
function doubtsIn(stage: Stage): ReadonlyMap<string, number> {
  const database = new Database(join(stage.state, "ledger.sqlite"));
  try {
    const rows = database.prepare("SELECT document, max(possibly_twice) AS doubts FROM run GROUP BY document").all() as {
      document: string;
      doubts: number;
    }[];
    return new Map(rows.map(({ document, doubts }) => [document, doubts]));
  } finally {
    database.close();
  }
}
