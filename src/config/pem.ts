/** Whether the files that should hold certificates and keys do. */
import type { Broken } from "./broken.ts";
import { whyUnreadable } from "./references.ts";
import type { Readable } from "./rules.ts";

type Wanted = { readonly path: readonly string[]; readonly file: string | null; readonly holds: keyof typeof KINDS };

const KINDS = {
  ca: { mark: /-----BEGIN CERTIFICATE-----/, what: "CERTIFICATE", advice: "Name the file of the CA that signed the server's certificate." },
  certificate: { mark: /-----BEGIN CERTIFICATE-----/, what: "CERTIFICATE", advice: "Name the file of the certificate." },
  key: { mark: /-----BEGIN ([A-Z]+ )?PRIVATE KEY-----/, what: "PRIVATE KEY", advice: "Name the file of the key; it may have no password." },
};

/** `readFile` takes a path as it is written. */
export function brokenPems({ mailboxes, sinks }: Readable, readFile: (path: string) => string): readonly Broken[] {
  const wanted: readonly Wanted[] = [
    ...Object.entries(mailboxes).map(([name, { ca }]) => ({ path: ["mailboxes", name, "ca"], file: ca, holds: "ca" as const })),
    ...Object.entries(sinks).flatMap(([name, sink]) => {
      if (sink.kind === "file") return [];
      const { certificate, key } = sink.kind === "http" ? sink : { certificate: null, key: null };
      return Object.entries({ ca: sink.ca, certificate, key }).map(([holds, file]) => ({
        path: ["sinks", name, holds],
        file,
        holds: holds as Wanted["holds"],
      }));
    }),
  ];
  return wanted.flatMap(({ path, file, holds }) => {
    const { mark, what, advice } = KINDS[holds];
    const why = file === null ? null : whyNot(file, mark, advice, readFile);
    return why === null ? [] : [{ path, message: `expected a PEM file with at least one ${what}, ${why}` }];
  });
}

function whyNot(file: string, mark: RegExp, advice: string, readFile: (path: string) => string): string | null {
  try {
    return mark.test(readFile(file)) ? null : `found none in it. ${advice}`;
  } catch (thrown) {
    return `but ${whyUnreadable(thrown)}. Name a file the user billhook runs as can read.`;
  }
}
