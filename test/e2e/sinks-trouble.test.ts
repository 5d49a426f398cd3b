/** Where results go when something is in the way: a receiver that is gone, SIGKILL between deliveries, a configuration that is wrong. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { requireDovecot } from "../servers/dovecot.ts";
import { billhook, type LogLine } from "../servers/process.ts";
import type { Receiver, Way } from "../servers/receiver.ts";
import { fixture, type Mail, type Outlets, startOutlets } from "./outlets.ts";

const missing = requireDovecot();
const PATIENT = { timeout: 20_000, interval: 20 };

const times =
  (count: number, fits: (line: LogLine) => boolean) =>
  (line: LogLine): boolean => {
    if (fits(line)) count -= 1;
    return count <= 0;
  };

describe.skipIf(missing !== null)(`sinks in trouble${missing === null ? "" : ` - skipped: ${missing}`}`, () => {
  let outlets: Outlets;
  beforeEach(async () => {
    // A document for each attachment: several deliveries for one mail.
    outlets = await startOutlets({ encoding: "attachments" });
  });
  afterEach(() => outlets.stop());

  async function run(...args: string[]) {
    const command = outlets.stage.start(...args);
    return { code: await command.ended, text: command.out.join("\n") };
  }
  /** Key -> bodies, of all that was taken; no two keys have one webhook-id. */
  function bodies({ taken }: Receiver): ReadonlyMap<string, readonly string[]> {
    const found = new Map<string, string[]>();
    const keys = new Map<unknown, string>();
    for (const { id, headers, body } of taken) {
      expect(keys.get(headers["webhook-id"]) ?? id).toBe(id);
      keys.set(headers["webhook-id"], id);
      found.set(id, [...(found.get(id) ?? []), body.toString("latin1")]);
    }
    expect(keys.size).toBe(found.size);
    return found;
  }

  /** The documents that were delivered as files, and the document a key is of, both as `<beginning of the message's id>-<position>`. */
  async function written(): Promise<readonly string[]> {
    const names = [...(await outlets.stage.written()).keys()].filter((name) => name.endsWith(".json"));
    return names.map((name) => name.replace(/\.json$/, "")).sort();
  }
  function documentOf({ id }: { readonly id: string }): string {
    const [message = "", position] = id.split(".");
    return `${message.slice(0, 16)}-${position}`;
  }

  it("a receiver that is gone (410) pauses its sink alone, `status` says so, and `resume` goes on", async () => {
    const { stage, erp, archive, smtp } = outlets;
    const mails = [await fixture("01"), await fixture("07")];
    erp.behave("answers 410");
    await stage.dovecot.append("INBOX", mails[0]?.raw ?? "");
    const first = stage.start("run", "--once");
    expect(await first.ended).toBe(3);
    expect(first.log.find(({ event }) => event === "deliver.halted")).toMatchObject({ level: "error", task: "1.erp" });

    // Another life, another mail: the pause is remembered, and nothing is asked of the receiver.
    const asked = erp.asked.length;
    const daemon = stage.start("run");
    await stage.dovecot.append("INBOX", mails[1]?.raw ?? "");
    await daemon.logged(times(2, ({ event, task }) => event === "deliver.done" && (task === "reply" || task === "archive")));
    const before = await run("status");
    expect(before.text).toMatch(/^paused {4}erp since \S+: .*410.* - `billhook resume erp` goes on$/m);
    expect(before.text).toMatch(new RegExp(`^waiting +${mails[0]?.id.slice(0, 16)} +invoices UID \\d+  deliver: .*410`, "m"));
    expect([erp.asked.length, erp.taken.length, archive.taken.length, smtp.taken.length]).toEqual([asked, 0, 2, 2]);
    expect(await stage.list("INBOX")).toHaveLength(2);

    erp.behave("takes it");
    expect(await run("resume", "erp")).toEqual({ code: 0, text: "erp goes on" });
    await daemon.logged(times(2, ({ event }) => event === "settle.done"));
    expect(await daemon.kill()).toBe(0);
    expect(erp.taken.map(documentOf).sort()).toEqual(await written());
    expect((await run("status")).text).not.toMatch(/^(paused|waiting)/m);
    const { counts } = JSON.parse((await run("status", "--json")).text) as { counts: object };
    expect(counts).toMatchObject({ open: 0, held: 0 });
  });

  it("killed while deliveries are in hand: all of it arrives, under the same keys, with the same bytes", { timeout: 120_000 }, async () => {
    const { stage, erp, archive, smtp } = outlets;
    const mails = await Promise.all(["01", "02", "03", "07"].map((number) => fixture(number)));
    for (const { raw } of mails) await stage.dovecot.append("INBOX", raw);
    const lives: readonly (readonly [Way, Way, "silence" | "cut"])[] = [
      ["takes it and never answers", "never reads", "silence"],
      ["takes it and answers half", "takes it and never answers", "cut"],
    ];
    for (const [atErp, atArchive, atDot] of lives) {
      erp.behave(atErp);
      archive.behave(atArchive);
      smtp.answer("dot", atDot);
      const before = [erp.taken.length, archive.asked.length, smtp.taken.length];
      const daemon = stage.start("run");
      await expect
        .poll(() => [erp.taken.length, archive.asked.length, smtp.taken.length].every((n, at) => n > (before[at] ?? 0)), PATIENT)
        .toBe(true);
      expect(await daemon.kill("SIGKILL")).toBe("SIGKILL");
      // What stands in the sockets of the dead is not taken any more.
      await Promise.all([erp, archive].map((receiver) => receiver.shut().then(receiver.open)));
    }
    erp.behave("takes it");
    archive.behave("takes it");
    smtp.answer("dot", null);
    // And between an effect and its save.
    for (const nth of [7, 19]) expect(await stage.startDoomed(nth, "run", "--once").ended).toBe("SIGKILL");
    expect(await stage.start("run", "--once").ended).toBe(0);

    const [toErp, toArchive] = [bodies(erp), bodies(archive)];
    expect((await written()).length).toBeGreaterThan(mails.length);
    expect([...toErp.keys()].map((id) => documentOf({ id })).sort()).toEqual(await written());
    expect([...toArchive.keys()].sort()).toEqual(mails.map(({ id }) => `${id}.archive`).sort());
    for (const all of [toErp, toArchive]) {
      expect(Math.max(...[...all.values()].map(({ length }) => length))).toBeGreaterThan(1);
      for (const [key, [first, ...again]] of all) for (const one of again) expect(one === first, key).toBe(true);
    }
    const answers = new Map<string, Set<string>>();
    for (const { raw } of smtp.taken) {
      const id = /^Message-ID:\s*(\S+)/m.exec(raw)?.[1] ?? "";
      answers.set(id, (answers.get(id) ?? new Set()).add(raw.replace(/^Date: .*\r$/m, "")));
    }
    expect(smtp.taken.length).toBeGreaterThan(mails.length);
    expect([...answers.values()].map(({ size }) => size)).toEqual(mails.map(() => 1));
    expect(await stage.list("INBOX")).toHaveLength((await unread(mails)).length);
  });

  /** Mails with a document the sandbox cannot read stay where they are. */
  async function unread(mails: readonly Mail[]): Promise<readonly string[]> {
    const { stuck } = JSON.parse((await run("status", "--json")).text) as { stuck: readonly { readonly id: string }[] };
    return mails.flatMap(({ id }) => (stuck.some((one) => id.startsWith(one.id)) ? [id] : []));
  }
});

describe("a configuration with wrong sinks or routes", () => {
  const directory = new URL("../../fixtures/config/bad/", import.meta.url).pathname;
  const env = { IMAP_PASSWORD: "correct-horse", CLOUDSQUID_API_KEY: "battery-staple", EXTEND_API_KEY: "battery-extend" };

  it("ends run and check with exit 2, and each fault with its line and column", async () => {
    const numbers = ["84", "90", "97", "105", "108", "113"];
    const cases = (await readdir(directory)).filter((name) => name.endsWith(".yaml") && numbers.includes(name.split("-", 1)[0] ?? ""));
    expect(cases).toHaveLength(numbers.length);
    const left = [...cases];
    const work = async () => {
      for (let name = left.pop(); name !== undefined; name = left.pop()) {
        const expected = (await readFile(join(directory, name.replace(/yaml$/, "txt")), "utf8")).trimEnd();
        const { code, said, log } = await billhook([left.length % 2 === 0 ? "run" : "check", "-c", join(directory, name)], env);
        expect({ name, code, log }).toEqual({ name, code: 2, log: [] });
        expect(said.join("\n").replaceAll(directory, "")).toContain(expected);
        for (const line of expected.split("\n")) expect(line).toMatch(/^[\w-]+\.yaml:\d+:\d+ {2}(sinks|routes|services)\b/);
      }
    };
    await Promise.all([work(), work()]);
  });
});
