/** Meddlers: where in an IMAP conversation something goes wrong, told once for each of them. */
import type { Meddle, Meddler, Wire } from "../servers/proxy.ts";

/** What happens there; what it returns passes instead of the line, null: nothing. */
export type Deed = (wire: Wire, line: string) => string | null | Promise<string | null>;

/** So long as `lasts` says so for a connection. */
type Lasts = (connection: number) => boolean;
const first: Lasts = (connection) => connection === 1;

/** At the server's greeting. */
export function atGreeting(deed: Deed, lasts: Lasts = first): Meddler {
  const greeted = new Set<number>();
  return {
    server: (line, wire) => {
      if (greeted.has(wire.connection) || !lasts(wire.connection)) return line;
      greeted.add(wire.connection);
      return deed(wire, line);
    },
  };
}

/** Instead of a command of the client: the server never hears it, unless the line is given back. */
export function atCommand(pattern: RegExp, deed: Deed, lasts: Lasts = first): Meddler {
  return { client: (line, wire) => (pattern.test(line) && lasts(wire.connection) ? deed(wire, line) : line) };
}

/** The same, at the first such command only. */
export function atOnce(pattern: RegExp, deed: Deed): Meddler {
  let done = false;
  return atCommand(pattern, (wire, line) => {
    if (done) return line;
    done = true;
    return deed(wire, line);
  });
}

/** At a line of the server, while a command that matches is under way; once a connection unless `often`. */
export function inAnswer(command: RegExp, pattern: RegExp, deed: Deed, { lasts = first, often = false } = {}): Meddler {
  const under = new Set<number>();
  const done = new Set<number>();
  const client: Meddle = (line, wire) => {
    if (command.test(line)) under.add(wire.connection);
    else if (/^\S+ [A-Z]/.test(line)) under.delete(wire.connection);
    return line;
  };
  const server: Meddle = (line, wire) => {
    const { connection } = wire;
    if (!under.has(connection) || !pattern.test(line) || !lasts(connection) || (done.has(connection) && !often)) return line;
    done.add(connection);
    return deed(wire, line);
  };
  return { client, server };
}

/** Every line of the server, on every connection. */
export function rewriting(change: (line: string) => string | null): Meddler {
  return { server: change };
}

/** The tagged answer to a command, in place of the server's. */
export function answer(text: string): Deed {
  return (wire, line) => {
    wire.say(`${line.split(" ")[0]} ${text}\r\n`);
    return null;
  };
}

export const LOGIN = /^\S+ (LOGIN|AUTHENTICATE) /i;
export const SELECT = /^\S+ (SELECT|EXAMINE) /i;
export const IDLE = /^\S+ IDLE$/i;
export const LIST = /^\S+ UID FETCH \S+ \([^[]*\)$/i;
export const BODY = /^\S+ UID FETCH \S+ .*BODY\.PEEK\[/i;
export const ROW = /^\* \d+ FETCH .*\{\d+\}$/i;
export const TAGGED = /^[A-Z0-9]+ (OK|NO|BAD)/i;

/** Bytes of the literal a line announces. */
export function literalOf(line: string): number {
  return Number(/\{(\d+)\}$/.exec(line)?.[1] ?? 0);
}

/** UIDs a FETCH names, of a set without `*`. */
export function names(line: string, uid: number): boolean {
  const set = /UID FETCH (\S+)/i.exec(line)?.[1] ?? "";
  return set.split(",").some((range) => {
    const [from = 0, to = from] = range.split(":").map(Number);
    return from <= uid && uid <= to;
  });
}
