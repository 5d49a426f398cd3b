/** The last step: the mailbox is told what became of the message. */
import { permanent } from "../base/errors.ts";
import { verdictOf } from "../store/record.ts";
import type { Step } from "./step.ts";

export const settle: Step = async (task, works, signal) => {
  const arrival = await works.ledger.arrival(task.subject);
  if (arrival === null)
    throw permanent("settle.missing", `the ledger does not know arrival ${task.subject}`, "restore the ledger from a backup");
  const source = works.sources.get(arrival.origin.mailbox);
  if (source === undefined) {
    throw permanent(
      "settle.no-mailbox",
      `the mailbox ${arrival.origin.mailbox} is not in the configuration any more`,
      "put it back and run `billhook retry`",
    );
  }
  const verdict = verdictOf(await works.ledger.tasks(task.message));
  const route = (await works.ledger.message(task.message))?.route ?? null;
  const settled = await source.settle(arrival.origin, verdict, signal, route?.afterwards?.[verdict]);
  return { is: "done", note: `${verdict}: ${settled}` };
};
