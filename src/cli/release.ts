/** `billhook release`: lets a held message go; safe while the daemon runs. */
import { EXIT, permanent } from "../base/errors.ts";
import { withLedger } from "./ledger.ts";
import type { Terminal } from "./terminal.ts";

export async function release(
  { config, message }: { readonly config: string; readonly message: string },
  { out }: Terminal,
): Promise<number> {
  // Every id begins with nothing: an empty variable of a script must not let everything go.
  if (message === "") throw permanent("config.usage", "the message to release is empty: give its id, or the beginning of it");
  return withLedger(config, async (ledger, _, now) => {
    const released = await ledger.release(message, now);
    for (const task of released) out(`${task.kind.padEnd(8)} ${task.message.slice(0, 16)}  goes on`);
    if (released.length === 0) out(`no message ${message}… is held`);
    return released.length === 0 ? EXIT.configuration : EXIT.done;
  });
}
