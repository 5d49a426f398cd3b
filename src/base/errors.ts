/** Faults: every error billhook reports, as a sentence for people with a code, an advice and whether trying again can help. */

/** A fault as it is remembered in the ledger and printed as JSON. */
export type FaultRecord = {
  /** `room.what`, stable, lower case: `imap.login`, `cloudsquid.unauthorized`. For machines, dashboards and tests. */
  readonly code: string;
  /** What happened, where, and what was expected. Never mail content, never a secret. */
  readonly message: string;
  /** What a person can do about it; null where waiting is the answer. */
  readonly advice: string | null;
  /** True when the same effect may succeed later. An unknown error counts as temporary. */
  readonly temporary: boolean;
};

export type FaultOptions = {
  readonly advice?: string | undefined;
  readonly temporary?: boolean | undefined;
  /** The other side asked us not to come back before this moment (Retry-After and the like). */
  readonly retryAt?: Date | undefined;
  /** Nothing was tried: the wait is no failure of what waits. */
  readonly blameless?: boolean | undefined;
  /** The door itself is shut: whatever else goes there would fail too, until a person has opened it. */
  readonly halts?: boolean | undefined;
  readonly cause?: unknown;
};

/** The one class of the house. Temporary unless said otherwise. */
export class Fault extends Error {
  readonly code: string;
  readonly advice: string | null;
  readonly temporary: boolean;
  readonly retryAt: Date | null;
  readonly blameless: boolean;
  readonly halts: boolean;

  constructor(code: string, message: string, options: FaultOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "Fault";
    this.code = code;
    this.advice = options.advice ?? null;
    this.temporary = options.temporary ?? true;
    this.retryAt = options.retryAt ?? null;
    this.blameless = options.blameless ?? false;
    this.halts = options.halts ?? false;
  }
}

/** A fault that trying again cannot mend. */
export function permanent(code: string, message: string, advice?: string, cause?: unknown): Fault {
  return new Fault(code, message, { advice, temporary: false, cause });
}

/** Any thrown value as a Fault; what is not one already becomes temporary, under `fallbackCode`. */
export function asFault(thrown: unknown, fallbackCode = "unknown"): Fault {
  if (thrown instanceof Fault) return thrown;
  return new Fault(fallbackCode, reasonOf(thrown), { cause: thrown });
}

/** The shortest honest sentence for a thrown value: its message, or its system code, or what it prints as. */
export function reasonOf(thrown: unknown): string {
  if (thrown instanceof AggregateError && thrown.errors.length > 0) return reasonOf(thrown.errors[0]);
  if (thrown instanceof Error) {
    const code = (thrown as NodeJS.ErrnoException).code;
    const message = thrown.message || thrown.name;
    return typeof code === "string" && !message.includes(code) ? `${message} (${code})` : message;
  }
  return String(thrown);
}

export function recordOf(fault: Fault): FaultRecord {
  return { code: fault.code, message: fault.message, advice: fault.advice, temporary: fault.temporary };
}

/** Exit codes of every command: 0 done, 1 our bug, 2 configuration, 3 a door did not open. */
export const EXIT = { done: 0, bug: 1, configuration: 2, door: 3 } as const;

/** The exit code a fault that reaches the top of a command deserves. */
export function exitCodeOf(thrown: unknown): number {
  if (!(thrown instanceof Fault)) return EXIT.bug;
  return thrown.code.startsWith("config.") ? EXIT.configuration : EXIT.door;
}
