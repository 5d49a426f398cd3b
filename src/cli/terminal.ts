/** What a command is given besides its own options: where to write, whom to ask, and when to stop. */

export type Out = (line: string) => void;

export type Terminal = {
  /** One line of the command's result, to standard output. */
  readonly out: Out;
  /** One line about the work, to standard error. */
  readonly say: Out;
  /** Aborted at the first SIGINT or SIGTERM; the second one ends the process at once. */
  readonly stop: AbortSignal;
  /** Asks the person at the keyboard, and resolves with the line they typed, empty when there came none; absent where nobody can be asked. */
  readonly ask?: (question: string) => Promise<string>;
  /** How large the terminal is at this moment that `out` writes to; absent where it is none. */
  readonly size?: () => { readonly columns: number; readonly rows: number };
};
