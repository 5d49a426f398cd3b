/** Many: a folder of 40,000 messages, and a hundred accounts in one process. */

import { once } from "node:events";
import { appendFile, chown, link, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { silent } from "../../src/base/logger.ts";
import { createAccounts } from "../../src/source/imap/accounts.ts";
import { createImapSource } from "../../src/source/imap.ts";
import { type Dovecot, requireDovecot, startDovecot } from "../servers/dovecot.ts";
import { startProxy } from "../servers/proxy.ts";
import { everythingIn, listening, mail, optionsFor, watch } from "./watching.ts";

const missing = requireDovecot();

describe.skipIf(missing !== null)(`many ${missing ?? ""}`, () => {
  let dovecot: Dovecot;
  beforeAll(async () => {
    dovecot = await startDovecot();
  });
  afterAll(() => dovecot?.stop());

  test("40,000 messages: the first sweep lists them in parts, the second asks for no body and takes less than a second", async () => {
    const COUNT = 40_000;
    await dovecot.createFolder("Big");
    const maildir = join(dovecot.directory, "home", "Maildir", ".Big");
    const owner = await stat(maildir);
    // One file with forty thousand names; a file has at most 65,000 on ext4.
    const original = join(maildir, "tmp", "original");
    await writeFile(original, mail("many"));
    await chown(original, owner.uid, owner.gid);
    for (let first = 0; first < COUNT; first += 500) {
      await Promise.all(
        Array.from({ length: 500 }, (_, at) =>
          link(original, join(maildir, "cur", `1700000000.M${String(first + at).padStart(6, "0")}.test:2,`)),
        ),
      );
    }
    const proxy = await startProxy(dovecot);
    const options = optionsFor({ ...dovecot, port: proxy.port }, { folder: "Big", start: { is: "since", date: "2090-01-01" } });
    const source = createImapSource(options, { clock: systemClock, log: silent });
    const bodies = proxy.hears(/BODY/).then(() => "asked for a body");
    try {
      expect(await everythingIn(source)).toHaveLength(COUNT);
      const first = watch(source);
      const { uids, cursor } = await first.sweep();
      expect([uids.length, cursor.uid]).toEqual([0, COUNT]);
      await first.stop();
      const lists = proxy.hears(/UID FETCH 40001:\*/);
      const second = watch(source, cursor);
      const began = performance.now();
      expect((await second.sweep()).uids).toEqual([]);
      const took = performance.now() - began;
      await lists;
      expect(took).toBeLessThan(1_000);
      // A sweep by schedule opens the folder anew.
      const again = second.sweep();
      const poked = performance.now();
      source.sweep();
      await again;
      expect(performance.now() - poked).toBeLessThan(1_000);
      expect(await Promise.race([bodies, Promise.resolve("no body")])).toBe("no body");
      const next = second.arrival();
      await dovecot.append("Big", mail("new"));
      expect((await next).uid).toBe(COUNT + 1);
      await second.stop();
    } finally {
      await source.close();
      await proxy.stop();
    }
  }, 120_000);

  test("100 accounts, five of which fail in different ways: the others are read at once, in a row, and keep one connection each", async () => {
    const COUNT = 100;
    const names = Array.from({ length: COUNT }, (_, at) => `box${at}`);
    await appendFile(join(dovecot.directory, "users"), names.map((name) => `${name}@example.com:{PLAIN}${dovecot.password}\n`).join(""));
    await dovecot.restart();
    for (const name of names) {
      await dovecot.createFolder(name);
      await dovecot.append(name, mail(name));
    }
    const proxy = await startProxy(dovecot);
    const mute = createServer((socket) => void socket.on("error", () => {})).listen(0, "127.0.0.1");
    await once(mute, "listening");
    const address = mute.address();
    const mutePort = typeof address === "object" && address !== null ? address.port : 0;
    const failing = [
      { password: "wrong" },
      { folder: "NoSuchFolder" },
      { port: mutePort },
      { port: 1 },
      { tls: "starttls" as const, port: mutePort },
    ];
    const accounts = createAccounts(systemClock);
    const { log, lines } = listening();
    const limits = { connectTimeoutMs: 2_000, idleMs: 50_000, socketTimeoutMs: 60_000 };
    const began = performance.now();
    const before = process.memoryUsage().rss;
    const sources = names.map((name, at) => {
      const user = { ...dovecot, port: proxy.port, user: `${name}@example.com` };
      return createImapSource(optionsFor(user, { name, folder: name, ...limits, ...failing[at - 20] }), {
        clock: systemClock,
        log,
        accounts,
      });
    });
    const watchers = sources.map((source) => watch(source));
    const isSound = (at: number) => at < 20 || at >= 20 + failing.length;
    const ailing = watchers.filter((_, at) => !isSound(at)).map((watcher) => watcher.sight().catch(() => null));
    try {
      const sound = watchers.filter((_, at) => isSound(at));
      const soundNames = names.filter((_, at) => isSound(at));
      const swept = await Promise.all(sound.map((watcher) => watcher.sweep()));
      const took = performance.now() - began;
      expect(swept.map(({ raws }) => String(raws[0]))).toEqual(soundNames.map(mail));
      // They begin one after the other, 20 ms apart.
      expect(took).toBeGreaterThan(1_900);
      expect(took).toBeLessThan(20_000);
      // New mail for all of them, told by IDLE.
      const next = sound.map((watcher) => watcher.arrival());
      const put = performance.now();
      for (const name of soundNames) await dovecot.append(name, mail(`${name} again`));
      expect((await Promise.all(next)).every(({ uid }) => uid === 2)).toBe(true);
      const [idle, megabytes] = [performance.now() - put, (process.memoryUsage().rss - before) / 1e6];
      console.info(
        `100 accounts: swept after ${Math.round(took)} ms, new mail after ${Math.round(idle)} ms, ${Math.round(megabytes)} MB more`,
      );
      const troubles = new Set(lines.filter((line) => line.name === "mailbox.trouble").map((line) => line.fields.mailbox));
      expect([...troubles].sort()).toEqual(names.slice(20, 25));
    } finally {
      const ending = performance.now();
      for (const watcher of watchers) await watcher.stop();
      await Promise.all(sources.map((source) => source.close()));
      expect(performance.now() - ending).toBeLessThan(5_000);
      await Promise.all(ailing);
      mute.close();
      await proxy.stop();
    }
  }, 120_000);
});
