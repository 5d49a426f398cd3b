/** What a command is given besides its own options: where to write, and when to stop. */

export type Out = (line: string) => void;

export type Terminal = {
  /** One line of the command's result, to standard output. */
  readonly out: Out;
  /** One line about the work, to standard error. */
  readonly say: Out;
  /** Aborted at the first SIGINT or SIGTERM; the second one ends the process at once. */
  readonly stop: AbortSignal;
};
