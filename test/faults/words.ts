/** Faults in what the server says: refusals, farewells, back-off, and lines no client expects. */
import { answer, atCommand, atGreeting, atOnce, BODY, type Deed, IDLE, inAnswer, LIST, LOGIN, names, ROW, SELECT } from "./meddlers.ts";
import type { Scripted } from "./play.ts";

const BACKOFF_MS = 4_000;
const BACKOFF = `Request is throttled. Suggested Backoff Time: ${BACKOFF_MS} milliseconds`;

const bye: Deed = (wire) => {
  wire.say("* BYE Server shutting down\r\n");
  wire.hangUp();
  return null;
};

/** Asked to come less often and not told how long, we stay away for a minute. */
const LATER = { loginEveryMs: 60_000, patienceMs: 90_000, times: 1 };

/** The first two logins, or so many, are answered like this. */
function loginSays(
  name: string,
  text: string,
  tells: string,
  { times = 2, ...more }: Partial<Scripted> & { readonly times?: number } = {},
): Scripted {
  return {
    name,
    tells: [tells],
    meddler: (strike) =>
      atCommand(
        LOGIN,
        (wire, line) => {
          strike();
          return answer(text)(wire, line);
        },
        (connection) => connection <= times,
      ),
    ...more,
  };
}

/** A line that stands before a row with a body, on every connection; `after` says what follows it. */
function lineAmongRows(name: string, extra: (line: string) => string, tells: readonly string[] = []): Scripted {
  return {
    name,
    tells,
    meddler: (strike) =>
      inAnswer(
        BODY,
        ROW,
        (_, line) => {
          strike();
          return `${extra(line)}\r\n${line}`;
        },
        { lasts: tells.length === 0 ? () => true : (connection) => connection === 1, often: true },
      ),
  };
}

/** A FETCH of bodies that names UID 2 is answered like this, so often. */
function refusing(name: string, times: number, more: Partial<Scripted> = {}, text = "NO That message is damaged"): Scripted {
  return {
    name,
    tells: [],
    meddler: (strike, stage) => {
      let asked = 0;
      return atCommand(
        BODY,
        (wire, line) => {
          if (!names(line, 2) || ++asked > times) return line;
          strike();
          if (asked === 1 && more.unreadable === 1) stage().forget(stage().sent()[1] ?? "");
          return answer(text)(wire, line);
        },
        () => true,
      );
    },
    ...more,
  };
}

export const WORDS: readonly Scripted[] = [
  {
    name: "BYE as greeting",
    tells: ["imap.connect"],
    meddler: (strike) =>
      atGreeting((wire, line) => {
        strike();
        return bye(wire, line);
      }),
  },
  {
    name: "BYE at the login",
    tells: ["imap.connect"],
    meddler: (strike) =>
      atCommand(LOGIN, (wire, line) => {
        strike();
        return bye(wire, line);
      }),
  },
  {
    name: "BYE in SELECT",
    tells: ["imap.lost"],
    meddler: (strike) =>
      inAnswer(SELECT, /EXISTS/, (wire, line) => {
        strike();
        return bye(wire, line);
      }),
  },
  {
    name: "BYE at the listing",
    tells: ["imap.lost"],
    meddler: (strike) =>
      atCommand(LIST, (wire, line) => {
        strike();
        return bye(wire, line);
      }),
  },
  {
    name: "BYE between two bodies",
    tells: ["imap.lost"],
    meddler: (strike) => {
      let rows = 0;
      return inAnswer(
        BODY,
        ROW,
        (wire, line) => {
          if (++rows !== 2) return line;
          strike();
          return bye(wire, line);
        },
        { often: true },
      );
    },
  },
  {
    name: "BYE in IDLE",
    tells: ["imap.lost"],
    meddler: (strike) =>
      inAnswer(IDLE, /^\+/, (wire, line) => {
        strike();
        setTimeout(() => bye(wire, line), 50);
        return line;
      }),
  },
  loginSays("login NO, twice", "NO [AUTHENTICATIONFAILED] Authentication failed.", "imap.login"),
  loginSays("login BAD, twice", "BAD Invalid arguments.", "imap.login"),
  loginSays("[UNAVAILABLE] at the login, twice", "NO [UNAVAILABLE] Temporary authentication failure.", "imap.connect"),
  loginSays("[INUSE] at the login, twice", "NO [INUSE] Mailbox is in use.", "imap.connect"),
  loginSays("[LIMIT] at the login", "NO [LIMIT] Rate limit hit.", "imap.connect", LATER),
  loginSays("too many connections", "NO [ALERT] Too many simultaneous connections. (Failure)", "imap.connect", LATER),
  loginSays("back-off at the login, twice", `NO ${BACKOFF}`, "imap.connect", { loginEveryMs: BACKOFF_MS }),
  {
    name: "back-off at a FETCH",
    tells: ["imap.lost"],
    loginEveryMs: BACKOFF_MS,
    meddler: (strike) =>
      atOnce(BODY, (wire, line) => {
        strike();
        return answer(`BAD ${BACKOFF}`)(wire, line);
      }),
  },
  {
    name: "SELECT [UNAVAILABLE]",
    tells: ["imap.folder|imap.refused"],
    meddler: (strike) =>
      atCommand(SELECT, (wire, line) => {
        strike();
        return answer("NO [UNAVAILABLE] Try again later.")(wire, line);
      }),
  },
  {
    name: "IDLE is always BAD",
    tells: [],
    sweepEveryMs: 500,
    meddler: (strike) =>
      atCommand(
        IDLE,
        (wire, line) => {
          strike();
          return answer("BAD Unknown command")(wire, line);
        },
        () => true,
      ),
  },
  refusing("one message is always NO", Number.POSITIVE_INFINITY, { tells: ["imap.refused"], unreadable: 1 }),
  refusing("one message is listed and has no row", Number.POSITIVE_INFINITY, { tells: ["imap.refused"], unreadable: 1 }, "OK Done"),
  refusing("one message is NO twice", 2, { tells: ["imap.refused"] }),
  {
    name: "bodies [UNAVAILABLE], once",
    tells: ["imap.refused"],
    meddler: (strike) =>
      atCommand(BODY, (wire, line) => {
        strike();
        return answer("NO [UNAVAILABLE] The store is down.")(wire, line);
      }),
  },
  lineAmongRows("rows about flags come uninvited", () => "* 1 FETCH (FLAGS (\\Seen))\r\n* 2 FETCH (UID 2 FLAGS (\\Flagged))"),
  lineAmongRows("EXPUNGE and EXISTS in between", () => "* 3 EXPUNGE\r\n* 3 EXISTS\r\n* 0 RECENT"),
  lineAmongRows("a malformed BODYSTRUCTURE", () => '* 1 FETCH (UID 1 BODYSTRUCTURE (("TEXT" "PLAIN" NIL (("a" 1 2 NIL)'),
  lineAmongRows("a line of garbage", () => "\xff\xfe\x01 \x7f{ not imap"),
  lineAmongRows("a line of 10 MB", () => `* OK ${"x".repeat(10_000_000)}`, ["imap.lost"]),
  {
    name: "no row for the bodies, once",
    tells: [],
    meddler: (strike) =>
      atOnce(BODY, (wire, line) => {
        strike();
        return answer("OK Done")(wire, line);
      }),
  },
];
