/** `billhook status`: what the daemon is doing and what needs a person; with --alive, whether it lives. */
import { EXIT } from "../base/errors.ts";
import { loadConfig } from "../config/load.ts";
import { assembleLedger } from "../daemon/assemble.ts";
import type { Pulse, Summary } from "../store/store.ts";
import type { Terminal } from "./terminal.ts";

type Options = { readonly config: string; readonly alive: boolean; readonly json: boolean };

/** A daemon beats every 10 s. */
const SILENT_MS = 60_000;
const MISSED_SWEEPS = 3;
/** More than a person reads; the counts above tell of all. */
const LISTED = 500;
const DAY_MS = 86_400_000;

export async function status(options: Options, { out }: Terminal): Promise<number> {
  const config = await loadConfig(options.config, process.env);
  const now = new Date();
  const ledger = await assembleLedger(config, now);
  try {
    const pulse = await ledger.pulse();
    const held = await ledger.held();
    const ailments = held ? ailmentsOf(pulse, Object.keys(config.mailboxes), now) : [notRunning(pulse)];
    const troubles = (held && pulse !== null ? pulse.mailboxes : []).flatMap(({ mailbox, trouble }) =>
      trouble === null ? [] : [{ mailbox, trouble }],
    );
    if (options.alive) {
      if (!options.json) out(ailments.length === 0 ? "alive" : ailments.join("\n"));
      else out(JSON.stringify({ alive: ailments.length === 0, ailments }));
      return ailments.length === 0 ? EXIT.done : EXIT.door;
    }
    const counts = await ledger.counts();
    const stuck = (await ledger.summaries(LISTED, "stuck")).map(brief);
    const unreadable = await ledger.unreadable();
    const paused = await ledger.paused();
    const today = new Date(Math.floor(now.getTime() / DAY_MS) * DAY_MS).toISOString().slice(0, 10);
    const week = await ledger.spending(new Date(Date.parse(today) - 6 * DAY_MS));
    const spending = week.filter(({ day }) => day === today);
    if (options.json) {
      out(JSON.stringify({ alive: ailments.length === 0, ailments, troubles, counts, paused, spending, week, stuck, unreadable }));
      return EXIT.done;
    }
    for (const ailment of ailments) out(`daemon    ${ailment}`);
    if (ailments.length === 0) out(troubles.length === 0 ? "daemon    alive, every mailbox is being read" : "daemon    alive");
    for (const { mailbox, trouble } of troubles)
      out(`trouble   ${mailbox}: ${[trouble.message, trouble.advice].filter(Boolean).join(" ")}`);
    out(`messages  ${counts.messages}`);
    out(`tasks     ${counts.open} open, ${counts.done} done, ${counts.failed} failed, ${counts.held} held`);
    for (const { day, service, mailbox, runs, credits, possiblyTwice } of week) {
      const price = credits === null ? "" : `, ${credits} credits`;
      const doubt = possiblyTwice === 0 ? "" : `, ${possiblyTwice} possibly bought twice`;
      out(`${day === today ? "today     " : `${day} `}${service}: ${runs} runs${price} for ${mailbox}${doubt}`);
    }
    for (const { name, since, why } of paused) out(`paused    ${name} since ${since}: ${why} - \`billhook resume ${name}\` goes on`);
    for (const { id, standing, faults } of stuck) {
      const why = faults.map(({ task, message, advice }) => [`${task}: ${message}`, advice].filter(Boolean).join(" - "));
      out(`${standing.padEnd(9)} ${id}  ${why.join("; ")}`);
    }
    for (const { origin, fault } of unreadable) out(`unread    ${origin.mailbox} UID ${origin.uid}  ${fault?.message ?? ""}`);
    return EXIT.done;
  } finally {
    await ledger.close();
  }
}

function brief({ message, standing, tasks }: Summary) {
  const failing = tasks.filter((task) => task.fault !== null && task.status !== "done");
  return {
    id: message.id.slice(0, 16),
    standing,
    faults: failing.map(({ kind, fault, status, dueAt }) => ({
      task: kind,
      message: fault?.message ?? "",
      advice: fault?.advice ?? null,
      code: fault?.code ?? "",
      again: status === "open" ? dueAt : null,
    })),
  };
}

function notRunning(pulse: Pulse | null): string {
  if (pulse === null) return "the daemon has never been seen alive here";
  return `the daemon is not running: it ${pulse.alive ? "was last seen alive" : "was stopped"} at ${pulse.at}`;
}

/** What is wrong with the daemon as seen from outside; empty when it is well. Pure. */
export function ailmentsOf(pulse: Pulse | null, mailboxes: readonly string[], now: Date): readonly string[] {
  if (pulse === null) return ["the daemon has never been seen alive here"];
  const silentMs = now.getTime() - Date.parse(pulse.at);
  if (silentMs > SILENT_MS) return [`the daemon was last seen alive ${Math.round(silentMs / 1_000)} s ago (${pulse.at})`];
  return mailboxes.flatMap((name) => {
    const seen = pulse.mailboxes.find(({ mailbox }) => mailbox === name);
    if (seen === undefined) return [`mailbox ${name} is not being watched: restart the daemon with this configuration`];
    if (seen.missedSweeps < MISSED_SWEEPS) return [];
    const why = seen.trouble === null ? "it does not finish a sweep" : seen.trouble.message;
    return [`mailbox ${name} has not been read since ${seen.sweptAt ?? "the daemon started"}: ${why}`];
  });
}
