/** `billhook run`: the daemon, until it is told to stop. */
import { appendFileSync } from "node:fs";
import { systemClock } from "../base/clock.ts";
import { createLogger } from "../base/logger.ts";
import { loadConfig } from "../config/load.ts";
import { runDaemon } from "../daemon/daemon.ts";
import { compile } from "../mapping/template.ts";
import type { Works } from "../pipeline/step.ts";
import type { Terminal } from "./terminal.ts";

export async function run(options: { readonly config: string; readonly once: boolean }, terminal: Terminal): Promise<number> {
  const config = await loadConfig(options.config, process.env, compile);
  const { level, format } = config.log;
  const log = createLogger({ level, format: format === "auto" ? (process.stderr.isTTY ? "pretty" : "json") : format });
  const passing = pointsOf(process.env);
  return runDaemon({ config, clock: systemClock, log, once: options.once, ...(passing === null ? {} : { passing }) }, terminal.stop);
}

/**
 * For crash campaigns only: each point between effects and saves is appended to the file BILLHOOK_POINTS as it is passed, `split saved
 * <message> 1` with how often this process has passed it, and at the one BILLHOOK_KILL_AT names, or counts, the process kills itself.
 */
function pointsOf({ BILLHOOK_POINTS: journal, BILLHOOK_KILL_AT: last }: NodeJS.ProcessEnv): NonNullable<Works["passing"]> | null {
  if (journal === undefined && last === undefined) return null;
  const times = new Map<string, number>();
  let passed = 0;
  return (point, subject) => {
    const time = (times.get(`${point} ${subject}`) ?? 0) + 1;
    times.set(`${point} ${subject}`, time);
    passed += 1;
    const name = `${point} ${subject} ${time}`;
    if (journal !== undefined) appendFileSync(journal, `${name}\n`);
    if (last === name || last === String(passed)) process.kill(process.pid, "SIGKILL");
  };
}
