/** How the demo shows the work: a line when a message is over, and a table of what was found at the end. */
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

/** Every message of the ledger as a row. `show` makes a path readable. */
export async function rowsOf(ledger: Ledger, show: (path: string) => string): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (const { message } of await ledger.summaries(10_000)) rows.push(await rowOf(ledger, message.id, show));
  return rows;
}

async function rowOf(ledger: Ledger, id: string, show: (path: string) => string): Promise<Row> {
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
    found: failed?.fault?.message ?? results.map((result) => foundIn(result?.data)).join(" + "),
    written: receipts.map(({ receipt }) => show(String(receipt.path ?? ""))),
  };
}

/** What a person wants to read of the sandbox's answer; the names are those of sandbox/answer.ts. */
function foundIn(data: unknown): string {
  const invoices = (data as { invoices?: unknown[] } | null)?.invoices ?? [data];
  return invoices
    .map((invoice) => {
      const { invoice_number, seller_name, gross_amount, currency } = invoice as Record<string, string | null>;
      return `${invoice_number ?? "?"}, ${seller_name ?? "unknown seller"}, ${gross_amount ?? "?"} ${currency ?? ""}`.trim();
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

export function tableOf(rows: readonly Row[]): readonly string[] {
  const cells = rows.map((row) => [
    cut(row.subject, 38),
    cut(row.from, 34),
    String(row.documents),
    cut(row.found, 66),
    row.written.join(", ") || "-",
  ]);
  const head = ["message", "sender", "docs", "what was found", "where it was written"];
  const widths = head.map((title, column) => Math.max(title.length, ...cells.map((cell) => cell[column]?.length ?? 0)));
  const line = (cell: readonly string[]) =>
    cell
      .map((text, column) => text.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd();
  const { messages, settled, failed, delivered } = totalsOf(rows);
  return [
    "",
    line(head),
    line(widths.map((width) => "-".repeat(width))),
    ...cells.map(line),
    "",
    `${messages} messages, ${settled} settled, ${failed} of them failed and are waiting for a person, ${delivered} documents delivered`,
  ];
}

function cut(text: string, length: number): string {
  const shown = text.replace(/[\p{Cc}\p{Cf}]/gu, "");
  return shown.length <= length ? shown : `${shown.slice(0, length - 1)}…`;
}

const STEPS: Readonly<Record<string, string>> = {
  received: "received",
  "split.done": "split",
  "extract.done": "extracted",
  "deliver.done": "delivered",
};

/** A line a message, written when it is settled: how long it took, what came of it, and the steps it went through. */
export function progressOf(open: () => Promise<Ledger>, say: (line: string) => void) {
  const trails = new Map<string, { readonly since: number; readonly steps: string[] }>();
  let writing: Promise<void> = Promise.resolve();

  const write = async (message: string, trail: { readonly since: number; readonly steps: readonly string[] }, at: string) => {
    const ledger = await open();
    const row = await rowOf(ledger, message, (path) => path).finally(ledger.close);
    const seconds = ((Date.parse(at) - trail.since) / 1_000).toFixed(1);
    say(
      `${row.standing === "done" ? "done  " : "FAILED"} ${seconds.padStart(5)} s  ${cut(row.subject, 38).padEnd(38)}  ${trail.steps.join(" > ")}  ${cut(row.found, 70)}`,
    );
  };

  return {
    tell: ({ message, what, at }: Event) => {
      if (message === null) return;
      const trail = trails.get(message) ?? { since: Date.parse(at), steps: [] };
      trails.set(message, trail);
      const step = STEPS[what] ?? (what.endsWith(".failed") ? `${what.replace(".failed", "")} failed` : undefined);
      if (step !== undefined) trail.steps.push(step);
      if (what === "settle.done") writing = writing.then(() => write(message, trail, at)).catch(() => {});
    },
    end: () => writing,
  };
}
