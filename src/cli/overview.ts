/** What `billhook status` tells: how each mailbox, service and sink stands, which mails need a person, and what was spent. */
import type { FaultRecord } from "../base/errors.ts";
import { type Ailment, type Condition, lastSweep, oldestDue, refusals, sizeText } from "../pipeline/health.ts";
import { deliveryNameOf } from "../store/delivery.ts";
import type { Summary } from "../store/mail.ts";
import { isGivenUp, type Task } from "../store/record.ts";
import type { Ledger, Paused, Queue, TaskState } from "../store/store.ts";
import { visible } from "./visible.ts";
import { faultText, mending, shortId, unreadText, withCommand } from "./words.ts";

/** More than a person reads; the counts tell of all. */
const LISTED = 500;
const DAY_MS = 86_400_000;

/** A mail that waits, is held, or failed. */
type Stuck = {
  readonly id: string;
  /** Where a person finds it; `billhook explain --mailbox … --uid …` looks at it. */
  readonly seen: readonly { readonly mailbox: string; readonly uid: number }[];
  readonly standing: Summary["standing"];
  /** What mends it; null: it goes on by itself. */
  readonly command: string | null;
  readonly faults: readonly (Omit<FaultRecord, "temporary"> & {
    readonly task: Task["kind"];
    /** The service or the sink; null for tasks that concern none. */
    readonly name: string | null;
    readonly again: string | null;
  })[];
};

type Telling = Awaited<ReturnType<typeof tellingOf>>;

export async function tellingOf(ledger: Ledger, paused: readonly Paused[], now: Date) {
  const today = new Date(Math.floor(now.getTime() / DAY_MS) * DAY_MS).toISOString().slice(0, 10);
  const week = await ledger.spending(new Date(Date.parse(today) - 6 * DAY_MS));
  const stuck: Stuck[] = [];
  for (const one of await ledger.summaries(LISTED, "stuck")) stuck.push(await stuckOf(one, ledger, paused));
  return {
    counts: await ledger.counts(),
    paused,
    spending: week.filter(({ day }) => day === today),
    week,
    stuck,
    unreadable: (await ledger.unreadable()).map((one) => ({ ...one, command: `billhook retry u${one.id}` })),
  };
}

async function stuckOf({ message, standing, tasks }: Summary, ledger: Ledger, paused: readonly Paused[]): Promise<Stuck> {
  const faults: Stuck["faults"][number][] = [];
  for (const task of tasks) {
    const { kind, fault, status, dueAt } = task;
    if (fault === null || status === "done" || isGivenUp(status)) continue;
    const { code, message: said, advice } = fault;
    faults.push({ task: kind, name: await nameOf(task, ledger), message: said, advice, code, again: status === "open" ? dueAt : null });
  }
  const shut = standing === "waiting" ? faults.find(({ name }) => paused.some((one) => one.name === name)) : undefined;
  return {
    id: shortId(message.id),
    seen: (await ledger.arrivals(message.id)).slice(0, 3).map(({ origin: { mailbox, uid } }) => ({ mailbox, uid })),
    standing,
    command: shut === undefined ? mending(message.id, standing) : `billhook resume ${shut.name}`,
    faults,
  };
}

async function nameOf({ kind, subject }: Task, ledger: Ledger): Promise<string | null> {
  if (kind === "deliver") return deliveryNameOf(subject).sink;
  return kind === "extract" ? ((await ledger.document(subject))?.service ?? null) : null;
}

type Place = Readonly<Record<TaskState, number>> & {
  readonly name: string;
  readonly dueSince: string | null;
  readonly paused: boolean;
  /** What most of those that do not go on suffer from. */
  readonly why: string | null;
};

/** What waits at a service or for a sink, by how it stands. */
function placesOf({ queues, paused }: Condition, kind: Queue["kind"], names: object, stuck: readonly Stuck[]): readonly Place[] {
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
    const faults = stuck.flatMap((one) => one.faults.filter((fault) => fault.task === kind && fault.name === name));
    return { name, ...states, dueSince, paused: paused.some((one) => one.name === name), why: commonest(faults) };
  });
}

/** The sentence of the code most of them have. */
function commonest(faults: Stuck["faults"]): string | null {
  const byCode = [...Map.groupBy(faults, ({ code }) => code).values()];
  return byCode.toSorted((a, b) => b.length - a.length)[0]?.[0]?.message ?? null;
}

export function conditionOf(found: Condition, names: { readonly services: object; readonly sinks: object }, stuck: readonly Stuck[]) {
  const oldest = oldestDue(found);
  return {
    troubles: troublesOf(found),
    mailboxes: found.mailboxes.map(({ name }) => {
      const seen = found.pulse?.mailboxes.find(({ mailbox }) => mailbox === name);
      return { mailbox: name, sweptAt: lastSweep(found, name), missedSweeps: seen?.missedSweeps ?? null, trouble: seen?.trouble ?? null };
    }),
    services: placesOf(found, "extract", names.services, stuck),
    sinks: placesOf(found, "deliver", names.sinks, stuck),
    oldest: oldest === null ? null : { kind: oldest.kind, name: oldest.name, since: oldest.since },
    disks: found.disks,
  };
}

function troublesOf(found: Condition) {
  const { running, pulse } = found;
  if (!running || pulse === null) return [];
  return [
    ...pulse.mailboxes.flatMap(({ mailbox, trouble }) => (trouble === null ? [] : [{ mailbox, trouble }])),
    ...refusals(found).map((trouble) => ({ service: trouble.name, trouble })),
  ];
}

/** For people, a line each; safe to show. */
export function overviewLines(
  found: Condition,
  ailments: readonly Ailment[],
  condition: ReturnType<typeof conditionOf>,
  told: Telling,
): readonly string[] {
  return [...conditionLines(found, ailments, condition), ...tellingLines(told)].map(visible);
}

function conditionLines(found: Condition, ailments: readonly Ailment[], condition: ReturnType<typeof conditionOf>): readonly string[] {
  const { troubles, mailboxes, services, sinks, oldest, disks } = condition;
  const ago = (since: Date | string) => `${timeText(found.at.getTime() - new Date(since).getTime())} ago`;
  const place = (label: string, { name, due, waiting, failing, failed, held, dueSince, paused, why }: Place) => {
    const states = { due, waiting, failing, failed, held };
    const counts = Object.entries(states).flatMap(([state, tasks]) => (tasks > 0 ? `${tasks} ${state}` : []));
    const said = [paused ? "PAUSED" : "", ...counts, dueSince === null ? "" : `oldest due ${ago(dueSince)}`].filter((text) => text !== "");
    return `${label} ${name}  ${said.length === 0 ? "nothing to do" : said.join(", ")}${why === null ? "" : `: ${why}`}`;
  };
  const isRead = !troubles.some((trouble) => "mailbox" in trouble);
  const well = isRead ? "daemon    alive, every mailbox is being read" : "daemon    alive";
  return [
    ...(ailments.length === 0 ? [well] : ailments.map((ailment) => `${ailment.about.padEnd(9)} RED: ${faultText(ailment)}`)),
    ...troubles.map(({ trouble, ...of }) => `trouble   ${"mailbox" in of ? of.mailbox : of.service}: ${faultText(trouble)}`),
    ...mailboxes.map(({ mailbox, sweptAt, missedSweeps }) => {
      // The one that has only begun is due as well.
      const missed = missedSweeps === null || missedSweeps < (sweptAt === null ? 1 : 2) ? "" : `, ${missedSweeps} missed since`;
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

function tellingLines({ counts, paused, spending, week, stuck, unreadable }: Telling): readonly string[] {
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
    ...stuck.map(({ id, seen, standing, faults, command }) => {
      const where = seen.map(({ mailbox, uid }) => `${mailbox} UID ${uid}`).join(", ");
      const why = faults.map((fault) => `${fault.task}: ${faultText(fault)}`).join("; ");
      return withCommand(`${standing.padEnd(9)} ${id}  ${where}  ${why}`, command);
    }),
    ...unreadable.map((one) => withCommand(`unread    ${one.origin.mailbox} UID ${one.origin.uid}  ${unreadText(one)}`, one.command)),
  ];
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
