/** What a configuration keeps: its ledger, its spool, and the desk over both, for those who look and decide and open no door. */
import { statSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import type { Config } from "../config/schema.ts";
import { createDesk } from "../desk/clerk.ts";
import type { Desk } from "../desk/desk.ts";
import { createMapping } from "../mapping/mapping.ts";
import { isHeld } from "../store/lock.ts";
import type { Inspection, Recovery } from "../store/recovery.ts";
import { openSpool } from "../store/spool.ts";
import { openRecovery } from "../store/sql/recover.ts";
import { inspect } from "../store/sql/verify.ts";
import { LEDGER_FILE, openLedger } from "../store/sql.ts";
import type { Ledger, Spool } from "../store/store.ts";

/** The ledger for those who only look, or put something back, while the daemon may be running. */
export function assembleLedger(config: Config, now: Date): Promise<Ledger> {
  return openLedger({ directory: config.state.directory, own: false, now });
}

/** The desk of this configuration over a ledger; nothing at the services, the sinks or the mailboxes is touched by it. */
export async function assembleDesk(config: Config, ledger: Ledger, clock: Clock): Promise<Desk> {
  const mappings = new Map(Object.entries(config.services).map(([name, { invoice }]) => [name, createMapping(invoice)]));
  const spool = await openSpool(spoolOf(config));
  return createDesk({ ledger, spool, mappings, sinks: Object.keys(config.sinks), service: Object.keys(config.services)[0] ?? "", clock });
}

/** The spool for those who take mail in beside the daemon. */
export function assembleSpool(config: Config): Promise<Spool> {
  return openSpool(spoolOf(config), config.state.minFree);
}

type Kept = { readonly spool: Spool; readonly directory: string };

/** What there is, for those who look what is wrong with it; `beside` a daemon or not. `directory` is the spool's. */
export async function assembleInspection(config: Config): Promise<Kept & { readonly inspection: Inspection; readonly beside: boolean }> {
  const kept = { spool: await assembleSpool(config), directory: spoolOf(config) };
  const { directory } = config.state;
  return { ...kept, inspection: inspect(join(directory, LEDGER_FILE)), beside: isHeld(directory) };
}

/** The same for those who put it right; takes the lock. */
export async function assembleRecovery(config: Config, now: Date): Promise<Kept & { readonly recovery: Recovery }> {
  const spool = await assembleSpool(config);
  const sizeOf = (sha256: string) => statSync(spool.path("raw", sha256), { throwIfNoEntry: false })?.size ?? null;
  return { spool, directory: spoolOf(config), recovery: await openRecovery({ directory: config.state.directory, now, sizeOf }) };
}

export function spoolOf({ state }: Config): string {
  return join(state.directory, "spool");
}
