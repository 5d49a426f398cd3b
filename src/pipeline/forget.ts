/** Has the services forget a message that is over: the files they were given, and what they made of them. */
import type { Works } from "./step.ts";

/**
 * Resolves with false, and nothing is asked, while something is left to do for it. Rejects when a service could not be asked; harmless when
 * repeated. Services that cannot are passed over.
 */
export async function forget(
  message: string,
  { ledger, services }: Pick<Works, "ledger" | "services">,
  signal: AbortSignal,
): Promise<boolean> {
  const tasks = await ledger.tasks(message);
  if (tasks.some(({ status }) => status === "open" || status === "held" || status === "failed")) return false;
  for (const { kind, subject, memo } of tasks) {
    if (kind !== "extract" || memo === null) continue;
    const document = await ledger.document(subject);
    await services.get(document?.service ?? "")?.extractor.forget?.(memo, signal);
  }
  return true;
}
