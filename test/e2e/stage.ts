/** A stage for the whole job: a real Dovecot, the sandbox in a process of its own, and a configuration that knows both. */
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type FetchMessageObject, type FetchQueryObject, ImapFlow } from "imapflow";
import { type Dovecot, startDovecot } from "../servers/dovecot.ts";
import { type Billhook, startBillhook } from "../servers/process.ts";

const KEY = "stage-key";
export const MAIL = new URL("../../fixtures/mail/", import.meta.url);

export type Expectation = {
  readonly settles: "done" | "failed";
  readonly split: { readonly messageId: string | null; readonly subject: string | null };
  readonly invoices: readonly { readonly invoice_number: string; readonly gross_amount: string }[];
};

export type Counts = {
  readonly uploads: number;
  readonly runs: number;
  readonly polls: number;
  readonly rows: readonly { readonly row_id: string; readonly filename: string; readonly runs: number }[];
  readonly extend: {
    readonly uploads: number;
    readonly runs: number;
    readonly made: readonly { readonly id: string; readonly key: string | null }[];
  };
};

export type Stage = {
  readonly dovecot: Dovecot;
  readonly directory: string;
  readonly config: string;
  readonly state: string;
  readonly results: string;
  readonly start: (...args: string[]) => Billhook;
  /** The same, killed by its own hand at the n-th point between an effect and its save. */
  readonly startDoomed: (nth: number, ...args: string[]) => Billhook;
  readonly counts: () => Promise<Counts>;
  readonly addFault: (rule: object) => Promise<void>;
  /** Relative path -> text of every file the sink wrote. */
  readonly written: () => Promise<Map<string, string>>;
  /** What stands in a folder: the flags of each message. */
  readonly list: (folder: string) => Promise<readonly { readonly uid: number; readonly flags: readonly string[] }[]>;
  /** The same, and the bytes of each message. */
  readonly read: (folder: string) => Promise<readonly { readonly uid: number; readonly raw: Buffer }[]>;
  readonly stop: () => Promise<void>;
};

export type StageOptions = {
  readonly afterwards?: string;
  readonly start?: string;
  readonly sink?: string;
  /** What stands below `sinks` instead of one file sink, and below `routes`: lines of YAML. */
  readonly sinks?: readonly string[];
  readonly routes?: readonly string[];
  /** What lies beside the configuration: name -> text. */
  readonly beside?: Readonly<Record<string, string>>;
  readonly encoding?: string;
  readonly retry?: string;
  readonly service?: "cloudsquid" | "extend";
  /** More lines for the service, as YAML. */
  readonly more?: readonly string[];
  readonly concurrency?: number;
};

function serviceOf(
  { service = "cloudsquid", encoding = "multipart", more = [] }: StageOptions,
  urls: { readonly url: string; readonly extend: string },
): string {
  const cloudsquid = [`url: ${urls.url}`, "project: stage", "table: 3c90c3cc-0d44-4b50-8888-8dd25736052a", `encoding: ${encoding}`];
  const extend = [`url: ${urls.extend}`, "extractor: { id: ex_stage }"];
  const lines = [
    `kind: ${service}`,
    `apiKey: ${KEY}`,
    "poll: { first: 100ms, longest: 1s }",
    ...(service === "extend" ? extend : cloudsquid),
    ...more,
  ];
  return `  ${service}:\n${lines.map((line) => `    ${line}`).join("\n")}`;
}

export async function startStage(options: StageOptions = {}): Promise<Stage> {
  const directory = await mkdtemp(join(tmpdir(), "billhook-e2e-"));
  const dovecot = await startDovecot();
  const sandbox = startBillhook(["sandbox", "--port", "0", "--key", KEY]);
  const url = (await sandbox.printed((line) => line.startsWith("url: "))).slice("url: ".length);
  const extend = (await sandbox.printed((line) => line.startsWith("extend: "))).slice("extend: ".length);
  const config = join(directory, "config.yaml");
  await writeFile(
    config,
    `
state: { directory: ./state }
log: { format: json }
concurrency: ${options.concurrency ?? 8}
retry: ${options.retry ?? "{ first: 200ms, longest: 2s }"}
mailboxes:
  invoices:
    host: ${dovecot.host}
    port: ${dovecot.tlsPort}
    ca: ./ca.pem
    user: ${dovecot.user}
    password: \${STAGE_PASSWORD}
    start: ${options.start ?? "all"}
    sweep: "*/2 * * * * *"
    afterwards: ${options.afterwards ?? "{ done: { move: Done }, failed: { keyword: needs-a-person } }"}
services:
${serviceOf(options, { url, extend })}
sinks:
${linesOf(options.sinks ?? [`files: ${options.sink ?? '{ kind: file, directory: ./out, name: "{{message}}-{{position}}.json" }'}`])}
routes:${(options.routes ?? []).length === 0 ? " []" : `\n${linesOf(options.routes ?? [])}`}
`,
  );
  for (const [name, text] of Object.entries({ "ca.pem": dovecot.ca, ...options.beside })) await writeFile(join(directory, name), text);
  const results = join(directory, "out");
  const started: Billhook[] = [];
  const begin = (args: readonly string[], more: Readonly<Record<string, string>> = {}) => {
    const one = startBillhook([...args, "-c", config], { STAGE_PASSWORD: dovecot.password, ...more });
    started.push(one);
    return one;
  };
  const control = url.replace(/\/api$/, "");
  return {
    dovecot,
    directory,
    config,
    state: join(directory, "state"),
    results,
    start: (...args) => begin(args),
    startDoomed: (nth, ...args) => begin(args, { BILLHOOK_KILL_AT: String(nth) }),
    counts: async () => (await (await fetch(`${control}/_sandbox/counts`)).json()) as Counts,
    addFault: async (rule) => {
      const answer = await fetch(`${control}/_sandbox/faults`, {
        method: "POST",
        body: JSON.stringify(rule),
        headers: { "content-type": "application/json" },
      });
      if (!answer.ok) throw new Error(`the sandbox refused the fault: ${answer.status} ${await answer.text()}`);
    },
    written: async () => {
      const files = new Map<string, string>();
      for (const entry of await readdir(results, { recursive: true, withFileTypes: true }).catch(() => [])) {
        if (entry.isFile())
          files.set(
            join(entry.parentPath, entry.name).slice(results.length + 1),
            await readFile(join(entry.parentPath, entry.name), "utf8"),
          );
      }
      return files;
    },
    list: async (folder) => {
      const found = await fetchAll(dovecot, folder, { uid: true, flags: true });
      return found.map(({ uid, flags }) => ({ uid, flags: [...(flags ?? [])] }));
    },
    read: async (folder) => {
      const found = await fetchAll(dovecot, folder, { uid: true, source: true });
      return found.map(({ uid, source }) => ({ uid, raw: source ?? Buffer.alloc(0) }));
    },
    stop: async () => {
      // What a test that failed has left running.
      await Promise.all(started.map((one) => one.kill("SIGKILL")));
      await sandbox.kill();
      await dovecot.stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

function linesOf(lines: readonly string[]): string {
  return lines.map((line) => `  ${line}`).join("\n");
}

/** What the folder's owner sees, through a connection of its own. */
export async function fetchAll(
  { host, port, ca, user, password }: Dovecot,
  folder: string,
  query: FetchQueryObject,
): Promise<readonly FetchMessageObject[]> {
  const client = new ImapFlow({ host, port, secure: false, tls: { ca }, auth: { user, pass: password }, logger: false });
  await client.connect();
  try {
    const { exists } = await client.mailboxOpen(folder, { readOnly: true });
    return exists === 0 ? [] : await client.fetchAll("1:*", query);
  } finally {
    await client.logout();
  }
}

/** The fixtures with what must come out of them. */
export async function fixtures(): Promise<readonly { readonly name: string; readonly raw: Buffer; readonly expected: Expectation }[]> {
  const names = (await readdir(MAIL)).filter((name) => name.endsWith(".eml")).sort();
  return Promise.all(
    names.map(async (name) => ({
      name,
      raw: await readFile(new URL(name, MAIL)),
      expected: JSON.parse(await readFile(new URL(name.replace(/\.eml$/, ".json"), MAIL), "utf8")) as Expectation,
    })),
  );
}

/** Invoice numbers and gross amounts in a delivered file, as the fixtures' expectations name them. */
export function invoicesIn(text: string): readonly { readonly invoice_number: string; readonly gross_amount: string }[] {
  const { data } = JSON.parse(text) as { data: { invoices?: Record<string, string>[] } & Record<string, string> };
  return (data.invoices ?? [data]).map((one) => ({ invoice_number: String(one.invoice_number), gross_amount: String(one.gross_amount) }));
}
