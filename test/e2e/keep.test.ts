/** Retention with real processes: what had its time is nowhere in the state directory, killed or not, and what is not over stays. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { requireDovecot } from "../servers/dovecot.ts";
import { fixtures, type Stage, startStage } from "./stage.ts";

const missing = requireDovecot();
const RETRY = "{ first: 200ms, longest: 2s }";

/** Every file below, with its bytes. */
async function filesIn(directory: string): Promise<readonly { readonly path: string; readonly bytes: Buffer }[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  // One may be removed while it is looked at.
  return Promise.all(files.map(async (path) => ({ path, bytes: await readFile(path).catch(() => Buffer.alloc(0)) })));
}

const settledTimes = (count: number) => {
  let seen = 0;
  return ({ event }: { readonly event: string }) => {
    if (event === "settle.done") seen += 1;
    return seen >= count;
  };
};

/** As a client of the sandbox of the stage. */
async function ask({ config }: Stage, method: string, path: string, body?: object): Promise<Response> {
  const url = /url: (http:\S+)/.exec(await readFile(config, "utf8"))?.[1];
  const key = { "x-api-key": "stage-key", authorization: "Bearer stage-key", "x-extend-api-version": "2026-02-09" };
  return fetch(`${url}/${path}`, {
    method,
    headers: { ...key, "content-type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
}

describe.skipIf(missing !== null)(`keep${missing === null ? "" : ` - skipped: ${missing}`}`, () => {
  let stage: Stage;
  afterEach(() => stage.stop());

  it("none: killed when the last receipt is there and started again, nothing of a mail is in the state directory; the service is asked the same", {
    timeout: 180_000,
  }, async () => {
    stage = await startStage({ retry: `${RETRY}\nkeep: none` });
    const mails = (await fixtures()).filter(({ expected }) => expected.settles === "done").slice(0, 6);
    for (const { raw } of mails) await stage.dovecot.append("INBOX", raw);
    const daemon = stage.start("run");
    await daemon.logged(settledTimes(mails.length));
    await daemon.kill("SIGKILL");

    const markers = mails.flatMap(({ expected: { invoices, split } }) => [
      ...invoices.map(({ invoice_number }) => invoice_number),
      ...(split.subject === null ? [] : [split.subject]),
      ...(split.messageId === null ? [] : [split.messageId]),
    ]);
    expect(markers.length).toBeGreaterThan(mails.length);
    const again = stage.start("run");
    await again.logged(({ event }) => event === "daemon.started");
    await vi.waitFor(
      async () => {
        for (const { path, bytes } of await filesIn(stage.state))
          for (const marker of markers) expect(bytes.includes(marker), `${marker} in ${path}`).toBe(false);
      },
      // What fails at once is done within the minute.
      { timeout: 90_000, interval: 100 },
    );
    expect((await filesIn(join(stage.state, "spool"))).map(({ path }) => path)).toEqual([]);
    expect(await again.kill()).toBe(0);

    const { rows, runs } = await stage.counts();
    expect(runs).toBe(mails.length);
    expect(rows.length).toBe(mails.length);
    const table = "projects/stage/tables/3c90c3cc-0d44-4b50-8888-8dd25736052a";
    for (const { row_id } of rows) {
      const answer = await ask(stage, "POST", `${table}/run`, { row_id });
      expect(await answer.text()).toContain("the file of this row was not retained");
    }
    expect((await stage.written()).size).toBe(mails.length);

    // The same mail once more is known.
    await stage.dovecot.append("INBOX", mails[0]?.raw ?? "");
    const once = stage.start("run", "--once");
    expect(await once.ended).toBe(0);
    expect(once.log.map(({ event }) => event)).toContain("message.seen-again");
    expect((await stage.counts()).runs).toBe(mails.length);
  });

  it("none, at Extend: files and runs are deleted there, and then our results", async () => {
    stage = await startStage({ retry: `${RETRY}\nkeep: none`, service: "extend" });
    const [mail] = (await fixtures()).filter(({ expected }) => expected.settles === "done");
    await stage.dovecot.append("INBOX", mail?.raw ?? "");
    const once = stage.start("run", "--once");
    expect(await once.ended).toBe(0);
    const { made } = (await stage.counts()).extend;
    expect(made).toHaveLength(1);
    expect((await ask(stage, "GET", `extract_runs/${made[0]?.id}`)).status).toBe(404);
    expect(await (await ask(stage, "GET", "files")).json()).toMatchObject({ data: [] });
    expect(once.log.filter(({ event }) => event === "pruned")).not.toEqual([]);
    expect((await filesIn(stage.state)).filter(({ bytes }) => bytes.includes(mail?.expected.split.messageId ?? "?"))).toEqual([]);
  });

  it("a second for the bytes: gone at the next start, while one that failed keeps its own, and results are still told anew", async () => {
    stage = await startStage({ retry: `${RETRY}\nkeep: { raw: 1s, parts: 1s }` });
    const mails = await fixtures();
    const good = mails.find(({ expected }) => expected.settles === "done");
    const bad = mails.find(({ expected }) => expected.settles === "failed");
    for (const mail of [good, bad]) await stage.dovecot.append("INBOX", mail?.raw ?? "");
    await stage.start("run", "--once").ended;
    const first = (await filesIn(join(stage.state, "spool", "raw"))).length;
    expect(first).toBe(2);
    // Until the second is over.
    let later = stage.start("run", "--once");
    for (await later.ended; !later.log.some(({ event }) => event === "pruned"); await later.ended) later = stage.start("run", "--once");
    const left = await filesIn(join(stage.state, "spool", "raw"));
    expect(left.map(({ bytes }) => bytes.equals(bad?.raw ?? Buffer.alloc(0)))).toEqual([true]);
    expect(later.log).toContainEqual(expect.objectContaining({ event: "pruned", raw: 1, parts: 1 }));

    const shown = (await stage.written()).size;
    const [name = ""] = [...(await stage.written()).keys()];
    expect(await stage.start("replay", name.slice(0, 16)).ended).toBe(0);
    const told = stage.start("run", "--once");
    await told.ended;
    expect(told.log.filter(({ event }) => event === "deliver.done")).toHaveLength(1);
    expect((await stage.written()).size).toBeGreaterThanOrEqual(shown);
  });
});
