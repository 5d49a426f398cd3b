/** `billhook sandbox`: serves the sandbox of both extraction services until it is told to stop. */
import { systemClock } from "../base/clock.ts";
import { EXIT } from "../base/errors.ts";
import { startSandbox } from "../sandbox/sandbox.ts";

/** Prints Cloudsquid's URL, Extend's URL and the key both want, one a line, and serves until the signal is aborted. */
export async function sandbox(
  options: { readonly port: number; readonly key: string; readonly project: string },
  out: (line: string) => void,
  signal: AbortSignal,
): Promise<number> {
  const server = await startSandbox({ port: options.port, apiKey: options.key, projects: [options.project], clock: systemClock });
  out(`url: ${server.url}`);
  out(`extend: ${server.extendUrl}`);
  out(`key: ${options.key}`);
  await new Promise<void>((resolve) => {
    if (signal.aborted) return resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
  await server.stop();
  return EXIT.done;
}
