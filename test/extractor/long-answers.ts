/** Billhook's work in a process of its own with a small heap: takes in mails and has them read at Extend until each was delivered or is tried again. */
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { silent } from "../../src/base/logger.ts";
import { createWorker } from "../../src/daemon/worker.ts";
import { createHttp } from "../../src/http/http.ts";
import type { Works } from "../../src/pipeline/step.ts";
import { createFileSink } from "../../src/sink/file.ts";
import { arrive, sourceOf, worksIn } from "../pipeline/works.ts";
import { extend } from "./extend-service.ts";

const [directory = "", url = "", ...mails] = process.argv.slice(2);
const http = createHttp({ name: "extend", connections: mails.length, timeoutMs: 30_000 });
const extractor = extend(url, { clock: systemClock, http }, { maxBytes: 1_000_000, poll: { firstMs: 1, longestMs: 1 } });
const sink = createFileSink({
  name: "files",
  directory: join(directory, "out"),
  template: "{{id}}.json",
  format: "json",
  attachments: false,
});
const made = await worksIn(directory, { extractor, sinks: [sink], source: sourceOf("invoices").source });
const works: Works = { ...made.works, clock: systemClock };
for (const [uid, mail] of mails.entries()) await arrive(works, mail, uid + 1);

const ends = new Map<string, string>();
const stop = new AbortController();
const worker = createWorker({
  works,
  concurrency: mails.length,
  log: silent,
  clock: systemClock,
  tell: ({ message, what, faultCode }) => {
    if (what === "deliver.done" || faultCode !== null) ends.set(message ?? "", faultCode ?? what);
    if (ends.size === mails.length) stop.abort();
    worker.wake();
  },
});
await worker.run(stop.signal, new AbortController().signal);
await works.ledger.close();
await http.close();
process.stdout.write([...ends.values()].join(" "));
