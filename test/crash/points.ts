/** The points a daemon passed between its effects and saves, as it wrote them down; and what they say it had in hand. */

/** One life's points, in order: `extract done <document> 2`, the second time in this life. */
export type Journal = readonly string[];

/** What was taken and not saved when the life ended. */
export type Cut = {
  /** Documents with a purchase that may have been made: the intention was on record. */
  readonly purchases: readonly string[];
  /** Documents with a purchase that was not made, and whose intention may be on record all the same: it was being saved. */
  readonly intentions: readonly string[];
  /** Keys of deliveries that may have been made. */
  readonly deliveries: readonly string[];
  /** Arrivals whose mailbox may have been told. */
  readonly settlings: readonly string[];
};

const POINT = /^(?<kind>\w+ \w+) (?<subject>.+) \d+$/;

function read(point: string): { readonly kind: string; readonly subject: string } {
  const { kind = "", subject = "" } = POINT.exec(point)?.groups ?? {};
  return { kind, subject };
}

/** `extract done`. */
export function kindOf(point: string): string {
  return read(point).kind;
}

export function cutIn(journal: Journal): Cut {
  const last = new Map<string, string>();
  for (const point of journal) {
    const { kind, subject } = read(point);
    const [what = "", stage = ""] = kind.split(" ");
    last.set(`${what} ${subject}`, stage);
    // Done is not saved: the purchase is open still.
    if (kind === "extract begun") last.set(`purchase ${subject}`, "begun");
    if (kind === "extract saved") last.delete(`purchase ${subject}`);
  }
  const at = (what: string, ...stages: readonly string[]) =>
    [...last].flatMap(([key, stage]) => (key.startsWith(`${what} `) && stages.includes(stage) ? [key.slice(what.length + 1)] : []));
  return {
    purchases: at("purchase", "begun"),
    intentions: at("extract", "buying"),
    deliveries: at("deliver", "taken", "done"),
    settlings: at("settle", "taken", "done"),
  };
}

/** `most` of them: one of each kind first, then a second of each, at places spread by chance. */
export function spread(points: Journal, most: number, random: () => number): Journal {
  const kinds = [...Map.groupBy(points, kindOf).values()].map((ofKind) => [...ofKind]);
  const chosen: string[] = [];
  while (chosen.length < Math.min(most, points.length)) {
    for (const left of kinds) {
      if (left.length > 0 && chosen.length < most) chosen.push(...left.splice(Math.floor(random() * left.length), 1));
    }
  }
  return chosen;
}
