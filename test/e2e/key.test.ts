/** A key the service does not take, with real processes: every mail waits, none fails, a person is told, and the right key finishes all. */
import { readFile, writeFile } from "node:fs/promises";
import { afterEach, describe, expect, it, vi } from "vitest";
import { requireDovecot } from "../servers/dovecot.ts";
import { fixtures, type Stage, startStage } from "./stage.ts";

const missing = requireDovecot();

describe.skipIf(missing !== null)(`a key that is not taken${missing === null ? "" : ` - skipped: ${missing}`}`, () => {
  let stage: Stage;
  afterEach(() => stage.stop());

  it.each(["cloudsquid", "extend"] as const)(
    "%s: every mail waits for it however long, and is read once when it is mended",
    async (service) => {
      // Whatever failed for so long would be given up.
      const retry = "{ first: 10ms, longest: 20ms, giveUpAfter: 50ms }";
      stage = await startStage({ service, retry, more: ["breaker: { failures: 50, first: 30ms, longest: 60ms }"] });
      const config = await readFile(stage.config, "utf8");
      const withKey = (key: string) => writeFile(stage.config, config.replace(/apiKey: \S+/, `apiKey: ${key}`));
      const mails = (await fixtures()).filter(({ expected }) => expected.settles === "done").slice(0, 4);
      for (const { raw } of mails) await stage.dovecot.append("INBOX", raw);

      await withKey("an-old-key");
      const daemon = stage.start("run");
      const waiting = new Set<unknown>();
      await daemon.logged(({ event, message, fault }) => {
        if (event === "extract.later" && fault === "http.unauthorized") waiting.add(message);
        return waiting.size === mails.length;
      });
      // Told with the next beat of the daemon's heart.
      const { troubles, stuck, counts } = await vi.waitFor(
        async () => {
          const status = stage.start("status", "--json");
          await status.ended;
          const told = JSON.parse(status.out.join("\n"));
          expect(told.troubles).not.toEqual([]);
          // One of them may be trying just now.
          expect(told.stuck).toHaveLength(mails.length);
          return told;
        },
        { timeout: 30_000, interval: 200 },
      );
      expect(counts).toMatchObject({ open: mails.length, failed: 0, held: 0 });
      expect(troubles).toMatchObject([{ service, trouble: { code: "service.unauthorized", advice: expect.stringContaining("apiKey") } }]);
      expect(stuck.map(({ standing }: { standing: string }) => standing)).toEqual(mails.map(() => "waiting"));
      const said = stage.start("status");
      await said.ended;
      expect(said.out.join("\n")).toMatch(new RegExp(`trouble +${service}: service ${service} has not taken its key since`));
      expect(said.out.join("\n")).not.toContain("an-old-key");
      expect(await daemon.kill()).toBe(0);
      expect(daemon.log.filter(({ event }) => /extract\.(failed|retry)/.test(event))).toEqual([]);

      await withKey("stage-key");
      const mended = stage.start("run", "--once");
      expect(await mended.ended).toBe(0);
      expect((await stage.written()).size).toBe(mails.length);
      const { runs, extend } = await stage.counts();
      expect(runs + extend.runs).toBe(mails.length);
    },
  );
});
