/** `billhook backfill`: takes in old mail of a mailbox, after it has said what that means; safe while the daemon runs. */
import { systemClock } from "../base/clock.ts";
import { EXIT, type Fault, permanent } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { Config } from "../config/schema.ts";
import { assembleDoors, type Doors } from "../daemon/assemble.ts";
import { type Period, type Plan, planBackfill, type Tally, backfill as takeIn } from "../daemon/backfill.ts";
import { assembleSpool } from "../daemon/state.ts";
import { sizeText } from "../pipeline/health.ts";
import { forBackfill, type Limits } from "../pipeline/limits.ts";
import type { Ledger } from "../store/store.ts";
import { confirmed } from "./confirm.ts";
import { withLedger } from "./ledger.ts";
import type { Out, Terminal } from "./terminal.ts";
import { visible } from "./visible.ts";

type Options = {
  readonly config: string;
  readonly mailbox: string;
  /** Days, UTC; both belong to it. */
  readonly since: string;
  readonly until: string | null;
  readonly yes: boolean;
};

const DAY_MS = 86_400_000;
const PROGRESS_MS = 2_000;

export async function backfill(options: Options, terminal: Terminal): Promise<number> {
  const { mailbox } = options;
  const { out, say, stop } = terminal;
  const period = periodOf(options);
  return withLedger(options.config, async (ledger, config, now) => {
    const doors = await assembleDoors(config, { clock: systemClock, log: troubles(mailbox, say) }, ledger);
    try {
      const source = doors.sources.get(mailbox);
      if (source === undefined) throw unknown(options, config);
      const plan = await planBackfill(source, period, ledger, stop);
      const { wanted, bytes, known } = plan;
      const span = `since ${options.since}${options.until === null ? "" : ` until ${options.until}`}`;
      out(`mailbox  ${mailbox}: ${mails(wanted.size)} ${span} to take in, ${sizeText(bytes)}; ${known} more are in the ledger already`);
      if (wanted.size === 0) return EXIT.done;
      for (const line of await meaning(plan, doors, ledger, now)) out(line);
      if (!(await confirmed(`take in ${mails(wanted.size)}, ${sizeText(bytes)}, to be read and paid for`, options.yes, terminal))) {
        out("nothing was taken in");
        return EXIT.done;
      }
      const works = { ledger, spool: await assembleSpool(config) };
      const tally = await takeIn({ source, plan, works, tell: progress(plan, say), clock: systemClock }, stop);
      const stopped = stop.aborted && countOf(tally) < wanted.size;
      for (const line of result(plan, tally, stopped)) out(line);
      return stopped ? EXIT.door : EXIT.done;
    } finally {
      await doors.close();
    }
  });
}

function periodOf({ since, until }: Options): Period {
  const first = dayOf("--since", since);
  const last = until === null ? null : dayOf("--until", until);
  if (last !== null && last < first) throw permanent("config.usage", `--until ${until} is before --since ${since}`);
  return { since: first, before: last === null ? null : new Date(last.getTime() + DAY_MS) };
}

function dayOf(option: string, text: string): Date {
  const day = new Date(/^\d{4}-\d{2}-\d{2}$/.test(text) ? `${text}T00:00:00.000Z` : Number.NaN);
  if (!Number.isNaN(day.getTime()) && day.toISOString().startsWith(text)) return day;
  throw permanent("config.usage", `${option}: expected a day such as 2026-01-01 (UTC), found ${visible(text)}`);
}

function unknown({ mailbox, config: path }: Options, { mailboxes }: Config): Fault {
  return permanent("config.usage", `${path} has no mailbox ${visible(mailbox)}; it has ${Object.keys(mailboxes).join(", ")}`);
}

/** The source goes on by itself; whoever waits for it is told why it takes so long. */
function troubles(mailbox: string, say: Out): Logger {
  const event: Logger["event"] = (level, _, { why, advice } = {}) => {
    if (level === "warn" && why !== undefined) say(visible(`${mailbox}: ${why} It is tried again. ${advice ?? ""}`));
  };
  return { event };
}

/** What becomes of the mail then, a line each. */
async function meaning({ wanted }: Plan, { services, routing }: Doors, ledger: Ledger, now: Date): Promise<readonly string[]> {
  const { rules, fallback } = routing;
  const names = [
    ...new Set([fallback.service, ...rules.flatMap((rule) => (rule.is === "take" && rule.service !== null ? [rule.service] : []))]),
  ];
  const midnight = new Date(`${now.toISOString().slice(0, 10)}T00:00:00.000Z`);
  const perAttachment = names.some((name) => services.get(name)?.extractor.grain === "attachment");
  const at = `at ${names.join(" or ")}${names.length === 1 ? "" : ", as the routes say"}`;
  const each = perAttachment ? "one for each attachment, which are not counted before they are read" : "one for each mail";
  const lines = [`runs     ${wanted.size} ${perAttachment ? "or more" : "at most"} ${at}: ${each}`];
  for (const name of names) {
    const service = services.get(name);
    if (service === undefined) continue;
    const { runs: today } = await ledger.bought(name, midnight, 1);
    lines.push(...limitLines(name, service.limits, [...wanted.values()], today));
  }
  for (const { name, why } of await ledger.paused()) {
    if (names.includes(name)) lines.push(`paused   ${name}: ${why}; nothing is bought there before \`billhook resume ${name}\``);
  }
  lines.push(
    `daemon   ${(await ledger.held()) ? "runs, and begins with them at once; new mail goes first" : "does not run: they wait for `billhook run`"}`,
  );
  return lines.map(visible);
}

function limitLines(name: string, { maxBytes, ...whole }: Limits, sizes: readonly number[], today: number): readonly string[] {
  const lines: string[] = [];
  const half = (most: number | null) => (most === null ? null : forBackfill(most));
  const [runsPerDay, runsPerHour] = [half(whole.runsPerDay), half(whole.runsPerHour)];
  const days = runsPerDay === null ? 1 : Math.ceil((today + sizes.length) / runsPerDay);
  const hours = runsPerHour === null ? 1 : Math.ceil(sizes.length / runsPerHour);
  if (days > 1 || hours > 1) {
    const most = [
      ...(runsPerHour === null ? [] : [`${runsPerHour} runs an hour`]),
      ...(runsPerDay === null ? [] : [`${runsPerDay} a day`]),
    ];
    const long = days > 1 && days * 24 > hours ? `${days} days` : `${hours} hours`;
    const share = `half of its limits, ${most.join(", ")}, is for them (${today} used today)`;
    lines.push(`limits   ${name}: ${share}; what is over waits: about ${long} for all of them`);
  }
  const large = maxBytes === null ? 0 : sizes.filter((size) => size > maxBytes).length;
  if (large > 0) lines.push(`limits   ${name}: ${mails(large)} above maxBytes, held until \`billhook release\``);
  return lines;
}

function progress({ wanted, bytes }: Plan, say: Out): (tally: Tally) => void {
  let last = Number.NEGATIVE_INFINITY;
  return (tally) => {
    if (performance.now() - last < PROGRESS_MS) return;
    last = performance.now();
    say(`${countOf(tally)} of ${mails(wanted.size)}, ${sizeText(tally.bytes)} of ${sizeText(bytes)}`);
  };
}

function result({ wanted, known }: Plan, tally: Tally, stopped: boolean): readonly string[] {
  const left = wanted.size - countOf(tally);
  const odd = [
    ...(tally.tooLarge === 0 ? [] : [`${tally.tooLarge} too large`]),
    ...(tally.unreadable === 0 ? [] : [`${tally.unreadable} unreadable`]),
    ...(left === 0 || stopped ? [] : [`${left} no longer there`]),
  ];
  const lines = [[`${tally.taken} messages taken in`, `${known + tally.known} known already`, ...odd].join(", ")];
  return stopped ? [...lines, `stopped: ${mails(left)} left; the same command goes on from here`] : lines;
}

function countOf({ taken, known, tooLarge, unreadable }: Tally): number {
  return taken + known + tooLarge + unreadable;
}

function mails(count: number): string {
  return `${count} ${count === 1 ? "message" : "messages"}`;
}
