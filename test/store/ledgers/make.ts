/** Writes the ledger this version makes as `<name>.sqlite`, and what is in it as `<name>.json`: once for each version, never again. */
import { constants, copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LEDGER_FILE, openLedger } from "../../../src/store/sql.ts";
import { everything, tell } from "./story.ts";

const name = process.argv[2];
if (name === undefined) throw new Error("say which: node test/store/ledgers/make.ts v1");
const place = new URL(".", import.meta.url).pathname;
const directory = mkdtempSync(join(tmpdir(), "billhook-make-"));

const ledger = await openLedger({ directory, own: true, now: new Date("2026-03-02T10:00:00.000Z") });
await tell(ledger);
const told = await everything(ledger);
await ledger.close();

copyFileSync(join(directory, LEDGER_FILE), join(place, `${name}.sqlite`), constants.COPYFILE_EXCL);
writeFileSync(join(place, `${name}.json`), `${JSON.stringify(told, null, 2)}\n`, { flag: "wx" });
rmSync(directory, { recursive: true });
