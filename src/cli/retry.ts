/** `billhook retry`: puts failed tasks back on the list; safe while the daemon runs. */
import { EXIT, permanent } from "../base/errors.ts";
import { act } from "./act.ts";
import { withLedger } from "./ledger.ts";
import type { Terminal } from "./terminal.ts";
import { shortId } from "./words.ts";

type Options = { readonly config: string; readonly message: string | null; readonly failed: boolean };

export async function retry({ config, message, failed }: Options, terminal: Terminal): Promise<number> {
  if ((message === null) === !failed) throw permanent("config.usage", "say which: billhook retry MESSAGE, or billhook retry --failed");
  if (message === null) return retryFailed(config, terminal);
  return act({ config, message }, (desk, id) => desk.retry(id), "nothing of it has failed", terminal);
}

function retryFailed(config: string, { out }: Terminal): Promise<number> {
  return withLedger(config, async (ledger, _, now) => {
    const reopened = Map.groupBy(await ledger.reopen(null, now), ({ message }) => message);
    for (const [message, tasks] of reopened) {
      out(`${shortId(message)}  ${[...new Set(tasks.map(({ kind }) => kind))].join(" and ")}: tried again`);
    }
    if (reopened.size === 0) out("nothing had failed");
    return EXIT.done;
  });
}
