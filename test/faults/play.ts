/** One fault of the campaign: before it, while it lasts, after it; and what became of the mail and of what people were told. */
import type { ImapOptions } from "../../src/source/imap.ts";
import type { Dovecot } from "../servers/dovecot.ts";
import type { Meddler } from "../servers/proxy.ts";
import { type Stage, startStage, type Tally } from "./stage.ts";

export type Scripted = {
  readonly name: string;
  /** Codes a person is told while it lasts, in order; alternatives with `|`, `?` after one that may be missing. Empty: nothing is wrong, and nothing is said. */
  readonly tells: readonly string[];
  readonly options?: Partial<ImapOptions>;
  /** Says `strike` when it does something. */
  readonly meddler?: (strike: () => void, stage: () => Stage) => Meddler;
  /** What happens between the first mails and the last; without it two more mails come once the meddler has struck. */
  readonly script?: (stage: Stage) => Promise<void>;
  /** Mails that become a visible record without bytes. */
  readonly unreadable?: number;
  /** Everything is seen a second time, and recognised: the server numbered its messages anew. */
  readonly renumbers?: boolean;
  /** Connections must not be closer together than this: two seconds, or what the server asks for. */
  readonly loginEveryMs?: number;
  /** How long the way back may take, where it is longer than usual. */
  readonly patienceMs?: number;
  /** Another directory for the spool. */
  readonly spoolIn?: string;
  readonly minFree?: number;
  readonly sweepEveryMs?: number;
};

export type Played = Tally & {
  readonly name: string;
  readonly told: readonly string[];
  readonly recoveredMs: number;
  /** Shortest time between two connections; Infinity when there was one. */
  readonly loginEveryMs: number;
};

const BEFORE = 3;
const MEANWHILE = 2;
const AFTER = 1;

export async function play(fault: Scripted, dovecot: Dovecot): Promise<Played> {
  let struck = false;
  const strike = () => {
    if (!struck) stage.mark();
    struck = true;
  };
  const meddler = fault.meddler?.(strike, () => stage) ?? null;
  const { spoolIn = null, minFree = 0, sweepEveryMs = null } = fault;
  const stage = await startStage(dovecot, fault.options, { meddler, spoolIn, minFree, sweepEveryMs });
  try {
    await stage.deliver(BEFORE);
    stage.begin();
    if (fault.script === undefined) {
      await stage.until("the fault strikes", () => struck);
      await stage.deliver(MEANWHILE);
    } else await fault.script(stage);
    await stage.until("everything is ingested", stage.isWell, fault.patienceMs);
    const recoveredMs = stage.recoveredMs();
    await stage.deliver(AFTER);
    stage.mark();
    await stage.until("it goes on afterwards", stage.isWell);
    return {
      name: fault.name,
      told: stage.told(),
      recoveredMs,
      loginEveryMs: shortest(stage.proxy.acceptedAt()),
      ...(await stage.tally()),
    };
  } finally {
    await stage.stop();
  }
}

function shortest(times: readonly number[]): number {
  return Math.min(...times.slice(1).map((time, index) => time - (times[index] ?? 0)));
}

/** Whether people were told what they should be. */
export function isToldRight(fault: Scripted, told: readonly string[]): boolean {
  const pattern = fault.tells.map((code) => `(?:(?:${code.replace("?", "")}) )${code.endsWith("?") ? "?" : ""}`).join("");
  return new RegExp(`^${pattern}$`).test(
    troublesOf(told)
      .map((code) => `${code} `)
      .join(""),
  );
}

/** Troubles a person was told, without the good news between them. */
export function troublesOf(told: readonly string[]): readonly string[] {
  return told.filter((code) => code !== "ok").filter((code, index, all) => code !== all[index - 1]);
}

export function tableOf(rows: readonly Played[]): string {
  const head = ["fault", "told", "recovered after", "messages", "duplicates"];
  const lines = rows.map((row) => [
    row.name,
    troublesOf(row.told).join(", ") || "-",
    `${(row.recoveredMs / 1_000).toFixed(1)} s`,
    `${row.messages}${row.unreadable > 0 ? ` + ${row.unreadable} record` : ""}${row.missing > 0 ? ` (${row.missing} MISSING)` : ""}`,
    `${row.duplicates}`,
  ]);
  const widths = head.map((title, column) => Math.max(...[head, ...lines].map((line) => (line[column] ?? title).length)));
  return [head, ...lines]
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
