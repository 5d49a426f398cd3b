/** `billhook replay`: tells the results of a message once more, under new keys; safe while the daemon runs. */
import { EXIT, permanent } from "../base/errors.ts";
import { withLedger } from "./ledger.ts";
import type { Terminal } from "./terminal.ts";

type Options = { readonly config: string; readonly message: string; readonly to: string | null };

export function replay({ config: path, message, to }: Options, { out }: Terminal): Promise<number> {
  return withLedger(
    path,
    async (ledger, _, now) => {
      const tasks = message === "" ? [] : await ledger.replay(message, to, now);
      for (const { subject, attempts } of tasks)
        out(`deliver  ${subject}  ${attempts === 0 ? "will be delivered" : "is on its way: it is tried again by itself"}`);
      if (tasks.length > 0) return EXIT.done;
      out(`there is no delivery of a message ${message}…${to === null ? "" : ` to ${to}`}`);
      return EXIT.configuration;
    },
    ({ sinks }) => {
      if (to === null || Object.hasOwn(sinks, to)) return;
      throw permanent("config.usage", `${path} has no sink ${to}; it has ${Object.keys(sinks).join(", ")}`);
    },
  );
}
