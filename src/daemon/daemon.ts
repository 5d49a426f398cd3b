/** The daemon: starts everything in order, works until it is told to stop, and stops in the opposite order. */
import type { Clock } from "../base/clock.ts";
import { EXIT, recordOf } from "../base/errors.ts";
import { type Logger, shortAddress } from "../base/logger.ts";
import { keepsNothing } from "../config/keep.ts";
import type { Config } from "../config/schema.ts";
import { forget } from "../pipeline/forget.ts";
import type { Works } from "../pipeline/step.ts";
import type { Source } from "../source/source.ts";
import type { Event } from "../store/record.ts";
import { startWeb } from "../web/web.ts";
import { webhookRoute } from "../web/webhooks.ts";
import { assembleWorks } from "./assemble.ts";
import { intake } from "./intake.ts";
import { createPruner } from "./prune.ts";
import { startSchedule } from "./schedule.ts";
import { watched } from "./watched.ts";
import { createWorker } from "./worker.ts";

export type DaemonOptions = {
  readonly config: Config;
  readonly clock: Clock;
  readonly log: Logger;
  /** True: read what is there, work until nothing is left that is going well, end. */
  readonly once: boolean;
  /** Called after each saved change, in the order of saving. */
  readonly tell?: (event: Event) => void;
  /** Told where every task stands between effect and save: for crash campaigns. */
  readonly passing?: (point: string, subject: string) => void;
};

/** How long the effects in hand may take after the daemon was told to stop. */
const GRACE_MS = 7_000;
const HEARTBEAT = "*/10 * * * * *";
/** Beside the sweeps, most of which begin with the minute. */
const PRUNING = "30 * * * * *";

/**
 * Resolves with the exit code: 0, or 3 when `once` could not read a mailbox or left tasks that wait: for a try far ahead, for a
 * limit, or for a paused service. Rejects when the daemon cannot start or its ledger is beyond use.
 */
export async function runDaemon(options: DaemonOptions, stopped: AbortSignal): Promise<number> {
  const { config, clock, log, once } = options;
  const { works: assembled, close } = await assembleWorks(config, { clock, log });
  const works: Works = options.passing === undefined ? assembled : { ...assembled, passing: options.passing };
  const ending = new AbortController();
  const stop = AbortSignal.any([stopped, ending.signal]);
  const abandon = new AbortController();
  const over = new AbortController();
  stop.addEventListener("abort", () => void clock.sleep(GRACE_MS, over.signal).then(() => abandon.abort()), { once: true });
  const closers: (() => Promise<unknown>)[] = [];
  try {
    log.event("info", "daemon.started", {
      mailboxes: works.sources.size,
      services: [...works.services.keys()].join(","),
      sinks: [...works.sinks.keys()].join(","),
      state: config.state.directory,
    });
    const { ledger, spool } = works;
    const forgets = keepsNothing(config.keep) ? (message: string, signal: AbortSignal) => forget(message, works, signal) : null;
    const pruner = createPruner({ ledger, spool, keep: config.keep, forget: forgets, clock, log });
    closers.push(pruner.stop);
    const prune = async () => {
      await pruner.prune();
      await pruner.tidy();
    };
    const { routes, tell: count, swept } = await watched(config, works, clock, () => worker.wake());
    const tell = (event: Event, tookMs: number | null = null) => {
      void logEvent(event, works, config.log.addresses, log);
      count(event, tookMs);
      options.tell?.(event);
      if (event.message !== null && event.what === "settle.done") pruner.over(event.message);
      // What the worker did itself it knows.
      if (tookMs === null) worker.wake();
    };
    const worker = createWorker({ works, concurrency: config.concurrency, tell, log, clock });
    if (config.web !== null) {
      const web = await startWeb({ ...config.web, log, routes: [webhookRoute({ works, log, wake: worker.wake }), ...routes] });
      closers.push(web.stop);
      log.event("info", "web.listening", { host: config.web.host, port: web.port });
    }
    const heart = createHeart(works, clock);
    const beat = () => heart.beat(true).catch(() => log.event("error", "heartbeat.failed"));
    const sweeps = [...works.sources.values()].map((source) => ({
      name: `sweep ${source.name}`,
      when: config.mailboxes[source.name]?.sweep ?? "* * * * *",
      run: () => {
        heart.swing(source);
        source.sweep();
      },
    }));
    const regular = [
      { name: "heartbeat", when: HEARTBEAT, run: beat },
      { name: "pruning", when: PRUNING, run: prune },
    ];
    closers.push(startSchedule([...sweeps, ...regular]));
    void prune();
    await heart.beat(true);

    let reading = works.sources.size;
    let unread = 0;
    const intakes = [...works.sources.values()].map(async (source) => {
      const isRead = await intake({ source, works, tell, swept, log, clock, once }, stop);
      if (!isRead) unread += 1;
      reading -= 1;
      worker.wake();
    });
    closers.push(() => Promise.race([Promise.all(intakes), clock.sleep(GRACE_MS, over.signal)]));
    await worker.run(stop, abandon.signal, once ? () => reading === 0 : undefined);
    await heart.beat(false);
    if (once) await prune();

    const { open, waiting } = await works.ledger.backlog();
    log.event("info", "daemon.stopped", { open, waiting });
    return once && !stopped.aborted && (waiting > 0 || unread > 0) ? EXIT.door : EXIT.done;
  } finally {
    ending.abort();
    for (const shut of closers.reverse()) await shut().catch(() => {});
    await close();
    over.abort();
  }
}

/** The pulse others look at: when each mailbox was swept last, and how many sweeps it has missed since. */
function createHeart(works: Works, clock: Clock) {
  const startedAt = clock.now().toISOString();
  const due = new Map<string, { readonly sweeps: number; readonly since: number }>();
  /** Since when each mailbox was in trouble whenever it was looked at; a complete sweep between two looks ends it. */
  const ailing = new Map<string, { readonly since: string; readonly sweptAt: number | undefined }>();
  const troubledSince = ({ name, freshness }: Source, at: string): string | null => {
    const { trouble, sweptAt } = freshness();
    const known = ailing.get(name);
    if (trouble === null) ailing.delete(name);
    else if (known === undefined || known.sweptAt !== sweptAt?.getTime()) ailing.set(name, { since: at, sweptAt: sweptAt?.getTime() });
    return ailing.get(name)?.since ?? null;
  };
  /** The sweeps that were due and have not been followed by a complete one. */
  const missedBy = ({ name, freshness }: Source) => {
    const last = due.get(name);
    const now = clock.now().getTime();
    const swept = freshness().sweptAt?.getTime() ?? 0;
    // A moment to come is of a clock that has been set back since.
    if (last === undefined || (swept >= last.since && swept <= now)) return null;
    return { ...last, since: Math.min(last.since, now) };
  };
  return {
    /** A sweep is due now: it counts as missed until a later one is complete. */
    swing: (source: Source) => {
      const missed = missedBy(source);
      due.set(source.name, { sweeps: (missed?.sweeps ?? 0) + 1, since: missed?.since ?? clock.now().getTime() });
    },
    beat: (alive: boolean) => {
      const at = clock.now().toISOString();
      return works.ledger.beat({
        at,
        alive,
        pid: process.pid,
        startedAt,
        mailboxes: [...works.sources.values()].map((source) => {
          const { sweptAt, trouble } = source.freshness();
          return {
            mailbox: source.name,
            sweptAt: sweptAt?.toISOString() ?? null,
            missedSweeps: missedBy(source)?.sweeps ?? 0,
            trouble: trouble === null ? null : recordOf(trouble),
            troubleSince: troubledSince(source, at),
          };
        }),
        refusing: [...works.services].flatMap(([service, { refusedSince }]) => {
          const since = refusedSince?.() ?? null;
          return since === null ? [] : [{ service, since: since.toISOString() }];
        }),
      });
    },
  };
}

async function logEvent(event: Event, works: Works, addresses: boolean, log: Logger): Promise<void> {
  const isWarning = /\.(retry|held)$/.test(event.what) || /\.unauthorized$/.test(event.faultCode ?? "");
  const level = /\.(failed|halted)$|^unreadable$/.test(event.what) ? "error" : isWarning ? "warn" : "info";
  const name = event.what.includes(".") ? event.what : `message.${event.what}`;
  log.event(level, name, {
    message: event.message?.slice(0, 16),
    mailbox: event.mailbox ?? undefined,
    task: event.subject === event.message ? undefined : event.subject?.replace(`${event.message}.`, ""),
    note: event.note ?? undefined,
    fault: event.faultCode ?? undefined,
    from: event.what === "split.done" ? await senderOf(event.message, works, addresses) : undefined,
  });
}

async function senderOf(message: string | null, works: Works, whole: boolean): Promise<string | undefined> {
  const found = message === null ? null : await works.ledger.message(message).catch(() => null);
  const address = found?.facts?.from[0]?.address;
  return address === undefined || whole ? address : shortAddress(address);
}
