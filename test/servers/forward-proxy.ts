/** A forward proxy as companies have one: CONNECT for https, absolute URLs for http, with user and password when asked. */
import { createServer, type IncomingMessage, request } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";

export type ForwardProxy = {
  readonly url: string;
  /** `CONNECT host:port` and `POST http://…`, in order. */
  readonly asked: readonly string[];
  readonly stop: () => Promise<void>;
};

/** Everything goes to `target` on this machine, whatever name was asked for: a proxy looks names up by itself. */
export async function startForwardProxy(target: number, credentials: string | null = null): Promise<ForwardProxy> {
  const asked: string[] = [];
  const sockets = new Set<Socket>();
  const expected = credentials === null ? undefined : `Basic ${Buffer.from(credentials).toString("base64")}`;
  const admitted = (incoming: IncomingMessage) => {
    asked.push(`${incoming.method} ${incoming.url}`);
    return expected === undefined || incoming.headers["proxy-authorization"] === expected;
  };
  const server = createServer((incoming, response) => {
    if (!admitted(incoming)) return response.writeHead(407, { "proxy-authenticate": "Basic" }).end();
    const { pathname, search } = new URL(incoming.url ?? "");
    const { "proxy-authorization": _, ...headers } = incoming.headers;
    const onward = request({ port: target, host: "127.0.0.1", method: incoming.method, path: pathname + search, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    return incoming.pipe(onward);
  });
  server.on("connect", (incoming, client: Socket, head: Buffer) => {
    if (!admitted(incoming)) return client.end("HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n");
    const onward = connect(target, "127.0.0.1", () => {
      client.write("HTTP/1.1 200 Connection Established\r\n\r\n");
      onward.write(head);
      client.pipe(onward).pipe(client);
    });
    for (const socket of [client, onward]) socket.on("error", () => client.destroy());
    sockets.add(client).add(onward);
    return onward;
  });
  server.on("connection", (socket: Socket) => sockets.add(socket.on("error", () => {})));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://${credentials === null ? "" : `${credentials}@`}127.0.0.1:${port}`,
    asked,
    stop: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
