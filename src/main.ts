/** The process entry: hands the arguments to the command line and its exit code to the operating system. */
import { cli } from "./cli/cli.ts";

const LINGER_MS = 2_000;

export async function main(argv: readonly string[]): Promise<void> {
  process.exitCode = await cli(argv);
  // Whatever a library has left open must not keep a finished command alive.
  setTimeout(() => process.exit(), LINGER_MS).unref();
}
