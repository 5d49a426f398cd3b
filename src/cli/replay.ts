/** `billhook replay`: delivers the results of a mail once more, under new keys; safe while the daemon runs. */
import { act } from "./act.ts";
import type { Terminal } from "./terminal.ts";

type Options = { readonly config: string; readonly message: string; readonly to: string | null };

export function replay({ to, ...options }: Options, terminal: Terminal): Promise<number> {
  const nothing = `there is no delivery of it${to === null ? "" : ` to ${to}`}`;
  return act(options, (desk, id) => desk.replay(id, to), nothing, terminal);
}
