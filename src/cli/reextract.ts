/** `billhook reextract`: has a mail read once more, and asks before it pays; safe while the daemon runs. */
import type { Config } from "../config/schema.ts";
import { act } from "./act.ts";
import { confirmed } from "./confirm.ts";
import type { Terminal } from "./terminal.ts";

type Options = { readonly config: string; readonly message: string; readonly with: string | null; readonly yes: boolean };

export function reextract({ with: wanted, yes, ...options }: Options, terminal: Terminal): Promise<number> {
  return act(
    options,
    async (desk, id, config) => {
      const { service, runs } = await desk.price(id, wanted);
      const question = `this buys ${runs === 1 ? "a run" : `${runs} runs`} at ${service}, perhaps more (${limitsText(service, config)})`;
      return (await confirmed(question, yes, terminal)) ? desk.reextract(id, wanted) : [];
    },
    "nothing is read again",
    terminal,
  );
}

function limitsText(service: string, { services }: Config): string {
  const { runsPerHour = null, runsPerDay = null } = services[service]?.limits ?? {};
  const most = [...(runsPerHour === null ? [] : [`${runsPerHour} an hour`]), ...(runsPerDay === null ? [] : [`${runsPerDay} a day`])];
  return most.length === 0 ? "it has no limits" : `of at most ${most.join(" and ")}; what is over waits`;
}
