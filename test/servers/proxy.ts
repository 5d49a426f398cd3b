/** A TCP proxy that misbehaves on command: it cuts, freezes, refuses, and tells what the client says. */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

export type TcpProxy = {
  readonly host: string;
  readonly port: number;
  /** Connections accepted so far. */
  readonly accepted: () => number;
  /** Breaks every open connection. */
  readonly cut: () => void;
  /** Breaks every open connection once the server has sent this many more bytes. */
  readonly cutAfter: (bytes: number) => void;
  /** Half-open: nothing passes any more in either direction, and nobody is told. New connections work. */
  readonly freeze: () => void;
  /** While true, connections are accepted and dropped at once. */
  readonly refuse: (on: boolean) => void;
  /** Resolves when a client sends something that matches, from now on. */
  readonly hears: (pattern: RegExp) => Promise<void>;
  readonly stop: () => Promise<void>;
};

export async function startProxy(target: { readonly host: string; readonly port: number }): Promise<TcpProxy> {
  const pairs = new Set<readonly [Socket, Socket]>();
  const listeners = new Set<{ readonly pattern: RegExp; readonly heard: () => void }>();
  let accepted = 0;
  let refusing = false;
  let remaining = Number.POSITIVE_INFINITY;

  const cut = () => {
    remaining = Number.POSITIVE_INFINITY;
    for (const pair of pairs) for (const socket of pair) socket.resetAndDestroy();
  };
  const server = createServer((client) => {
    accepted++;
    client.on("error", () => {});
    if (refusing) return client.destroy();
    const upstream = connect(target.port, target.host);
    const pair = [client, upstream] as const;
    pairs.add(pair);
    for (const [socket, other] of [pair, [upstream, client] as const]) {
      socket.on("error", () => {});
      socket.once("close", () => {
        pairs.delete(pair);
        other.destroy();
      });
    }
    client.on("data", (chunk: Buffer) => {
      for (const listener of listeners) {
        if (!listener.pattern.test(chunk.toString("latin1"))) continue;
        listeners.delete(listener);
        listener.heard();
      }
    });
    upstream.on("data", (chunk: Buffer) => {
      remaining -= chunk.length;
      if (remaining < 0) cut();
    });
    client.pipe(upstream);
    upstream.pipe(client);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  return {
    host: "127.0.0.1",
    port: typeof address === "object" && address !== null ? address.port : 0,
    accepted: () => accepted,
    cut,
    cutAfter: (bytes) => {
      remaining = bytes;
    },
    freeze: () => {
      for (const [client, upstream] of pairs) {
        client.unpipe(upstream).pause();
        upstream.unpipe(client).pause();
      }
    },
    refuse: (on) => {
      refusing = on;
    },
    hears: (pattern) => new Promise((heard) => void listeners.add({ pattern, heard })),
    stop: async () => {
      server.close();
      cut();
      await once(server, "close");
    },
  };
}
