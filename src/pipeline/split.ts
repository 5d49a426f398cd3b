/** The step that splits a message into its parts, and decides which way it goes and which documents it makes. */
import { permanent } from "../base/errors.ts";
import { parse } from "../message/parse.ts";
import { type Reextraction, reextractionOf } from "../store/record.ts";
import { goneFault } from "../store/upkeep.ts";
import { documentsOf } from "./document.ts";
import { type Route, type Routing, routeOf } from "./route.ts";
import type { Step } from "./step.ts";

export const split: Step = async (task, works, signal) => {
  const message = await works.ledger.message(task.message);
  if (message === null)
    throw permanent("split.missing", `the ledger does not know message ${task.message}`, "restore the ledger from a backup");
  const gone = goneFault(message, "raw");
  if (gone !== null) throw gone;
  const { facts, parts, faults } = await parse(works.spool.open("raw", message), works.spool.keep("parts", task.subject));
  signal.throwIfAborted();
  const [first] = await works.ledger.arrivals(message.id);
  const mail = { mailbox: first?.origin.mailbox ?? "", facts, parts, size: message.size, released: task.released };
  const anew = reextractionOf(task.memo);
  const route = anew === null ? routeOf(works.routing.rules, mail, works.routing.fallback) : routeAnew(message.route, anew, works.routing);
  const found = { facts, parts, faults, route };
  const rule = route.rule === null ? "no rule" : `rule ${route.rule}`;
  switch (route.is) {
    case "ignore":
      return { is: "done", note: `ignored by ${rule}: ${route.why}`, growth: { split: found } };
    case "hold": {
      const fault = permanent("route.hold", `held by ${rule}: ${route.why}`, `\`billhook release ${message.id.slice(0, 16)}\` lets it go`);
      return { is: "held", fault, growth: { split: found } };
    }
    case "take": {
      const extractor = works.services.get(route.service)?.extractor;
      if (extractor === undefined)
        throw permanent("split.no-service", `there is no service ${route.service} in the configuration`, "add it and run `billhook retry`");
      const documents = documentsOf(message.id, parts, route.service, extractor, anew?.from ?? 1);
      return {
        is: "done",
        note: `${parts.length} parts, ${documents.length} documents, ${rule}`,
        growth: { split: found, documents, tasks: documents.map((document) => ({ kind: "extract", subject: document.id })) },
      };
    }
  }
};

/** A mail that is read anew goes the way it went, or is taken although a rule had said otherwise: a person wants it. */
function routeAnew(before: Route | null, { service }: Reextraction, { fallback }: Routing): Route {
  const way: Route =
    before?.is === "take" ? before : { rule: null, is: "take", why: null, ...fallback, afterwards: before?.afterwards ?? null };
  return { ...way, service: service ?? way.service };
}
