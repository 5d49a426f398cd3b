/** `billhook cancel`: asks the service to stop the runs of a message that are under way; what they become, the next poll tells. */
import { systemClock } from "../base/clock.ts";
import { EXIT } from "../base/errors.ts";
import { silent } from "../base/logger.ts";
import { assembleDoors } from "../daemon/assemble.ts";
import { withDesk } from "./ledger.ts";
import { meant } from "./meant.ts";
import type { Terminal } from "./terminal.ts";
import { shortId } from "./words.ts";

export function cancel(
  { config: path, message }: { readonly config: string; readonly message: string },
  terminal: Terminal,
): Promise<number> {
  const { out, stop } = terminal;
  return withDesk(path, async (desk, ledger, config) => {
    const id = await meant(desk, message);
    const running = await ledger.underWay(id);
    const doors = await assembleDoors(config, { clock: systemClock, log: silent });
    try {
      for (const { service, runId, memo } of running) {
        const extractor = doors.services.get(service)?.extractor;
        if (extractor?.cancel === undefined) {
          out(`${shortId(id)}  run ${runId}: ${service} cannot cancel a run`);
          continue;
        }
        await extractor.cancel(memo, stop);
        out(`${shortId(id)}  run ${runId}: ${service} was asked to stop it`);
      }
    } finally {
      await doors.close();
    }
    if (running.length === 0) out(`${shortId(id)}  no run of it is under way`);
    return running.length === 0 ? EXIT.configuration : EXIT.done;
  });
}
