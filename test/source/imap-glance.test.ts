/** Folders nobody is told of by IDLE: a glance spares opening them, tells of new mail soon, and is not believed for ever. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { createAccounts } from "../../src/source/imap/accounts.ts";
import { createImapSource, type ImapOptions } from "../../src/source/imap.ts";
import { requireCyrus, startCyrus } from "../servers/cyrus.ts";
import { type ImapServer, requireDovecot, startDovecot } from "../servers/dovecot.ts";
import { type Meddle, startProxy, type TcpProxy } from "../servers/proxy.ts";
import { startScripted } from "./scripted.ts";
import { asAnother, fastClock, listening, mail, optionsFor, type Watcher, watch } from "./watching.ts";

/** The folders of one account, and every command that is sent for them. */
function createScene() {
  const accounts = createAccounts(fastClock);
  const commands: string[] = [];
  const ends: (() => Promise<unknown>)[] = [];
  return {
    commands,
    onClient: (line: string) => {
      // Without the tag, and without DONE.
      if (/^\S+ [A-Z]/.test(line)) commands.push(line.replace(/^\S+ /, ""));
      return line;
    },
    ends,
    watched: (server: Pick<ImapServer, "host" | "port" | "user" | "password">, folder: string, more: Partial<ImapOptions> = {}) => {
      const { log, heard } = listening();
      const source = createImapSource(optionsFor(server, { name: folder, folder, idleMs: 20_000, socketTimeoutMs: 200_000, ...more }), {
        clock: fastClock,
        log,
        accounts,
      });
      const watcher: Watcher = watch(source);
      ends.unshift(watcher.stop, source.close);
      return {
        source,
        watcher,
        heard,
        sweep: () => {
          source.sweep();
          return watcher.sweep();
        },
        /** Asks for the next sight, and so rests. */
        rest: () => void watcher.arrival().catch(() => {}),
      };
    },
    end: async () => {
      for (const end of ends.splice(0)) await end();
    },
  };
}

const servers = [
  { name: "Dovecot", missing: requireDovecot(), start: startDovecot },
  { name: "Cyrus", missing: requireCyrus(), start: startCyrus },
];

for (const { name, missing, start } of servers) {
  describe.skipIf(missing !== null)(`a glance at ${missing === null ? name : `${name}: ${missing}`}`, () => {
    let server: ImapServer;
    let proxy: TcpProxy;
    let scene: ReturnType<typeof createScene>;
    let count = 0;

    beforeAll(async () => {
      server = await start();
    });
    afterAll(() => server?.stop());
    afterEach(async () => {
      await scene.end();
      await proxy.stop();
    });

    /** Two folders of one account, looked through once: IDLE watches the first of them. */
    async function two(onServer: Meddle = (line) => line) {
      scene = createScene();
      proxy = await startProxy(server, { client: scene.onClient, server: onServer });
      const names = [`Glance${++count}`, `Glance${++count}`] as const;
      for (const folder of names) await server.createFolder(folder);
      await server.append(names[1], mail("old"));
      const [first, second] = [
        scene.watched({ ...server, port: proxy.port }, names[0]),
        scene.watched({ ...server, port: proxy.port }, names[1]),
      ];
      await first.watcher.sweep();
      expect((await second.watcher.sweep()).uids).toEqual([1]);
      const idle = proxy.hears(/ IDLE/);
      const next = first.watcher.arrival();
      next.catch(() => {});
      await idle;
      return { next, second, names };
    }
    const without = (capability: RegExp) => (line: string) => (/CAPABILITY/.test(line) ? line.replaceAll(capability, "") : line);

    test("sweeps of a folder in which nothing happened do not open it; the eleventh does", async () => {
      const { second, names } = await two();
      const before = second.source.freshness().sweptAt;
      for (let times = 1; times <= 11; times++) {
        scene.commands.length = 0;
        expect((await second.sweep()).uids).toEqual([]);
        const mine = scene.commands.filter((line) => line.includes(names[1]));
        const isAsked = mine.some((line) => /^STATUS .*HIGHESTMODSEQ/.test(line));
        const isOpened = mine.some((line) => /^SELECT/.test(line));
        expect({ times, isAsked, isOpened }).toEqual({ times, isAsked: times < 11, isOpened: times === 11 });
        if (times < 11) expect(scene.commands.filter((line) => /^(SELECT|UID FETCH|FETCH)/.test(line))).toEqual([]);
      }
      expect(second.source.freshness().sweptAt?.getTime()).toBeGreaterThan(before?.getTime() ?? 0);
    });

    test("new mail is seen without a poke, and once", async () => {
      const { second, names } = await two();
      for (const what of ["one", "two", "three"]) {
        const next = second.watcher.arrival();
        await server.append(names[1], mail(what));
        expect((await next).raw.toString()).toBe(mail(what));
      }
    });

    test("a flag that changed has the folder opened by the next sweep", async () => {
      const { second, names } = await two();
      await asAnother(server, async (client) => {
        await client.mailboxOpen(names[1]);
        await client.messageFlagsAdd("1", ["\\Seen"], { uid: true });
      });
      scene.commands.length = 0;
      await second.sweep();
      expect(scene.commands.some((line) => /^SELECT/.test(line) && line.includes(names[1]))).toBe(true);
    });

    test("without CONDSTORE every sweep opens the folder, once, and new mail is seen without a poke all the same", async () => {
      const { second, names } = await two(without(/ (CONDSTORE|QRESYNC)\b/g));
      scene.commands.length = 0;
      await second.sweep();
      expect(scene.commands.filter((line) => /^SELECT/.test(line) && line.includes(names[1]))).toHaveLength(1);
      const next = second.watcher.arrival();
      await server.append(names[1], mail("unpoked"));
      expect((await next).raw.toString()).toBe(mail("unpoked"));
      expect(scene.commands.some((line) => line.includes("HIGHESTMODSEQ"))).toBe(false);
    });

    test("a folder that is deleted and made again is read from its beginning", async () => {
      const { second, names } = await two();
      const next = second.watcher.arrival();
      await asAnother(server, async (client) => {
        await client.mailboxDelete(names[1]);
      });
      second.source.sweep();
      await second.heard((line) => line.fields.fault === "imap.folder");
      expect(proxy.accepted(), "a folder that is not there costs nobody the connection").toBe(1);
      await server.createFolder(names[1]);
      await server.append(names[1], mail("anew"));
      second.source.sweep();
      expect((await next).raw.toString()).toBe(mail("anew"));
    });

    test("a connection that is half open in a glance is given up, and both folders go on", async () => {
      const { next: inFirst, second, names } = await two();
      const next = [inFirst, second.watcher.arrival()];
      await proxy.hears(/ STATUS /);
      proxy.freeze();
      for (const folder of names) await server.append(folder, mail(`${folder} thawed`));
      expect((await Promise.all(next)).map(({ raw }) => raw.toString())).toEqual(names.map((folder) => mail(`${folder} thawed`)));
    });
  });
}

describe("a glance at a server that", () => {
  const capabilities = "IMAP4rev1 IDLE UIDPLUS MOVE CONDSTORE ENABLE";
  const messages = [{ uid: 1, raw: mail("one") }];
  const open: { readonly end: () => Promise<void> }[] = [];
  afterEach(async () => {
    for (const { end } of open.splice(0)) await end();
  });

  /** INBOX and Other hold the same messages. */
  async function scene(status: (folder: string) => string, more: Parameters<typeof startScripted>[0] = {}) {
    const server = await startScripted({
      capabilities,
      uidNext: 2,
      messages: [...messages],
      ...more,
      on: (command) => {
        if (more.on?.(command)) return true;
        const [verb, folder = ""] = command.line.split(" ");
        if (verb === "SELECT") command.say("* OK [HIGHESTMODSEQ 9] modseq");
        if (verb !== "STATUS") return false;
        command.say(status(folder), `${command.tag} OK status`);
        return true;
      },
    });
    const made = createScene();
    open.push({ end: () => made.end().then(server.stop) });
    const [inbox, other] = [made.watched(server, "INBOX"), made.watched(server, "Other")];
    const swept = async () => {
      await Promise.all([inbox.watcher.sweep(), other.watcher.sweep()]);
      const idle = server.hears(/^IDLE/);
      inbox.rest();
      await idle;
    };
    return { server, inbox, other, swept };
  }

  test("says another UIDNEXT by STATUS than by SELECT: the folder is opened for it once, not for ever", async () => {
    const { server, other, swept } = await scene((folder) => `* STATUS ${folder} (UIDVALIDITY 7 UIDNEXT 12 HIGHESTMODSEQ 9)`);
    await swept();
    await other.watcher.sweep();
    const quiet = server.heard.length;
    other.rest();
    for (let times = 0; times < 5; times++) await server.hears(/^STATUS .*Other/);
    expect(server.heard.slice(quiet).filter((line) => /^SELECT .*Other/.test(line))).toEqual([]);
  });

  test("never tells of new mail: a later sweep finds it all the same", async () => {
    const { server, other, swept } = await scene((folder) => `* STATUS ${folder} (UIDVALIDITY 7 UIDNEXT 2 HIGHESTMODSEQ 9)`);
    await swept();
    server.script.messages.push({ uid: 2, raw: mail("two") });
    let sweeps = 0;
    for (let found = 0; found === 0; sweeps++) found = (await other.sweep()).uids.length;
    expect(sweeps).toBe(11);
  });

  test("refuses STATUS: it is opened at each sweep, and nothing is wrong", async () => {
    const { server, other, swept } = await scene(() => "", {
      on: ({ line, tag, say }) => {
        if (!line.startsWith("STATUS")) return false;
        say(`${tag} NO not today`);
        return true;
      },
    });
    await swept();
    const before = server.heard.filter((line) => /^SELECT .*Other/.test(line)).length;
    await other.sweep();
    expect(server.heard.filter((line) => /^SELECT .*Other/.test(line)).length).toBe(before + 1);
    expect(other.source.freshness().trouble).toBeNull();
  });

  test("has refused a message: a sweep that was not complete is not taken for one", async () => {
    const poke = { scheduled: () => {} };
    let refuses = true;
    const { server, other } = await scene((folder) => `* STATUS ${folder} (UIDVALIDITY 7 UIDNEXT 3 HIGHESTMODSEQ 9)`, {
      uidNext: 3,
      messages: [...messages, { uid: 2, raw: mail("two") }],
      on: ({ line, tag, say }) => {
        const [command, batch] = /^UID FETCH (1:)?2 .*BODY/.exec(line) ?? [];
        if (!refuses || command === undefined) return false;
        if (batch === undefined) {
          refuses = false;
          // While that sweep is under way the next one is due.
          poke.scheduled();
        }
        say(`${tag} NO ${batch === undefined ? "[UNAVAILABLE] later" : "one by one"}`);
        return true;
      },
    });
    poke.scheduled = other.source.sweep;
    expect(await other.watcher.arrival()).toMatchObject({ uid: 1 });
    // A sweep that is over without it would say so first.
    const next = await other.watcher.sight();
    expect(next).toMatchObject({ is: "arrival", arrival: { origin: { uid: 2 } } });
    expect(server.heard.filter((line) => /^SELECT .*Other/.test(line)).length).toBeGreaterThan(1);
  });

  test("lists less than it gave UIDs for: what is late is found by the next sweep", async () => {
    const { server, other, swept } = await scene((folder) => `* STATUS ${folder} (UIDVALIDITY 7 UIDNEXT 3 HIGHESTMODSEQ 9)`, {
      uidNext: 3,
    });
    await swept();
    server.script.messages.push({ uid: 2, raw: mail("late") });
    expect((await other.sweep()).uids).toEqual([2]);
  });

  test("is asked by others all the while: folders are glanced at all the same", async () => {
    const { server, inbox, other, swept } = await scene((folder) => `* STATUS ${folder} (UIDVALIDITY 7 UIDNEXT 2 HIGHESTMODSEQ 9)`);
    await swept();
    other.rest();
    const origin = { mailbox: "INBOX", uidValidity: "7", uid: 1 };
    let glances = 0;
    const counting = async () => {
      for (; glances < 3; glances++) await server.hears(/^STATUS .*Other/);
    };
    const counted = counting();
    // Far more often than a round takes.
    for (let times = 0; glances < 3; times++) {
      expect(times, "rounds come due").toBeLessThan(10_000);
      await inbox.source.settle(origin, "done", AbortSignal.timeout(10_000), { is: "flag" });
    }
    await counted;
  });
});
