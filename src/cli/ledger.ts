/** What the commands beside the daemon share: the configuration read, its ledger opened, and closed whatever happens. */
import { loadConfig } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import { assembleLedger } from "../daemon/assemble.ts";
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
