/** An extractor whose faults never tell a secret, whatever the service answers. */
import { Fault } from "../base/errors.ts";
import type { Extractor, Progress } from "./extractor.ts";

const SHORTEST = 4;

/** The same extractor; where a fault of its quotes one of the secrets, `…` stands instead. */
export function discreet(extractor: Extractor, secrets: readonly string[]): Extractor {
  const telling = secrets.filter((secret) => secret.length >= SHORTEST);
  const hushed = (text: string) => telling.reduce((said, secret) => said.replaceAll(secret, "…"), text);
  const hush = (fault: Fault): Fault => {
    if (hushed(fault.message) === fault.message) return fault;
    const { advice, temporary, blameless, halts } = fault;
    return new Fault(fault.code, hushed(fault.message), {
      advice: advice ?? undefined,
      temporary,
      blameless,
      halts,
      retryAt: fault.retryAt ?? undefined,
    });
  };
  const hushing = async <T>(work: Promise<T>): Promise<T> =>
    work.catch((thrown: unknown) => {
      throw thrown instanceof Fault ? hush(thrown) : thrown;
    });
  const told = (progress: Progress): Progress => ("fault" in progress ? { ...progress, fault: hush(progress.fault) } : progress);
  const { cancel, forget, verifyWebhook } = extractor;
  return {
    ...extractor,
    advance: async (...args) => told(await hushing(extractor.advance(...args))),
    probe: (signal) => hushing(extractor.probe(signal)),
    ...(cancel === undefined ? {} : { cancel: (memo, signal) => hushing(cancel(memo, signal)) }),
    ...(forget === undefined ? {} : { forget: (memo, signal) => hushing(forget(memo, signal)) }),
    ...(verifyWebhook === undefined ? {} : { verifyWebhook: (request, signal) => hushing(verifyWebhook(request, signal)) }),
  };
}
