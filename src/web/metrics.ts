/** `GET /metrics`: what is counted, in the text format of Prometheus. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import { ailmentsOf, type Condition, lastSweep, oldestDue } from "../pipeline/health.ts";
import { deliveryNameOf } from "../store/delivery.ts";
import { type Event, TASK_KINDS, type TaskKind } from "../store/record.ts";
import type { Ledger, Spending, TaskState } from "../store/store.ts";
import type { Look } from "./health.ts";
import type { Route } from "./web.ts";

export type MetricsOptions = {
  readonly look: Look;
  readonly ledger: Pick<Ledger, "spending" | "arrival">;
  readonly mailboxes: readonly string[];
  readonly services: readonly string[];
  readonly sinks: readonly string[];
};

export type Metrics = {
  readonly route: Route;
  /** A saved change; `tookMs` is how long the effect and its save took, null where there was no effect. */
  readonly tell: (event: Event, tookMs: number | null) => void;
  /** A sweep of this mailbox is complete. */
  readonly swept: (mailbox: string) => void;
};

/** How an arrival is told. */
const ARRIVALS: Readonly<Record<string, string>> = { received: "new", "seen-again": "again", unreadable: "unreadable" };
const OUTCOMES = ["done", "later", "retry", "failed", "held", "halted"] as const;
const STATES = ["due", "waiting", "failing", "failed", "held"] as const satisfies readonly TaskState[];
/** More codes than billhook has; one label more for whatever an answer of a service may be made into. */
const MOST_CODES = 200;
const EFFECT_SECONDS = [0.005, 0.02, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300];
const ARRIVAL_SECONDS = [1, 5, 15, 30, 60, 120, 300, 900, 3_600, 14_400, 86_400];

/**
 * Labels are names of the configuration and words of billhook, never of a mail. What is bought is counted by the ledger, and survives;
 * counters of events begin at 0 with the process, as Prometheus expects of counters. Gauges are what `look` found.
 */
export function createMetrics(options: MetricsOptions): Metrics {
  const registry = new Registry();
  // In ms: the delay is sampled by a timer, and 100 wake-ups a second are too many for a daemon that mostly waits.
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 100 });
  const counted = countersOf(registry, options);
  const gauges = gaugesOf(registry);
  const bill = billOf(registry);
  return {
    tell: counted.tell,
    swept: counted.swept,
    route: {
      method: "GET",
      path: "/metrics",
      answer: async () => {
        const found = await options.look();
        // A ledger that cannot be asked leaves out what it would say, and says so by billhook_ledger_writable.
        const spent = await options.ledger.spending(new Date(0)).catch(() => null);
        gauges(found, options);
        bill(spent ?? []);
        return { status: 200, text: await registry.metrics(), type: registry.contentType };
      },
    },
  };
}

/** From events. */
function countersOf(registry: Registry, { ledger, mailboxes, sinks }: MetricsOptions): Pick<Metrics, "tell" | "swept"> {
  const registers = [registry];
  const counter = <L extends string>(name: string, help: string, labelNames: L[]) => new Counter({ name, help, labelNames, registers });
  const histogram = <L extends string>(name: string, help: string, labelNames: L[], buckets: number[]) =>
    new Histogram({ name, help, labelNames, buckets, registers });
  const sweeps = counter("billhook_sweeps_total", "Complete sweeps of a mailbox.", ["mailbox"]);
  const received = counter("billhook_messages_received_total", "Messages seen in a mailbox: new, again, or unreadable.", [
    "mailbox",
    "outcome",
  ]);
  const effects = counter("billhook_effects_total", "Effects of tasks, by what became of them.", ["kind", "outcome"]);
  const deliveries = counter("billhook_deliveries_total", "Tries to deliver to a sink, by what became of them.", ["sink", "outcome"]);
  const faults = counter("billhook_faults_total", "Faults of tasks and of messages, by code.", ["code"]);
  const effectSeconds = histogram("billhook_effect_duration_seconds", "How long one effect and its save take.", ["kind"], EFFECT_SECONDS);
  const arrivalSeconds = histogram(
    "billhook_arrival_duration_seconds",
    "From a message being safe on disk to its mailbox being told the end.",
    ["mailbox"],
    ARRIVAL_SECONDS,
  );
  // What has not happened yet is 0 and not unknown, or its first time would be no increase.
  for (const mailbox of mailboxes) {
    sweeps.inc({ mailbox }, 0);
    for (const outcome of Object.values(ARRIVALS)) received.inc({ mailbox, outcome }, 0);
  }
  for (const outcome of OUTCOMES) {
    for (const kind of TASK_KINDS) effects.inc({ kind, outcome }, 0);
    for (const sink of sinks) deliveries.inc({ sink, outcome }, 0);
  }

  const codes = new Set<string>();
  const fault = (code: string) => {
    const known = codes.has(code) || codes.size < MOST_CODES;
    if (known) codes.add(code);
    faults.inc({ code: known ? code : "other" });
  };

  const arrivalEnded = async (id: string, at: string) => {
    const arrival = await ledger.arrival(id).catch(() => null);
    if (arrival === null) return;
    const seconds = (Date.parse(at) - Date.parse(arrival.seenAt)) / 1_000;
    arrivalSeconds.observe({ mailbox: arrival.origin.mailbox }, Math.max(0, seconds));
  };

  return {
    swept: (mailbox) => sweeps.inc({ mailbox }),
    tell: ({ what, mailbox, subject, faultCode, at }, tookMs) => {
      if (faultCode !== null) fault(faultCode);
      const arrived = ARRIVALS[what];
      if (arrived !== undefined && mailbox !== null) received.inc({ mailbox, outcome: arrived });
      const [kind = "", outcome = ""] = what.split(".");
      if (outcome === "") return;
      effects.inc({ kind, outcome });
      if (tookMs !== null) effectSeconds.observe({ kind }, Math.max(0, tookMs) / 1_000);
      if (kind === "deliver" && subject !== null) deliveries.inc({ sink: deliveryNameOf(subject).sink, outcome });
      if (kind === "settle" && outcome === "done" && subject !== null) void arrivalEnded(subject, at);
    },
  };
}

/** From the ledger: what was paid for, since it began. */
function billOf(registry: Registry): (spent: readonly Spending[]) => void {
  const labelNames = ["service", "mailbox"] as const;
  const counter = (name: string, help: string) => new Counter({ name, help, labelNames, registers: [registry] });
  const runs = counter("billhook_runs_total", "Runs bought at a service.");
  const credits = counter("billhook_credits_total", "Credits spent at a service, in its own units, as far as it tells.");
  const twice = counter("billhook_runs_possibly_twice_total", "Runs that may have been bought a second time because an answer was lost.");
  return (spent) => {
    for (const counter of [runs, credits, twice]) counter.reset();
    for (const { service, mailbox, ...sums } of spent) {
      runs.inc({ service, mailbox }, sums.runs);
      if (sums.credits !== null) credits.inc({ service, mailbox }, sums.credits);
      twice.inc({ service, mailbox }, sums.possiblyTwice);
    }
  };
}

/** From what was found. */
function gaugesOf(registry: Registry): (found: Condition, names: Pick<MetricsOptions, "services" | "sinks">) => void {
  const gauge = <L extends string>(name: string, help: string, labelNames: L[] = []) =>
    new Gauge({ name, help, labelNames, registers: [registry] });
  const ready = gauge("billhook_ready", "1 when all is well, as /readyz says.");
  const ailing = gauge("billhook_ailments", "Reasons not to be ready, by what they are about.", ["about"]);
  const writable = gauge("billhook_ledger_writable", "1 when the ledger took a record just now.");
  const swept = gauge("billhook_mailbox_last_sweep_timestamp_seconds", "When the last complete sweep of a mailbox ended; 0 for never.", [
    "mailbox",
  ]);
  const missed = gauge("billhook_mailbox_missed_sweeps", "Sweeps of a mailbox that were due since, and were not completed.", ["mailbox"]);
  const trouble = gauge("billhook_mailbox_trouble", "1 while a mailbox cannot be read.", ["mailbox"]);
  const tasks = gauge("billhook_tasks", "Tasks that are not done, by how they stand.", ["kind", "service", "sink", "state"]);
  const oldest = gauge("billhook_tasks_oldest_due_seconds", "How long the task waiting longest has been due; 0 when none is.", ["kind"]);
  const paused = gauge("billhook_paused", "1 while a service or a sink is paused.", ["service", "sink"]);
  const free = gauge("billhook_disk_free_bytes", "Space left for what is kept there.", ["place"]);
  const size = gauge("billhook_disk_size_bytes", "Size of the file system of what is kept there.", ["place"]);
  const all = [ready, ailing, writable, swept, missed, trouble, tasks, oldest, paused, free, size];

  return (found, { services, sinks }) => {
    for (const one of all) one.reset();
    const ailments = ailmentsOf(found);
    ready.set(ailments.length === 0 ? 1 : 0);
    for (const about of ["daemon", "ledger", "disk", "mailbox", "service", "sink", "tasks"] as const)
      ailing.set({ about }, ailments.filter((ailment) => ailment.about === about).length);
    writable.set(found.ledger === null ? 1 : 0);
    for (const { places, freeBytes, sizeBytes } of found.disks) {
      for (const place of places) {
        free.set({ place }, freeBytes);
        size.set({ place }, sizeBytes);
      }
    }
    if (!found.asked) return;
    for (const { name: mailbox } of found.mailboxes) {
      const sweptAt = lastSweep(found, mailbox);
      swept.set({ mailbox }, sweptAt === null ? 0 : Date.parse(sweptAt) / 1_000);
      const seen = found.pulse?.mailboxes.find((one) => one.mailbox === mailbox);
      missed.set({ mailbox }, seen?.missedSweeps ?? 0);
      trouble.set({ mailbox }, seen === undefined || seen.trouble === null ? 0 : 1);
    }
    const named = { split: [null], extract: services, deliver: sinks, settle: [null] };
    for (const kind of TASK_KINDS)
      for (const name of named[kind]) for (const state of STATES) tasks.set({ kind, ...labelOf(kind, name), state }, 0);
    for (const { kind, name, state, tasks: n } of found.queues) tasks.set({ kind, ...labelOf(kind, name), state }, n);
    for (const kind of TASK_KINDS) {
      const since = oldestDue(found, { kind })?.since ?? found.at;
      oldest.set({ kind }, (found.at.getTime() - since.getTime()) / 1_000);
    }
    const isPaused = (name: string) => (found.paused.some((one) => one.name === name) ? 1 : 0);
    for (const service of services) paused.set({ service }, isPaused(service));
    for (const sink of sinks) paused.set({ sink }, isPaused(sink));
  };
}

function labelOf(kind: TaskKind, name: string | null): { readonly service?: string; readonly sink?: string } {
  if (name === null) return {};
  return kind === "extract" ? { service: name } : { sink: name };
}
