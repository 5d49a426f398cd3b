/** `billhook status`: what the daemon is doing and what needs a person; with --alive, whether it is well. */
import { asFault, EXIT, recordOf } from "../base/errors.ts";
import { loadConfig } from "../config/load.ts";
import { assembleLedger } from "../daemon/assemble.ts";
import { examine } from "../pipeline/examine.ts";
import { type Ailment, ailmentOf, ailmentsOf, type Condition, lastSweep, oldestDue, sizeText } from "../pipeline/health.ts";
import type { Summary } from "../store/mail.ts";
import type { Ledger, Queue, TaskState } from "../store/store.ts";
import type { Terminal } from "./terminal.ts";

type Options = { readonly config: string; readonly alive: boolean; readonly json: boolean };

/** More than a person reads; the counts above tell of all. */
const LISTED = 500;
const DAY_MS = 86_400_000;

export async function status(options: Options, { out }: Terminal): Promise<number> {
  const config = await loadConfig(options.config, process.env);
  const { directory, minFree } = config.state;
  const now = new Date();
  const opened = await assembleLedger(config, now).catch((thrown: unknown) => {
    // Who asks whether it is well gets an answer; everybody else gets the fault.
    if (!options.alive) throw thrown;
    return ailmentOf(recordOf(asFault(thrown, "ledger.failed")));
  });
  if ("about" in opened) return tellAlive([opened], options, out);
  try {
    const found = await examine({ ledger: opened, directory, mailboxes: Object.keys(config.mailboxes), minFreeBytes: minFree }, now);
    const ailments = ailmentsOf(found);
    if (options.alive) return tellAlive(ailments, options, out);
    const told = await tellingOf(opened, now);
    if (options.json) out(JSON.stringify({ ...aliveOf(ailments), ...conditionOf(found, config), ...told }));
    else for (const line of [...conditionLines(found, ailments, config), ...lines(told)]) out(line);
    return EXIT.done;
  } finally {
    await opened.close();
  }
}

function tellAlive(ailments: readonly Ailment[], { json }: Options, out: Terminal["out"]): number {
  if (json) out(JSON.stringify(aliveOf(ailments)));
  else for (const line of ailments.length === 0 ? ["alive"] : ailments.map(sentence)) out(line);
  return ailments.length === 0 ? EXIT.done : EXIT.door;
}

/** `reasons` are the ailments for machines. */
function aliveOf(ailments: readonly Ailment[]) {
  return { alive: ailments.length === 0, ailments: ailments.map(({ message }) => message), reasons: ailments };
}

function sentence({ message, advice }: Pick<Ailment, "message" | "advice">): string {
  return [message, advice].filter(Boolean).join(" - ");
}

type Names = { readonly services: object; readonly sinks: object };
type Place = Readonly<Record<TaskState, number>> & { readonly name: string; readonly dueSince: string | null; readonly paused: boolean };

/** What waits at a service or for a sink, by how it stands. */
function placesOf({ queues, paused }: Condition, kind: Queue["kind"], names: object): readonly Place[] {
  const here = queues.filter((queue) => queue.kind === kind);
  const all = new Set([...Object.keys(names), ...here.flatMap(({ name }) => name ?? [])]);
  return [...all].map((name) => {
    const its = here.filter((queue) => queue.name === name);
    const count = (state: TaskState) => its.find((queue) => queue.state === state)?.tasks ?? 0;
    const dueSince = its.flatMap((queue) => queue.dueSince ?? []).toSorted()[0] ?? null;
    const states = {
      due: count("due"),
      waiting: count("waiting"),
      failing: count("failing"),
      failed: count("failed"),
      held: count("held"),
    };
    return { name, ...states, dueSince, paused: paused.some((one) => one.name === name) };
  });
}

function conditionOf(found: Condition, { services, sinks }: Names) {
  const oldest = oldestDue(found);
  return {
    troubles: troublesOf(found),
    mailboxes: found.mailboxes.map(({ name }) => {
      const seen = found.pulse?.mailboxes.find(({ mailbox }) => mailbox === name);
      return { mailbox: name, sweptAt: lastSweep(found, name), missedSweeps: seen?.missedSweeps ?? null, trouble: seen?.trouble ?? null };
    }),
    services: placesOf(found, "extract", services),
    sinks: placesOf(found, "deliver", sinks),
    oldest: oldest === null ? null : { kind: oldest.kind, name: oldest.name, since: oldest.since },
    disks: found.disks,
  };
}

function troublesOf({ running, pulse }: Condition) {
  return (running && pulse !== null ? pulse.mailboxes : []).flatMap(({ mailbox, trouble }) =>
    trouble === null ? [] : [{ mailbox, trouble }],
  );
}

function conditionLines(found: Condition, ailments: readonly Ailment[], names: Names): readonly string[] {
  const { troubles, mailboxes, services, sinks, oldest, disks } = conditionOf(found, names);
  const ago = (since: Date | string) => `${timeText(found.at.getTime() - new Date(since).getTime())} ago`;
  const place = (label: string, { name, due, waiting, failing, failed, held, dueSince, paused }: Place) => {
    const states = { due, waiting, failing, failed, held };
    const counts = Object.entries(states).flatMap(([state, tasks]) => (tasks > 0 ? `${tasks} ${state}` : []));
    const said = [paused ? "PAUSED" : "", ...counts, dueSince === null ? "" : `oldest due ${ago(dueSince)}`].filter((text) => text !== "");
    return `${label} ${name}  ${said.length === 0 ? "nothing to do" : said.join(", ")}`;
  };
  const well = troubles.length === 0 ? "daemon    alive, every mailbox is being read" : "daemon    alive";
  return [
    ...(ailments.length === 0 ? [well] : ailments.map((ailment) => `${ailment.about.padEnd(9)} RED: ${sentence(ailment)}`)),
    ...troubles.map(({ mailbox, trouble }) => `trouble   ${mailbox}: ${sentence(trouble)}`),
    ...mailboxes.map(({ mailbox, sweptAt, missedSweeps }) => {
      const missed = missedSweeps === null || missedSweeps === 0 ? "" : `, ${missedSweeps} missed since`;
      return `mailbox   ${mailbox}  ${sweptAt === null ? "never swept" : `last swept ${ago(sweptAt)} (${sweptAt})`}${missed}`;
    }),
    ...services.map((service) => place("service  ", service)),
    ...sinks.map((sink) => place("sink     ", sink)),
    oldest === null
      ? "oldest    no task is due"
      : `oldest    ${oldest.kind}${oldest.name === null ? "" : ` for ${oldest.name}`}, due ${ago(oldest.since)}`,
    ...disks.map(({ places, directory, freeBytes, sizeBytes }) => {
      return `disk      ${sizeText(freeBytes)} of ${sizeText(sizeBytes)} free for ${places.join(" and ")} (${directory})`;
    }),
  ];
}

async function tellingOf(ledger: Ledger, now: Date) {
  const today = new Date(Math.floor(now.getTime() / DAY_MS) * DAY_MS).toISOString().slice(0, 10);
  const week = await ledger.spending(new Date(Date.parse(today) - 6 * DAY_MS));
  return {
    counts: await ledger.counts(),
    paused: await ledger.paused(),
    spending: week.filter(({ day }) => day === today),
    week,
    stuck: await Promise.all((await ledger.summaries(LISTED, "stuck")).map((one) => brief(one, ledger))),
    unreadable: await ledger.unreadable(),
  };
}

function lines({ counts, paused, spending, week, stuck, unreadable }: Awaited<ReturnType<typeof tellingOf>>): readonly string[] {
  return [
    `messages  ${counts.messages}`,
    `tasks     ${counts.open} open, ${counts.done} done, ${counts.failed} failed, ${counts.held} held`,
    ...week.map((one) => {
      const { day, service, mailbox, runs, credits, possiblyTwice } = one;
      const price = credits === null ? "" : `, ${credits} credits`;
      const doubt = possiblyTwice === 0 ? "" : `, ${possiblyTwice} possibly twice`;
      return `${spending.includes(one) ? "today     " : `${day} `}${service}: ${runs} runs${price} for ${mailbox}${doubt}`;
    }),
    ...paused.map(({ name, since, why }) => `paused    ${name} since ${since}: ${why} - \`billhook resume ${name}\` goes on`),
    ...stuck.map(({ id, seen, standing, faults }) => {
      const where = seen.map(({ mailbox, uid }) => `${mailbox} UID ${uid}`).join(", ");
      const why = faults.map(({ task, message, advice }) => [`${task}: ${message}`, advice].filter(Boolean).join(" - "));
      return `${standing.padEnd(9)} ${id}  ${where}  ${why.join("; ")}`;
    }),
    ...unreadable.map(({ origin, fault }) => `unread    ${origin.mailbox} UID ${origin.uid}  ${fault?.message ?? ""}`),
  ];
}

async function brief({ message, standing, tasks }: Summary, ledger: Ledger) {
  const failing = tasks.filter((task) => task.fault !== null && task.status !== "done");
  return {
    id: message.id.slice(0, 16),
    // Where a person finds it; `billhook explain --mailbox … --uid …` looks at it.
    seen: (await ledger.arrivals(message.id)).slice(0, 3).map(({ origin: { mailbox, uid } }) => ({ mailbox, uid })),
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

/** The largest unit that says it: `12 s`, `5 min`, `3 h`, `2 d`. */
function timeText(milliseconds: number): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1_000));
  const [size, unit] = (
    [
      [86_400, "d"],
      [3_600, "h"],
      [60, "min"],
    ] as const
  ).find(([size]) => seconds >= 2 * size) ?? [1, "s"];
  return `${Math.floor(seconds / size)} ${unit}`;
}
