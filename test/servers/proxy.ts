/** A TCP proxy that misbehaves on command: it cuts, freezes, drips, refuses, and tells or changes what both sides say. */
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { setTimeout as pause } from "node:timers/promises";

export type TcpProxy = {
  readonly host: string;
  readonly port: number;
  /** Connections accepted so far. */
  readonly accepted: () => number;
  /** When each of them was, in milliseconds of `performance.now()`. */
  readonly acceptedAt: () => readonly number[];
  /** Breaks every open connection. */
  readonly cut: () => void;
  /** Breaks every open connection once the server has sent this many more bytes; those bytes arrive. */
  readonly cutAfter: (bytes: number) => void;
  /** Half-open: nothing passes any more in either direction, and nobody is told. New connections work. */
  readonly freeze: () => void;
  /** While true, connections are accepted and dropped at once. */
  readonly refuse: (on: boolean) => void;
  /** While true, nobody listens on the port: connections are refused. Open ones go on. */
  readonly close: (on: boolean) => Promise<void>;
  /** Resolves when a client sends something that matches, from now on. */
  readonly hears: (pattern: RegExp) => Promise<void>;
  readonly stop: () => Promise<void>;
};

/** One connection as a meddler has it in hand. */
export type Wire = {
  /** 1 for the first one of the proxy. */
  readonly connection: number;
  /** Sent to the client at once, as if the server had said it. */
  readonly say: (text: string) => void;
  /** Broken (RST). */
  readonly cut: () => void;
  /** Ended as a server ends it (FIN); what was said before arrives. */
  readonly hangUp: () => void;
  readonly freeze: () => void;
  /** The same once the client has been given this many more bytes. */
  readonly after: (bytes: number, what: "cut" | "freeze") => void;
  /** From now on the client is given so many bytes every 10 ms. */
  readonly drip: (bytes: number) => void;
};

/** A line without its CRLF in; what passes instead out, null for nothing. Until it resolves nothing else passes in that direction. */
export type Meddle = (line: string, wire: Wire) => string | null | Promise<string | null>;

/** Reads the lines of an IMAP connection in clear text; literals (RFC 9051 section 4.3) pass untouched. */
export type Meddler = { readonly client?: Meddle; readonly server?: Meddle };

const DRIP_MS = 10;

export async function startProxy(
  target: { readonly host: string; readonly port: number },
  meddler: Meddler | null = null,
): Promise<TcpProxy> {
  const wires = new Set<Wire>();
  const listeners = new Set<{ readonly pattern: RegExp; readonly heard: () => void }>();
  const accepted: number[] = [];
  let refusing = false;
  let remaining = Number.POSITIVE_INFINITY;

  const each = (what: (wire: Wire) => void) => {
    for (const wire of [...wires]) what(wire);
  };
  const cut = () => {
    remaining = Number.POSITIVE_INFINITY;
    each((wire) => wire.cut());
  };
  const hear = (chunk: Buffer) => {
    for (const listener of listeners) {
      if (!listener.pattern.test(chunk.toString("latin1"))) continue;
      listeners.delete(listener);
      listener.heard();
    }
  };

  function join(client: Socket): void {
    const upstream = connect(target.port, target.host);
    let frozen = false;
    let most = Number.POSITIVE_INFINITY;
    let then: "cut" | "freeze" = "cut";
    let dripped = 0;
    const wire: Wire = {
      connection: accepted.length,
      say: (text) => void client.write(text, "latin1"),
      cut: () => {
        for (const socket of [client, upstream]) socket.resetAndDestroy();
      },
      hangUp: () => {
        client.end();
        upstream.destroy();
      },
      freeze: () => {
        frozen = true;
      },
      after: (bytes, what) => {
        most = bytes;
        then = what;
      },
      drip: (bytes) => {
        dripped = bytes;
      },
    };
    wires.add(wire);
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      socket.on("error", () => {});
      socket.once("close", () => {
        wires.delete(wire);
        // What the server said last is still on its way.
        if (other === client && !client.destroyed) client.end();
        else other.destroy();
      });
    }
    // Bytes are read and thrown away while frozen: so the end of the client is noticed, and the server's side ends with it.
    const pass = async (to: Socket, bytes: Buffer) => {
      if (frozen || to.destroyed || to.writableEnded) return;
      if (!to.write(bytes)) await Promise.race([once(to, "drain"), once(to, "close")]).catch(() => {});
    };
    const toClient = async (bytes: Buffer) => {
      const here = Math.min(most, remaining);
      const given = bytes.subarray(0, here);
      most -= given.length;
      remaining -= given.length;
      for (let at = 0; dripped > 0 && at < given.length; at += dripped) {
        await pass(client, given.subarray(at, at + dripped));
        await pause(DRIP_MS);
      }
      if (dripped === 0) await pass(client, given);
      if (given.length === bytes.length) return;
      if (remaining === 0) cut();
      else wire[then]();
    };
    const toServer = (bytes: Buffer) => {
      hear(bytes);
      return pass(upstream, bytes);
    };
    void pump(client, toServer, meddler?.client, wire);
    void pump(upstream, toClient, meddler?.server, wire);
  }

  const accept = (client: Socket) => {
    accepted.push(performance.now());
    client.on("error", () => {});
    if (refusing) client.destroy();
    else join(client);
  };
  let server: Server | null = await listen(0, accept);
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const close = async (on: boolean) => {
    if (!on) server ??= await listen(port, accept);
    else server?.close();
    if (on) server = null;
  };
  return {
    host: "127.0.0.1",
    port,
    accepted: () => accepted.length,
    acceptedAt: () => accepted,
    cut,
    cutAfter: (bytes) => {
      remaining = bytes;
    },
    freeze: () => each((wire) => wire.freeze()),
    refuse: (on) => {
      refusing = on;
    },
    close,
    hears: (pattern) => new Promise((heard) => void listeners.add({ pattern, heard })),
    stop: async () => {
      const last = server;
      last?.close();
      cut();
      if (last !== null) await once(last, "close");
    },
  };
}

async function listen(port: number, accept: (client: Socket) => void): Promise<Server> {
  const server = createServer(accept).listen(port, "127.0.0.1");
  await once(server, "listening");
  return server;
}

/** Moves what one side says to the other, line by line where somebody meddles. */
async function pump(from: Socket, pass: (bytes: Buffer) => Promise<void>, meddle: Meddle | undefined, wire: Wire): Promise<void> {
  try {
    if (meddle === undefined) {
      for await (const chunk of from) await pass(chunk as Buffer);
      return;
    }
    for await (const piece of linesAndLiterals(from)) {
      const told = typeof piece === "string" ? await meddle(piece, wire) : piece;
      if (told !== null) await pass(typeof told === "string" ? Buffer.from(`${told}\r\n`, "latin1") : told);
    }
  } catch {
    // The connection is gone; the other side is told by its own end.
  }
}

async function* linesAndLiterals(chunks: AsyncIterable<Buffer>): AsyncGenerator<string | Buffer> {
  let held: Buffer = Buffer.alloc(0);
  let literal = 0;
  for await (const chunk of chunks) {
    held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
    while (held.length > 0) {
      const end = held.indexOf("\r\n");
      if (literal > 0) {
        const piece = held.subarray(0, literal);
        literal -= piece.length;
        held = held.subarray(piece.length);
        yield piece;
      } else if (end >= 0) {
        const line = held.toString("latin1", 0, end);
        held = held.subarray(end + 2);
        literal = Number(/\{(\d+)\+?\}$/.exec(line)?.[1] ?? 0);
        yield line;
      } else break;
    }
  }
}
