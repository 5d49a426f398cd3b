/** `billhook retry`: puts failed tasks back on the list; safe while the daemon runs. */
import { EXIT, permanent } from "../base/errors.ts";
import { withLedger } from "./ledger.ts";
import type { Terminal } from "./terminal.ts";

type Options = { readonly config: string; readonly message: string | null; readonly failed: boolean };

export async function retry(options: Options, { out }: Terminal): Promise<number> {
  if (options.message === "" || (options.message === null) === !options.failed) {
    throw permanent("config.usage", "say which: billhook retry MESSAGE, or billhook retry --failed");
  }
  return withLedger(options.config, async (ledger, _, now) => {
    const reopened = await ledger.reopen(options.message, now);
    for (const task of reopened) out(`${task.kind.padEnd(8)} ${task.message.slice(0, 16)}  is open again`);
    if (reopened.length === 0) out(options.failed ? "nothing had failed" : `no task of a message ${options.message}… had failed`);
    return reopened.length === 0 && !options.failed ? EXIT.configuration : EXIT.done;
  });
}
