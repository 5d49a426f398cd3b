/** What SQLite throws, as faults for people. */
import { Fault, permanent, reasonOf } from "../../base/errors.ts";
import { isBusy, PATIENCE_MS } from "./busy.ts";

const BY_ITSELF = "billhook goes on by itself";
const WAY_BACK =
  "stop billhook, then restore it from a backup, or see what is wrong with `billhook status --verify` and mend it with `billhook recover`";

/** While the ledger is being opened nothing waits for it yet: what keeps it from being opened is told at once. */
export function openingFault(thrown: unknown, file: string): Fault {
  if (!(thrown instanceof Fault) && codeOf(thrown) === "SQLITE_CANTOPEN")
    return permanent("ledger.unreadable", `cannot open ${file}`, "check who owns it and its directory, and their permissions", thrown);
  return ledgerFault(thrown, file);
}

/** Temporary unless the file is damaged, or the record is one it never takes. */
export function ledgerFault(thrown: unknown, file: string): Fault {
  if (thrown instanceof Fault) return thrown;
  const code = codeOf(thrown);
  const fault = (what: string, message: string, advice: string) => new Fault(what, message, { advice, cause: thrown });
  if (isBusy(thrown)) {
    const message = `${file} was locked by another process for ${PATIENCE_MS / 1_000} s`;
    return fault(
      "ledger.busy",
      message,
      `\`fuser ${file}\` names it: an SQLite shell, a backup, another billhook; when it lets go ${BY_ITSELF}`,
    );
  }
  if (code === "SQLITE_FULL" || code === "ENOSPC" || code === "EDQUOT")
    return fault("ledger.full", `no space left for ${file}`, `free disk space; ${BY_ITSELF}`);
  if (code.startsWith("SQLITE_READONLY") || code === "EROFS")
    return fault(
      "ledger.readonly",
      `cannot write ${file}: ${reasonOf(thrown)}`,
      `make the disk writable, or check its permissions; ${BY_ITSELF}`,
    );
  if (code.startsWith("SQLITE_IOERR"))
    return fault("ledger.failed", `${file}: ${reasonOf(thrown)}`, `the disk refuses: look at the system's log (dmesg); ${BY_ITSELF}`);
  if (code === "SQLITE_CANTOPEN" || code === "EMFILE" || code === "ENFILE")
    return fault("ledger.failed", `${file}: ${reasonOf(thrown)}`, `check the limit of open files (ulimit -n, LimitNOFILE); ${BY_ITSELF}`);
  if (code.startsWith("SQLITE_CORRUPT") || code === "SQLITE_NOTADB" || thrown instanceof SyntaxError) {
    // A SyntaxError is a row that is no JSON; its message would quote the row.
    const why = thrown instanceof SyntaxError ? "a record cannot be read" : reasonOf(thrown);
    return permanent("ledger.corrupt", `${file} is damaged: ${why}`, WAY_BACK, thrown);
  }
  if (code === "" || /^SQLITE_(CONSTRAINT|TOOBIG|MISMATCH)/.test(code))
    return permanent("ledger.refused", `the ledger does not take this record: ${reasonOf(thrown)}`, "please report this", thrown);
  return new Fault("ledger.failed", `${file}: ${reasonOf(thrown)}`, { cause: thrown });
}

function codeOf(thrown: unknown): string {
  return (thrown as { code?: string } | null)?.code ?? "";
}
