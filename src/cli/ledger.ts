/** What the commands beside the daemon share: the configuration read, its ledger opened, and closed whatever happens. */

import { systemClock } from "../base/clock.ts";
import { loadConfig } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import { assembleDesk, assembleLedger } from "../daemon/state.ts";
import type { Desk } from "../desk/desk.ts";
import type { Ledger } from "../store/store.ts";

type Work<T> = (ledger: Ledger, config: Config, now: Date) => Promise<T>;

/** Resolves with what `work` does; `check` may refuse the configuration before the ledger is opened. `now` is one moment for all of it. */
export async function withLedger<T>(path: string, work: Work<T>, check: (config: Config) => void = () => {}): Promise<T> {
  const config = await loadConfig(path, process.env);
  check(config);
  const now = new Date();
  const ledger = await assembleLedger(config, now);
  try {
    return await work(ledger, config, now);
  } finally {
    await ledger.close();
  }
}

/** The same for what a person does at the desk. */
export async function withDesk<T>(path: string, work: (desk: Desk, ledger: Ledger, config: Config) => Promise<T>): Promise<T> {
  return withLedger(path, async (ledger, config) => work(await assembleDesk(config, ledger, systemClock), ledger, config));
}
