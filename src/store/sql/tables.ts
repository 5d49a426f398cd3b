/** The tables of the ledger as the SQL builder sees them. */
import type { Generated } from "kysely";
import type { Kept } from "../upkeep.ts";

export type Tables = {
  mailbox: { name: string; uid_validity: string; uid: number; since: string | null; until: number; swept_at: string | null };
  message: {
    id: string;
    size: number;
    received_at: string;
    facts: string | null;
    faults: string;
    route: string | null;
    ignored: string | null;
    rank: Generated<number>;
  } & { [column in `${Kept}_gone_at`]: string | null };
  arrival: {
    id: Generated<number>;
    mailbox: string;
    uid_validity: string;
    uid: number;
    message: string | null;
    received_at: string | null;
    seen_at: string;
    fault: string | null;
    ignored: string | null;
    /** Without bytes, and since when a person wants them fetched after all. */
    again: string | null;
  };
  part: {
    message: string;
    position: number;
    id: string;
    parent: string | null;
    role: string;
    filename: string | null;
    content_type: string;
    sniffed_type: string | null;
    disposition: string | null;
    content_id: string | null;
    sha256: string;
    size: number;
  };
  document: { id: string; message: string; position: number; service: string; whole: number; parts: string };
  result: {
    document: string;
    service: string;
    run_id: string | null;
    data: string;
    credits: number | null;
    reasoning: string | null;
    review: string | null;
    raw: string;
    at: string;
  };
  run: {
    /** `<document>/<run id>`: the same run is one row, however often it is told. */
    key: string;
    document: string;
    service: string;
    mailbox: string;
    run_id: string | null;
    credits: number | null;
    possibly_twice: number;
    /** 1: no run, only what may have been done twice. */
    only_doubt: number;
    at: string;
  };
  /** Services and sinks that a person has to let go on. */
  paused: { name: string; paused_at: string; why: string };
  webhook: { service: string; event_id: string; at: string };
  receipt: { key: string; message: string; document: string | null; sink: string; receipt: string; at: string };
  task: {
    id: Generated<number>;
    kind: string;
    subject: string;
    message: string;
    status: string;
    attempts: number;
    failing_since: string | null;
    due_at: string;
    memo: string | null;
    fault: string | null;
    /** The run that is asked after. */
    run_id: string | null;
    /** Of a delivery: where it goes, and its place among the deliveries of its message to there. */
    sink: string | null;
    position: number | null;
    released: number;
    /** Of its message. */
    rank: number;
    created_at: string;
    updated_at: string;
  };
  event: {
    id: Generated<number>;
    at: string;
    message: string | null;
    mailbox: string | null;
    what: string;
    subject: string | null;
    note: string | null;
    fault_code: string | null;
  };
  pulse: { id: number; body: string };
  /** Bytes that went from the record, and have to go from the spool. */
  removal: { shelf: "raw" | "parts"; sha256: string };
};

/** Their names, in an order in which each names only those before it. */
export const TABLES = [
  "mailbox",
  "message",
  "arrival",
  "part",
  "document",
  "result",
  "run",
  "paused",
  "webhook",
  "receipt",
  "task",
  "event",
  "pulse",
  "removal",
] as const satisfies readonly (keyof Tables)[];

/** As it is read. */
export type Row<T> = { [K in keyof T]: T[K] extends Generated<infer G> ? G : T[K] };
