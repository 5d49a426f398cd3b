/** Asking before money is spent or a mail is given up: only a typed yes is one. */
import { createInterface } from "node:readline";
import { permanent } from "../base/errors.ts";
import type { Terminal } from "./terminal.ts";

/** True when the person agrees, or has done so by `--yes`. Throws `config.usage` where nobody can be asked. */
export async function confirmed(question: string, yes: boolean, { ask }: Pick<Terminal, "ask">): Promise<boolean> {
  if (yes) return true;
  if (ask === undefined) throw permanent("config.usage", `${question}: nobody can be asked here`, "repeat it with --yes to agree");
  return /^\s*y(es)?\s*$/i.test(await ask(`${question}? Type yes to go on: `));
}

/** Standard input and error as a person to ask; null where either is no terminal. Resolves with nothing when the signal is aborted. */
export function personAt(stop: AbortSignal): ((question: string) => Promise<string>) | null {
  const { stdin, stderr } = process;
  if (!stdin.isTTY || !stderr.isTTY) return null;
  return async (question) => {
    stderr.write(question);
    // Not `terminal`: the line is the system's to edit, and Ctrl-C stays a signal.
    const lines = createInterface({ input: stdin, terminal: false });
    const close = () => lines.close();
    stop.addEventListener("abort", close, { once: true });
    try {
      return await new Promise<string>((resolve) => void lines.once("line", resolve).once("close", () => resolve("")));
    } finally {
      stop.removeEventListener("abort", close);
      lines.close();
    }
  };
}
