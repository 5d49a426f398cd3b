/** `billhook ignore`: gives a mail up, with the reason on record; safe while the daemon runs. */
import { permanent } from "../base/errors.ts";
import { act } from "./act.ts";
import type { Terminal } from "./terminal.ts";

type Options = { readonly config: string; readonly message: string; readonly why: string };

export async function ignore({ why, ...options }: Options, terminal: Terminal): Promise<number> {
  const reason = why.trim();
  if (reason === "") throw permanent("config.usage", "say why, for those who will ask: --why TEXT");
  return act(options, (desk, id) => desk.ignore(id, reason), "nothing of it is left to do", terminal);
}
