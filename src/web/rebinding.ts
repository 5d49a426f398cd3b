/** Whether a request was meant for this machine, or only led here by a name that its owner lets point to it (DNS rebinding). */
import type { IncomingHttpHeaders } from "node:http";
import { isLoopback } from "../config/broken.ts";
import type { Reply, Route } from "./web.ts";

/** True when it was asked for by a name or an address that always is this machine. */
export function isAskedAsLoopback({ host }: IncomingHttpHeaders): boolean {
  const url = host === undefined ? null : URL.parse(`http://${host}`);
  return url !== null && url.host.toLowerCase() === host?.toLowerCase().replace(/:80$/, "") && isLoopback(url.hostname);
}

const ELSEWHERE: Reply = {
  status: 421,
  json: { error: "this answers to localhost and 127.0.0.1 only; web.metrics: true opens it to any name" },
};

/** The same for who asked as this machine; any other is told nothing. */
export function forLoopback(route: Route): Route {
  return { ...route, answer: async (request, signal) => (isAskedAsLoopback(request.headers) ? route.answer(request, signal) : ELSEWHERE) };
}
