/** `billhook run`: the daemon, until it is told to stop. */
import { systemClock } from "../base/clock.ts";
import { createLogger } from "../base/logger.ts";
import { loadConfig } from "../config/load.ts";
import { runDaemon } from "../daemon/daemon.ts";
import { compile } from "../mapping/template.ts";
import type { Terminal } from "./terminal.ts";

export async function run(options: { readonly config: string; readonly once: boolean }, terminal: Terminal): Promise<number> {
  const config = await loadConfig(options.config, process.env, compile);
  const { level, format } = config.log;
  const log = createLogger({ level, format: format === "auto" ? (process.stderr.isTTY ? "pretty" : "json") : format });
  const passing = killAt(process.env.BILLHOOK_KILL_AT);
  return runDaemon({ config, clock: systemClock, log, once: options.once, ...(passing === null ? {} : { passing }) }, terminal.stop);
}

/** For crash campaigns only: the process kills itself at the n-th point between effects and saves. */
function killAt(nth: string | undefined): ((point: string) => void) | null {
  if (nth === undefined) return null;
  let left = Number(nth);
  return () => {
    left -= 1;
    if (left === 0) process.kill(process.pid, "SIGKILL");
  };
}
