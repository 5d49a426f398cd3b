/** `billhook explain`: what would become of a mail and why, without touching anything. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { systemClock } from "../base/clock.ts";
import { EXIT, Fault, permanent, reasonOf } from "../base/errors.ts";
import { silent } from "../base/logger.ts";
import { loadConfig } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import { assembleDoors, type Doors } from "../daemon/assemble.ts";
import { assembleLedger } from "../daemon/state.ts";
import { type Address, type Facts, typeOf } from "../message/message.ts";
import { parse } from "../message/parse.ts";
import { type Explained, explainMail, type Shown } from "../pipeline/explain.ts";
import type { Judged } from "../pipeline/route.ts";
import type { Afterwards } from "../source/source.ts";
import { measure } from "./split.ts";
import type { Terminal } from "./terminal.ts";
import { visible, visibleJson } from "./visible.ts";

/** Either a file, or the UID of a message in a mailbox. The only mailbox, or for a file the first one, need not be named. */
type Options = {
  readonly config: string;
  readonly file: string | null;
  readonly uid: string | null;
  readonly mailbox: string | null;
  readonly json: boolean;
};

export async function explain(options: Options, { out, stop }: Terminal): Promise<number> {
  const config = await loadConfig(options.config, process.env);
  const mailbox = mailboxOf(options, config);
  const doors = await assembleDoors(config, { clock: systemClock, log: silent });
  try {
    const shown = await look(await bytesOf(options, mailbox, doors, stop), mailbox);
    const own = config.mailboxes[mailbox]?.afterwards ?? { done: { is: "none" }, failed: { is: "none" } };
    const explained = explainMail(shown, doors, own, systemClock.now());
    const known = await knownSince(shown.id, config);
    if (options.json) out(visibleJson({ ...recordOf(shown, explained), known }));
    else for (const line of linesOf(shown, explained, known)) out(line);
    return EXIT.done;
  } finally {
    await doors.close();
  }
}

/** When this mail came in; null when it did not, or the ledger cannot be asked. */
async function knownSince(id: string, config: Config): Promise<string | null> {
  const ledger = await assembleLedger(config, systemClock.now()).catch(() => null);
  try {
    return (await ledger?.message(id))?.receivedAt ?? null;
  } catch {
    return null;
  } finally {
    await ledger?.close();
  }
}

function mailboxOf({ config: path, file, uid, mailbox }: Options, { mailboxes }: Config): string {
  const names = Object.keys(mailboxes);
  const [first = ""] = names;
  if ((file === null) === (uid === null)) {
    throw permanent("config.usage", "say which mail: billhook explain FILE, or billhook explain --uid N --mailbox NAME");
  }
  if (mailbox !== null && !Object.hasOwn(mailboxes, mailbox)) {
    throw permanent("config.usage", `${path} has no mailbox ${mailbox}; it has ${names.join(", ")}`);
  }
  if (mailbox === null && uid !== null && names.length > 1) {
    throw permanent("config.usage", `say in which mailbox with --mailbox: ${names.join(", ")}`);
  }
  return mailbox ?? first;
}

/** RFC 9051 section 2.3.1.1: 32 bits, and never 0. */
const HIGHEST_UID = 2 ** 32 - 1;

async function bytesOf({ file, uid }: Options, mailbox: string, doors: Doors, stop: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
  if (file !== null) return createReadStream(file, { signal: stop });
  const number = /^\d{1,10}$/.test(uid ?? "") ? Number(uid) : 0;
  if (number < 1 || number > HIGHEST_UID) throw permanent("config.usage", `expected a UID from 1 to ${HIGHEST_UID}, found ${uid}`);
  const bytes = (await doors.sources.get(mailbox)?.read(number, stop)) ?? null;
  if (bytes !== null) return bytes;
  throw permanent("explain.gone", `there is no message with the UID ${number} in mailbox ${mailbox}`, "it may have been moved or deleted");
}

/** Bytes are hashed and forgotten. */
async function look(bytes: AsyncIterable<Uint8Array>, mailbox: string): Promise<Shown> {
  const hash = createHash("sha256");
  let size = 0;
  async function* counted(): AsyncGenerator<Uint8Array> {
    for await (const chunk of bytes) {
      hash.update(chunk);
      size += chunk.length;
      yield chunk;
    }
  }
  try {
    const split = await parse(counted(), measure);
    return { id: hash.digest("hex"), size, mailbox, split };
  } catch (thrown) {
    throw thrown instanceof Fault
      ? thrown
      : permanent(
          "explain.unreadable",
          `the mail cannot be read: ${reasonOf(thrown)}`,
          "check the path; it must be a mail as it arrived (RFC 5322)",
        );
  }
}

function recordOf({ id, size, mailbox, split: { facts, parts, faults } }: Shown, explained: Explained) {
  return { message: { id, size, mailbox }, facts, parts, faults, ...explained };
}

type Row = readonly [label: string, text: string];

/** For people, a line each; safe to show. */
export function linesOf(shown: Shown, explained: Explained, known: string | null = null): readonly string[] {
  const { id, size, mailbox, split } = shown;
  const { route, documents, left, paid, deliveries, afterwards } = explained;
  const rows: readonly Row[] = [
    ["message", `${id.slice(0, 16)}, ${size} bytes, ${split.parts.length} parts, in mailbox ${mailbox}`],
    ...factRows(split.facts),
    ...(known === null
      ? []
      : [["known", `since ${known}: arriving again it is neither read nor paid for; what follows is of a new one`] as const]),
    ...split.faults.map((fault): Row => ["damaged", `${fault.message} [${fault.code}]`]),
    ...explained.rules.map((judged): Row => ["rule", sentenceOf(judged)]),
    ["route", routeOf(explained)],
    ...documents.flatMap((document): readonly Row[] => [
      [`document ${document.position}`, document.refusal === null ? `to ${paid.service}` : `not sent: ${document.refusal.message}`],
      ...(document.refusal === null ? document.submitted : []).map(({ part, as }): Row => ["", `${labelOf(part, shown)}, sent as ${as}`]),
      ...document.left.map(({ part, why }): Row => ["", `${labelOf(part, shown)}, left out: ${why}`]),
    ]),
    ...left.map(({ part, why }): Row => ["no document", `${labelOf(part, shown)}: ${why}`]),
    ...(route.is === "take" ? [["paid", paidOf(paid)] as const] : []),
    ...(paid.held === null ? [] : [["held first", [paid.held.message, paid.held.advice].filter(Boolean).join(" - ")] as const]),
    ...deliveries.map(({ sink, document, destination }): Row => {
      return ["delivery", `${sink}, ${document === null ? "the whole message" : `document ${document}`}: ${destination}`];
    }),
    ["mailbox", afterwards === null ? "is told nothing yet" : `${toldOf(afterwards.done)}; when it fails, ${toldOf(afterwards.failed)}`],
  ];
  return rows.map(([label, text]) => visible(`${label.padEnd(12)} ${text}`));
}

function factRows(facts: Facts): readonly Row[] {
  const who = (addresses: readonly Address[]) => addresses.map(({ name, address }) => (name ? `${name} <${address}>` : address)).join(", ");
  const rows: readonly (readonly [string, string | null])[] = [
    ["from", who(facts.from) || "(none)"],
    ["to", who(facts.to) || "(none)"],
    ["cc", who(facts.cc)],
    ["delivered to", facts.deliveredTo.join(", ")],
    ["subject", facts.subject ?? "(none)"],
    ["date", facts.date ?? "(none)"],
    ["list", facts.list],
    ["precedence", facts.precedence],
    ["machine", facts.autoSubmitted === null ? null : `Auto-Submitted: ${facts.autoSubmitted}`],
    ["machine", facts.autoResponseSuppress === null ? null : `X-Auto-Response-Suppress: ${facts.autoResponseSuppress}`],
    ["bounce", facts.returnPath === "" ? "Return-Path is empty" : null],
  ];
  return rows.flatMap(([label, text]): readonly Row[] => (text === null || text === "" ? [] : [[label, text]]));
}

const VERDICTS: Readonly<Record<Judged["verdict"], string>> = {
  decides: "decides",
  matches: "would match too",
  passed: "would hold it, and was let go",
  fails: "does not match",
};

function sentenceOf({ rule, verdict, checks }: Judged): string {
  const why = checks.map(({ condition, said }) => `${condition}: ${said}`).join("; ");
  return `${rule} ${VERDICTS[verdict]}${why === "" ? "; it has no conditions" : `; ${why}`}`;
}

function routeOf({ route, paid }: Explained): string {
  const by = route.rule ?? "no rule matches";
  switch (route.is) {
    case "take":
      return `${by}: read by ${paid.service}, delivered to ${route.sinks.map(({ name }) => name).join(", ") || "nobody"}`;
    case "hold":
      return `${by}: held, ${route.why}; nothing is sent until \`billhook release\` lets it go`;
    case "ignore":
      return `${by}: ignored, ${route.why}`;
  }
}

function labelOf(part: string, { split }: Shown): string {
  const found = split.parts.find(({ id }) => id === part);
  if (found === undefined) return "the message as it arrived";
  const name = found.filename === null ? "" : `${found.filename}, `;
  return `part ${part}: ${name}${typeOf(found)}, ${found.size} bytes`;
}

function paidOf({ service, runs, limits }: Explained["paid"]): string {
  const hourly = limits?.runsPerHour ?? null;
  const daily = limits?.runsPerDay ?? null;
  const most = [...(hourly === null ? [] : [`${hourly} an hour`]), ...(daily === null ? [] : [`${daily} a day`])];
  return `${runs} ${runs === 1 ? "run" : "runs"} at ${service}${most.length === 0 ? "" : `, of at most ${most.join(" and ")}`}`;
}

function toldOf(told: Afterwards): string {
  switch (told.is) {
    case "none":
      return "it stays as it is";
    case "seen":
      return "it is marked as seen";
    case "flag":
      return "it is flagged";
    case "delete":
      return "it is deleted";
    case "move":
      return `it is moved to ${told.folder}`;
    case "keyword":
      return `it gets the keyword ${told.keyword}`;
    case "label":
      return `it gets the label ${told.label}`;
  }
}
