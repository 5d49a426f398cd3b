/** The log: one named event a line through pino; never mail content, never a secret. */
import { createRequire } from "node:module";
import { type DestinationStream, pino } from "pino";

export type Level = "debug" | "info" | "warn" | "error";
export type Fields = { readonly [key: string]: string | number | boolean | null | undefined };

export type Logger = {
  /** Writes one line: the event's name (`message.received`) and its fields. */
  readonly event: (level: Level, name: string, fields?: Fields) => void;
};

export type LoggerOptions = {
  readonly level: Level | "silent";
  /** `pretty` for a person at a terminal, `json` for a machine. */
  readonly format: "pretty" | "json";
  /** Where the lines go; standard error by default, so that standard output stays the command's own. */
  readonly destination?: DestinationStream;
};

export function createLogger(options: LoggerOptions): Logger {
  const destination = options.destination ?? pino.destination({ dest: 2, sync: true });
  const log = pino(
    {
      level: options.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      messageKey: "event",
      formatters: { level: (label) => ({ level: label }) },
    },
    options.format === "pretty"
      ? pretty()({
          destination,
          colorize: options.destination === undefined,
          messageKey: "event",
          translateTime: "SYS:HH:MM:ss",
          singleLine: true,
        })
      : destination,
  );
  return { event: (level, name, fields = {}) => log[level](fields, name) };
}

/** Only a person at a terminal pays for what it takes. */
function pretty(): typeof import("pino-pretty") {
  return createRequire(import.meta.url)("pino-pretty");
}

export const silent: Logger = { event: () => {} };

/** An address short enough to recognise and too short to leak: `a…@example.com`. */
export function shortAddress(address: string): string {
  const at = address.lastIndexOf("@");
  return at < 1 ? "…" : `${address.slice(0, 1)}…${address.slice(at)}`;
}
