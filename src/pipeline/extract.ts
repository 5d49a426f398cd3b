/** The step that takes a document one effect further at its service; the memo is saved in between. */
import { permanent } from "../base/errors.ts";
import { deliveryKey } from "./deliver.ts";
import { openDocument } from "./document.ts";
import type { Step } from "./step.ts";

export const extract: Step = async (task, works, signal) => {
  const { record, document } = await openDocument(task.subject, works);
  const extractor = works.extractors.get(record.service);
  if (extractor === undefined) {
    throw permanent(
      "extract.no-service",
      `the service ${record.service} is not in the configuration any more`,
      "put it back and run `billhook retry`",
    );
  }
  const progress = await extractor.advance(document, task.memo, record.id, signal);
  switch (progress.is) {
    case "going":
      return { is: "later", at: progress.nextAt, memo: progress.memo };
    case "refused":
      return { is: "failed", fault: progress.fault, ...(progress.memo === null ? {} : { memo: progress.memo }) };
    case "halted":
      throw progress.fault;
    case "answered": {
      const { runId, data, raw } = progress.answer;
      return {
        is: "done",
        memo: progress.memo,
        growth: {
          result: { document: record.id, service: record.service, runId, data, raw },
          tasks: works.route.sinks.map((sink) => ({ kind: "deliver", subject: deliveryKey(record.id, sink) })),
        },
      };
    }
  }
};
