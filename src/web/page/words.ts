/** The words of the page: how what billhook knows is said to a bookkeeper. */
import type { FaultRecord } from "../../base/errors.ts";
import type { Row, Trouble } from "../../desk/desk.ts";
import type { Address } from "../../message/message.ts";
import { deliveryNameOf, positionOf } from "../../store/delivery.ts";
import type { Event, Standing } from "../../store/record.ts";
import { type Html, html } from "./html.ts";

export const STANDING: Readonly<Record<Standing, string>> = {
  held: "Held",
  retrying: "Trying again",
  waiting: "Waiting",
  working: "In progress",
  failed: "Failed",
  ignored: "Set aside",
  done: "Done",
};

export function state(standing: Standing): Html {
  return html`<span class="state ${standing}">${STANDING[standing]}</span>`;
}

const DATE = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const HOUR = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const SECOND = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** In the time zone of the daemon; of today only the hour. */
export function time(iso: string, now: Date, clock = HOUR): Html {
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return html`${iso}`;
  const [day, hour] = [DATE.format(at), clock.format(at)];
  return html`<time datetime="${at.toISOString()}">${day === DATE.format(now) ? hour : `${day}, ${hour}`}</time>`;
}

/** To the second. */
export function moment(iso: string, now: Date): Html {
  return time(iso, now, SECOND);
}

export function zone(): string {
  return HOUR.resolvedOptions().timeZone;
}

/** The first moment of this day where the daemon is. */
export function midnight(now: Date): Date {
  return new Date(now.getFullYear(), now.getMonth(), now.getDate());
}

export function many(count: number, one: string, more = `${one}s`): string {
  return `${count} ${count === 1 ? one : more}`;
}

const LONGEST = 200;

/** Whoever sends a mail may write as much as they like into its head; a list is for reading. */
export function short(text: string): string {
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
}

export function subjectOf({ facts, id }: Pick<Row, "facts" | "id">): string {
  if (facts === null) return `Mail ${id.slice(0, 16)}`;
  return short(facts.subject?.trim() || "(no subject)");
}

export function addresses(list: readonly Address[] | undefined): string {
  if (list === undefined || list.length === 0) return "unknown";
  const shown = list.slice(0, 5).map(({ name, address }) => short(name === "" ? address : `${name} <${address}>`));
  return list.length > 5 ? `${shown.join(", ")} and ${list.length - 5} more` : shown.join(", ");
}

/** `name` alone where there is one. */
export function sender({ facts }: Pick<Row, "facts">): string {
  const first = facts?.from[0];
  return first === undefined ? "unknown sender" : short(first.name || first.address);
}

const DOING: Readonly<Record<Trouble["kind"], string>> = {
  split: "Taking the mail apart",
  extract: "Reading",
  deliver: "Delivering",
  settle: "Telling the mailbox",
};

/** Which step of a mail a trouble is about: `Delivering to files`. */
function stepOf({ kind, of }: Pick<Trouble, "kind" | "of">): string {
  if (kind === "deliver") return `${DOING.deliver} to ${deliveryNameOf(of).sink}`;
  return kind === "extract" && positionOf(of) > 1 ? `${DOING.extract} document ${positionOf(of)}` : DOING[kind];
}

/** Commands for which the page has a button or a view. */
const BUTTONS = /`billhook (?:retry|release|resume|ignore|replay|reextract|list|show)\b/;

/** What a fault says, and what to do about it unless a button beside it does that. */
export function said({ message, advice }: Pick<FaultRecord, "message" | "advice">): Html {
  const more = advice === null || BUTTONS.test(advice) ? null : html` <span class="advice">${sentence(advice)}</span>`;
  return html`${sentence(message)}${more}`;
}

/** What is wrong with a mail, and when it is tried again where that happens by itself. */
export function troubleText({ fault, again, ...of }: Trouble, now: Date): Html {
  const next = again === null || new Date(again) <= now ? null : html` Tried again at ${time(again, now)}.`;
  return html`<p>${stepOf(of)}: ${said(fault)}${next}</p>`;
}

/** Faults are written for one line of a log. */
export function sentence(text: string): string {
  const whole = text.trim();
  return `${whole.charAt(0).toUpperCase()}${whole.slice(1)}${/[.!?:)]$/.test(whole) ? "" : "."}`;
}

/** By what an event is called. */
const HAPPENED: readonly (readonly [string, (to: string) => string])[] = [
  ["received", () => "Arrived, and its bytes are safe."],
  ["seen-again", () => "The same mail was seen again; nothing is done twice."],
  ["unreadable", () => "The mail server did not give this mail."],
  ["ignored", () => "Set aside by hand."],
  ["reextract", () => "Is to be read again, by hand."],
  ["split.done", () => "Taken apart."],
  ["split.reopened", () => "Put back by hand, to be taken apart again."],
  ["extract.done", () => "Read by the service."],
  ["extract.later", () => "The service is reading it."],
  ["extract.held", () => "Held before it was read."],
  ["extract.released", () => "Let go by hand."],
  ["extract.reopened", () => "Put back by hand, to be read again."],
  ["extract.halted", () => "The service was paused."],
  ["deliver.done", (to) => `Delivered to ${to}.`],
  ["deliver.later", (to) => `Delivery to ${to} waits.`],
  ["deliver.replayed", (to) => `Is to be delivered to ${to} again, by hand.`],
  ["deliver.reopened", (to) => `Delivery to ${to} was put back by hand.`],
  ["deliver.halted", (to) => `${to} was paused.`],
  ["settle.done", () => "The mailbox was told."],
];
const BECAME: Readonly<Record<string, string>> = {
  retry: "did not work; it is tried again.",
  failed: "failed.",
  held: "is held.",
  halted: "was stopped.",
  later: "waits.",
  released: "was let go by hand.",
  reopened: "was put back by hand.",
  ignored: "was given up by hand.",
};

/** What happened, in a sentence; what billhook noted then stands beside it. */
export function happened({ what, subject }: Pick<Event, "what" | "subject">): string {
  const [kind = "", outcome = ""] = what.split(".");
  const to = kind === "deliver" && subject !== null ? deliveryNameOf(subject).sink : "";
  const known = HAPPENED.find(([name]) => name === what);
  if (known !== undefined) return known[1](to);
  if (!Object.hasOwn(DOING, kind)) return sentence(what);
  const doing = kind === "deliver" ? `Delivering to ${to}` : DOING[kind as Trouble["kind"]];
  return `${doing} ${BECAME[outcome] ?? sentence(outcome)}`;
}

/** `?said=` names one of these; nothing else of it is shown. */
const DONE: Readonly<Record<string, string>> = {
  retry: "It is being tried again.",
  release: "It goes on.",
  replay: "It will be delivered again, under a new key.",
  reextract: "It will be read again, and what is found is delivered.",
  ignore: "It is set aside.",
  pause: "It is paused.",
  resume: "It goes on.",
  nothing: "There was nothing left to do.",
};

export function flash(code: string | null): string | null {
  return code !== null && Object.hasOwn(DONE, code) ? (DONE[code] ?? null) : null;
}
