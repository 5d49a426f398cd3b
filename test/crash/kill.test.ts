/** SIGKILL at random moments: whatever the daemon was doing, the end is the same as if nothing had happened. */
import { appendFile } from "node:fs/promises";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fixtures, invoicesIn, type Stage, startStage } from "../e2e/stage.ts";
import { requireDovecot } from "../servers/dovecot.ts";

const missing = requireDovecot();
const KILLS = 20;
const AT_REST_MS = 3_000;

/** A small generator with a seed that is printed, so that a failing campaign can be run again: BILLHOOK_SEED=… */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

describe.skipIf(missing !== null)(`killed ${KILLS} times${missing === null ? "" : ` - skipped: ${missing}`}`, () => {
  let calm: Stage;
  let stormy: Stage;
  beforeAll(async () => {
    [calm, stormy] = await Promise.all([startStage(), startStage()]);
  });
  afterAll(() => Promise.all([calm.stop(), stormy.stop()]));

  it("gives the same files, no message twice, no run twice once its id was saved", { timeout: 240_000 }, async () => {
    const seed = Number(process.env.BILLHOOK_SEED ?? Math.floor(Math.random() * 2 ** 31));
    console.log(`BILLHOOK_SEED=${seed}`);
    const random = randomFrom(seed);
    const mails = await fixtures();

    for (const { raw } of mails) await calm.dovecot.append("INBOX", raw);
    expect(await calm.start("run", "--once").ended).toBe(0);

    for (const { raw } of mails.slice(0, 6)) await stormy.dovecot.append("INBOX", raw);
    const saved = new Map<string, string>();
    for (let kill = 0; kill < KILLS; kill += 1) {
      if (kill < mails.length - 6) await stormy.dovecot.append("INBOX", mails[kill + 6]?.raw ?? "");
      const daemon = stormy.start("run");
      // The moment is chosen by what has been done, not by the clock: after the n-th line of the log, wherever that falls.
      const lines = 1 + Math.floor(random() * 14);
      let seen = 0;
      // A daemon that has nothing left to do writes no more lines: then it is killed at its rest.
      const atRest = new Promise((resolve) => setTimeout(resolve, AT_REST_MS));
      await Promise.race([daemon.logged(() => ++seen >= lines), atRest]).catch(() => {});
      await spin(random() * 25);
      expect(await daemon.kill("SIGKILL")).toBe("SIGKILL");
      for (const [document, runId] of runIds(stormy)) {
        // Once saved, an id never changes: nothing was started again.
        expect(saved.get(document) ?? runId).toBe(runId);
        saved.set(document, runId);
      }
    }
    expect(saved.size).toBeGreaterThan(0);

    const last = stormy.start("run", "--once");
    expect(await last.ended).toBe(0);
    // The exception the contract forces: an upload or a start of a run that was interrupted twice is a person's to decide.
    const given = ambiguous(stormy);
    for (const message of given) expect(await stormy.start("retry", message).ended).toBe(0);
    expect(await stormy.start("run", "--once").ended).toBe(0);
    expect(ambiguous(stormy)).toEqual([]);
    for (const [document, runId] of runIds(stormy)) expect(saved.get(document) ?? runId).toBe(runId);

    const [expected, found] = [await calm.written(), await stormy.written()];
    expect([...found.keys()].sort()).toEqual([...expected.keys()].sort());
    for (const [name, text] of expected) expect(without(found.get(name) ?? "{}")).toEqual(without(text));
    expect([...found.values()].flatMap(invoicesIn)).toHaveLength(mails.reduce((sum, { expected }) => sum + expected.invoices.length, 0));
    expect((await stormy.list("Done")).length).toBe((await calm.list("Done")).length);
    expect((await stormy.list("INBOX")).map(({ flags }) => flags)).toEqual((await calm.list("INBOX")).map(({ flags }) => flags));

    const { rows } = await stormy.counts();
    const paidTwice = rows.filter(({ runs }) => runs > 1).length;
    const extra = rows.length - mails.length;
    console.log(
      `kills ${KILLS}, messages ${mails.length}, uploads repeated ${extra}, runs repeated before their id was saved ${paidTwice}, given to a person ${given.length}`,
    );
    // Each kill can fall between at most `concurrency` effects and their saves.
    expect(paidTwice + extra).toBeLessThanOrEqual(KILLS * 8);

    const again = await stormy.counts();
    expect(await stormy.start("run", "--once").ended).toBe(0);
    expect(await stormy.counts()).toEqual(again);
    expect(await stormy.written()).toEqual(found);
  });
});

/** Document -> run id, as the ledger on disk has it after the kill. */
function runIds(stage: Stage): ReadonlyMap<string, string> {
  const database = new Database(join(stage.state, "ledger.sqlite"), { readonly: false });
  try {
    const rows = database.prepare("SELECT subject, memo FROM task WHERE kind = 'extract' AND memo IS NOT NULL").all() as {
      subject: string;
      memo: string;
    }[];
    return new Map(
      rows.flatMap(({ subject, memo }) => {
        const { runId } = JSON.parse(memo) as { runId?: string };
        return typeof runId === "string" ? [[subject, runId] as const] : [];
      }),
    );
  } finally {
    database.close();
  }
}

/** Messages that failed because nobody knows whether they were uploaded, or their run started. */
function ambiguous(stage: Stage): readonly string[] {
  const database = new Database(join(stage.state, "ledger.sqlite"));
  try {
    const failed = "SELECT message FROM task WHERE kind = 'extract' AND status = 'failed' AND fault LIKE '%cloudsquid.ambiguous%'";
    return database.prepare(failed).pluck().all() as string[];
  } finally {
    database.close();
  }
}

/** A delivered file without what the service chooses anew in each campaign, and when it came. */
function without(text: string): unknown {
  const body = JSON.parse(text) as { message: object; extraction: object };
  return { ...body, message: { ...body.message, receivedAt: null }, extraction: { ...body.extraction, runId: null, runs: null } };
}

/** Lets a few milliseconds of other people's work go by, so that a kill falls inside an effect as well as between two. */
async function spin(milliseconds: number): Promise<void> {
  for (const until = performance.now() + milliseconds; performance.now() < until; ) await appendFile("/dev/null", "");
}
