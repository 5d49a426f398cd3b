/** Routes: the first rule that matches a mail decides what becomes of it, and every rule can say why it does or does not. Pure. */
import { isLike } from "../message/glob.ts";
import { isOurs } from "../message/identity.ts";
import { type Facts, type Part, typeOf } from "../message/message.ts";
import type { Afterwards } from "../source/source.ts";

/** All that are given must hold; of a list one is enough. Texts are globs (`*`, `?`, without case); bounds are inclusive. */
export type Condition = {
  /** Names of mailboxes, no globs. */
  readonly mailbox?: readonly string[] | undefined;
  readonly from?: readonly string[] | undefined;
  /** To, Cc, and what the servers noted as delivered to. */
  readonly to?: readonly string[] | undefined;
  /** The detail of one of those addresses, after its first `+` (RFC 5233). */
  readonly plus?: readonly string[] | undefined;
  readonly subject?: readonly string[] | undefined;
  /** Came through a list, or in bulk. */
  readonly list?: boolean | undefined;
  /** Sent by a machine: Auto-Submitted other than `no` (RFC 3834), X-Auto-Response-Suppress other than `none`, or the null sender. */
  readonly auto?: boolean | undefined;
  /** Our own mail come back, or a report about a mail (RFC 3462: a bounce): what it holds has been here before. */
  readonly returned?: boolean | undefined;
  /** One attachment fulfils all of it. The type is what its bytes look like, where that can be told; sizes in bytes, decoded. */
  readonly attachments?:
    | {
        readonly type?: readonly string[] | undefined;
        readonly name?: readonly string[] | undefined;
        readonly smallest?: number | undefined;
        readonly largest?: number | undefined;
      }
    | undefined;
  /** Bytes of the message as it arrived. */
  readonly size?: { readonly smallest?: number | undefined; readonly largest?: number | undefined } | undefined;
  /** Bodies included. */
  readonly parts?: { readonly fewest?: number | undefined; readonly most?: number | undefined } | undefined;
};

/** A sink as a message remembers it: what it is given at a time, and whether it is told of failures. */
export type RouteSink = { readonly name: string; readonly per: "document" | "message"; readonly failures: boolean };

/** What the mailbox is told; null leaves it to the mailbox's own settings. */
export type RouteAfterwards = { readonly done: Afterwards | null; readonly failed: Afterwards | null };

export type Rule = { readonly name: string; readonly when: Condition; readonly afterwards: RouteAfterwards | null } & (
  | { readonly is: "take"; readonly service: string | null; readonly sinks: readonly RouteSink[] | null }
  /** `why` as the owner wrote it. */
  | { readonly is: "hold" | "ignore"; readonly why: string }
);

/** What is decided about a mail, plain JSON: remembered with the message, so that changed rules do not change what is under way. */
export type Route = {
  /** null: no rule matched. */
  readonly rule: string | null;
  readonly is: "take" | "hold" | "ignore";
  readonly why: string | null;
  readonly service: string;
  readonly sinks: readonly RouteSink[];
  readonly afterwards: RouteAfterwards | null;
};

/** What holds where no rule says otherwise. */
export type Fallback = Pick<Route, "service" | "sinks">;

/** What an owner decided about the ways of mail. */
export type Routing = { readonly rules: readonly Rule[]; readonly fallback: Fallback };

/** What comes back with our answer or notice in it would be bought and delivered a second time; asked first, unless a rule of the owner's speaks of it. */
const RETURNED: Rule = {
  name: "returned mail (built in)",
  when: { returned: true },
  is: "ignore",
  why: "our own mail come back, or a bounce",
  afterwards: null,
};

export function withBuiltIn(rules: readonly Rule[]): readonly Rule[] {
  return rules.some(({ when }) => when.returned !== undefined) ? rules : [RETURNED, ...rules];
}

export type Mail = {
  /** Where it was seen first. */
  readonly mailbox: string;
  readonly facts: Facts;
  readonly parts: readonly Part[];
  /** In bytes, as it arrived. */
  readonly size: number;
  /** A person let it go: rules that hold do not hold it again. */
  readonly released: boolean;
};

export type Check = {
  /** The condition's name. */
  readonly condition: keyof Condition;
  readonly holds: boolean;
  /** Why, in words. Holds mail content: not for faults or the log. */
  readonly said: string;
};

/** `decides`: the first that matches. `matches`: so does this one, and it comes too late. `passed`: it would hold what a person let go. */
export type Judged = {
  readonly rule: string;
  readonly is: Rule["is"];
  readonly verdict: "decides" | "matches" | "passed" | "fails";
  /** Up to the first that does not hold; empty for a rule without conditions, which every mail matches. */
  readonly checks: readonly Check[];
};

export function routeOf(rules: readonly Rule[], mail: Mail, fallback: Fallback): Route {
  const rule = rules.find((one) => !isPassed(one, mail) && checksOf(one.when, mail).every((check) => check.holds));
  if (rule === undefined) return { rule: null, is: "take", why: null, ...fallback, afterwards: null };
  const { name, afterwards } = rule;
  switch (rule.is) {
    case "take":
      return {
        rule: name,
        is: "take",
        why: null,
        service: rule.service ?? fallback.service,
        sinks: rule.sinks ?? fallback.sinks,
        afterwards,
      };
    case "hold":
      return { rule: name, is: "hold", why: rule.why, service: fallback.service, sinks: [], afterwards };
    case "ignore":
      return { rule: name, is: "ignore", why: rule.why, service: fallback.service, sinks: [], afterwards: afterwards ?? LEFT_ALONE };
  }
}

/** Mail that is none of ours stays as it is, unless its rule says otherwise. */
const LEFT_ALONE: RouteAfterwards = { done: { is: "none" }, failed: { is: "none" } };

/** Every rule in its order, with what it found. */
export function judge(rules: readonly Rule[], mail: Mail): readonly Judged[] {
  let decided = false;
  return rules.map((rule) => {
    const checks = checksOf(rule.when, mail);
    const matches = checks.every((check) => check.holds);
    const verdict = !matches ? "fails" : isPassed(rule, mail) ? "passed" : decided ? "matches" : "decides";
    decided ||= verdict === "decides";
    return { rule: rule.name, is: rule.is, verdict, checks };
  });
}

function isPassed(rule: Rule, mail: Mail): boolean {
  return rule.is === "hold" && mail.released;
}

/** In the order of the conditions above, up to the first that does not hold. */
function checksOf(when: Condition, mail: Mail): readonly Check[] {
  const checks: Check[] = [];
  for (const check of allChecks(when, mail)) {
    checks.push(check);
    if (!check.holds) break;
  }
  return checks;
}

function* allChecks(when: Condition, mail: Mail): Generator<Check, void, undefined> {
  const { facts, parts, mailbox } = mail;
  const recipients = [...facts.to.map(({ address }) => address), ...facts.cc.map(({ address }) => address), ...facts.deliveredTo];
  if (when.mailbox !== undefined) {
    const holds = when.mailbox.includes(mailbox);
    yield { condition: "mailbox", holds, said: `${mailbox} is ${holds ? "" : "not "}${anyOf(when.mailbox)}` };
  }
  if (when.from !== undefined)
    yield alike(
      "from",
      facts.from.map(({ address }) => address),
      when.from,
    );
  if (when.to !== undefined) yield alike("to", recipients, when.to);
  if (when.plus !== undefined) yield alike("plus", recipients.flatMap(detailOf), when.plus);
  if (when.subject !== undefined) yield alike("subject", [facts.subject ?? ""], when.subject);
  if (when.list !== undefined) yield marked("list", listMark(facts), when.list, "nothing says that it came through a list");
  if (when.auto !== undefined) yield marked("auto", autoMark(facts), when.auto, "nothing says that a machine sent it");
  if (when.returned !== undefined) yield marked("returned", returnMark(facts), when.returned, "nothing says that it came back");
  if (when.attachments !== undefined) yield attached(when.attachments, parts);
  if (when.size !== undefined) yield within("size", mail.size, when.size.smallest, when.size.largest, "bytes");
  if (when.parts !== undefined) yield within("parts", parts.length, when.parts.fewest, when.parts.most, "parts");
}

function alike(condition: Check["condition"], texts: readonly string[], globs: readonly string[]): Check {
  const values = [...new Set(texts)].filter((text) => text !== "");
  for (const value of values) {
    const glob = globs.find((one) => isLike(value, one));
    if (glob !== undefined) return { condition, holds: true, said: `${told(value)} is like ${glob}` };
  }
  const [only] = values;
  if (only === undefined) return { condition, holds: false, said: `there is none, ${anyOf(globs)} is wanted` };
  const none = values.length === 1 ? `${told(only)} is not` : `none of ${listed(values)} is`;
  return { condition, holds: false, said: `${none} like ${anyOf(globs)}` };
}

function marked(condition: Check["condition"], mark: string | null, wanted: boolean, unmarked: string): Check {
  return { condition, holds: (mark !== null) === wanted, said: mark ?? unmarked };
}

function listMark({ list, precedence }: Facts): string | null {
  if (list !== null) return `it came through the list ${told(list)}`;
  return precedence === "list" || precedence === "bulk" ? `Precedence is ${precedence}` : null;
}

/** RFC 3834 section 5; X-Auto-Response-Suppress is Exchange's ([MS-OXCMAIL]); a bounce has the null sender (RFC 5321 section 4.5.5). */
function autoMark({ autoSubmitted, autoResponseSuppress, returnPath }: Facts): string | null {
  if (autoSubmitted !== null && autoSubmitted !== "no") return `Auto-Submitted is ${told(autoSubmitted)}`;
  if (autoResponseSuppress !== null && autoResponseSuppress !== "none") return `X-Auto-Response-Suppress is ${told(autoResponseSuppress)}`;
  return returnPath === "" ? "Return-Path is empty, as of a bounce" : null;
}

function returnMark({ messageId, contentType }: Facts): string | null {
  if (messageId !== null && isOurs(messageId)) return `Message-ID ${told(messageId)} is one of billhook's`;
  return contentType === "multipart/report" ? "Content-Type is multipart/report, as of a bounce" : null;
}

function attached({ type, name, smallest, largest }: NonNullable<Condition["attachments"]>, parts: readonly Part[]): Check {
  const attachments = parts.filter(({ role }) => role === "attachment");
  const found = attachments.find(
    (part) =>
      (type === undefined || likeAny(typeOf(part), type)) &&
      (name === undefined || likeAny(part.filename, name)) &&
      part.size >= (smallest ?? 0) &&
      part.size <= (largest ?? Number.POSITIVE_INFINITY),
  );
  const condition = "attachments";
  if (found !== undefined) {
    const called = found.filename === null ? "" : `${told(found.filename)}, `;
    return { condition, holds: true, said: `part ${found.id} is one: ${called}${typeOf(found)}, ${found.size} bytes` };
  }
  if (attachments.length === 0) return { condition, holds: false, said: "there is none" };
  const wanted = [
    ...(type === undefined ? [] : [`a type like ${anyOf(type)}`]),
    ...(name === undefined ? [] : [`a name like ${anyOf(name)}`]),
    ...(smallest === undefined ? [] : [`at least ${smallest} bytes`]),
    ...(largest === undefined ? [] : [`at most ${largest} bytes`]),
  ];
  return { condition, holds: false, said: `none of ${attachments.length} has ${wanted.join(" and ")}` };
}

function likeAny(text: string | null, globs: readonly string[]): boolean {
  return text !== null && globs.some((glob) => isLike(text, glob));
}

function within(condition: Check["condition"], value: number, least: number | undefined, most: number | undefined, unit: string): Check {
  if (least !== undefined && value < least) return { condition, holds: false, said: `${value} ${unit} are fewer than ${least}` };
  if (most !== undefined && value > most) return { condition, holds: false, said: `${value} ${unit} are more than ${most}` };
  return { condition, holds: true, said: `it has ${value} ${unit}` };
}

function detailOf(address: string): readonly string[] {
  const local = address.slice(0, Math.max(0, address.lastIndexOf("@")));
  const plus = local.indexOf("+");
  return plus === -1 ? [] : [local.slice(plus + 1)];
}

const LONGEST_TOLD = 100;
const MOST_TOLD = 10;

function told(text: string): string {
  return text.length > LONGEST_TOLD ? `${text.slice(0, LONGEST_TOLD)}…` : text;
}

function listed(values: readonly string[]): string {
  const more = values.length - MOST_TOLD;
  return `${values.slice(0, MOST_TOLD).map(told).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}

function anyOf(wanted: readonly string[]): string {
  return wanted.join(" or ");
}
