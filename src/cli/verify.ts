/** `billhook status --verify`: checks the ledger, and the spool against the ledger; changes nothing, and is safe while the daemon runs. */
import { EXIT, Fault } from "../base/errors.ts";
import type { Config } from "../config/schema.ts";
import { assembleInspection } from "../daemon/state.ts";
import { findingsOf, type Progress } from "../daemon/verify.ts";
import { sizeText } from "../pipeline/health.ts";
import type { Finding } from "../store/recovery.ts";
import type { Out, Terminal } from "./terminal.ts";
import { visible, visibleJson } from "./visible.ts";

/** Beside a daemon bytes are in the spool a moment before the ledger knows of them. */
const UNDER_WAY_MS = 3_600_000;
const PROGRESS_MS = 2_000;

/** Resolves with exit code 0 when all is sound, 3 when something is not, or was not looked at because the person stopped it. */
export async function verify(config: Config, { json }: { readonly json: boolean }, terminal: Terminal, now: Date): Promise<number> {
  const { out, say, stop } = terminal;
  let findings = 0;
  const tell = ({ code, message, advice }: Finding) => {
    findings += 1;
    out(json ? visibleJson({ code, message, advice }) : visible(`${message} - ${advice}`));
  };
  let checked = 0;
  try {
    const { inspection, spool, directory, beside } = await assembleInspection(config);
    try {
      const progress = progressOn(say);
      const before = beside ? new Date(now.getTime() - UNDER_WAY_MS) : null;
      const count = (told: Progress) => {
        checked += 1;
        progress(told);
      };
      for await (const finding of findingsOf({ inspection, spool, directory, before, tell: count }, stop)) tell(finding);
    } finally {
      inspection.close();
    }
  } catch (thrown) {
    // A ledger that cannot be opened is what was asked about.
    if (!(thrown instanceof Fault)) throw thrown;
    tell({ code: thrown.code, message: thrown.message, advice: thrown.advice ?? "" });
  }
  const sound = findings === 0 && !stop.aborted;
  const counted = `${checked} ${checked === 1 ? "file" : "files"} of the spool read`;
  const found = `${findings} ${findings === 1 ? "finding" : "findings"}`;
  out(
    json
      ? visibleJson({ sound, findings, files: checked })
      : sound
        ? `sound: ${counted}`
        : `${stop.aborted ? "stopped: " : ""}${found}; ${counted}`,
  );
  return sound ? EXIT.done : EXIT.door;
}

/** Now and then. */
export function progressOn(say: Out): (progress: Progress) => void {
  let last = performance.now();
  return ({ files, of, bytes }) => {
    if (performance.now() - last < PROGRESS_MS) return;
    last = performance.now();
    say(`${files} of ${of} files read, ${sizeText(bytes)}`);
  };
}
