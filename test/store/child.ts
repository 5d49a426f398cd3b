/** A process of its own for tests of the store: does what its first argument says and tells it in a line of JSON. */
import { createHash } from "node:crypto";
import { writeSync } from "node:fs";
import { Fault, recordOf } from "../../src/base/errors.ts";
import { openSpool } from "../../src/store/spool.ts";
import { openLedger } from "../../src/store/sql.ts";

const [what, directory = ""] = process.argv.slice(2);
const now = new Date("2026-03-02T10:00:00.000Z");
const say = (answer: unknown) => void writeSync(1, `${JSON.stringify(answer)}\n`);

async function receive(own: boolean): Promise<void> {
  const ledger = await openLedger({ directory, own, now });
  for (const uid of [1, 2]) {
    say(`before ${uid}`);
    const sha256 = createHash("sha256").update(String(uid)).digest("hex");
    const cursor = { uidValidity: "1", uid, since: null, until: 0 };
    await ledger.receive({ blob: { sha256, size: 1 }, origin: { mailbox: "m", uidValidity: "1", uid }, receivedAt: null, cursor, now });
    say(`after ${uid}`);
  }
  await ledger.close();
}

const deeds: Readonly<Record<string, () => Promise<void>>> = {
  /** Holds the lock until it is killed. */
  hold: async () => {
    await openLedger({ directory, own: true, now });
    say("held");
    setInterval(() => {}, 1_000);
  },
  /** Opens as a second daemon would. */
  own: async () => {
    const ledger = await openLedger({ directory, own: true, now });
    await ledger.close();
    say("opened");
  },
  receive: () => receive(true),
  keep: async () => {
    const spool = await openSpool(directory);
    say("before");
    const blob = await spool.keep("raw")(
      (async function* () {
        yield Buffer.from("one message");
      })(),
    );
    say("after");
    say(blob.sha256);
  },
  /** As `billhook retry` does, 200 times. */
  reopen: async () => {
    let reopened = 0;
    for (let turn = 0; turn < 200; turn += 1) {
      const ledger = await openLedger({ directory, own: false, now });
      reopened += (await ledger.reopen(null, now)).length;
      await ledger.close();
    }
    say(reopened);
  },
};

try {
  await deeds[what ?? ""]?.();
} catch (thrown) {
  say(thrown instanceof Fault ? recordOf(thrown) : String(thrown));
}
