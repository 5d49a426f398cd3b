/** What must hold within the rules of routes, and between them and the rest of the configuration. Pure. */
import { type Broken, folderKey } from "./broken.ts";
import type { Mailbox } from "./mailbox.ts";
import { nameOf, type WrittenRule } from "./route.ts";
import { alternatives } from "./values.ts";

/** The names that stand in each section, right or not; null when it is not a mapping. */
export type Names = {
  readonly mailboxes: readonly string[] | null;
  readonly services: readonly string[] | null;
  readonly sinks: readonly string[] | null;
};

/** `rules` holds null where one is not right by itself. */
export function routeRules(
  rules: readonly (WrittenRule | null)[],
  names: Names,
  mailboxes: { readonly [name: string]: Mailbox },
): readonly Broken[] {
  return [
    ...rules.flatMap((rule, at) => (rule === null ? [] : ruleRules(["routes", String(at)], rule, names, mailboxes))),
    ...sameName(rules),
    ...unreachable(rules),
  ];
}

const TAKES = ["service", "sinks", "afterwards"] as const;

function ruleRules(
  path: readonly string[],
  rule: WrittenRule,
  names: Names,
  mailboxes: { readonly [name: string]: Mailbox },
): readonly Broken[] {
  const broken: Broken[] = [];
  const tell = (key: readonly string[], message: string) => broken.push({ path: [...path, ...key], message });
  const { when, service, sinks = [], afterwards, hold, ignore } = rule;

  const wanted = [
    ...(when.mailbox ?? []).map((name, at) => ({ key: ["when", "mailbox", String(at)], what: "mailbox", name, all: names.mailboxes })),
    ...(service === undefined ? [] : [{ key: ["service"], what: "service", name: service, all: names.services }]),
    ...sinks.map((name, at) => ({ key: ["sinks", String(at)], what: "sink", name, all: names.sinks })),
  ];
  for (const { key, what, name, all } of wanted) {
    // A key that is no name may be a value that lost its space, and that a secret.
    const there = all?.filter((one) => /^[a-z0-9_-]+$/.test(one)) ?? [];
    if (all?.includes(name) === false) tell(key, `expected the name of a ${what}: ${alternatives(there)}. There is none of this name.`);
  }

  if (hold !== undefined && ignore !== undefined) tell(["ignore"], "expected hold or ignore, found both. Remove one of the two.");
  const decided = hold !== undefined ? "hold" : ignore !== undefined ? "ignore" : null;
  for (const key of TAKES)
    if (rule[key] !== undefined && decided !== null && !(key === "afterwards" && decided === "ignore"))
      tell([key], `has no use beside ${decided}, ${USELESS[decided]}`);
  if (decided === null && TAKES.every((key) => rule[key] === undefined))
    tell([], "expected service, sinks or afterwards, or hold, or ignore, found none of them. Say what becomes of the mail.");

  for (const [key, bounds] of [
    ["attachments", when.attachments],
    ["size", when.size],
  ] as const)
    if ((bounds?.smallest ?? 0) > (bounds?.largest ?? Number.POSITIVE_INFINITY)) tell(["when", key, "largest"], SWAPPED.largest);
  if ((when.parts?.fewest ?? 0) > (when.parts?.most ?? Number.POSITIVE_INFINITY)) tell(["when", "parts", "most"], SWAPPED.most);

  for (const verdict of ["done", "failed"] as const) {
    const action = afterwards?.[verdict];
    if (action?.is !== "move") continue;
    const watched = Object.entries(mailboxes).find(
      ([name, { folder }]) => (when.mailbox?.includes(name) ?? true) && folderKey(folder) === folderKey(action.folder),
    );
    if (watched !== undefined)
      tell(
        ["afterwards", verdict, "move"],
        `expected another folder than the one that is watched, by the mailbox ${watched[0]}. Choose another, or write none.`,
      );
  }
  return broken;
}

const USELESS = {
  hold: "for what becomes of such mail is decided when it is let go. Say it in a rule below.",
  ignore: "for such mail is not read. Remove one of the two.",
};

const SWAPPED = {
  largest: "expected at least as much as smallest, or nothing is ever like this. Change one of the two.",
  most: "expected at least as many as fewest, or nothing is ever like this. Change one of the two.",
};

function sameName(rules: readonly (WrittenRule | null)[]): readonly Broken[] {
  const seen = new Set<string>();
  return rules.flatMap((rule, at) => {
    if (rule === null) return [];
    const name = nameOf(rule, at);
    if (seen.has(name)) return [{ path: ["routes", String(at), "name"], message: "another rule has this name. Change one of the two." }];
    seen.add(name);
    return [];
  });
}

/** After a rule for every mail no other is asked, but by mail a person has let go: that passes over the rules that hold. */
function unreachable(rules: readonly (WrittenRule | null)[]): readonly Broken[] {
  let decides: string | null = null;
  let holds: string | null = null;
  return rules.flatMap((rule, at) => {
    if (rule === null) return [];
    const before = decides ?? (rule.hold === undefined ? null : holds);
    if (Object.values(rule.when).every((condition) => condition === undefined)) {
      if (rule.hold === undefined) decides ??= nameOf(rule, at);
      else holds ??= nameOf(rule, at);
    }
    if (before === null) return [];
    const message = `no mail comes this far: ${before} before it matches every mail. Give that one a when, or remove this one.`;
    return [{ path: ["routes", String(at)], message }];
  });
}
