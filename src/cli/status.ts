/** `billhook status`: what the daemon is doing and what needs a person; with --alive, whether it is well; with --watch, again and again. */
import { type Clock, systemClock } from "../base/clock.ts";
import { asFault, EXIT, type Fault } from "../base/errors.ts";
import { loadConfig } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import { assembleLedger } from "../daemon/state.ts";
import { examine, type Patient } from "../pipeline/examine.ts";
import { type Ailment, ailmentsOf, type Condition } from "../pipeline/health.ts";
import { conditionOf, overviewLines, tellingOf } from "./overview.ts";
import { frameOf } from "./screen.ts";
import type { Terminal } from "./terminal.ts";
import { visible, visibleJson } from "./visible.ts";
import { faultText } from "./words.ts";

type Options = {
  readonly config: string;
  readonly alive: boolean;
  readonly watch?: boolean;
  readonly verify?: boolean;
  readonly json: boolean;
};

const AGAIN_MS = 2_000;

export async function status(options: Options, terminal: Terminal, clock: Clock = systemClock): Promise<number> {
  const config = await loadConfig(options.config, process.env);
  if (options.verify) return (await import("./verify.ts")).verify(config, options, terminal, clock.now());
  if (options.watch) return watch(config, options, terminal, clock);
  const { code, lines } = await look(config, options, clock.now());
  for (const line of lines) terminal.out(line);
  return code;
}

async function watch(config: Config, options: Options, { out, stop, size }: Terminal, clock: Clock): Promise<number> {
  while (!stop.aborted) {
    const now = clock.now();
    const { lines } = await look(config, options, now);
    const told = options.json ? lines : [now.toISOString(), ...lines];
    if (size === undefined || options.json) for (const line of told) out(line);
    else out(frameOf(told, size()));
    await clock.sleep(AGAIN_MS, stop);
  }
  return EXIT.done;
}

type Look = { readonly code: number; readonly lines: readonly string[] };

/** Who asks whether it is well, now or again and again, gets an answer from a ledger that cannot be asked too; everybody else gets the fault. */
async function look(config: Config, options: Options, now: Date): Promise<Look> {
  try {
    return await ask(config, options, now);
  } catch (thrown) {
    if (!options.alive && !options.watch) throw thrown;
    const found = await conditionAt(refusing(asFault(thrown, "ledger.failed")), config, now);
    return tellAlive(ailmentsOf(found), options);
  }
}

async function ask(config: Config, options: Options, now: Date): Promise<Look> {
  const ledger = await assembleLedger(config, now);
  try {
    const found = await conditionAt(ledger, config, now);
    const ailments = ailmentsOf(found);
    if (options.alive) return tellAlive(ailments, options);
    const told = await tellingOf(ledger, found.paused, now);
    const condition = conditionOf(found, config, told.stuck);
    const lines = options.json
      ? [visibleJson({ ...aliveOf(ailments), ...condition, ...told })]
      : overviewLines(found, ailments, condition, told);
    return { code: EXIT.done, lines };
  } finally {
    await ledger.close();
  }
}

function conditionAt(ledger: Patient["ledger"], { state, mailboxes }: Config, now: Date): Promise<Condition> {
  return examine({ ledger, directory: state.directory, mailboxes: Object.keys(mailboxes), minFreeBytes: state.minFree }, now);
}

function refusing(why: Fault): Patient["ledger"] {
  const refuse = () => Promise.reject(why);
  return { tryWrite: refuse, held: refuse, pulse: refuse, mailbox: refuse, queues: refuse, moved: refuse, paused: refuse };
}

function tellAlive(ailments: readonly Ailment[], { json }: Options) {
  const said = ailments.length === 0 ? ["alive"] : ailments.map((ailment) => visible(faultText(ailment)));
  return { code: ailments.length === 0 ? EXIT.done : EXIT.door, lines: json ? [visibleJson(aliveOf(ailments))] : said };
}

/** `reasons` are the ailments for machines. */
function aliveOf(ailments: readonly Ailment[]) {
  return { alive: ailments.length === 0, ailments: ailments.map(({ message }) => message), reasons: ailments };
}
