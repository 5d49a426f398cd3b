/** The command line: one table of commands; each is loaded only when it is called. */
import { readFileSync } from "node:fs";
import { Command, CommanderError, InvalidArgumentError } from "commander";
import { EXIT, exitCodeOf, Fault } from "../base/errors.ts";
import { personAt } from "./confirm.ts";
import type { Terminal } from "./terminal.ts";

const CONFIG = ["-c, --config <file>", "the configuration", "config.yaml"] as const;
const NAMED = "the beginning of its id, its Message-ID, or a file of it";
type Narrowing = "state" | "since" | "from" | "mailbox" | "subject";

function program(terminal: Terminal, ended: (code: number) => void): Command {
  const billhook = new Command("billhook")
    .description("Watches mailboxes for invoices, has them read by an extraction service, and delivers the data: once, provably.")
    .version(version())
    .exitOverride()
    .showHelpAfterError("(billhook --help lists the commands)");

  billhook
    .command("run")
    .description("watch the mailboxes and do the work until told to stop")
    .option(...CONFIG)
    .option("--once", "take what is there, finish it, end", false)
    .action(async (options: { config: string; once: boolean }) => ended(await (await import("./run.ts")).run(options, terminal)));

  billhook
    .command("check")
    .description("validate the configuration and knock on every door: mailboxes, service, sinks")
    .option(...CONFIG)
    .action(async (options: { config: string }) => ended(await (await import("./check.ts")).check(options, terminal)));

  billhook
    .command("login <mailbox>")
    .description("sign in to a mailbox with oauth2: shows a code or an address, waits for the consent, and stores it")
    .option(...CONFIG)
    .action(async (mailbox: string, options: { config: string }) =>
      ended(await (await import("./login.ts")).login({ ...options, mailbox }, terminal)),
    );

  billhook
    .command("status")
    .description("what the daemon is doing and what needs a person")
    .option(...CONFIG)
    .option("--alive", "only exit 0 when the daemon, its ledger, its disk and every mailbox are well (for HEALTHCHECK)", false)
    .option("--watch", "again every two seconds, until Ctrl-C", false)
    .option("--verify", "check the ledger, and the spool against it; reads every file of it", false)
    .option("--json", "one JSON object; with --watch and --verify one a line", false)
    .action(async (options: { config: string; alive: boolean; watch: boolean; verify: boolean; json: boolean }) =>
      ended(await (await import("./status.ts")).status(options, terminal)),
    );

  billhook
    .command("list")
    .description("the mails there are, newest first")
    .option(...CONFIG)
    .option("--state <state>", "failed, held, retrying, waiting, working, ignored or done; or unread: seen, and never given by the server")
    .option("--since <when>", "that came since then: 2d, 12h, or a date such as 2026-03-31")
    .option("--from <text>", "with this in the sender's name or address")
    .option("--mailbox <name>", "seen in this mailbox")
    .option("--subject <text>", "with this in the subject")
    .option("--limit <number>", "so many at most", "100")
    .option("--json", "one JSON object a line", false)
    .action(async (options: { config: string; limit: string; json: boolean } & Partial<Record<Narrowing, string>>) => {
      const { state = null, since = null, from = null, mailbox = null, subject = null, ...rest } = options;
      ended(await (await import("./list.ts")).list({ state, since, from, mailbox, subject, ...rest }, terminal));
    });

  billhook
    .command("show <message>")
    .description(`the whole life of a mail: parts, runs, invoices, deliveries, faults, events (${NAMED})`)
    .option(...CONFIG)
    .option("--json", "one JSON object", false)
    .action(async (message: string, options: { config: string; json: boolean }) =>
      ended(await (await import("./show.ts")).show({ ...options, message }, terminal)),
    );

  billhook
    .command("retry [message]")
    .description(`put failed tasks back: of one mail (${NAMED}), or with --failed all of them`)
    .option(...CONFIG)
    .option("--failed", "every failed task", false)
    .action(async (message: string | undefined, options: { config: string; failed: boolean }) =>
      ended(await (await import("./retry.ts")).retry({ ...options, message: message ?? null }, terminal)),
    );

  billhook
    .command("release <message>")
    .description(`let a held mail go, although a limit or a rule holds it (${NAMED})`)
    .option(...CONFIG)
    .action(async (message: string, options: { config: string }) =>
      ended(await (await import("./release.ts")).release({ ...options, message }, terminal)),
    );

  billhook
    .command("ignore <message>")
    .description(`give a mail up: nothing more is done for it, and the mailbox is told that it is done with (${NAMED})`)
    .option(...CONFIG)
    .requiredOption("--why <text>", "for those who will ask")
    .action(async (message: string, options: { config: string; why: string }) =>
      ended(await (await import("./ignore.ts")).ignore({ ...options, message }, terminal)),
    );

  billhook
    .command("reextract <message>")
    .description(`have a mail read once more, and deliver what is found; asks before it pays (${NAMED})`)
    .option(...CONFIG)
    .option("--with <service>", "by this service instead of the one it went to")
    .option("--yes", "do not ask", false)
    .action(async (message: string, options: { config: string; with?: string; yes: boolean }) =>
      ended(await (await import("./reextract.ts")).reextract({ ...options, message, with: options.with ?? null }, terminal)),
    );

  billhook
    .command("export <message>")
    .description(`everything about a mail as a zip, for support or an auditor (${NAMED})`)
    .option(...CONFIG)
    .option("--out <file>", "where it is written; in this directory, after the mail's id, when left out")
    .action(async (message: string, { config, out }: { config: string; out?: string }) =>
      ended(await (await import("./export.ts")).exportMail({ config, message, out: out ?? null }, terminal)),
    );

  billhook
    .command("cancel <message>")
    .description("ask the service to stop the runs of a message that are under way (Extend can)")
    .option(...CONFIG)
    .action(async (message: string, options: { config: string }) =>
      ended(await (await import("./cancel.ts")).cancel({ ...options, message }, terminal)),
    );

  billhook
    .command("replay <message>")
    .description(`deliver the results of a mail once more, under new keys (${NAMED})`)
    .option(...CONFIG)
    .option("--to <sink>", "only to this sink")
    .action(async (message: string, { config, to }: { config: string; to?: string }) =>
      ended(await (await import("./replay.ts")).replay({ config, message, to: to ?? null }, terminal)),
    );

  billhook
    .command("pause <name>")
    .description("buy nothing more at a service, or deliver nothing more to a sink; runs already bought are still asked after")
    .option(...CONFIG)
    .action(async (name: string, options: { config: string }) =>
      ended(await (await import("./pause.ts")).pause({ ...options, name }, terminal)),
    );

  billhook
    .command("resume <name>")
    .description("go on with a paused service or sink")
    .option(...CONFIG)
    .action(async (name: string, options: { config: string }) =>
      ended(await (await import("./pause.ts")).resume({ ...options, name }, terminal)),
    );

  billhook
    .command("backfill <mailbox>")
    .description("take in old mail of a mailbox: says how much it is and what may be paid for it, asks, and goes on where it was stopped")
    .option(...CONFIG)
    .requiredOption("--since <day>", "the first day of mail to take, such as 2026-01-01 (UTC)")
    .option("--until <day>", "the last day")
    .option("--yes", "without asking", false)
    .action(async (mailbox: string, { until, ...rest }: { config: string; since: string; until?: string; yes: boolean }) =>
      ended(await (await import("./backfill.ts")).backfill({ ...rest, mailbox, until: until ?? null }, terminal)),
    );

  billhook
    .command("recover")
    .description("put a damaged or lost ledger and spool right, while the daemon is stopped; says what it would do, and asks")
    .option(...CONFIG)
    .option("--yes", "without asking", false)
    .action(async (options: { config: string; yes: boolean }) => ended(await (await import("./recover.ts")).recover(options, terminal)));

  billhook
    .command("split <file...>")
    .description("show the parts of mail files, the way the daemon sees them")
    .option("--json", "one JSON line a file", false)
    .action(async (files: string[], options: { json: boolean }) =>
      ended(await (await import("./split.ts")).split(files, options, terminal.out)),
    );

  billhook
    .command("explain [file]")
    .description("what would become of a mail and why: rules, parts sent, runs paid, deliveries; touches nothing")
    .option(...CONFIG)
    .option("--uid <number>", "a message of a mailbox instead of a file, by its UID")
    .option("--mailbox <name>", "the mailbox it is in, or is taken to be in")
    .option("--json", "one JSON object", false)
    .action(async (file: string | undefined, options: { config: string; uid?: string; mailbox?: string; json: boolean }) => {
      const { uid = null, mailbox = null, config, json } = options;
      ended(await (await import("./explain.ts")).explain({ config, json, file: file ?? null, uid, mailbox }, terminal));
    });

  billhook
    .command("sandbox")
    .description("serve both extraction services' contracts on loopback, reading e-invoices for real: to try a configuration")
    .option("--port <number>", "port to listen on; 0 picks a free one", wholeNumber, 8787)
    .option("--key <key>", "the API key clients must send", "sandbox-key")
    .option("--project <name>", "the project Cloudsquid's half lists; it takes any", "Accounts Payable")
    .action(async (options: { port: number; key: string; project: string }) =>
      ended(await (await import("./sandbox.ts")).sandbox(options, terminal.out, terminal.stop)),
    );

  billhook
    .command("demo")
    .description("the whole job on your machine: a mailbox with sample mail, the sandbox, the daemon; JSON in demo-out/")
    .option("--once", "end when every message is settled", false)
    .option("--json", "end with one JSON line instead of a table", false)
    .option("--out <directory>", "where the JSON goes", "demo-out")
    .action(async (options: { once: boolean; json: boolean; out: string }) =>
      ended(await (await import("./demo.ts")).demo(options, terminal)),
    );

  billhook
    .command("config")
    .description("print the JSON Schema or the reference of the configuration, or the JSON Schema of what is delivered")
    .option("--schema", "the JSON Schema", false)
    .option("--reference", "the reference, as Markdown", false)
    .option("--delivery", "the JSON Schema of what is delivered", false)
    .action(async (options: { schema: boolean; reference: boolean; delivery: boolean }) =>
      ended(await (await import("./config.ts")).config(options, terminal.out)),
    );

  return billhook;
}

/** Runs one command line. Resolves with the exit code: 0 done, 1 our bug, 2 configuration, 3 a door did not open. */
export async function cli(argv: readonly string[]): Promise<number> {
  const stop = new AbortController();
  const interrupted = (signal: NodeJS.Signals) => {
    if (stop.signal.aborted) process.exit(signal === "SIGINT" ? 130 : 143);
    stop.abort();
  };
  process.on("SIGINT", interrupted).on("SIGTERM", interrupted);
  const { stdout } = process;
  stdout.on("error", (thrown: NodeJS.ErrnoException) => {
    if (thrown.code !== "EPIPE") throw thrown;
    // Whoever reads has seen enough (`| head`): what would go on telling ends.
    stop.abort();
  });
  const ask = personAt(stop.signal);
  const terminal: Terminal = {
    out: (line) => void stdout.write(`${line}\n`),
    say: (line) => void process.stderr.write(`${line}\n`),
    stop: stop.signal,
    ...(ask === null ? {} : { ask }),
    ...(stdout.isTTY ? { size: () => ({ columns: stdout.columns || 80, rows: stdout.rows || 24 }) } : {}),
  };
  let code: number = EXIT.done;
  try {
    await program(terminal, (ended) => {
      code = ended;
    }).parseAsync(argv, { from: "user" });
    return code;
  } catch (thrown) {
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? EXIT.done : EXIT.configuration;
    if (thrown instanceof Fault) terminal.say(thrown.advice === null ? thrown.message : `${thrown.message}\n  ${thrown.advice}`);
    else terminal.say(`billhook met an error of its own; please report it:\n${thrown instanceof Error ? thrown.stack : String(thrown)}`);
    // A mail, sink or service that is not there was named wrongly.
    return thrown instanceof Fault && thrown.code.startsWith("desk.") && !thrown.temporary ? EXIT.configuration : exitCodeOf(thrown);
  } finally {
    process.off("SIGINT", interrupted).off("SIGTERM", interrupted);
  }
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0 || value > 65_535) {
    throw new InvalidArgumentError("Expected a port number from 0 to 65535.");
  }
  return value;
}

function version(): string {
  const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string };
  return version;
}
