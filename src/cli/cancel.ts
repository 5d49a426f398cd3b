/** `billhook cancel`: asks the service to stop the runs of a message that are under way; what they become, the next poll tells. */
import { systemClock } from "../base/clock.ts";
import { EXIT } from "../base/errors.ts";
import { silent } from "../base/logger.ts";
import { loadConfig } from "../config/load.ts";
import { assembleDoors, assembleLedger } from "../daemon/assemble.ts";
import type { Terminal } from "./terminal.ts";

export async function cancel(options: { readonly config: string; readonly message: string }, { out, stop }: Terminal): Promise<number> {
  const config = await loadConfig(options.config, process.env);
  const ledger = await assembleLedger(config, new Date());
  const doors = await assembleDoors(config, { clock: systemClock, log: silent });
  try {
    const running = await ledger.underWay(options.message);
    for (const { document, service, runId, memo } of running) {
      const extractor = doors.services.get(service)?.extractor;
      if (extractor?.cancel === undefined) {
        out(`${document.slice(0, 16)}  run ${runId}: ${service} cannot cancel a run`);
        continue;
      }
      await extractor.cancel(memo, stop);
      out(`${document.slice(0, 16)}  run ${runId}: ${service} was asked to stop it`);
    }
    if (running.length === 0) out(`no run of a message ${options.message}… is under way`);
    return running.length === 0 ? EXIT.configuration : EXIT.done;
  } finally {
    await doors.close();
    await ledger.close();
  }
}
