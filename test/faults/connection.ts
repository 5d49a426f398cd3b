/** Faults of the connection: it is cut, half-open, slow, or not to be had. */
import type { TcpProxy } from "../servers/proxy.ts";
import { atCommand, atGreeting, BODY, IDLE, inAnswer, LOGIN, literalOf, ROW, SELECT, TAGGED } from "./meddlers.ts";
import type { Scripted } from "./play.ts";
import type { Stage } from "./stage.ts";

const SLOW_MS = 5_000;

/** It lasts until the mailbox has said so and tried twice more; mail comes meanwhile. */
function lasting(begin: (proxy: TcpProxy) => unknown, end: (proxy: TcpProxy) => unknown): (stage: Stage) => Promise<void> {
  return async (stage) => {
    await stage.until("it is swept", stage.isWell);
    await begin(stage.proxy);
    stage.proxy.cut();
    await stage.deliver(2);
    await stage.until("it says so", () => stage.trouble() === "imap.connect");
    const seen = stage.told().length;
    await new Promise((resolve) => setTimeout(resolve, SLOW_MS));
    if (stage.told().length !== seen) throw new Error("the story is told more than once");
    stage.mark();
    await end(stage.proxy);
  };
}

export const CONNECTION: readonly Scripted[] = [
  {
    name: "cut in the greeting",
    tells: ["imap.connect"],
    meddler: (strike) =>
      atGreeting((wire, line) => {
        strike();
        wire.after(10, "cut");
        return line;
      }),
  },
  {
    name: "cut in the TLS handshake",
    tells: ["imap.connect|imap.tls"],
    options: { tls: "implicit" },
    script: async (stage) => {
      stage.mark();
      stage.proxy.cutAfter(600);
      await stage.until("it says so", () => stage.trouble() !== null);
      await stage.deliver(2);
    },
  },
  {
    name: "cut after STARTTLS",
    tells: ["imap.connect|imap.tls"],
    options: { tls: "starttls" },
    script: async (stage) => {
      stage.mark();
      stage.proxy.cutAfter(1_000);
      await stage.until("it says so", () => stage.trouble() !== null);
      await stage.deliver(2);
    },
  },
  {
    name: "cut in the login",
    tells: ["imap.connect"],
    meddler: (strike) =>
      atCommand(LOGIN, (wire) => {
        strike();
        wire.cut();
        return null;
      }),
  },
  {
    name: "cut after the login",
    tells: ["imap.connect|imap.lost"],
    meddler: (strike) =>
      inAnswer(LOGIN, TAGGED, (wire, line) => {
        strike();
        wire.after(line.length + 2, "cut");
        return `${line}\r\n* OK`;
      }),
  },
  {
    name: "cut in SELECT",
    tells: ["imap.lost"],
    meddler: (strike) =>
      inAnswer(SELECT, /EXISTS/, (wire) => {
        strike();
        wire.cut();
        return null;
      }),
  },
  {
    name: "cut in IDLE",
    tells: ["imap.lost"],
    meddler: (strike) =>
      inAnswer(IDLE, /^\+/, (wire, line) => {
        strike();
        wire.after(line.length + 2, "cut");
        return `${line}\r\n*`;
      }),
  },
  {
    name: "cut between two bodies",
    tells: ["imap.lost"],
    meddler: (strike) => {
      let rows = 0;
      return inAnswer(
        BODY,
        ROW,
        (wire, line) => {
          if (++rows !== 2) return line;
          strike();
          wire.cut();
          return null;
        },
        { often: true },
      );
    },
  },
  {
    name: "cut in the middle of a literal",
    tells: ["imap.lost"],
    meddler: (strike) =>
      inAnswer(BODY, ROW, (wire, line) => {
        strike();
        wire.after(line.length + literalOf(line) / 2, "cut");
        return line;
      }),
  },
  {
    name: "half-open at the login",
    tells: ["imap.connect"],
    meddler: (strike) =>
      atCommand(LOGIN, (wire) => {
        strike();
        wire.freeze();
        return null;
      }),
  },
  {
    name: "half-open in SELECT",
    tells: ["imap.lost"],
    meddler: (strike) =>
      atCommand(SELECT, (wire) => {
        strike();
        wire.freeze();
        return null;
      }),
  },
  {
    name: "half-open in IDLE",
    tells: ["imap.lost"],
    meddler: (strike) =>
      inAnswer(IDLE, /^\+/, (wire, line) => {
        strike();
        wire.after(line.length + 2, "freeze");
        return `${line}\r\n*`;
      }),
  },
  {
    name: "half-open at the end of IDLE",
    tells: ["imap.lost"],
    meddler: (strike) =>
      atCommand(/^DONE$/, (wire) => {
        strike();
        wire.freeze();
        return null;
      }),
  },
  {
    name: "half-open in the middle of a literal",
    tells: ["imap.lost"],
    meddler: (strike) =>
      inAnswer(BODY, ROW, (wire, line) => {
        strike();
        wire.after(line.length + literalOf(line) / 2, "freeze");
        return line;
      }),
  },
  {
    name: "a slow drip, 5 KB/s",
    tells: [],
    meddler: (strike) =>
      atGreeting(
        (wire, line) => {
          strike();
          wire.drip(50);
          return line;
        },
        () => true,
      ),
  },
  {
    name: "the bodies 5 s late",
    tells: [],
    options: { socketTimeoutMs: 12_000 },
    meddler: (strike) =>
      inAnswer(BODY, ROW, async (_, line) => {
        strike();
        await new Promise((resolve) => setTimeout(resolve, SLOW_MS));
        return line;
      }),
  },
  {
    name: "the bodies later than the patience",
    tells: ["imap.lost"],
    meddler: (strike) =>
      inAnswer(BODY, ROW, async (_, line) => {
        strike();
        await new Promise((resolve) => setTimeout(resolve, SLOW_MS));
        return line;
      }),
  },
  {
    name: "accept-then-drop",
    tells: ["imap.lost", "imap.connect"],
    script: lasting(
      (proxy) => proxy.refuse(true),
      (proxy) => proxy.refuse(false),
    ),
  },
  {
    name: "nobody listens",
    tells: ["imap.lost", "imap.connect"],
    script: lasting(
      (proxy) => proxy.close(true),
      (proxy) => proxy.close(false),
    ),
  },
];
