/** `billhook list`: the mails there are, newest first, a line each; safe while the daemon runs. */
import { durationMs, systemClock } from "../base/clock.ts";
import { EXIT, permanent } from "../base/errors.ts";
import type { Config } from "../config/schema.ts";
import type { Desk, Row, Unread } from "../desk/desk.ts";
import { STANDINGS, type Standing } from "../store/record.ts";
import { withDesk } from "./ledger.ts";
import type { Terminal } from "./terminal.ts";
import { visible, visibleJson } from "./visible.ts";
import { addressText, fitted, mending, shortId, timeOf, troubleText, unreadText, withCommand } from "./words.ts";

/** All of it has to hold; null asks for nothing. */
export type Options = {
  readonly config: string;
  /** A standing, or `unread` for what was seen in a mailbox and never given. */
  readonly state: string | null;
  /** A duration before now, or an ISO 8601 date. */
  readonly since: string | null;
  readonly from: string | null;
  readonly mailbox: string | null;
  readonly subject: string | null;
  readonly limit: string;
  readonly json: boolean;
};

const UNREAD = "unread";
const MOST = 100_000;

export async function list(options: Options, { out, say }: Terminal): Promise<number> {
  const { state, since, from, mailbox, subject } = options;
  const limit = /^\d{1,6}$/.test(options.limit) ? Number(options.limit) : 0;
  if (limit < 1 || limit > MOST) throw permanent("config.usage", `expected --limit from 1 to ${MOST}, found ${options.limit}`);
  const standing = standingOf(state);
  if (standing === UNREAD && (from ?? subject) !== null)
    throw permanent("config.usage", "what could not be read has no sender and no subject: leave out --from and --subject");
  const after = sinceOf(since, systemClock.now());
  return withDesk(options.config, async (desk, _, config) => {
    const unread = (await unreadFor(standing, options, desk, after)).map((one) => ({
      at: one.arrival.seenAt,
      json: one,
      line: unreadLine(one),
    }));
    const rows =
      standing === UNREAD
        ? []
        : (await desk.list({ state: standing, since: after, from, mailbox, subject, limit })).map((row) => ({
            at: row.receivedAt,
            json: row,
            line: rowLine(row),
          }));
    const found = [...unread, ...rows].toSorted((a, b) => b.at.localeCompare(a.at)).slice(0, limit);
    for (const { json, line } of found) out(options.json ? visibleJson(json) : line);
    if (found.length === 0)
      say(mailbox === null || mailbox in config.mailboxes ? "there is no such mail" : unknownMailbox(mailbox, config));
    if (found.length === limit) say(`these are the newest ${limit}; --limit shows more`);
    return EXIT.done;
  });
}

/** What it held may be there still, though it is not in the configuration any more. */
function unknownMailbox(mailbox: string, { mailboxes }: Config): string {
  return visible(`there is no such mail, and no mailbox ${mailbox}; there is ${Object.keys(mailboxes).join(", ")}`);
}

function standingOf(state: string | null): Standing | typeof UNREAD | null {
  if (state === null || state === UNREAD) return state;
  const standing = STANDINGS.find((one) => one === state);
  if (standing !== undefined) return standing;
  throw permanent("config.usage", `there is no state ${state}: it is one of ${[...STANDINGS, UNREAD].join(", ")}`);
}

/** RFC 3339 section 5.6, or its date alone: then the day begins in UTC. */
const DATE = /^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:\d{2}))?$/i;

function sinceOf(since: string | null, now: Date): Date | null {
  if (since === null) return null;
  const milliseconds = durationMs(since);
  const date = milliseconds === null ? new Date(DATE.test(since) ? since : Number.NaN) : new Date(now.getTime() - milliseconds);
  if (!Number.isNaN(date.getTime())) return date;
  throw permanent("config.usage", `expected --since as a duration such as 2d or 12h, or a date such as 2026-03-31, found ${since}`);
}

/** Without bytes there is neither sender nor subject: nothing is found by them. */
async function unreadFor(
  standing: Standing | typeof UNREAD | null,
  { mailbox, from, subject }: Options,
  desk: Desk,
  since: Date | null,
): Promise<readonly Unread[]> {
  if ((standing !== UNREAD && standing !== "ignored") || (from ?? subject) !== null) return [];
  return (await desk.unread(standing === "ignored")).filter(({ arrival: { origin, seenAt } }) => {
    return (mailbox === null || origin.mailbox === mailbox) && (since === null || new Date(seenAt) >= since);
  });
}

function unreadLine({ id, arrival }: Unread): string {
  const { origin, seenAt, ignored } = arrival;
  const why = withCommand(ignored === null ? unreadText(arrival) : visible(ignored), `billhook retry ${id}`);
  const state = ignored === null ? UNREAD : "ignored";
  return `${id.padEnd(16)}  ${timeOf(seenAt)}  ${state.padEnd(8)}  ${visible(origin.mailbox)} UID ${origin.uid}  ${why}`;
}

function rowLine({ id, receivedAt, standing, facts, troubles }: Row): string {
  const [sender] = facts?.from ?? [];
  const from = facts === null ? "" : sender === undefined ? "(no sender)" : addressText(sender);
  const subject = facts === null ? "" : (facts.subject ?? "(no subject)");
  const [first, ...more] = troubles;
  const why = first === undefined ? "" : troubleText(first, id);
  const rest = more.length === 0 ? "" : `; and ${more.length} more`;
  const told = withCommand(`${why}${rest}`, mending(id, standing));
  const line = `${shortId(id)}  ${timeOf(receivedAt)}  ${standing.padEnd(8)}  ${fitted(from, 28)}  ${fitted(subject, 40)}  ${told}`;
  return line.trimEnd();
}
