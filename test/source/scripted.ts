/** A small IMAP server that follows a script: what it holds, what it leaves out, and where it misbehaves. */
import { once } from "node:events";
import { createServer, type Socket } from "node:net";

export type Command = {
  /** Without the tag. */
  readonly line: string;
  readonly tag: string;
  /** Writes lines as they are. */
  readonly say: (...lines: readonly string[]) => void;
  readonly socket: Socket;
};

/** `null` keeps UIDVALIDITY or UIDNEXT unsaid. */
export type Script = {
  capabilities: string;
  uidValidity: string | null;
  uidNext: number | null;
  exists: (count: number) => string;
  readOnly: boolean;
  readonly messages: { readonly uid: number; readonly raw: string }[];
  /** True: answered here. Called for the greeting too, with an empty line. */
  on: (command: Command) => boolean;
};

export type Scripted = {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly script: Script;
  /** Every command so far, without tags. */
  readonly heard: readonly string[];
  /** Resolves when a command comes that matches, from now on. */
  readonly hears: (pattern: RegExp) => Promise<void>;
  /** Says something unasked on every connection. */
  readonly push: (...lines: readonly string[]) => void;
  readonly stop: () => Promise<void>;
};

export async function startScripted(more: Partial<Script> = {}): Promise<Scripted> {
  const script: Script = {
    capabilities: "IMAP4rev1 IDLE UIDPLUS MOVE",
    uidValidity: "7",
    uidNext: null,
    exists: (count) => `* ${count} EXISTS`,
    readOnly: false,
    messages: [],
    on: () => false,
    ...more,
  };
  const sockets = new Set<Socket>();
  const heard: string[] = [];
  const listeners = new Set<{ readonly pattern: RegExp; readonly resolve: () => void }>();

  const server = createServer((socket) => {
    socket.setNoDelay(true).on("error", () => {});
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    const say = (...lines: readonly string[]) =>
      void (socket.writable && socket.write(lines.map((line) => `${line}\r\n`).join(""), "latin1"));
    if (!script.on({ line: "", tag: "*", say, socket })) say("* OK ready");
    let idle: string | null = null;
    let rest = "";
    socket.on("data", (data) => {
      const lines = (rest + data.toString("latin1")).split("\r\n");
      rest = lines.pop() ?? "";
      for (const whole of lines) {
        if (whole === "DONE") {
          if (idle !== null) say(`${idle} OK idled`);
          idle = null;
          continue;
        }
        const [tag = "", ...words] = whole.split(" ");
        const line = words.join(" ");
        heard.push(line);
        const handled = script.on({ line, tag, say, socket });
        if (!handled && line === "IDLE") idle = tag;
        if (!handled) say(...answer(script, line, tag));
        for (const listener of listeners) {
          if (!listener.pattern.test(line)) continue;
          listeners.delete(listener);
          listener.resolve();
        }
      }
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  return {
    host: "127.0.0.1",
    port: typeof address === "object" && address !== null ? address.port : 0,
    user: "ap@example.com",
    password: "script-Pass-1",
    script,
    heard,
    hears: (pattern) => new Promise((resolve) => void listeners.add({ pattern, resolve })),
    push: (...lines) => {
      for (const socket of sockets) socket.write(lines.map((line) => `${line}\r\n`).join(""), "latin1");
    },
    stop: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

function answer(script: Script, line: string, tag: string): readonly string[] {
  const [verb = "", second = ""] = line.toUpperCase().split(" ");
  const command = verb === "UID" ? `UID ${second}` : verb;
  switch (command) {
    case "CAPABILITY":
      return [`* CAPABILITY ${script.capabilities}`, `${tag} OK`];
    case "LIST":
      return ['* LIST (\\HasNoChildren) "/" INBOX', `${tag} OK`];
    case "NAMESPACE":
      return ['* NAMESPACE (("" "/")) NIL NIL', `${tag} OK`];
    case "SELECT":
    case "EXAMINE":
      return [
        "* FLAGS (\\Seen \\Flagged \\Deleted)",
        "* OK [PERMANENTFLAGS (\\Seen \\Flagged \\Deleted \\*)] kept",
        script.exists(script.messages.length),
        ...(script.uidValidity === null ? [] : [`* OK [UIDVALIDITY ${script.uidValidity}] valid`]),
        ...(script.uidNext === null ? [] : [`* OK [UIDNEXT ${script.uidNext}] next`]),
        `${tag} OK [${script.readOnly || command === "EXAMINE" ? "READ-ONLY" : "READ-WRITE"}] open`,
      ];
    case "IDLE":
      return ["+ idling"];
    case "FETCH":
    case "UID FETCH":
      if (script.messages.length === 0) return [`${tag} BAD nothing to fetch`];
      return [...rows(script, line, command === "UID FETCH"), `${tag} OK fetched`];
    case "LOGOUT":
      return ["* BYE until then", `${tag} OK`];
    default:
      return [`${tag} OK done`];
  }
}

function rows(script: Script, line: string, byUid: boolean): readonly string[] {
  const set = line.split(" ")[byUid ? 2 : 1];
  const partial = /BODY\.PEEK\[\](?:<(\d+)\.(\d+)>)?/.exec(line);
  return script.messages.flatMap(({ uid, raw }, index) => {
    if (!named(set, byUid, index, script)) return [];
    if (partial === null) {
      return [`* ${index + 1} FETCH (UID ${uid} INTERNALDATE "05-May-2026 07:08:09 +0000" RFC822.SIZE ${raw.length} FLAGS ())`];
    }
    const [, from, length] = partial;
    const body = from === undefined ? raw : raw.slice(Number(from), Number(from) + Number(length));
    return [`* ${index + 1} FETCH (UID ${uid} BODY[]${from === undefined ? "" : `<${from}>`} {${body.length}}`, `${body})`];
  });
}

/** Whether a sequence-set names this message; `*` is the last one. */
function named(set: string | undefined, byUid: boolean, index: number, { messages }: Script): boolean {
  const numbers = messages.map((message, at) => (byUid ? message.uid : at + 1));
  const mine = numbers[index] ?? 0;
  const last = Math.max(...numbers);
  return (set ?? "").split(",").some((range) => {
    const ends = range.split(":").map((end) => (end === "*" ? last : Number(end)));
    return mine >= Math.min(...ends) && mine <= Math.max(...ends);
  });
}
