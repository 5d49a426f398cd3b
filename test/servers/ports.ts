/** Ports of this machine for servers of the tests. */
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { connect, createServer } from "node:net";

const HOST = "127.0.0.1";

const given = new Set<number>();

/** One that nobody listens on just now, and below those the system gives to connections that go out (ip_local_port_range), which could take it in between. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(10_240, 32_768);
    if (given.has(port)) continue;
    given.add(port);
    const server = createServer().listen(port, HOST);
    const free = await once(server, "listening").then(
      () => true,
      () => false,
    );
    server.close();
    if (free) return port;
  }
}

/** Whether somebody listens there and speaks first. */
export async function greets(port: number): Promise<boolean> {
  const socket = connect(port, HOST);
  const greeted = await new Promise<boolean>((resolve) => {
    socket.once("data", () => resolve(true)).once("error", () => resolve(false));
    socket.once("close", () => resolve(false));
  });
  socket.destroy();
  return greeted;
}
