/** `billhook pause` and `resume`: the kill switch of a service or a sink; safe while the daemon runs. */
import { EXIT, permanent } from "../base/errors.ts";
import type { Config } from "../config/schema.ts";
import { withLedger } from "./ledger.ts";
import type { Terminal } from "./terminal.ts";

type Options = { readonly config: string; readonly name: string };

export function pause({ config: path, name }: Options, { out }: Terminal): Promise<number> {
  return withLedger(
    path,
    async (ledger, config, now) => {
      await ledger.pause(name, "paused by hand", now);
      const what = Object.hasOwn(config.services, name) ? "bought there" : "delivered there";
      out(`${name} is paused: nothing more is ${what}; \`billhook resume ${name}\` goes on`);
      return EXIT.done;
    },
    (config) => mustHave(name, config, path),
  );
}

export function resume({ config: path, name }: Options, { out }: Terminal): Promise<number> {
  return withLedger(path, async (ledger, config, now) => {
    // One that was taken out of the configuration while it was paused can be let go too.
    const resumed = await ledger.resume(name, now);
    if (!resumed) mustHave(name, config, path);
    out(resumed ? `${name} goes on` : `${name} was not paused`);
    return EXIT.done;
  });
}

function mustHave(name: string, { services, sinks }: Config, path: string): void {
  if (Object.hasOwn(services, name) || Object.hasOwn(sinks, name)) return;
  const all = [...Object.keys(services), ...Object.keys(sinks)].join(", ");
  throw permanent("config.usage", `${path} has no service and no sink ${name}; it has ${all}`);
}
