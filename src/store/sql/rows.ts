/** How a row of the ledger becomes a record, and what becomes of one that cannot be read. */
import { asFault, type FaultRecord, permanent, recordOf } from "../../base/errors.ts";
import { NO_FACTS } from "../../message/facts.ts";
import type { Facts, Part } from "../../message/message.ts";
import type { ArrivalRecord, MessageRecord } from "../mail.ts";
import {
  type DocumentRecord,
  type Event,
  type ReceiptRecord,
  type ResultRecord,
  type RouteRecord,
  type RunRecord,
  type Task,
  type TaskKind,
  type TaskMemo,
  type TaskStatus,
  UNREADABLE,
} from "../record.ts";
import type { MailboxRecord } from "../store.ts";
import type { Row, Tables } from "./tables.ts";

/** What is no JSON names its row, and stays as it is. */
export function json(text: string | null, table: keyof Tables, row: string | number, about = ""): unknown {
  if (text === null) return null;
  try {
    return JSON.parse(text);
  } catch {
    // Without the error: it would quote the row.
    const advice = "restore the ledger from a backup, or mend the row, then run `billhook retry`";
    throw permanent(UNREADABLE, `row ${row} of the table ${table}${about} cannot be read`, advice);
  }
}

const faultIn = (thrown: unknown): FaultRecord => recordOf(asFault(thrown, UNREADABLE));

/** A row that cannot be read becomes a task that says so: it must not hold up the others. */
export function taskOf(row: Row<Tables["task"]>): Task {
  try {
    return readTask(row);
  } catch (thrown) {
    return { ...readTask({ ...row, memo: null, fault: null }), fault: faultIn(thrown) };
  }
}

function readTask(row: Row<Tables["task"]>): Task {
  const about = ` (${row.kind} ${row.subject})`;
  return {
    id: row.id,
    kind: row.kind as TaskKind,
    subject: row.subject,
    message: row.message,
    status: row.status as TaskStatus,
    attempts: row.attempts,
    failingSince: row.failing_since,
    dueAt: row.due_at,
    memo: json(row.memo, "task", row.id, about) as TaskMemo | null,
    fault: json(row.fault, "task", row.id, about) as FaultRecord | null,
    released: row.released === 1,
    rank: row.rank === 0 ? 0 : 1,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}

/** For who shows it: a row that cannot be read says so, and knows nothing else. Who works with it asks `readMessage`. */
export function messageOf(row: Row<Tables["message"]>): MessageRecord {
  try {
    return readMessage(row);
  } catch (thrown) {
    return { ...readMessage({ ...row, facts: null, faults: "[]", route: null }), faults: [faultIn(thrown)] };
  }
}

export function readMessage(row: Row<Tables["message"]>): MessageRecord {
  return {
    id: row.id,
    sha256: row.id,
    size: row.size,
    receivedAt: row.received_at,
    // Facts of an older version know less.
    facts: row.facts === null ? null : { ...NO_FACTS, ...(json(row.facts, "message", row.id) as Facts) },
    faults: json(row.faults, "message", row.id) as FaultRecord[],
    route: json(row.route, "message", row.id) as RouteRecord | null,
    gone: { raw: row.raw_gone_at, parts: row.parts_gone_at, results: row.results_gone_at, events: row.events_gone_at },
  };
}

export function arrivalOf(row: Row<Tables["arrival"]>): ArrivalRecord {
  try {
    return readArrival(row);
  } catch (thrown) {
    return { ...readArrival({ ...row, fault: null }), fault: faultIn(thrown) };
  }
}

function readArrival(row: Row<Tables["arrival"]>): ArrivalRecord {
  return {
    id: String(row.id),
    origin: { mailbox: row.mailbox, uidValidity: row.uid_validity, uid: row.uid },
    message: row.message,
    receivedAt: row.received_at,
    seenAt: row.seen_at,
    fault: json(row.fault, "arrival", row.id) as FaultRecord | null,
    ignored: row.ignored,
  };
}

export function mailboxOf(row: Row<Tables["mailbox"]>): MailboxRecord {
  return {
    mailbox: row.name,
    cursor: { uidValidity: row.uid_validity, uid: row.uid, since: row.since, until: row.until },
    sweptAt: row.swept_at,
  };
}

export function partOf(row: Row<Tables["part"]>): Part {
  return {
    id: row.id,
    parent: row.parent,
    role: row.role as Part["role"],
    filename: row.filename,
    contentType: row.content_type,
    sniffedType: row.sniffed_type,
    disposition: row.disposition as Part["disposition"],
    contentId: row.content_id,
    sha256: row.sha256,
    size: row.size,
  };
}

export function partRow(message: string, position: number, part: Part): Tables["part"] {
  return {
    message,
    position,
    id: part.id,
    parent: part.parent,
    role: part.role,
    filename: part.filename,
    content_type: part.contentType,
    sniffed_type: part.sniffedType,
    disposition: part.disposition,
    content_id: part.contentId,
    sha256: part.sha256,
    size: part.size,
  };
}

export function documentOf(row: Row<Tables["document"]>): DocumentRecord {
  return {
    id: row.id,
    message: row.message,
    position: row.position,
    service: row.service,
    whole: row.whole === 1,
    parts: json(row.parts, "document", row.id) as string[],
  };
}

export function resultOf(row: Omit<Row<Tables["result"]>, "raw" | "at">): Omit<ResultRecord, "raw"> {
  const { document, service, credits, reasoning } = row;
  return {
    document,
    service,
    runId: row.run_id,
    data: json(row.data, "result", document),
    credits,
    reasoning,
    review: json(row.review, "result", document),
  };
}

export function runOf(row: Row<Tables["run"]>): RunRecord {
  const { document, service, mailbox, credits } = row;
  const onlyDoubt = row.only_doubt === 1 ? ({ onlyDoubt: true } as const) : {};
  return { document, service, mailbox, runId: row.run_id, credits, possiblyTwice: row.possibly_twice, ...onlyDoubt };
}

export function receiptOf(row: Row<Tables["receipt"]>): ReceiptRecord {
  return {
    key: row.key,
    document: row.document,
    sink: row.sink,
    receipt: json(row.receipt, "receipt", row.key) as ReceiptRecord["receipt"],
  };
}

export function eventRecordOf(row: Row<Tables["event"]>): Event {
  return {
    at: row.at,
    message: row.message,
    mailbox: row.mailbox,
    what: row.what,
    subject: row.subject,
    note: row.note,
    faultCode: row.fault_code,
  };
}
