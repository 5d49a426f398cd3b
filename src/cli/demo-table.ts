/** How the demo shows the work: a line when a message is over, and a table of what was found at the end. */
import type { FaultRecord } from "../base/errors.ts";
import { type Event, type Standing, standingOf } from "../store/record.ts";
import type { Ledger } from "../store/store.ts";

export type Row = {
  readonly id: string;
  readonly subject: string;
  readonly from: string;
  readonly documents: number;
  readonly standing: Standing;
  /** What the service found, or why nothing came of it. */
  readonly found: string;
  readonly written: readonly string[];
};

/** How the demo shows things: a path as a person likes to read it, and why a message that was made to fail was made so. */
export type Show = { readonly path: (path: string) => string; readonly madeToFail: ReadonlyMap<string, string> };

/** Every message of the ledger as a row. */
export async function rowsOf(ledger: Ledger, show: Show): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (const { message } of await ledger.summaries(10_000)) rows.push(await rowOf(ledger, message.id, show));
  return rows;
}

async function rowOf(ledger: Ledger, id: string, show: Show): Promise<Row> {
  const message = await ledger.message(id);
  const tasks = await ledger.tasks(id);
  const documents = await ledger.documents(id);
  const results = await Promise.all(documents.map((document) => ledger.result(document.id)));
  const receipts = await ledger.receipts(id);
  const failed = tasks.find((task) => task.status === "failed");
  return {
    id,
    subject: message?.facts?.subject ?? "(no subject)",
    from: message?.facts?.from[0]?.address ?? "(no sender)",
    documents: documents.length,
    standing: standingOf(tasks),
    found:
      failed === undefined ? results.map((result) => foundIn(result?.data)).join(" + ") : whyNot(failed.fault, show.madeToFail.get(id)),
    written: receipts.map(({ receipt }) => show.path(String(receipt.path ?? ""))),
  };
}

function whyNot(fault: FaultRecord | null, madeToFail: string | undefined): string {
  return madeToFail === undefined ? (fault?.message ?? "failed") : `made to fail: ${madeToFail}`;
}

/** What a person wants to read of the sandbox's answer; the names are those of sandbox/answer.ts. */
function foundIn(data: unknown): string {
  const invoices = (data as { invoices?: unknown[] } | null)?.invoices ?? [data];
  return invoices
    .map((invoice) => {
      const { invoice_number, seller_name, gross_amount, currency } = invoice as Record<string, string | null>;
      const amount = [gross_amount, currency].filter(Boolean).join(" ");
      return [invoice_number, amount, seller_name].filter(Boolean).join(", ");
    })
    .join(" + ");
}

export type Totals = {
  readonly messages: number;
  readonly settled: number;
  readonly failed: number;
  readonly documents: number;
  readonly delivered: number;
};

export function totalsOf(rows: readonly Row[]): Totals {
  return {
    messages: rows.length,
    settled: rows.filter(({ standing }) => standing === "done" || standing === "failed").length,
    failed: rows.filter(({ standing }) => standing === "failed").length,
    documents: rows.reduce((sum, { documents }) => sum + documents, 0),
    delivered: rows.reduce((sum, { written }) => sum + written.length, 0),
  };
}

/** A table of at most `columns` characters; what was found gets the room that is left. */
export function tableOf(rows: readonly Row[], columns: number): readonly string[] {
  const head = ["message", "sender", "docs", "what was found", "where it was written"];
  const written = Math.max(20, ...rows.map((row) => row.written.join(", ").length));
  const room = Math.max(60, columns - written - 4 - 8);
  const widths = [Math.floor(room * 0.3), Math.floor(room * 0.25), 4, Math.ceil(room * 0.45), written];
  const line = (cells: readonly string[]) =>
    cells
      .map((text, column) => cut(text, widths[column] ?? 0).padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd();
  const { messages, settled, failed, delivered } = totalsOf(rows);
  return [
    "",
    line(head),
    line(widths.map((width) => "-".repeat(width))),
    ...rows.map((row) => line([row.subject, row.from, String(row.documents), row.found, row.written.join(", ") || "-"])),
    "",
    ...rows.filter(({ standing }) => standing === "failed").map(({ subject, found }) => `FAILED  ${cut(subject, 38)}: ${found}`),
    `${messages} messages, ${settled} settled, ${failed} of them failed and are waiting for a person, ${delivered} documents delivered`,
  ];
}

function cut(text: string, length: number): string {
  const shown = text.replace(/[\p{Cc}\p{Cf}]/gu, "");
  return shown.length <= length ? shown : `${shown.slice(0, length - 1)}…`;
}

const STEPS: Readonly<Record<string, string>> = {
  received: "received",
  "seen-again": "seen again: the same bytes, nothing to buy",
  "split.done": "split",
  "extract.done": "extracted",
  "deliver.done": "delivered",
};

/** A line a message, written when it is settled: what came of it, how long it took, and the steps it went through. */
export function progressOf(open: () => Promise<Ledger>, show: Show, say: (line: string) => void) {
  const trails = new Map<string, { readonly since: number; readonly steps: string[] }>();
  let writing: Promise<void> = Promise.resolve();

  const write = async (message: string, { since, steps }: { readonly since: number; readonly steps: readonly string[] }, at: string) => {
    const ledger = await open();
    const row = await rowOf(ledger, message, show).finally(ledger.close);
    const seconds = ((Date.parse(at) - since) / 1_000).toFixed(1);
    say(
      `${row.standing === "done" ? "done  " : "FAILED"} ${seconds.padStart(4)} s  ${cut(row.subject, 34).padEnd(34)}  ${steps.join(" > ")}`,
    );
  };

  return {
    tell: ({ message, what, at }: Event) => {
      if (message === null) return;
      // Seen again: what is told now is about this arrival, not about the first.
      const begun = trails.get(message);
      const trail = begun === undefined || what === "seen-again" ? { since: Date.parse(at), steps: [] } : begun;
      trails.set(message, trail);
      const step = STEPS[what] ?? (what.endsWith(".failed") ? `${what.replace(".failed", "")} failed` : undefined);
      if (step !== undefined) trail.steps.push(step);
      if (what === "settle.done") writing = writing.then(() => write(message, trail, at)).catch(() => {});
    },
    end: () => writing,
  };
}
