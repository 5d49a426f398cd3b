/** `billhook retry`: puts failed tasks back on the list; safe while the daemon runs. */
import { EXIT, permanent } from "../base/errors.ts";
import { loadConfig } from "../config/load.ts";
import { assembleLedger } from "../daemon/assemble.ts";
import type { Terminal } from "./terminal.ts";

type Options = { readonly config: string; readonly message: string | null; readonly failed: boolean };

export async function retry(options: Options, { out }: Terminal): Promise<number> {
  if (options.message === "" || (options.message === null) === !options.failed) {
    throw permanent("config.usage", "say which: billhook retry MESSAGE, or billhook retry --failed");
  }
  const config = await loadConfig(options.config, process.env);
  const now = new Date();
  const ledger = await assembleLedger(config, now);
  try {
    const reopened = await ledger.reopen(options.message, now);
    for (const task of reopened) out(`${task.kind.padEnd(8)} ${task.message.slice(0, 16)}  is open again`);
    if (reopened.length === 0) out(options.failed ? "nothing had failed" : `no task of a message ${options.message}… had failed`);
    return reopened.length === 0 && !options.failed ? EXIT.configuration : EXIT.done;
  } finally {
    await ledger.close();
  }
}
