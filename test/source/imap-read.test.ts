/** One message read by its UID: exact, without a trace in the mailbox, wherever it is stopped. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { silent } from "../../src/base/logger.ts";
import { createImapSource, type ImapOptions } from "../../src/source/imap.ts";
import type { Source } from "../../src/source/source.ts";
import { type ImapServer, requireDovecot, startDovecot } from "../servers/dovecot.ts";
import { startHoodiecrow } from "../servers/hoodiecrow.ts";
import { startProxy } from "../servers/proxy.ts";
import { drain, look, mail, optionsFor, watch } from "./watching.ts";

const missing = requireDovecot();
const servers = [
  { what: missing === null ? "Dovecot" : `Dovecot: ${missing}`, skipped: missing !== null, start: startDovecot },
  { what: "hoodiecrow", skipped: false, start: startHoodiecrow },
];
const never = new AbortController().signal;

for (const { what, skipped, start } of servers) {
  describe.skipIf(skipped)(`reading one message on ${what}`, () => {
    let server: ImapServer;
    let folders = 0;
    const open: Source[] = [];

    beforeAll(async () => {
      server = await start();
    });
    afterAll(() => server?.stop());
    afterEach(async () => {
      for (const source of open.splice(0)) await source.close();
    });

    async function filled(raws: readonly (string | Buffer)[], more: Partial<ImapOptions> = {}) {
      const folder = `Read${++folders}`;
      await server.createFolder(folder);
      for (const raw of raws) await server.append(folder, raw);
      const source = createImapSource(optionsFor(server, { folder, ...more }), { clock: systemClock, log: silent });
      open.push(source);
      return { folder, source };
    }
    async function bytesOf(source: Source, uid: number): Promise<string | null> {
      const bytes = await source.read(uid, never);
      return bytes === null ? null : (await drain(bytes)).toString();
    }

    test("the one asked for, as often as asked; null for one that is not there", async () => {
      const { source } = await filled([mail("one"), mail("two")]);
      expect(await bytesOf(source, 2)).toBe(mail("two"));
      expect(await bytesOf(source, 1)).toBe(mail("one"));
      expect(await bytesOf(source, 2)).toBe(mail("two"));
      expect(await bytesOf(source, 3)).toBeNull();
      expect(await bytesOf(source, 4_294_967_295)).toBeNull();
      expect(await bytesOf((await filled([])).source, 1)).toBeNull();
    });

    test("of the UIDVALIDITY it was seen under only", async () => {
      const { source } = await filled([mail("one")]);
      const watcher = watch(source);
      const { sight } = await watcher.arrival();
      const { uid, uidValidity } = sight.arrival.origin;
      await watcher.stop();
      expect((await drain((await source.read(uid, never, uidValidity)) ?? expect.unreachable())).toString()).toBe(mail("one"));
      const other = { code: "imap.renumbered", temporary: false };
      await expect(source.read(uid, never, `${uidValidity}0`)).rejects.toMatchObject(other);
    });

    test("a large one comes in pieces and is exact", async () => {
      const raw = Buffer.from(`Subject: large\r\n\r\n${"0123456789abcdef\r\n".repeat(20_000)}`);
      const { source } = await filled([mail("before"), raw], { wholeBytes: 100_000 });
      const pieces: Uint8Array[] = [];
      for await (const piece of (await source.read(2, never)) ?? []) pieces.push(piece);
      expect(Math.max(...pieces.map((piece) => piece.length))).toBe(100_000);
      expect(Buffer.concat(pieces).equals(raw)).toBe(true);
    });

    test("nothing is flagged, and the watcher still sees it as new", async () => {
      const { source, folder } = await filled([mail("one"), mail("two")], { wholeBytes: 50 });
      expect(await bytesOf(source, 1)).toBe(mail("one"));
      for await (const _piece of (await source.read(2, never)) ?? []) break;
      expect(await look(server, folder)).toEqual([
        { uid: 1, flags: [] },
        { uid: 2, flags: [] },
      ]);
      const watcher = watch(source);
      expect((await watcher.sweep()).uids).toEqual([1, 2]);
      await watcher.stop();
    });

    test("while the folder is watched the watcher goes on", async () => {
      const { source, folder } = await filled([mail("one")]);
      const watcher = watch(source);
      await watcher.sweep();
      expect(await bytesOf(source, 1)).toBe(mail("one"));
      const next = watcher.arrival();
      await server.append(folder, mail("two"));
      expect(await next).toMatchObject({ uid: 2 });
      await watcher.stop();
    });

    test("stopped before, in the middle, and by closing the source", async () => {
      const { source } = await filled([`Subject: x\r\n\r\n${"x".repeat(50_000)}`], { wholeBytes: 1_000 });
      await expect(source.read(1, AbortSignal.abort())).rejects.toMatchObject({ code: "imap.stopped" });
      for (const close of [false, true]) {
        const stopping = new AbortController();
        const pieces = (await source.read(1, stopping.signal))?.[Symbol.asyncIterator]();
        expect((await pieces?.next())?.done).toBe(false);
        if (close) await source.close();
        else stopping.abort();
        await expect(pieces?.next()).rejects.toMatchObject({ code: "imap.stopped" });
      }
    });
  });
}

describe.skipIf(missing !== null)(`what is said to Dovecot ${missing ?? ""}`, () => {
  test("EXAMINE and BODY.PEEK only, and LOGOUT at the end, also when it is given up or not there", async () => {
    const server = await startDovecot();
    const proxy = await startProxy(server);
    try {
      await server.append("INBOX", mail("one"));
      const options = optionsFor({ ...server, port: proxy.port }, { wholeBytes: 50 });
      const source = createImapSource(options, { clock: systemClock, log: silent });
      for (const uid of [1, 2]) {
        const loggedOut = proxy.hears(/LOGOUT/);
        const telltale = proxy.hears(/ SELECT | STORE | BODY\[/).then(() => "left a trace");
        for await (const _piece of (await source.read(uid, never)) ?? []) break;
        await loggedOut;
        expect(await Promise.race([telltale, Promise.resolve("no trace")])).toBe("no trace");
      }
      await source.close();
    } finally {
      await proxy.stop();
      await server.stop();
    }
  });
});
