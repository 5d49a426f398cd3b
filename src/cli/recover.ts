/** `billhook recover`: puts a damaged or lost ledger and spool right, after it has said what that means; the daemon has to be stopped. */
import { systemClock } from "../base/clock.ts";
import { EXIT } from "../base/errors.ts";
import { silent } from "../base/logger.ts";
import { loadConfig } from "../config/load.ts";
import { assembleDoors } from "../daemon/assemble.ts";
import { applyRecovery, type Done, type Plan, planRecovery } from "../daemon/recover.ts";
import { assembleRecovery } from "../daemon/state.ts";
import type { Odd } from "../daemon/verify.ts";
import type { Recovery } from "../store/recovery.ts";
import { confirmed } from "./confirm.ts";
import type { Terminal } from "./terminal.ts";
import { progressOn } from "./verify.ts";
import { visible } from "./visible.ts";

type Options = { readonly config: string; readonly yes: boolean };

/** Resolves with exit code 0 when all was put right, 3 when something could not be had again or the person stopped it. */
export async function recover(options: Options, terminal: Terminal): Promise<number> {
  const { out, say, stop } = terminal;
  const config = await loadConfig(options.config, process.env);
  const { recovery, spool, directory } = await assembleRecovery(config, systemClock.now());
  let isOver = false;
  try {
    const { sources, routing, close } = await assembleDoors(config, { clock: systemClock, log: silent });
    try {
      const names = [...Object.keys(config.services), ...Object.keys(config.sinks)];
      const works = { recovery, spool, directory, sources, names, routing };
      const plan = await planRecovery(works, progressOn(say), stop);
      for (const line of planLines(plan, recovery)) out(visible(line));
      if (recovery.wrong.length === 0 && plan.odd.length === 0) return EXIT.done;
      if (!(await confirmed("put this right", options.yes, terminal))) {
        out("nothing was changed");
        return EXIT.done;
      }
      const done = await applyRecovery(plan, works, stop);
      const held = recovery.held();
      const kept = await recovery.finish();
      isOver = true;
      for (const line of doneLines(done, held, kept)) out(visible(line));
      return done.missing.length === 0 ? EXIT.done : EXIT.door;
    } finally {
      await close();
    }
  } catch (thrown) {
    if (!stop.aborted) throw thrown;
    out("stopped: the ledger is as it was; what is in the spool again stays there");
    return EXIT.door;
  } finally {
    if (!isOver) await recovery.abandon();
  }
}

function planLines({ odd, unread }: Plan, { wrong, carried, wentBack, held, pausesLost }: Recovery): readonly string[] {
  const count = (is: Odd["is"], shelf: Odd["shelf"]) => odd.filter((one) => one.is === is && one.shelf === shelf).length;
  const bad = (shelf: Odd["shelf"]) => count("missing", shelf) + count("damaged", shelf);
  const lines = wrong.length === 0 ? ["ledger   sound; it stays as it is"] : wrong.map((what) => `ledger   ${what}`);
  if (wrong.length > 0) {
    const lost = Object.entries(carried).filter(([, { whole }]) => !whole);
    const { message, task, receipt } = carried;
    lines.push(
      `         it is kept aside, and a new one takes its place, with ${message?.rows ?? 0} messages, ${task?.rows ?? 0} tasks and ${receipt?.rows ?? 0} receipts of it`,
    );
    if (lost.length > 0) lines.push(`         not all could be read of: ${lost.map(([table]) => table).join(", ")}`);
    if (wentBack) lines.push("         its newest records are lost: whatever is open in it may have been done, and waits for a person");
    if (pausesLost) lines.push("         what was paused is not known: every service and sink is paused until `billhook resume`");
  }
  const rows = [
    [count("stranger", "raw"), "mails in the spool that the ledger does not know become messages"],
    [bad("raw"), "raw mails are missing or damaged: they are fetched again from where they were seen"],
    [bad("parts"), "parts are missing or damaged: they are made again from the raw mail"],
    [count("leftover", "raw") + count("leftover", "parts"), "files that no message wants are moved aside"],
    [count("temporary", "raw") + count("temporary", "parts"), "files of interrupted writes are removed"],
    [count("unreadable", "raw") + count("unreadable", "parts"), "files cannot be read: check the disk and its permissions"],
  ] as const;
  for (const [files, what] of rows) if (files > 0) lines.push(`spool    ${files} ${what}`);
  for (const { mailbox, cursor, unknown, since } of unread) {
    const end = cursor === null ? "it is empty" : `it is watched from its present end on (UID ${cursor.uid})`;
    lines.push(`mailbox  ${mailbox}: how far it was read is not known; ${end}`);
    const day = since?.slice(0, 10);
    if (unknown > 0) {
      lines.push(
        `         ${unknown} in it are not in the ledger; \`billhook backfill ${mailbox} --since ${day}\` would take them in, and pay for those whose bytes are not in the spool`,
      );
    }
  }
  const waiting = held() + count("stranger", "raw");
  if (waiting > 0)
    lines.push(
      `held     ${waiting} messages of which nobody knows what became of them: nothing is read or delivered before \`billhook release\``,
    );
  if (wrong.length === 0 && odd.length === 0) lines.push("spool    sound");
  return lines;
}

function doneLines({ adopted, fetched, split, movedAside, missing }: Done, held: number, kept: string | null): readonly string[] {
  const lines = missing.map((what) => `missing  ${what}`);
  lines.push(
    `done     ${adopted} mails taken from the spool, ${fetched} fetched again, ${split} split again, ${movedAside} files moved aside`,
  );
  if (kept !== null) lines.push(`         the damaged ledger is in ${kept}`);
  if (held > 0)
    lines.push(
      `held     ${held} messages: see \`billhook list --state held\`; then \`billhook release ID\`, or \`billhook ignore ID --why …\``,
    );
  lines.push("next     `billhook status --verify`, then `billhook run`");
  return lines;
}
