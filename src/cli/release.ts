/** `billhook release`: lets a held mail go; safe while the daemon runs. */
import { act } from "./act.ts";
import type { Terminal } from "./terminal.ts";

type Options = { readonly config: string; readonly message: string };

export function release(options: Options, terminal: Terminal): Promise<number> {
  return act(options, (desk, id) => desk.release(id), "nothing of it is held", terminal);
}
