/** What is too large waits in the mailbox until a person wants it: then it is fetched by the next sweep, or its record says why not. */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { silent } from "../../src/base/logger.ts";
import { intake } from "../../src/daemon/intake.ts";
import { createImapSource, type ImapOptions } from "../../src/source/imap.ts";
import { openSpool } from "../../src/store/spool.ts";
import { openLedger } from "../../src/store/sql.ts";
import { hashOf, worksOf } from "../faults/stage.ts";
import { type Dovecot, requireDovecot, startDovecot } from "../servers/dovecot.ts";
import { asAnother, drain, mail, optionsFor, shortsInFull } from "../source/watching.ts";
import { noDisk, smallDisk, temporaryDirectory } from "../store/disk.ts";

const missing = requireDovecot();
const LARGE = Buffer.from(`Subject: large\r\n\r\n${randomBytes(60_000).toString("base64")}\r\n`);
const LIMITS = { maxBytes: 50_000, wholeBytes: 10_000 };

describe.skipIf(missing !== null)(`above the limit ${missing ?? ""}`, () => {
  let dovecot: Dovecot;
  let folders = 0;

  beforeAll(async () => {
    dovecot = await startDovecot();
  });
  afterAll(() => dovecot?.stop());

  /** A folder with a large mail between two small ones, watched; `arrival` is the record of the large one. */
  async function begin(more: Partial<ImapOptions> = {}, { spoolIn, minFree = 0 }: { spoolIn?: string; minFree?: number } = {}) {
    const folder = `Large${++folders}`;
    await dovecot.createFolder(folder);
    for (const raw of [mail("before"), LARGE, mail("after")]) await dovecot.append(folder, raw);
    const directory = await temporaryDirectory();
    const ledger = await openLedger({ directory, own: true, now: new Date() });
    const spool = await openSpool(spoolIn ?? join(directory, "spool"), minFree);
    const source = createImapSource(optionsFor(dovecot, { folder, ...LIMITS, ...more }), { clock: shortsInFull, log: silent });
    let changed = () => {};
    const stop = new AbortController();
    const tell = () => changed();
    const works = worksOf(ledger, spool);
    const done = intake({ source, works, tell, swept: tell, log: silent, clock: shortsInFull, once: false }, stop.signal);
    onTestFinished(async () => {
      stop.abort();
      await source.close();
      await done;
      await ledger.close();
    });
    const until = (holds: () => Promise<boolean>) =>
      new Promise<void>((resolve) => {
        changed = () => void holds().then((held) => held && resolve());
        changed();
      });
    const swept = async () => (await ledger.mailbox("invoices"))?.sweptAt ?? null;
    const sweptAfter = async (before: string | null) => {
      source.sweep();
      await until(async () => (await swept()) !== before);
    };
    await sweptAfter(null);
    const [arrival] = await ledger.unreadable();
    if (arrival === undefined) throw new Error("no record of the large one");
    /** A person says so, and the next sweep is over. */
    const want = async () => {
      await ledger.fetchAgain(arrival.id, new Date());
      source.sweep();
      await until(async () => (await ledger.wanted("invoices")).length === 0);
    };
    return { folder, ledger, spool, arrival, want, until, swept, sweptAfter };
  }

  test("it is on record with what to do, the others are taken, and wanted it comes after all", async () => {
    const { ledger, spool, arrival, want, swept, sweptAfter } = await begin();
    expect(arrival).toMatchObject({ origin: { uid: 2 }, fault: { code: "imap.too-large" } });
    expect(arrival.fault?.advice).toContain("`billhook retry u<number>`");
    expect(await ledger.counts()).toMatchObject({ messages: 2, unreadable: 1 });
    await sweptAfter(await swept());
    expect(await ledger.counts()).toMatchObject({ messages: 2, unreadable: 1 });

    await want();
    expect(await ledger.counts()).toMatchObject({ messages: 3, unreadable: 0, open: 3 });
    const message = await ledger.message(hashOf(LARGE));
    expect(await drain(spool.open("raw", { sha256: hashOf(LARGE), size: message?.size ?? 0 }))).toEqual(LARGE);
    expect(await ledger.arrivals(hashOf(LARGE))).toMatchObject([{ id: arrival.id, fault: null }]);
    expect(await ledger.mailbox("invoices")).toMatchObject({ cursor: { uid: 3 } });
  });

  test("it has vanished meanwhile: its record says so", async () => {
    const { folder, ledger, arrival, want } = await begin();
    await asAnother(dovecot, async (client) => {
      await client.mailboxOpen(folder);
      await client.messageDelete("2", { uid: true });
    });
    await want();
    expect(await ledger.unreadable()).toMatchObject([{ id: arrival.id, fault: { code: "receive.gone", temporary: false } }]);
  });

  test("its UID means another one now: that one is not taken for it", async () => {
    const { folder, ledger, arrival, want } = await begin();
    await dovecot.renumber(folder);
    await want();
    const records = await ledger.unreadable();
    expect(records.find(({ id }) => id === arrival.id)).toMatchObject({ fault: { code: "imap.renumbered" } });
    // The folder is read from its beginning, and has it under another number.
    expect(records).toHaveLength(2);
    expect(await ledger.counts()).toMatchObject({ messages: 2 });
  });

  test.skipIf(noDisk !== null)(`the disk has no room for it: its record says so, and the disk is not filled ${noDisk ?? ""}`, async () => {
    const { ledger, spool, arrival, want } = await begin({}, { spoolIn: await smallDisk("256k"), minFree: 200_000 });
    await want();
    expect(await ledger.unreadable()).toMatchObject([{ id: arrival.id, fault: { code: "spool.low" } }]);
    expect((await ledger.unreadable())[0]?.fault?.advice).toContain(`\`billhook retry u${arrival.id}\` tries once more`);
    expect(await spool.clean()).toBe(0);
    expect(await ledger.counts()).toMatchObject({ messages: 2 });
  });
});
