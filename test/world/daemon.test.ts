/** The real daemon on a machine that turns hostile: it says what is wrong, goes on by itself, and nothing is lost or done twice. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { LEDGER_FILE } from "../../src/store/sql.ts";
import { MAIL, type Stage, startStage } from "../e2e/stage.ts";
import { requireDovecot } from "../servers/dovecot.ts";
import { freePort } from "../servers/ports.ts";
import { type Billhook, billhook, startBillhook } from "../servers/process.ts";
import { mountDisk, noDisk } from "../store/disk.ts";
import { noStrace } from "../store/process.ts";
import { expectSound, failing, fill, limitFiles, lockLedger } from "./machine.ts";

const why = [requireDovecot(), noDisk, noStrace].filter((reason) => reason !== null).join("; ");
const DAY_MS = 86_400_000;
/** Megabytes. A hundred of them are a daemon at rest with eight of the heaviest mails in hand. */
const HEAP = 128;

describe.skipIf(why !== "")(`a hostile machine${why === "" ? "" : ` - skipped: ${why}`}`, () => {
  let stage: Stage;
  let daemon: Billhook;
  let invoice: string;
  let port: number;
  let clock: string;
  let unmount = () => {};
  /** Of every mail that was sent and makes one document. */
  const sent: string[] = [];
  /** Mails that are ignored, and stay in the inbox. */
  let left = 0;

  const start = () =>
    startBillhook(["run", "-c", stage.config], {
      STAGE_PASSWORD: stage.dovecot.password,
      BILLHOOK_TEST_CLOCK: clock,
      NODE_OPTIONS: `--import=${new URL("clock.ts", import.meta.url).href} --max-old-space-size=${HEAP}`,
    });
  const command = (...args: string[]) => billhook([...args, "-c", stage.config], { STAGE_PASSWORD: stage.dovecot.password });
  const http = (path: string) => fetch(`http://127.0.0.1:${port}${path}`);

  /** Puts as many different mails into the mailbox, one document in each. */
  const send = async (mails = 2): Promise<readonly string[]> => {
    const ids: string[] = [];
    for (let n = 0; n < mails; n += 1) {
      // The comment makes the attachment another one too, and the same invoice.
      const raw = invoice.replace(/(?<=base64\r\n\r\n)[^-]+(?=\r\n--)/, (encoded) => {
        const xml = Buffer.concat([Buffer.from(encoded, "base64"), Buffer.from(`<!-- ${sent.length} -->`)]);
        return (xml.toString("base64").match(/.{1,76}/g) ?? []).join("\r\n");
      });
      ids.push(createHash("sha256").update(raw).digest("hex"));
      sent.push(ids[n] ?? "");
      await stage.dovecot.append("INBOX", raw);
    }
    return ids;
  };
  const told = (ids: readonly string[], event: string) =>
    Promise.all(ids.map((id) => daemon.logged((line) => line.event === event && id.startsWith(String(line.message)))));
  const inTrouble = (fault: RegExp, because: RegExp) =>
    daemon.logged((line) => /\.trouble$/.test(line.event) && fault.test(String(line.fault)) && because.test(String(line.why)));

  /** Every mail that was ever sent: here once, bought once, delivered once, and out of the inbox. */
  const expectInOrder = async () => {
    await expectSound(stage.state);
    const ledger = new Database(join(stage.state, LEDGER_FILE));
    const column = (question: string) => ledger.prepare(question).pluck().all();
    onTestFinished(() => void ledger.close());
    const all = sent.toSorted();
    expect(column("SELECT message FROM arrival WHERE message IN (SELECT message FROM document) ORDER BY 1")).toEqual(all);
    expect(column("SELECT message FROM receipt ORDER BY 1")).toEqual(all);
    expect(column("SELECT substr(document, 1, 64) FROM run WHERE possibly_twice = 0 ORDER BY 1")).toEqual(all);
    expect(column("SELECT DISTINCT status FROM task")).toEqual(["done"]);
    expect((await stage.counts()).runs).toBe(all.length);
    expect([...(await stage.written()).keys()].map((name) => name.slice(0, 16)).toSorted()).toEqual(all.map((id) => id.slice(0, 16)));
    expect(await stage.list("INBOX")).toHaveLength(left);
  };

  beforeAll(async () => {
    invoice = await readFile(new URL("04-xml-only.eml", MAIL), "utf8");
    const routes = ["- { name: heavy, when: { subject: heavy }, ignore: only to be split }"];
    stage = await startStage({ routes });
    port = await freePort();
    clock = join(stage.directory, "clock");
    const written = await readFile(stage.config, "utf8");
    await writeFile(stage.config, `${written.replace("./state }", "./state, minFree: 1MB }")}web: { port: ${port} }\n`);
    await mkdir(stage.state);
    unmount = mountDisk(stage.state, "192m");
    daemon = start();
    await daemon.logged(({ event }) => event === "mailbox.watching");
  });
  afterAll(async () => {
    await daemon?.kill("SIGKILL");
    unmount();
    await stage?.stop();
  });

  test("a full disk", async () => {
    const ballast = join(stage.state, "ballast");
    await fill(ballast);
    const ids = await send();
    await inTrouble(/^(spool|ledger)\.(full|low)$/, new RegExp(stage.state));
    await rm(ballast);
    await told(ids, "settle.done");
    await expectInOrder();
  });

  test("a disk that becomes read-only", async () => {
    const mount = (...options: string[]) => execFileSync("mount", [...options, stage.state], { stdio: "pipe" });
    mount("--bind", stage.state);
    let isReadOnly = true;
    const umount = () => {
      if (isReadOnly) execFileSync("umount", [stage.state], { stdio: "pipe" });
      isReadOnly = false;
    };
    onTestFinished(umount);
    mount("-o", "remount,bind,ro");
    // Files that are open stay so on a disk that is mounted anew; on one that failed they do not.
    const open = ["", "-wal"].map((end) => join(stage.state, `${LEDGER_FILE}${end}`));
    const mend = await failing({ pid: daemon.child.pid ?? 0, calls: ["pwrite64"], error: "EROFS", paths: open });
    const ids = await send();
    await inTrouble(/^spool\.unwritable$/, /read-only.*EROFS|EROFS.*read-only/);
    await mend();
    umount();
    await told(ids, "settle.done");
    await expectInOrder();
  });

  test("a disk that does not take what is synced", async () => {
    const mend = await failing({ pid: daemon.child.pid ?? 0, calls: ["fsync", "fdatasync"], error: "EIO" });
    const ids = await send();
    await inTrouble(/^spool\.unwritable$/, /EIO/);
    await mend();
    await told(ids, "settle.done");
    await expectInOrder();
  });

  test("a ledger that another process has locked; the daemon answers all the while", async () => {
    const free = await lockLedger(stage.state);
    const ids = await send();
    let over = false;
    const trouble = inTrouble(/^ledger\.busy$/, /locked by another process/).finally(() => {
      over = true;
    });
    let longestMs = 0;
    while (!over) {
      const asked = performance.now();
      expect((await http("/healthz")).status).toBe(200);
      longestMs = Math.max(longestMs, performance.now() - asked);
    }
    await trouble;
    expect(longestMs).toBeLessThan(2_000);
    await free();
    await told(ids, "settle.done");
    await expectInOrder();
  });

  test("no more files may be opened", async () => {
    limitFiles(daemon.child.pid ?? 0, 1);
    const ids = await send();
    await inTrouble(/^spool\.(unwritable|unreadable)$/, /EMFILE/);
    limitFiles(daemon.child.pid ?? 0, 1024);
    await told(ids, "settle.done");
    await expectInOrder();
  });

  test("files of the spool that are gone, cut short, or hold other bytes", async () => {
    expect((await command("pause", "cloudsquid")).code).toBe(0);
    const ids = await send(3);
    await told(ids, "split.done");
    const kept = await Promise.all(ids.map(partOf));
    const [gone, short, other] = kept;
    await rm(gone?.path ?? "");
    await truncate(short?.path ?? "", 10);
    await writeFile(other?.path ?? "", Buffer.alloc(other?.bytes.length ?? 0));
    expect((await command("resume", "cloudsquid")).code).toBe(0);
    await told(ids, "extract.failed");
    await told(ids, "settle.done");
    const said = (await command("status")).out.filter((line) => line.startsWith("failed"));
    for (const what of ["is not there any more", "has 10 bytes where", "does not hold the bytes that were kept"])
      expect(said).toContainEqual(
        expect.stringMatching(new RegExp(`${stage.state}/spool/parts/.*${what}.* - restore the spool from a backup`)),
      );
    for (const { path, bytes } of kept) await writeFile(path, bytes);
    expect((await command("retry", "--failed")).code).toBe(0);
    await told(ids, "deliver.done");
    await vi.waitUntil(async () => (await stage.list("INBOX")).length === left, { timeout: 20_000, interval: 100 });
    await expectInOrder();
  });

  /** The attachment of a message: where it is, and what it holds. */
  const partOf = async (id: string) => {
    const ledger = new Database(join(stage.state, LEDGER_FILE));
    const sha256 = ledger.prepare("SELECT sha256 FROM part WHERE message = ? AND role = 'attachment'").pluck().get(id) as string;
    ledger.close();
    const path = join(stage.state, "spool", "parts", sha256.slice(0, 2), sha256);
    return { path, bytes: await readFile(path) };
  };

  test("a mail that wants more memory than there is", async () => {
    const MB = 2 ** 20;
    const heavy = [
      `X-Long: ${"x".repeat(24 * MB)}\r\n\r\nbody\r\n`,
      `${`X-Many: ${"x".repeat(70)}\r\n`.repeat(300_000)}\r\nbody\r\n`,
      `Content-Type: text/html\r\n\r\n<p>${"x".repeat(24 * MB)}\r\n`,
      `Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n${"<b>äöü漢字🧾</b>\r\n".repeat(MB / 4)}`,
      `Content-Type: multipart/mixed; boundary=b\r\n\r\n${"--b\r\n\r\npart\r\n".repeat(300_000)}--b--\r\n`,
      `Content-Type: multipart/mixed; boundary=b\r\n\r\n${`--b\r\nX-Long: ${"x".repeat(4_000)}\r\n\r\n${"ä".repeat(3_000)}\r\n`.repeat(1_000)}--b--\r\n`,
      Array.from({ length: 20_000 }, (_, n) => `Content-Type: multipart/mixed; boundary=b${n}\r\n\r\n--b${n}\r\n`).join(""),
      `${"Content-Type: message/rfc822\r\n\r\n".repeat(100_000)}`,
    ].map((rest) => Buffer.from(`Subject: heavy\r\n${rest}`));
    for (const raw of heavy) await stage.dovecot.append("INBOX", raw);
    left = heavy.length;
    await told(
      heavy.map((raw) => createHash("sha256").update(raw).digest("hex")),
      "settle.done",
    );
    expect(daemon.child.exitCode).toBeNull();
    const ids = await send(1);
    await told(ids, "settle.done");
    await expectInOrder();
  }, 120_000);

  test("a clock that goes ahead by a month, back by a day, and back to what it was while nobody looked", async () => {
    const set = async (aheadMs: number) => {
      await writeFile(clock, String(aheadMs));
      daemon.child.kill("SIGUSR2");
    };
    const isWell = () => vi.waitUntil(async () => (await http("/readyz")).ok, { timeout: 20_000, interval: 100 });
    const sweeps = async () => Number(/^billhook_sweeps_total\{.*\} (\d+)$/m.exec(await (await http("/metrics")).text())?.[1]);
    for (const aheadMs of [30 * DAY_MS, 29 * DAY_MS]) {
      await set(aheadMs);
      await told(await send(1), "settle.done");
      // IDLE brought the mail; the sweeps by the clock go on too.
      const before = await sweeps();
      await vi.waitUntil(async () => (await sweeps()) > before, { timeout: 20_000, interval: 100 });
      await isWell();
    }
    expect(await daemon.kill()).toBe(0);
    await rm(clock);
    daemon = start();
    await told(await send(1), "settle.done");
    await isWell();
    await expectInOrder();
  });
});
