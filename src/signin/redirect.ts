/** Where a browser comes back to after the consent: one page on this machine, for one request (RFC 8252 section 7.3). */
import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";

export type Redirect = {
  readonly url: string;
  /** Resolves with the first address called that is `ours`; others are answered with 404. Rejects when the signal is aborted. */
  readonly came: (ours: (url: URL) => boolean) => Promise<URL>;
  readonly close: () => Promise<void>;
};

const HOST = "127.0.0.1";
const PATH = "/signed-in";

export async function awaitRedirect(signal: AbortSignal): Promise<Redirect> {
  const calls: { readonly url: URL; readonly answer: ServerResponse }[] = [];
  let look = () => {};
  const server = createServer((request, answer) => {
    const url = URL.parse(request.url ?? "", `http://${HOST}`);
    if (request.method !== "GET" || url?.pathname !== PATH) return void answer.writeHead(404).end();
    calls.push({ url, answer });
    look();
  });
  server.listen(0, HOST);
  await once(server, "listening", { signal });
  const address = server.address();
  const origin = `http://${HOST}:${typeof address === "object" && address !== null ? address.port : 0}`;
  return {
    url: `${origin}${PATH}`,
    came: (ours) =>
      new Promise((resolve, reject) => {
        if (signal.aborted) return reject(signal.reason);
        signal.addEventListener("abort", () => reject(signal.reason), { once: true });
        look = () => {
          for (const { url, answer } of calls.splice(0)) {
            if (!ours(url)) {
              answer.writeHead(404).end();
              continue;
            }
            const text = url.searchParams.has("error") ? "This was not agreed to." : "Done: this window can be closed.";
            answer.writeHead(200, { "content-type": "text/plain; charset=utf-8", connection: "close" });
            answer.end(`${text}\n`, () => resolve(new URL(url.pathname + url.search, origin)));
          }
        };
        look();
      }),
    close: async () => {
      server.close();
      server.closeAllConnections();
    },
  };
}
