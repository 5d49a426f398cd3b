/** A process of its own for tests of a hostile machine: one that keeps the ledger locked, or one that writes to it when it is told to. */
import { createInterface } from "node:readline";
import Database from "better-sqlite3";
import { asFault, recordOf } from "../../src/base/errors.ts";
import { openLedger } from "../../src/store/sql.ts";
import { at, receive } from "../store/ledgers/story.ts";

const [what, path = ""] = process.argv.slice(2);
const say = (answer: unknown) => void process.stdout.write(`${JSON.stringify(answer)}\n`);

if (what === "lock") {
  // As a person with an SQLite shell, or a backup, would.
  const database = new Database(path);
  database.exec("BEGIN EXCLUSIVE");
  say("locked");
  // Held on to: one that is collected as garbage is closed.
  process.on("exit", () => database.close());
} else {
  const ledger = await openLedger({ directory: path, own: true, now: at(0) });
  say("open");
  // Each line is the UID of a message that is received.
  for await (const line of createInterface({ input: process.stdin })) {
    const uid = Number(line);
    say(
      await receive(ledger, `m${uid}`, uid).then(
        () => "received",
        (thrown: unknown) => recordOf(asFault(thrown)),
      ),
    );
  }
}
process.stdin.resume();
