/** `billhook pause` and `resume`: the kill switch of a service; safe while the daemon runs. */
import { EXIT, permanent } from "../base/errors.ts";
import { loadConfig } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import { assembleLedger } from "../daemon/assemble.ts";
import type { Terminal } from "./terminal.ts";

type Options = { readonly config: string; readonly service: string };

export async function pause({ config: path, service }: Options, { out }: Terminal): Promise<number> {
  const config = await serviceOf(path, service);
  const now = new Date();
  const ledger = await assembleLedger(config, now);
  try {
    await ledger.pause(service, "paused by hand", now);
    out(`${service} is paused: nothing more is bought there; \`billhook resume ${service}\` goes on`);
    return EXIT.done;
  } finally {
    await ledger.close();
  }
}

export async function resume({ config: path, service }: Options, { out }: Terminal): Promise<number> {
  const config = await serviceOf(path, service);
  const now = new Date();
  const ledger = await assembleLedger(config, now);
  try {
    out((await ledger.resume(service, now)) ? `${service} goes on` : `${service} was not paused`);
    return EXIT.done;
  } finally {
    await ledger.close();
  }
}

async function serviceOf(path: string, service: string): Promise<Config> {
  const config = await loadConfig(path, process.env);
  if (Object.hasOwn(config.services, service)) return config;
  throw permanent("config.usage", `${path} has no service ${service}; it has ${Object.keys(config.services).join(", ")}`);
}
