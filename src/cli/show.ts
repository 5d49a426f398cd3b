/** `billhook show`: the whole life of one mail, for people or as one JSON object; safe while the daemon runs. */
import { EXIT } from "../base/errors.ts";
import { withDesk } from "./ledger.ts";
import { linesOf, unreadLines } from "./life.ts";
import { meant } from "./meant.ts";
import type { Terminal } from "./terminal.ts";
import { visibleJson } from "./visible.ts";

type Options = { readonly config: string; readonly message: string; readonly json: boolean };

export function show({ config, message, json }: Options, { out }: Terminal): Promise<number> {
  return withDesk(config, async (desk) => {
    const id = await meant(desk, message);
    const unread = [...(await desk.unread()), ...(await desk.unread(true))].find((one) => one.id === id);
    if (unread !== undefined) {
      for (const line of json ? [visibleJson(unread)] : unreadLines(unread)) out(line);
      return EXIT.done;
    }
    const life = await desk.show(id);
    for (const line of json ? [visibleJson(life)] : linesOf(life)) out(line);
    return EXIT.done;
  });
}
