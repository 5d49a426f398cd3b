/** The contract of a source, kept against Dovecot, Cyrus and hoodiecrow. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { silent } from "../../src/base/logger.ts";
import { createImapSource, type ImapOptions } from "../../src/source/imap.ts";
import type { Afterwards, Source } from "../../src/source/source.ts";
import { requireCyrus, startCyrus } from "../servers/cyrus.ts";
import { type ImapServer, requireDovecot, startDovecot } from "../servers/dovecot.ts";
import { startHoodiecrow } from "../servers/hoodiecrow.ts";
import { drain, everythingIn, fastClock, look, mail, optionsFor, type Watcher, watch } from "../source/watching.ts";

const servers = [
  // A maildir file with bare line feeds is sent with CRLF, as IMAP demands of a server; Cyrus takes no such mail.
  { name: "Dovecot", missing: requireDovecot(), start: startDovecot, bareLf: "Subject: lf\r\n\r\nbody\r\n" },
  { name: "Cyrus", missing: requireCyrus(), start: startCyrus, bareLf: null },
  { name: "hoodiecrow", missing: null, start: startHoodiecrow, bareLf: "Subject: lf\n\nbody\n" },
];

for (const { name, missing, start, bareLf } of servers) {
  describe.skipIf(missing !== null)(`a source on ${missing === null ? name : `${name}: ${missing}`}`, () => {
    let server: ImapServer;
    let folder = "";
    let folders = 0;
    const open: { close: () => Promise<void> }[] = [];
    const watchers: Watcher[] = [];

    beforeAll(async () => {
      server = await start();
    });
    afterAll(() => server?.stop());
    afterEach(async () => {
      for (const watcher of watchers.splice(0)) await watcher.stop();
      for (const source of open.splice(0)) await source.close();
    });

    async function source(more: Partial<ImapOptions> = {}, count = 0): Promise<Source> {
      folder = `Invoices${++folders}`;
      await server.createFolder(folder);
      for (let number = 1; number <= count; number++) await server.append(folder, mail(`m${number}`));
      return again(more);
    }
    function again(more: Partial<ImapOptions> = {}): Source {
      const made = createImapSource(optionsFor(server, { folder, ...more }), { clock: fastClock, log: silent });
      open.push(made);
      return made;
    }
    function watching(...from: Parameters<typeof watch>): Watcher {
      const watcher = watch(...from);
      watchers.push(watcher);
      return watcher;
    }

    test("waiting mail comes first, in UID order, then the sweep is over", async () => {
      const watcher = watching(await source({}, 12));
      const swept = await watcher.sweep();
      expect(swept.uids).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
      expect(swept.raws.map(String)).toEqual(swept.uids.map((uid) => mail(`m${uid}`)));
      expect(swept.cursor.uid).toBe(12);
    });

    test("each sight carries the cursor up to itself", async () => {
      const watcher = watching(await source({}, 3));
      for (const uid of [1, 2, 3]) expect((await watcher.arrival()).sight.cursor.uid).toBe(uid);
      expect((await watcher.sight()).cursor.uid).toBe(3);
    });

    test("an empty mailbox is swept, and new mail comes by IDLE", async () => {
      const watcher = watching(await source());
      expect((await watcher.sweep()).uids).toEqual([]);
      const next = watcher.arrival();
      await server.append(folder, mail("new"));
      expect((await next).raw.toString()).toBe(mail("new"));
      await server.append(folder, mail("newer"));
      expect(await watcher.arrival()).toMatchObject({ uid: 2 });
    });

    test("start now: old mail is not ours, new mail is", async () => {
      const watcher = watching(await source({ start: { is: "now" } }, 3));
      const swept = await watcher.sweep();
      expect(swept).toMatchObject({ uids: [], cursor: { uid: 3, until: 3 } });
      expect(Date.parse(swept.cursor.since ?? "")).toBeLessThanOrEqual(Date.now());
      const next = watcher.arrival();
      await server.append(folder, mail("new"));
      expect(await next).toMatchObject({ uid: 4 });
    });

    test("start since: the date decides about old mail only", async () => {
      const made = await source({ start: { is: "since", date: "2026-03-01" } });
      for (const day of ["2026-02-27", "2026-03-02", "2026-01-05", "2026-04-01"]) {
        await server.append(folder, mail(day), { receivedAt: new Date(`${day}T12:00:00Z`) });
      }
      const watcher = watching(made);
      const swept = await watcher.sweep();
      expect(swept.raws.map(String)).toEqual([mail("2026-03-02"), mail("2026-04-01")]);
      expect(swept.cursor).toMatchObject({ uid: 4, since: "2026-03-01T00:00:00.000Z", until: 4 });
      const next = watcher.arrival();
      await server.append(folder, mail("moved in from an old folder"), { receivedAt: new Date("2020-01-01T00:00:00Z") });
      expect(await next).toMatchObject({ uid: 5 });
    });

    test("reading goes on from a cursor, by another source", async () => {
      const first = watching(await source({}, 5));
      await first.arrival();
      const { sight } = await first.arrival();
      await first.stop();
      expect((await watching(again(), sight.cursor).sweep()).uids).toEqual([3, 4, 5]);
    });

    test("INTERNALDATE is told", async () => {
      const made = await source();
      await server.append(folder, mail("dated"), { receivedAt: new Date("2026-05-06T07:08:09Z") });
      expect((await watching(made).arrival()).sight.arrival.receivedAt).toBe("2026-05-06T07:08:09.000Z");
    });

    test("bytes are exact: 8-bit, long lines, no final line break", async () => {
      const head = Buffer.from("Subject: =?x?\r\nX-Raw: \r\n\r\n");
      const all = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => byte !== 0 && byte !== 10 && byte !== 13));
      const raw = Buffer.concat([head, all, Buffer.from("\r\n"), Buffer.alloc(5_000, "x"), Buffer.from("\r\n)\r\n"), all]);
      const made = await source();
      await server.append(folder, raw);
      expect((await watching(made).arrival()).raw.equals(raw)).toBe(true);
    });

    test("bare line feeds are what the server makes of them", async () => {
      const made = await source();
      const appended = server.append(folder, "Subject: lf\n\nbody\n");
      if (bareLf === null) return void (await expect(appended).rejects.toThrow());
      await appended;
      expect((await watching(made).arrival()).raw.toString()).toBe(bareLf);
    });

    test("a large message is streamed in pieces between small ones, and is exact", async () => {
      const raw = Buffer.concat([Buffer.from("Subject: large\r\n\r\n"), lines(3_000_000)]);
      const made = await source({ wholeBytes: 500_000 });
      for (const one of [mail("before"), raw, mail("after")]) await server.append(folder, one);
      const watcher = watching(made);
      expect((await watcher.arrival()).uid).toBe(1);
      const sight = await watcher.sight();
      if (sight.is !== "arrival") throw new Error(sight.is);
      const pieces: number[] = [];
      const chunks: Uint8Array[] = [];
      for await (const piece of sight.arrival.bytes) {
        pieces.push(piece.length);
        chunks.push(piece);
      }
      expect(Math.max(...pieces)).toBe(500_000);
      expect(Buffer.concat(chunks).equals(raw)).toBe(true);
      expect((await watcher.arrival()).raw.toString()).toBe(mail("after"));
    });

    test("bytes that nobody reads do not stop the next sight", async () => {
      const made = await source({ wholeBytes: 100 }, 0);
      for (const size of [50_000, 10, 10]) await server.append(folder, `Subject: x\r\n\r\n${"x".repeat(size)}`);
      const watcher = watching(made);
      const uids = [];
      for (const _ of [1, 2, 3]) {
        const sight = await watcher.sight();
        uids.push(sight.cursor.uid);
        if (sight.is === "arrival" && sight.cursor.uid === 1) for await (const _piece of sight.arrival.bytes) break;
      }
      expect(uids).toEqual([1, 2, 3]);
    });

    test("nothing is flagged by reading", async () => {
      await watching(await source({ wholeBytes: 10 }, 2)).sweep();
      expect(await look(server, folder)).toEqual([
        { uid: 1, flags: [] },
        { uid: 2, flags: [] },
      ]);
    });

    const kinds: { afterwards: Afterwards; flags: string[] | null }[] = [
      { afterwards: { is: "seen" }, flags: ["\\Seen"] },
      { afterwards: { is: "flag" }, flags: ["\\Flagged"] },
      { afterwards: { is: "keyword", keyword: "Billhooked" }, flags: ["Billhooked"] },
      { afterwards: { is: "delete" }, flags: null },
      { afterwards: { is: "move", folder: "MovedHere" }, flags: null },
    ];
    for (const { afterwards, flags } of kinds) {
      test(`settle by ${afterwards.is}, twice, changes one message once`, async () => {
        const made = await source({ afterwards: { done: afterwards, failed: { is: "none" } } }, 3);
        const watcher = watching(made);
        await watcher.arrival();
        const { origin } = (await watcher.arrival()).sight.arrival;
        expect(await made.settle(origin, "done", new AbortController().signal)).toBe("told");
        expect(await made.settle(origin, "done", new AbortController().signal)).toBe(flags === null ? "gone" : "told");
        expect(await made.settle(origin, "failed", new AbortController().signal)).toBe("nothing-to-do");
        const expected = [1, 2, 3].map((uid) => ({ uid, flags: uid === 2 ? (flags ?? []) : [] }));
        expect(await look(server, folder)).toEqual(expected.filter(({ uid }) => flags !== null || uid !== 2));
        if (afterwards.is === "move") expect(await look(server, afterwards.folder)).toHaveLength(1);
      });
    }

    test("settle while idling and while a sweep runs, many at once", async () => {
      const made = await source({ afterwards: { done: { is: "seen" }, failed: { is: "flag" } } }, 8);
      const watcher = watching(made);
      const { sight } = await watcher.arrival();
      const signal = new AbortController().signal;
      const settle = (uid: number) => made.settle({ ...sight.arrival.origin, uid }, "done", signal);
      const during = Promise.all([1, 2, 3, 4].map(settle));
      expect((await watcher.sweep()).uids).toHaveLength(7);
      expect(await during).toEqual(["told", "told", "told", "told"]);
      const next = watcher.arrival();
      expect(await Promise.all([5, 6, 7, 8].map(settle))).toEqual(["told", "told", "told", "told"]);
      await server.append(folder, mail("new"));
      expect(await next).toMatchObject({ uid: 9 });
    });

    test("settle when nobody watches uses a connection of its own", async () => {
      const made = await source({ afterwards: { done: { is: "seen" }, failed: { is: "none" } } }, 2);
      const watcher = watching(made);
      const { origin } = (await watcher.arrival()).sight.arrival;
      await watcher.stop();
      const signal = new AbortController().signal;
      const both = [made.settle(origin, "done", signal), made.settle({ ...origin, uid: 2 }, "done", signal)];
      expect(await Promise.all(both)).toEqual(["told", "told"]);
      expect((await look(server, folder))?.map((one) => one.flags)).toEqual([["\\Seen"], ["\\Seen"]]);
    });

    test("settle: another UIDVALIDITY, or an unknown UID, is gone", async () => {
      const made = await source({ afterwards: { done: { is: "delete" }, failed: { is: "delete" } } }, 1);
      const { origin } = (await watching(made).arrival()).sight.arrival;
      const signal = new AbortController().signal;
      expect(await made.settle({ ...origin, uidValidity: "7" }, "done", signal)).toBe("gone");
      expect(await made.settle({ ...origin, uid: 99 }, "failed", signal)).toBe("gone");
      expect(await look(server, folder)).toHaveLength(1);
    });

    test("settle by a move to the watched folder itself is nothing to do", async () => {
      const made = await source({}, 1);
      const itself = again({ afterwards: { done: { is: "move", folder }, failed: { is: "none" } } });
      const { origin } = (await watching(made).arrival()).sight.arrival;
      expect(await itself.settle(origin, "done", new AbortController().signal)).toBe("nothing-to-do");
    });

    test("a poke looks at once and tells the sweep", async () => {
      const made = await source({}, 1);
      const watcher = watching(made);
      await watcher.sweep();
      const next = watcher.sight();
      made.sweep();
      expect(await next).toMatchObject({ is: "swept", cursor: { uid: 1 } });
      expect(made.freshness().trouble).toBeNull();
      expect(made.freshness().sweptAt?.getTime()).toBeGreaterThan(Date.now() - 60_000);
    });

    test("an aborted watch ends without throwing, wherever it is", async () => {
      const made = await source({}, 2);
      const before = new AbortController();
      before.abort();
      for await (const _ of made.arrivals(null, before.signal)) throw new Error("saw something");
      const idling = new AbortController();
      let swept = 0;
      const done = (async () => {
        for await (const sight of made.arrivals(null, idling.signal)) {
          if (sight.is === "arrival") await drain(sight.arrival.bytes);
          else if (++swept === 1) void systemClock.sleep(0).then(() => idling.abort());
        }
      })();
      await done;
      expect(swept).toBe(1);
    });

    test("the list is everything there, too large or not, and leaves no trace", async () => {
      const made = await source({ maxBytes: 50 });
      expect(await everythingIn(made)).toEqual([]);
      const days = ["2026-02-27", "2026-03-02", "2026-04-01"].map((day) => `${day}T12:00:00.000Z`);
      for (const day of days) await server.append(folder, mail(day), { receivedAt: new Date(day) });
      const listed = days.map((day, index) => ({ uid: index + 1, size: mail(day).length, receivedAt: day }));
      expect(await everythingIn(made)).toEqual(listed);
      await expect(everythingIn(made, AbortSignal.abort())).rejects.toMatchObject({ code: "imap.stopped" });
      expect((await look(server, folder))?.every((one) => one.flags.length === 0)).toBe(true);
    });

    test("what is not wanted is passed over", async () => {
      const made = await source({}, 6);
      const uids: number[] = [];
      const stop = new AbortController();
      for await (const sight of made.arrivals(null, stop.signal, (uid) => uid % 2 === 0)) {
        if (sight.is === "swept") stop.abort();
        else uids.push(sight.cursor.uid);
      }
      expect(uids).toEqual([2, 4, 6]);
    });

    test("probe says what it found", async () => {
      const made = await source({}, 2);
      expect(await made.probe(new AbortController().signal)).toEqual({ said: `login ok (no TLS), folder ${folder} with 2 messages` });
    });
  });
}

function lines(bytes: number): Buffer {
  const line = Buffer.from(`${"0123456789abcdef".repeat(4)}0123456789\r\n`);
  return Buffer.concat(Array.from({ length: Math.ceil(bytes / line.length) }, () => line));
}
