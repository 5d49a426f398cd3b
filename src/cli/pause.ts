/** `billhook pause` and `resume`: the kill switch of a service; safe while the daemon runs. */
import { EXIT, permanent } from "../base/errors.ts";
import type { Config } from "../config/schema.ts";
import { withLedger } from "./ledger.ts";
import type { Terminal } from "./terminal.ts";

type Options = { readonly config: string; readonly service: string };

export function pause({ config: path, service }: Options, { out }: Terminal): Promise<number> {
  return withLedger(
    path,
    async (ledger, _, now) => {
      await ledger.pause(service, "paused by hand", now);
      out(`${service} is paused: nothing more is bought there; \`billhook resume ${service}\` goes on`);
      return EXIT.done;
    },
    (config) => mustHave(service, config, path),
  );
}

export function resume({ config: path, service }: Options, { out }: Terminal): Promise<number> {
  return withLedger(
    path,
    async (ledger, _, now) => {
      out((await ledger.resume(service, now)) ? `${service} goes on` : `${service} was not paused`);
      return EXIT.done;
    },
    (config) => mustHave(service, config, path),
  );
}

function mustHave(service: string, config: Config, path: string): void {
  if (Object.hasOwn(config.services, service)) return;
  throw permanent("config.usage", `${path} has no service ${service}; it has ${Object.keys(config.services).join(", ")}`);
}
