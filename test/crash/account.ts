/** The account of one round: what was lost, delivered twice, bought beyond the contract, or is not as in the round in which nothing happened. */
import type { Mail } from "./box.ts";
import { type Cut, cutIn, type Journal } from "./points.ts";
import { differences, linesOf, type Remains } from "./remains.ts";

export type Account = {
  readonly lost: number;
  readonly deliveredTwice: number;
  readonly beyondContract: number;
  /** What the contract forces, by name. */
  readonly forced: Forced;
  /** Everything else that is not as it should be, in words. */
  readonly wrong: readonly string[];
};

export type Forced = {
  /** Purchases begun and not saved; at Cloudsquid each is counted as possibly twice, at Extend it is looked for. */
  readonly "purchases cut": number;
  readonly "uploads twice at Cloudsquid": number;
  readonly "runs twice at Cloudsquid": number;
  /** The same key with the same bytes, where the life ended between effect and save. */
  readonly "deliveries repeated": number;
  /** Cut off twice at the same purchase: failed as ambiguous, and put back by `billhook retry`. */
  readonly "given to a person": number;
};

export const NOTHING_FORCED: Forced = {
  "purchases cut": 0,
  "uploads twice at Cloudsquid": 0,
  "runs twice at Cloudsquid": 0,
  "deliveries repeated": 0,
  "given to a person": 0,
};

export type Past = {
  readonly mails: readonly Mail[];
  readonly journals: readonly Journal[];
  /** Messages a person had to put back. */
  readonly given: readonly string[];
};

export function accountOf(calm: Remains, found: Remains, { mails, journals, given }: Past): Account {
  const cuts = journals.map(cutIn);
  const all: Cut = {
    purchases: cuts.flatMap(({ purchases }) => purchases),
    intentions: cuts.flatMap(({ intentions }) => intentions),
    deliveries: cuts.flatMap(({ deliveries }) => deliveries),
    settlings: cuts.flatMap(({ settlings }) => settlings),
  };
  const { beyond, uploads, runs } = purchasesIn(found, all, given);
  const told = Map.groupBy(found.told, ({ key }) => key);
  const again = [...told].map(([key, tries]) => ({ key, repeated: tries.length - 1 }));
  const unexcused = again.filter(({ key, repeated }) => repeated > all.deliveries.filter((one) => one === key).length);
  return {
    lost: new Set(mails.map(({ id }) => id)).size - arrivedIn(calm, found, mails),
    deliveredTwice: deliveredTwice(found),
    beyondContract: beyond,
    forced: {
      "purchases cut": all.purchases.length,
      "uploads twice at Cloudsquid": uploads,
      "runs twice at Cloudsquid": runs,
      "deliveries repeated": again.reduce((sum, { repeated }) => sum + repeated, 0),
      "given to a person": given.length,
    },
    wrong: [
      ...unexcused.map(({ key }) => `told again, though it was not in hand: ${key}`),
      ...differences(linesOf(calm, all, given), linesOf(found, all, given)),
    ],
  };
}

/** How many messages are in the ledger, told of, and where they belong in their mailbox. */
function arrivedIn(calm: Remains, found: Remains, mails: readonly Mail[]): number {
  const placesOf = ({ mail }: Remains, id: string) =>
    mail
      .filter(({ message }) => message === id)
      .map(({ isMoved }) => isMoved)
      .sort();
  const keysOf = ({ told }: Remains, id: string) => new Set(told.flatMap(({ key }) => (key.startsWith(id) ? [key] : [])));
  const recorded = new Set(found.ledger.flatMap(({ table, row }) => (table === "message" ? [row.id] : [])));
  return [...new Set(mails.map(({ id }) => id))].filter(
    (id) =>
      recorded.has(id) &&
      placesOf(found, id).join() === placesOf(calm, id).join() &&
      [...keysOf(calm, id)].every((key) => keysOf(found, id).has(key)),
  ).length;
}

/** Documents told with more than one key or in more than one way, or that stand in more than one file. */
function deliveredTwice({ told, out }: Remains): number {
  const ways = told.map(({ document, key, body }) => ({ document, way: `${key} ${body}` }));
  const files = out
    .filter(({ path }) => path.endsWith(".json"))
    .map(({ path, bytes }) => ({ document: `${documentIn(bytes)} in a file`, way: path }));
  const byDocument = Map.groupBy([...ways, ...files], ({ document }) => document);
  return [...byDocument.values()].filter((its) => new Set(its.map(({ way }) => way)).size > 1).length;
}

function documentIn(bytes: Buffer): string {
  return (JSON.parse(bytes.toString()) as { document: { id: string } }).document.id;
}

/**
 * A document costs one upload and one run. Cloudsquid has no way to look for either, so a purchase that was cut may be made once more, and so
 * may what a person put back, where the ledger counts it as possibly twice. At Extend nothing is ever made twice.
 */
function purchasesIn({ uploads, runs, ledger }: Remains, { purchases }: Cut, given: readonly string[]) {
  const sum = { beyond: 0, uploads: 0, runs: 0 };
  for (const { table, row } of ledger) {
    if (table !== "document") continue;
    const document = String(row.id);
    const extraUploads = Math.max(0, (uploads.get(document) ?? 0) - 1);
    const extraRuns = Math.max(0, (runs.get(document) ?? 0) - 1);
    if (row.service !== "cloudsquid") {
      sum.beyond += extraRuns;
      continue;
    }
    const cut = purchases.filter((one) => one === document).length + given.filter((message) => document.startsWith(message)).length;
    const bills = ledger.filter((one) => one.table === "run" && one.row.document === document);
    const counted = Math.max(0, ...bills.map((bill) => Number(bill.row.possibly_twice)));
    sum.beyond += Math.max(0, extraUploads + extraRuns - Math.min(cut, counted));
    sum.uploads += extraUploads;
    sum.runs += extraRuns;
  }
  return sum;
}
