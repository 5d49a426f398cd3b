/** `billhook release`: lets a held message go; safe while the daemon runs. */
import { EXIT, permanent } from "../base/errors.ts";
import { loadConfig } from "../config/load.ts";
import { assembleLedger } from "../daemon/assemble.ts";
import type { Terminal } from "./terminal.ts";

export async function release(options: { readonly config: string; readonly message: string }, { out }: Terminal): Promise<number> {
  // Every id begins with nothing: an empty variable of a script must not let everything go.
  if (options.message === "") throw permanent("config.usage", "the message to release is empty: give its id, or the beginning of it");
  const config = await loadConfig(options.config, process.env);
  const now = new Date();
  const ledger = await assembleLedger(config, now);
  try {
    const released = await ledger.release(options.message, now);
    for (const task of released) out(`${task.kind.padEnd(8)} ${task.message.slice(0, 16)}  goes on`);
    if (released.length === 0) out(`no message ${options.message}… is held`);
    return released.length === 0 ? EXIT.configuration : EXIT.done;
  } finally {
    await ledger.close();
  }
}
