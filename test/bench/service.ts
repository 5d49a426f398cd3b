/** A service that speaks both contracts as far as a mail needs them: it takes everything and keeps nothing. */
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

export type NullService = {
  readonly url: string;
  /** Bytes that came in, and requests answered, so far. */
  readonly seen: { readonly bytes: number; readonly requests: number };
  /** Resolves when so many runs have been ordered. */
  readonly ordered: (runs: number) => Promise<void>;
  readonly stop: () => void;
};

/** With `over` a run is over at once, else never. */
export async function startNullService(over: boolean): Promise<NullService> {
  const seen = { bytes: 0, requests: 0, runs: 0 };
  let made = 0;
  let told = () => {};
  const data = { invoice_number: "INV-7", gross_amount: "119.00" };

  function answer(method: string, url: string): object {
    const what = `${method} ${url.replace(/\?.*/, "")}`;
    made += 1;
    if (what === "POST /extract_runs" || what.endsWith("/run")) {
      seen.runs += 1;
      told();
    }
    switch (true) {
      case what === "POST /files/upload":
        return { object: "file", id: `file_${made}` };
      case what === "POST /extract_runs":
        return { object: "extract_run", id: `exr_${made}`, status: "PENDING" };
      case what === "GET /extract_runs":
        return { object: "list", data: [] };
      case what.startsWith("GET /extract_runs/"): {
        const run = { object: "extract_run", id: url.split("/").at(-1) };
        const output = { value: data, metadata: {} };
        return over ? { ...run, status: "PROCESSED", output } : { ...run, status: "PROCESSING", output: null };
      }
      case what.startsWith("PUT "):
      case what.startsWith("GET ") && what.endsWith("/files"):
        return { ftype: "file", name: "mail.eml", size: 1, url: "https://storage.example/file" };
      case what.endsWith("/files"):
        return { row_id: `row-${made}` };
      case what.endsWith("/run"):
        return { run_id: `run-${made}` };
      default:
        return { status: over ? "done" : "running", data, row_id: "row", created_at: "2026-05-04T10:00:00Z" };
    }
  }

  const server = createServer((request, response) => {
    request.on("data", (chunk: Buffer) => {
      seen.bytes += chunk.length;
    });
    request.on("end", () => {
      seen.requests += 1;
      const body = JSON.stringify(answer(request.method ?? "", request.url ?? ""));
      response.writeHead(200, { "content-type": "application/json" }).end(body);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    ordered: (runs) =>
      new Promise((resolve) => {
        told = () => {
          if (seen.runs >= runs) resolve();
        };
        told();
      }),
    stop: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** A configuration with one folder of this IMAP server and one service at this URL; `more` are lines of the service. */
export function configOf(
  { host, tlsPort, user, password }: { readonly host: string; readonly tlsPort: number; readonly user: string; readonly password: string },
  folder: string,
  service: { readonly kind: "cloudsquid" | "extend"; readonly url: string; readonly more: readonly string[] },
): string {
  const own =
    service.kind === "extend"
      ? [`url: ${service.url}`, "extractor: { id: ex_1 }"]
      : [`url: ${service.url}/api`, "project: p", `table: ${TABLE}`];
  return `
state: { directory: ./state }
log: { format: json }
mailboxes:
  invoices: { host: ${host}, port: ${tlsPort}, ca: ./ca.pem, user: ${user}, password: "${password}", folder: ${folder}, start: all }
services:
  bench:
    kind: ${service.kind}
    apiKey: bench-key
${[...own, ...service.more].map((line) => `    ${line}`).join("\n")}
sinks:
  files: { kind: file, directory: ./out }
`;
}

const TABLE = "3c90c3cc-0d44-4b50-8888-8dd25736052a";
