/** The step that splits a message into its parts and says which documents they make. */
import { permanent } from "../base/errors.ts";
import { parse } from "../message/parse.ts";
import { documentsOf } from "./document.ts";
import type { Step } from "./step.ts";

export const split: Step = async (task, works, signal) => {
  const message = await works.ledger.message(task.message);
  if (message === null)
    throw permanent("split.missing", `the ledger does not know message ${task.message}`, "restore the ledger from a backup");
  const { service } = works.route;
  const extractor = works.services.get(service)?.extractor;
  if (extractor === undefined)
    throw permanent("split.no-service", `there is no service ${service} in the configuration`, "add it and run `billhook retry`");

  const { facts, parts, faults } = await parse(works.spool.open("raw", message), works.spool.keep("parts"));
  signal.throwIfAborted();
  const documents = documentsOf(message.id, parts, service, extractor);
  return {
    is: "done",
    note: `${parts.length} parts, ${documents.length} documents`,
    growth: {
      split: { facts, parts, faults },
      documents,
      tasks: documents.map((document) => ({ kind: "extract", subject: document.id })),
    },
  };
};
