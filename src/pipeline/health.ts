/** What is well and what is not: pure, from what was found to the ailments, each with its culprit and the reason. */
import type { FaultRecord } from "../base/errors.ts";
import type { TaskKind } from "../store/record.ts";
import type { Paused, Pulse, Queue, TaskState } from "../store/store.ts";

/** A file system billhook keeps things on. */
export type Disk = {
  /** What is kept there: `state`, `spool`, or both. */
  readonly places: readonly string[];
  readonly directory: string;
  readonly freeBytes: number;
  readonly sizeBytes: number;
  /** null: this file system has no limit on the number of files. */
  readonly freeFiles: number | null;
};

/** Tasks one of which has waited longest. `since`: when it could have been taken first, which no daemon could before it began. */
export type Oldest = Queue & { readonly since: Date };

/** What was found at one moment. */
export type Condition = {
  readonly at: Date;
  /** False: the ledger could not be asked, and what it would remember (from `running` to `paused`) is missing. */
  readonly asked: boolean;
  /** Why the ledger takes no records; null when it has just taken one. */
  readonly ledger: FaultRecord | null;
  /** Whether a daemon owns the ledger. */
  readonly running: boolean;
  readonly pulse: Pulse | null;
  /** Every mailbox of the configuration, and the end of its last complete sweep, by whichever daemon. */
  readonly mailboxes: readonly { readonly name: string; readonly sweptAt: string | null }[];
  readonly queues: readonly Queue[];
  /** Of what shares its hands (a kind of task, or the deliveries to one sink) none was taken a step further while these were due. */
  readonly still: readonly Oldest[];
  readonly paused: readonly Paused[];
  readonly disks: readonly Disk[];
  /** Less free space than this is an ailment. */
  readonly minFreeBytes: number;
};

/** `code` is stable: a fault's, or one of those below. */
export type Ailment = {
  readonly about: "daemon" | "ledger" | "disk" | "mailbox" | "service" | "sink" | "tasks";
  /** Of the mailbox, the service or the sink; the directory of the disk. */
  readonly name: string | null;
  readonly code: string;
  readonly message: string;
  readonly advice: string | null;
};

/** A daemon beats every 10 s. */
const SILENT_MS = 60_000;
const MISSED_SWEEPS = 3;
/** Where sweeps are far apart, trouble is told without waiting for three of them. */
const TROUBLE_MS = 600_000;
/** Longer than any single effect may take: the longest is one call of a service, 5 minutes where it is so configured. */
export const STILL_MS = 600_000;
/** Less room than the largest mail and its parts need. */
export const MIN_FREE_BYTES = 100 * 1024 ** 2;
const MIN_FREE_FILES = 100;

/**
 * What keeps billhook from doing its work, the cause before what follows from it; empty when it is well. Each goes away by itself
 * when its reason does. A paused service or sink is none: somebody was told, or did it, and starting the daemon anew mends nothing.
 */
export function ailmentsOf(found: Condition): readonly Ailment[] {
  const { ledger } = found;
  return [
    ...(ledger === null ? [] : [ailmentOf(ledger)]),
    ...found.disks.flatMap((disk) => diskAilments(disk, found.minFreeBytes)),
    ...daemonAilments(found),
  ];
}

/** A ledger that cannot be asked, or written to, as an ailment. */
export function ailmentOf({ code, message, advice }: FaultRecord): Ailment {
  return { about: "ledger", name: null, code, message, advice };
}

function diskAilments({ directory, freeBytes, freeFiles }: Disk, least: number): readonly Ailment[] {
  const low = (message: string): Ailment => ({
    about: "disk",
    name: directory,
    code: "disk.low",
    message: `the disk of ${directory} ${message}`,
    advice: "free disk space; billhook goes on by itself",
  });
  if (freeBytes < least) return [low(`has ${sizeText(freeBytes)} left, and ${sizeText(least)} is wanted`)];
  if (freeFiles !== null && freeFiles < MIN_FREE_FILES) return [low(`takes only ${freeFiles} more files`)];
  return [];
}

function daemonAilments(found: Condition): readonly Ailment[] {
  const { at, asked, ledger, running, pulse } = found;
  const daemon = (code: string, message: string, advice: string | null = null): Ailment[] => [
    { about: "daemon", name: null, code, message, advice },
  ];
  if (!asked) return [];
  if (pulse === null) return daemon("daemon.never", "the daemon has never been seen alive here");
  if (!running) {
    return daemon("daemon.stopped", `the daemon is not running: it ${pulse.alive ? "was last seen alive" : "was stopped"} at ${pulse.at}`);
  }
  const silentMs = at.getTime() - Date.parse(pulse.at);
  // Where nothing can be written, no pulse can be either.
  if (silentMs > SILENT_MS && ledger === null) {
    const advice = "it hangs, or is held up: start it anew if it does not come back";
    return daemon("daemon.silent", `the daemon was last seen alive ${Math.round(silentMs / 1_000)} s ago (${pulse.at})`, advice);
  }
  return [
    ...found.mailboxes.flatMap((mailbox) => mailboxAilments(mailbox.name, lastSweep(found, mailbox.name), pulse, at)),
    ...refusals(found, TROUBLE_MS),
    ...still(found),
  ];
}

/** What goes on by itself; what has failed or is held waits for a person. */
const GOING: ReadonlySet<TaskState> = new Set(["due", "waiting", "failing"]);

/**
 * Services that have not taken our key for so long: told at once, and an ailment later. What nobody waits for, or a person has paused, is
 * nobody's trouble.
 */
export function refusals({ at, pulse, queues, paused }: Condition, forMs = 0): readonly Ailment[] {
  const isWanted = (service: string) =>
    !paused.some(({ name }) => name === service) &&
    queues.some(({ kind, name, state }) => kind === "extract" && name === service && GOING.has(state));
  return (pulse?.refusing ?? [])
    .filter(({ service, since }) => at.getTime() - Date.parse(since) >= forMs && isWanted(service))
    .map(({ service, since }) => ({
      about: "service",
      name: service,
      code: "service.unauthorized",
      message: `service ${service} has not taken its key since ${since}: nothing is read there, every mail waits`,
      advice: "put the right apiKey in, see `billhook check`, and restart the daemon; nothing is lost, and nothing has to be put back",
    }));
}

function mailboxAilments(name: string, sweptAt: string | null, pulse: Pulse, at: Date): readonly Ailment[] {
  const ailing = (code: string, message: string, advice: string | null): Ailment[] => [{ about: "mailbox", name, code, message, advice }];
  const seen = pulse.mailboxes.find(({ mailbox }) => mailbox === name);
  if (seen === undefined) {
    return ailing("mailbox.unwatched", `mailbox ${name} is not being watched`, "restart the daemon with this configuration");
  }
  const { missedSweeps, trouble, troubleSince = null } = seen;
  const isLong = trouble !== null && troubleSince !== null && at.getTime() - Date.parse(troubleSince) >= TROUBLE_MS;
  if (missedSweeps < MISSED_SWEEPS && !isLong) return [];
  const since = sweptAt ?? pulse.startedAt ?? "the daemon started";
  const why = trouble?.message ?? "it does not finish a sweep";
  return ailing(trouble?.code ?? "mailbox.unread", `mailbox ${name} has not been read since ${since}: ${why}`, trouble?.advice ?? null);
}

/** The end of the last complete sweep of a mailbox, as far as anybody knows. */
export function lastSweep({ mailboxes, pulse }: Pick<Condition, "mailboxes" | "pulse">, name: string): string | null {
  const kept = mailboxes.find((mailbox) => mailbox.name === name)?.sweptAt ?? null;
  const told = pulse?.mailboxes.find(({ mailbox }) => mailbox === name)?.sweptAt ?? null;
  return (
    [kept, told]
      .filter((time) => time !== null)
      .toSorted()
      .at(-1) ?? null
  );
}

/** The tasks one of which has waited longest, of one kind or of all; null when none is due. */
export function oldestDue(
  { queues, pulse }: Pick<Condition, "queues" | "pulse">,
  of: { readonly kind?: TaskKind; readonly name?: string | null } = {},
): Oldest | null {
  const began = Date.parse(pulse?.startedAt ?? "") || 0;
  const due = queues.flatMap((queue) => {
    const isMeant = (of.kind ?? queue.kind) === queue.kind && (of.name === undefined || of.name === queue.name);
    if (!isMeant || queue.dueSince === null) return [];
    return { ...queue, dueSince: queue.dueSince, since: new Date(Math.max(Date.parse(queue.dueSince), began)) };
  });
  return due.toSorted((a, b) => a.dueSince.localeCompare(b.dueSince)).at(0) ?? null;
}

const DOING: Readonly<Record<TaskKind, string>> = {
  split: "no message is split",
  extract: "nothing is read by a service",
  deliver: "nothing is delivered",
  settle: "no mailbox is told",
};

function still({ at, still }: Condition): readonly Ailment[] {
  return still.map(({ kind, name, since }) => {
    const about = kind === "extract" ? "service" : kind === "deliver" ? "sink" : "tasks";
    const minutes = Math.floor((at.getTime() - since.getTime()) / 60_000);
    const of = name === null ? "" : `, the oldest for ${about} ${name}`;
    const message = `${DOING[kind]} although tasks have been due for ${minutes} minutes${of}`;
    return { about, name, code: "tasks.still", message, advice: "start the daemon anew, and please report this with its log" };
  });
}

const UNITS = ["bytes", "KB", "MB", "GB", "TB"] as const;

/** `1.5 GB`, of 1024 MB each. */
export function sizeText(bytes: number): string {
  const power = Math.min(UNITS.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  const value = bytes / 1024 ** power;
  return `${value < 10 && power > 0 ? value.toFixed(1) : Math.floor(value)} ${UNITS[power]}`;
}
