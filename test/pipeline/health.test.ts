/** Health as a judgement: from a condition to the ailments; and the examination of a state that is really there. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { examine } from "../../src/pipeline/examine.ts";
import { ailmentsOf, type Condition, lastSweep, oldestDue, sizeText } from "../../src/pipeline/health.ts";
import { openLedger } from "../../src/store/sql.ts";
import type { Pulse, Queue } from "../../src/store/store.ts";
import { noDisk, smallDisk, temporaryDirectory } from "../store/disk.ts";
import { extractDone, id, receive, splitDone, taskOf } from "../store/ledgers/story.ts";

const now = new Date("2026-03-01T12:00:00.000Z");
const ago = (seconds: number) => new Date(now.getTime() - seconds * 1_000).toISOString();
const login = { code: "imap.login", message: "login refused", advice: "look at the password", temporary: true };
const GB = 1024 ** 3;

type Seen = Partial<Pulse["mailboxes"][number]>;
const pulse = (seconds: number, seen: Seen = {}, more: Partial<Pulse> = {}): Pulse => ({
  at: ago(seconds),
  alive: true,
  pid: 1,
  startedAt: ago(86_400),
  mailboxes: [{ mailbox: "invoices", sweptAt: ago(60), missedSweeps: 0, trouble: null, troubleSince: null, ...seen }],
  ...more,
});
const refusing = { refusing: [{ service: "squid", since: ago(600) }] };
const queue = (kind: Queue["kind"], name: string | null, dueSeconds: number): Queue => ({
  kind,
  name,
  state: "due",
  tasks: 1,
  dueSince: ago(dueSeconds),
});

const stands = (kind: Queue["kind"], name: string | null) => ({ ...queue(kind, name, 700), since: new Date(ago(700)) });

const well: Condition = {
  at: now,
  asked: true,
  ledger: null,
  running: true,
  pulse: pulse(5),
  mailboxes: [{ name: "invoices", sweptAt: ago(60) }],
  queues: [],
  still: [],
  paused: [],
  disks: [{ places: ["state", "spool"], directory: "/state", freeBytes: GB, sizeBytes: 9 * GB, freeFiles: null }],
  minFreeBytes: GB / 2,
};
const disk = (change: object) => ({ disks: well.disks.map((one) => ({ ...one, ...change })) });
const full = { code: "ledger.full", message: "no space left for /state/ledger.sqlite", advice: "free disk space", temporary: true };

describe("an ailment names its culprit and the reason", () => {
  const cases: readonly (readonly [
    string,
    Partial<Condition>,
    readonly [about: string, name: string | null, code: string, said: RegExp],
  ])[] = [
    ["no daemon was ever here", { pulse: null, running: false }, ["daemon", null, "daemon.never", /never been seen/]],
    [
      "it was stopped",
      { running: false, pulse: pulse(9, {}, { alive: false }) },
      ["daemon", null, "daemon.stopped", /was stopped at 2026-03-01T11:59:51/],
    ],
    ["it died", { running: false }, ["daemon", null, "daemon.stopped", /last seen alive at/]],
    ["it is silent", { pulse: pulse(61) }, ["daemon", null, "daemon.silent", /last seen alive 61 s ago/]],
    [
      "a mailbox missed three sweeps",
      { pulse: pulse(5, { missedSweeps: 3, trouble: login }) },
      ["mailbox", "invoices", "imap.login", /^mailbox invoices has not been read since 2026-03-01T11:59:00.000Z: login refused$/],
    ],
    [
      "a mailbox does not finish a sweep, without a word",
      { pulse: pulse(5, { missedSweeps: 3 }) },
      ["mailbox", "invoices", "mailbox.unread", /does not finish a sweep/],
    ],
    [
      "a mailbox swept once a day was in trouble for ten minutes",
      { pulse: pulse(5, { missedSweeps: 0, trouble: login, troubleSince: ago(600) }) },
      ["mailbox", "invoices", "imap.login", /login refused/],
    ],
    [
      "a mailbox was never swept",
      { pulse: pulse(5, { missedSweeps: 3, sweptAt: null }), mailboxes: [{ name: "invoices", sweptAt: null }] },
      ["mailbox", "invoices", "mailbox.unread", /since 2026-02-28T12:00:00.000Z/],
    ],
    [
      "a mailbox is not watched",
      { mailboxes: [...well.mailboxes, { name: "other", sweptAt: null }] },
      ["mailbox", "other", "mailbox.unwatched", /other is not being watched/],
    ],
    ["the ledger takes nothing", { ledger: full }, ["ledger", null, "ledger.full", /no space left for \/state\/ledger.sqlite/]],
    [
      "the ledger takes nothing, and so no pulse either",
      { ledger: full, pulse: pulse(3_600) },
      ["ledger", null, "ledger.full", /no space left/],
    ],
    [
      "the ledger cannot even be asked",
      { ledger: full, asked: false, running: false, pulse: null, mailboxes: [] },
      ["ledger", null, "ledger.full", /no space left/],
    ],
    [
      "there is little room",
      disk({ freeBytes: 1_500_000 }),
      ["disk", "/state", "disk.low", /\/state has 1.4 MB left, and 512 MB is wanted/],
    ],
    ["there is no room for files", disk({ freeFiles: 7 }), ["disk", "/state", "disk.low", /only 7 more files/]],
    [
      "nothing is read by a service",
      { still: [stands("extract", "late")] },
      [
        "service",
        "late",
        "tasks.still",
        /nothing is read by a service although tasks have been due for 11 minutes, the oldest for service late/,
      ],
    ],
    [
      "a service has not taken its key for ten minutes",
      { pulse: pulse(5, {}, refusing), queues: [queue("extract", "squid", 0)] },
      ["service", "squid", "service.unauthorized", /squid has not taken its key since 2026-03-01T11:50:00.000Z/],
    ],
    ["nothing is delivered", { still: [stands("deliver", "erp")] }, ["sink", "erp", "tasks.still", /sink erp/]],
    ["nothing is split", { still: [stands("split", null)] }, ["tasks", null, "tasks.still", /no message is split/]],
  ];
  test.each(cases)("%s", (_what, change, [about, name, code, said]) => {
    expect(ailmentsOf({ ...well, ...change })).toEqual([
      expect.objectContaining({ about, name, code, message: expect.stringMatching(said) }),
    ]);
  });

  test("the cause stands before what follows from it", () => {
    const found = { ...well, ...disk({ freeBytes: 0 }), ledger: full, pulse: pulse(5, { missedSweeps: 9 }) };
    expect(ailmentsOf(found).map(({ about }) => about)).toEqual(["ledger", "disk", "mailbox"]);
  });
});

describe("it is well", () => {
  test.each<readonly [string, Partial<Condition>]>([
    ["when nothing is wrong", {}],
    ["while sweeps come in, though one is late", { pulse: pulse(5, { missedSweeps: 2, trouble: login, troubleSince: ago(599) }) }],
    [
      "with a pulse of an older version",
      { pulse: { at: ago(5), alive: true, pid: 1, mailboxes: [{ mailbox: "invoices", sweptAt: null, missedSweeps: 0, trouble: login }] } },
    ],
    ["when a service is paused: somebody was told", { paused: [{ name: "cloudsquid", since: ago(9_999), why: "out of credits" }] }],
    ["when a service does not take its key, and nobody waits for it", { pulse: pulse(5, {}, refusing) }],
    [
      "nor when what is left waits for a person",
      { pulse: pulse(5, {}, refusing), queues: [{ ...queue("extract", "squid", 0), state: "held" as const }] },
    ],
    [
      "nor when it is paused besides",
      {
        pulse: pulse(5, {}, refusing),
        queues: [queue("extract", "squid", 0)],
        paused: [{ name: "squid", since: ago(9_999), why: "by hand" }],
      },
    ],
    ["when much has been waiting for long, but moves", { queues: [queue("extract", "cloudsquid", 86_400)] }],
    ["on a disk without a limit of files", disk({ freeFiles: null })],
  ])("%s", (_when, change) => {
    expect(ailmentsOf({ ...well, ...change })).toEqual([]);
  });
});

test("the last sweep is the later one of what the ledger and the pulse say", () => {
  expect(lastSweep(well, "invoices")).toBe(ago(60));
  expect(lastSweep({ ...well, mailboxes: [{ name: "invoices", sweptAt: ago(30) }] }, "invoices")).toBe(ago(30));
  expect(lastSweep(well, "nowhere")).toBeNull();
});

test("what was due before the daemon began has waited since then", () => {
  const queues = [queue("split", null, 300), queue("extract", "a", 5_000), { ...queue("deliver", "b", 9_999), dueSince: null }];
  const started = pulse(5, {}, { startedAt: ago(100) });
  expect(oldestDue({ queues, pulse: started })).toMatchObject({ name: "a", since: new Date(ago(100)) });
  expect(oldestDue({ queues, pulse: pulse(5) }, { kind: "split" })).toMatchObject({ since: new Date(ago(300)) });
  expect(oldestDue({ queues, pulse: pulse(5) }, { kind: "settle" })).toBeNull();
});

test.each([
  [0, "0 bytes"],
  [1_023, "1023 bytes"],
  [1_536, "1.5 KB"],
  [100 * 1024 ** 2, "100 MB"],
  [2 ** 60, "1048576 TB"],
])("%i bytes are %s", (bytes, said) => {
  expect(sizeText(bytes)).toBe(said);
});

describe("examining", () => {
  const open = async (directory: string) => {
    const ledger = await openLedger({ directory, own: true, now });
    onTestFinished(() => ledger.close());
    return { ledger, directory, mailboxes: ["invoices"] };
  };

  test("a kind stands still when its oldest has been due for ten minutes of this daemon and none of it has moved since", async () => {
    const patient = await open(await temporaryDirectory());
    const { ledger } = patient;
    const later = (minutes: number) => new Date(Date.parse("2026-03-02T10:00:11.000Z") + minutes * 60_000);
    const still = async (minutes: number, startedAt?: Date) => {
      await ledger.beat(pulse(0, {}, { at: later(minutes).toISOString(), ...(startedAt && { startedAt: startedAt.toISOString() }) }));
      return (await examine(patient, later(minutes))).still.map(({ kind, name }) => name ?? kind);
    };
    await receive(ledger, "a", 11);
    await receive(ledger, "b", 12);
    expect(await still(9.9)).toEqual([]);
    expect(await still(10)).toEqual(["split"]);
    expect(await still(10, later(1))).toEqual([]);
    expect(await still(11, later(1))).toEqual(["split"]);
    // Another one of the kind is taken further: it is long, and it moves.
    await ledger.save(await taskOf(ledger, "a", "split"), splitDone("a"), later(5));
    expect(await still(11)).toEqual([]);
    expect(await still(15.5)).toEqual(["split", "cloudsquid"]);
  });

  test("each sink has hands of its own: one that stands still is not hidden by others that move", async () => {
    const patient = await open(await temporaryDirectory());
    const { ledger } = patient;
    const start = Date.parse("2026-03-02T10:00:00.000Z");
    const minute = (n: number) => new Date(start + n * 60_000);
    const sinks = ["quick", "stuck"].map((name) => ({ name, per: "document" as const, failures: false }));
    for (const [name, uid] of [
      ["a", 1],
      ["b", 2],
    ] as const) {
      await receive(ledger, name, uid);
      const split = splitDone(name);
      const growth = split.is === "done" ? split.growth : undefined;
      if (growth?.split === undefined) throw new Error("split is done");
      await ledger.save(
        await taskOf(ledger, name, "split"),
        { is: "done", growth: { ...growth, split: { ...growth.split, route: { ...growth.split.route, sinks } } } },
        minute(0),
      );
      await ledger.save(await taskOf(ledger, name, "extract"), extractDone(name), minute(1));
    }
    await ledger.save(await taskOf(ledger, "a", "deliver", `${id("a")}.1.quick`), { is: "done" }, minute(9));
    await ledger.beat(pulse(0, {}, { at: minute(12).toISOString() }));
    const { still } = await examine(patient, minute(12));
    expect(still.map(({ kind, name, tasks }) => ({ kind, name, tasks }))).toEqual([{ kind: "deliver", name: "stuck", tasks: 2 }]);
  });

  test("the state and the spool on one file system are one disk", async () => {
    const patient = await open(await temporaryDirectory());
    await mkdir(join(patient.directory, "spool"));
    const { disks, ledger, asked, running, mailboxes } = await examine(patient, now);
    expect(disks).toMatchObject([{ places: ["state", "spool"], directory: patient.directory }]);
    expect(disks[0]?.freeBytes).toBeGreaterThan(0);
    expect({ ledger, asked, running, mailboxes }).toEqual({
      ledger: null,
      asked: true,
      running: true,
      mailboxes: [{ name: "invoices", sweptAt: null }],
    });
  });

  test("a ledger that is closed under it is an answer, not an error", async () => {
    const directory = await temporaryDirectory();
    const ledger = await openLedger({ directory, own: true, now });
    await ledger.close();
    const found = await examine({ ledger, directory, mailboxes: ["invoices"] }, now);
    expect(found).toMatchObject({ asked: false, ledger: { code: expect.stringMatching(/^ledger\./) } });
    expect(ailmentsOf(found)).toMatchObject([{ about: "ledger" }]);
  });

  test.skipIf(noDisk !== null)(`a spool on a full disk of its own is named${noDisk === null ? "" : `: skipped, ${noDisk}`}`, async () => {
    const patient = await open(await temporaryDirectory());
    const spool = await smallDisk("512k");
    const { disks } = await examine({ ...patient, spool, minFreeBytes: 1024 ** 2 }, now);
    expect(disks.map(({ places, directory }) => [places, directory])).toEqual([
      [["state"], patient.directory],
      [["spool"], spool],
    ]);
    await patient.ledger.beat(pulse(0));
    const found = await examine({ ...patient, spool, minFreeBytes: 1024 ** 2 }, now);
    expect(ailmentsOf(found)).toMatchObject([{ about: "disk", name: spool, code: "disk.low" }]);
  });
});
