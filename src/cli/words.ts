/** How a mail, its troubles and what to do about them are said to a person at the terminal; each text safe to show. */
import type { FaultRecord } from "../base/errors.ts";
import type { Row, Trouble } from "../desk/desk.ts";
import type { Address } from "../message/message.ts";
import { deliveryNameOf, positionOf } from "../store/delivery.ts";
import type { ArrivalRecord } from "../store/mail.ts";
import type { Standing } from "../store/record.ts";
import { visible } from "./visible.ts";

/** As much of an id as people are shown, and as names it. */
export function shortId(id: string): string {
  return id.slice(0, 16);
}

/** `2026-03-31 08:14:03Z` of an ISO 8601 time in UTC. */
export function timeOf(iso: string): string {
  return `${iso.slice(0, 19).replace("T", " ")}Z`;
}

/** `Seilerei Kronau <rechnung@seilerei.example>`. */
export function addressText({ name, address }: Address): string {
  return visible(name === "" ? address : `${name} <${address}>`);
}

/** Exactly so many characters, the last of them `…` where more were there. */
export function fitted(text: string, columns: number): string {
  const shown = [...visible(text)];
  return (shown.length > columns ? [...shown.slice(0, columns - 1), "…"] : shown).join("").padEnd(columns);
}

/** What happened, and what a person can do about it. */
export function faultText({ message, advice }: Pick<FaultRecord, "message" | "advice">): string {
  return visible([message, advice].filter(Boolean).join(" - "));
}

/** Why the server did not give it; where the fault names the command that asks again it could not know the number. */
export function unreadText({ id, fault }: Pick<ArrivalRecord, "id" | "fault">): string {
  return fault === null ? "" : faultText(fault).replaceAll("u<number>", `u${id}`);
}

/** The command that mends what waits for a person; null where nobody has to do anything. */
export function mending(id: string, standing: Standing): string | null {
  if (standing === "failed") return `billhook retry ${shortId(id)}`;
  return standing === "held" ? `billhook release ${shortId(id)}` : null;
}

/** A sentence that ends with the command, unless it names it already. */
export function withCommand(text: string, command: string | null): string {
  return command === null || text.includes(`\`${command}\``) ? text : `${text} - \`${command}\``;
}

/** What a person can do about a mail that stands like this. */
export function todoText({ id, standing, troubles }: Pick<Row, "id" | "standing" | "troubles">): string {
  const short = shortId(id);
  switch (standing) {
    case "failed":
      return `\`billhook retry ${short}\` tries again, \`billhook ignore ${short} --why …\` gives it up`;
    case "held":
      return `\`billhook release ${short}\` lets it go, \`billhook ignore ${short} --why …\` gives it up`;
    case "waiting":
      return troubles.find(({ fault }) => fault.advice !== null)?.fault.advice ?? "nothing: it goes on by itself";
    case "retrying": {
      const next = troubles.flatMap(({ again }) => again ?? []).toSorted()[0];
      return `nothing: it is tried again by itself${next === undefined ? "" : `, next at ${timeOf(next)}`}`;
    }
    case "working":
      return "nothing: it is being worked on";
    case "ignored":
      return `nothing; \`billhook retry ${short}\` takes it up again`;
    case "done":
      return `nothing; \`billhook replay ${short}\` delivers it once more`;
  }
}

/** `document 1`, `delivery of document 1 to erp`; empty for the message as a whole, and for an arrival. */
export function placeOf(of: string, message: string): string {
  if (of === message || !of.startsWith(message)) return "";
  if (/^\.\d+$/.test(of.slice(message.length))) return `document ${positionOf(of)}`;
  const { of: told, sink, time } = deliveryNameOf(of);
  const position = positionOf(told);
  const again = time === 1 ? "" : `, time ${time}`;
  return `delivery ${position === 0 ? "" : `of document ${position} `}to ${sink}${again}`;
}

/** `document 1: the service refused it - look at the document`. */
export function troubleText({ of, kind, fault }: Trouble, message: string): string {
  return `${placeOf(of, message) || kind}: ${faultText(fault)}`;
}
