/** The process entry: hands the arguments to the command line and its exit code to the operating system. */
import { cli } from "./cli/cli.ts";

export async function main(argv: readonly string[]): Promise<void> {
  process.exitCode = await cli(argv);
}
