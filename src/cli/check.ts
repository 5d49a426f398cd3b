/** `billhook check`: is the configuration right, and does every door open. */
import { systemClock } from "../base/clock.ts";
import { asFault, EXIT } from "../base/errors.ts";
import { silent } from "../base/logger.ts";
import { loadConfig } from "../config/load.ts";
import { assembleDoors } from "../daemon/assemble.ts";
import { compile } from "../mapping/template.ts";
import type { Terminal } from "./terminal.ts";

const PATIENCE_MS = 30_000;

export async function check(options: { readonly config: string }, { out, stop }: Terminal): Promise<number> {
  const config = await loadConfig(options.config, process.env, compile);
  out(`config   ${options.config}  ok`);
  const doors = await assembleDoors(config, { clock: systemClock, log: silent });
  try {
    const knocks = [
      ...[...doors.sources.values()].map((door) => ({ kind: "mailbox", name: door.name, probe: door.probe })),
      ...[...doors.services.values()].map(({ extractor: door }) => ({ kind: "service", name: door.name, probe: door.probe })),
      ...[...doors.sinks.values()].map(({ sink: door }) => ({ kind: "sink", name: door.name, probe: door.probe })),
    ];
    const widest = Math.max(...knocks.map(({ name }) => name.length));
    const said = knocks.map(async ({ kind, name, probe }) => {
      const label = `${kind.padEnd(8)} ${name.padEnd(widest)}`;
      try {
        const { said } = await probe(AbortSignal.any([stop, AbortSignal.timeout(PATIENCE_MS)]));
        return { opened: true, lines: [`${label}  ok: ${said}`] };
      } catch (thrown) {
        const { message, advice } = asFault(thrown);
        const more = advice === null ? [] : [`${" ".repeat(label.length)}  ${advice}`];
        return { opened: false, lines: [`${label}  WRONG: ${message}`, ...more] };
      }
    });
    const opened: boolean[] = [];
    // All doors are knocked on at once, and told in the order of the configuration.
    for (const door of said) {
      const { opened: isOpen, lines } = await door;
      for (const line of lines) out(line);
      opened.push(isOpen);
    }
    return opened.every(Boolean) ? EXIT.done : EXIT.door;
  } finally {
    await doors.close();
  }
}
