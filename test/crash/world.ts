/** A world for one round: a folder of a shared Dovecot, and a sandbox, a receiver, a state and a directory of files of its own, all outside the daemon. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { type Sandbox, startSandbox } from "../../src/sandbox/sandbox.ts";
import type { Dovecot } from "../servers/dovecot.ts";
import { billhook, startBillhook } from "../servers/process.ts";
import { type Receiver, startReceiver } from "../servers/receiver.ts";
import type { Mail } from "./box.ts";
import type { Journal } from "./points.ts";

const KEY = "crash-key";
/** Every life compiles the same sources: kept, that costs half as much. */
const COMPILED = join(tmpdir(), "billhook-crash-compiled");

export type Life = { readonly ended: number | NodeJS.Signals; readonly journal: Journal; readonly said: string };

export type World = {
  readonly dovecot: Dovecot;
  readonly directory: string;
  readonly config: string;
  /** What the daemon needs besides its configuration. */
  readonly environment: Readonly<Record<string, string>>;
  /** Where the mail comes in, and where it is moved when it is done. */
  readonly folders: readonly [inbox: string, done: string];
  readonly sandbox: Sandbox;
  readonly erp: Receiver;
  readonly deliver: (mails: readonly Mail[]) => Promise<void>;
  /** `run --once`, to its end or to this point. */
  readonly live: (killAt?: string) => Promise<Life>;
  /** `run`, until `moment` resolves; then SIGKILL. */
  readonly liveUntil: (moment: Promise<unknown>) => Promise<Life>;
  readonly retry: (message: string) => Promise<void>;
  readonly stop: () => Promise<void>;
};

let made = 0;

/** `runMs`: how long a run takes at the service; 0 makes the points of two lives the same. */
export async function startWorld(dovecot: Dovecot, runMs: number): Promise<World> {
  made += 1;
  const inbox = `Round${made}`;
  const done = `${inbox}Done`;
  const directory = await mkdtemp(join(tmpdir(), "billhook-crash-"));
  const sandbox = await startSandbox({ port: 0, apiKey: KEY, clock: systemClock, pace: { pendingMs: 0, runningMs: runMs } });
  const erp = await startReceiver();
  await dovecot.createFolder(inbox);
  const config = join(directory, "config.yaml");
  await mkdir(join(directory, "out"));
  await writeFile(config, written({ dovecot, inbox, done, sandbox, erp }));
  const environment = { CRASH_PASSWORD: dovecot.password, NODE_COMPILE_CACHE: COMPILED };
  let lives = 0;

  async function life(args: readonly string[], killAt: string | undefined, moment: Promise<unknown> | null): Promise<Life> {
    lives += 1;
    const points = join(directory, `points-${lives}`);
    const doom = killAt === undefined ? {} : { BILLHOOK_KILL_AT: killAt };
    const daemon = startBillhook([...args, "-c", config], { ...environment, ...doom, BILLHOOK_POINTS: points });
    void moment?.then(() => daemon.kill("SIGKILL"));
    const ended = await daemon.ended;
    const lines = (await readFile(points, "utf8").catch(() => "")).split("\n");
    const said = [...daemon.said, ...daemon.log.map((line) => JSON.stringify(line))].join("\n");
    // Killed while it wrote one down, it had not passed it.
    return { ended, journal: lines.slice(0, -1), said };
  }

  return {
    dovecot,
    directory,
    config,
    environment,
    folders: [inbox, done],
    sandbox,
    erp,
    deliver: async (mails) => {
      for (const { raw } of mails) await dovecot.append(inbox, raw);
    },
    live: (killAt) => life(["run", "--once"], killAt, null),
    liveUntil: (moment) => life(["run"], undefined, moment),
    retry: async (message) => {
      const { code, said } = await billhook(["retry", message, "-c", config], environment);
      if (code !== 0) throw new Error(`billhook retry ended with ${code}: ${said.join("\n")}`);
    },
    stop: async () => {
      await Promise.all([sandbox.stop(), erp.stop()]);
      await rm(directory, { recursive: true, force: true });
      for (const folder of [inbox, done]) await rm(join(dovecot.directory, "home/Maildir", `.${folder}`), { recursive: true, force: true });
    },
  };
}

type Places = {
  readonly dovecot: Dovecot;
  readonly inbox: string;
  readonly done: string;
  readonly sandbox: Sandbox;
  readonly erp: Receiver;
};

/** Both services, and the three ways of delivering that a crash meets differently: whole files, lines appended, requests. */
function written({ dovecot, inbox, done, sandbox, erp }: Places): string {
  const quick = "poll: { first: 100ms, longest: 1s }, rates: { read: 1000, write: 1000, run: 1000 }";
  return `
state: { directory: ./state, minFree: 1MB }
log: { format: json }
retry: { first: 200ms, longest: 2s }
mailboxes:
  invoices:
    { host: ${dovecot.host}, port: ${dovecot.port}, tls: none, user: ${dovecot.user}, password: "\${CRASH_PASSWORD}", folder: ${inbox},
      start: all, sweep: "*/2 * * * * *", afterwards: { done: { move: ${done} }, failed: { keyword: needs-a-person } } }
services:
  cloudsquid: { kind: cloudsquid, url: "${sandbox.url}", apiKey: ${KEY}, project: crash, table: 3c90c3cc-0d44-4b50-8888-8dd25736052a, ${quick} }
  extend: { kind: extend, url: "${sandbox.extendUrl}", apiKey: ${KEY}, extractor: { id: ex_crash }, ${quick} }
sinks:
  files: { kind: file, directory: ./out, name: "{{message}}-{{position}}.json", attachments: true, raw: true }
  table: { kind: file, directory: ./out, name: all.csv, format: csv, failures: true }
  erp: { kind: http, url: "${erp.url}", allowPrivate: true, retry: { first: 200ms, longest: 1s } }
routes:
  - { name: at Extend, when: { from: ["*@fionnbar-tools.example", "*@lindenhof-werkzeuge.example"] }, service: extend }
`;
}
