/** What a person decides about one mail: it is found, the decision is made, and what came of it is said. */
import { EXIT } from "../base/errors.ts";
import type { Config } from "../config/schema.ts";
import type { Desk } from "../desk/desk.ts";
import { withDesk } from "./ledger.ts";
import { meant } from "./meant.ts";
import type { Terminal } from "./terminal.ts";
import { visible } from "./visible.ts";
import { shortId } from "./words.ts";

/** With the whole id; resolves with a sentence for each thing done. */
type Decision = (desk: Desk, id: string, config: Config) => Promise<readonly string[]>;

/** Resolves with the exit code: `nothing` is said, with exit 2, when nothing was done. */
export function act(
  { config: path, message }: { readonly config: string; readonly message: string },
  decide: Decision,
  nothing: string,
  { out }: Pick<Terminal, "out">,
): Promise<number> {
  return withDesk(path, async (desk, _, config) => {
    const id = await meant(desk, message);
    const done = await decide(desk, id, config);
    for (const sentence of done.length === 0 ? [nothing] : done) out(visible(`${shortId(id)}  ${sentence}`));
    return done.length === 0 ? EXIT.configuration : EXIT.done;
  });
}
