/** `billhook login`: a person consents that a mailbox is read, and what the provider gives for that is stored; safe while the daemon runs. */
import { systemClock } from "../base/clock.ts";
import { EXIT, permanent } from "../base/errors.ts";
import { silent } from "../base/logger.ts";
import { loadConfig } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import { assembleDoors } from "../daemon/assemble.ts";
import { createSignIns } from "../daemon/signins.ts";
import { proxiesOf } from "../http/network.ts";
import type { Terminal } from "./terminal.ts";
import { visible } from "./visible.ts";

const PATIENCE_MS = 60_000;

export async function login(
  { config: path, mailbox }: { readonly config: string; readonly mailbox: string },
  { out, stop }: Terminal,
): Promise<number> {
  const config = await loadConfig(path, process.env);
  const signIns = createSignIns(config, { clock: systemClock, proxies: proxiesOf(process.env) });
  try {
    const signIn = signIns.byMailbox.get(mailbox);
    if (signIn === undefined) throw nothingToDo(mailbox, config, path);
    await signIn.login(({ address, code }) => {
      if (code !== null) return out(`Open ${visible(address)} in any browser, and type this code there: ${visible(code)}`);
      out("Open this address in a browser on this machine (or forward the port of its redirect_uri to it, as with ssh -L):");
      out(visible(address));
    }, stop);
    out(`stored: mailbox ${mailbox} is signed in`);
  } finally {
    await signIns.close();
  }
  const doors = await assembleDoors(config, { clock: systemClock, log: silent });
  try {
    const probe = await doors.sources.get(mailbox)?.probe(AbortSignal.any([stop, AbortSignal.timeout(PATIENCE_MS)]));
    if (probe) out(`mailbox  ${mailbox}  ok: ${probe.said}`);
    return EXIT.done;
  } finally {
    await doors.close();
  }
}

function nothingToDo(mailbox: string, { mailboxes }: Config, path: string) {
  if (Object.hasOwn(mailboxes, mailbox))
    return permanent("config.usage", `mailbox ${mailbox} logs in with its password: there is nothing to sign in to`);
  const all = Object.keys(mailboxes).join(", ");
  return permanent("config.usage", `${path} has no mailbox ${mailbox}; it has ${all}`);
}
