/** Prints what 1,000 outstanding runs cost the whole daemon: its worker and ledger, and the requests the service sees. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { startDovecot } from "../servers/dovecot.ts";
import { publish, startDaemon } from "./published.ts";
import { configOf, startNullService } from "./service.ts";

const RUNS = 1_000;
const KINDS = ["cloudsquid", "extend"] as const;
/** How often each run is asked after, how many reads a second are allowed, how long it takes until all are on their round, and how long is measured. */
const CASES = [
  { everyS: 30, reads: 1_000, settleS: 30, measureS: 30, how: "as those long under way, no limit reached" },
  { everyS: 2, reads: 10, settleS: 5, measureS: 20, how: "held back to 10 reads/s" },
] as const;

const home = await mkdtemp(join(tmpdir(), "billhook-bench-"));
const dovecot = await startDovecot();
try {
  const entry = publish(home);
  for (let n = 0; n < RUNS; n += 1) await dovecot.append("INBOX", `Subject: invoice ${n}\r\n\r\nInvoice ${n}: please pay.\r\n`);
  for (const kind of KINDS) {
    const directory = await mkdtemp(join(home, "case-"));
    const service = await startNullService(false);
    await writeFile(join(directory, "ca.pem"), dovecot.ca);
    for (const [index, { everyS, reads, settleS, measureS, how }] of CASES.entries()) {
      const config = join(directory, `config-${index}.yaml`);
      const more = [`rates: { read: ${reads}, write: 1000, run: 1000 }`, `poll: { first: ${everyS}s, longest: ${everyS}s }`];
      await writeFile(config, configOf(dovecot, "INBOX", { kind, url: service.url, more }));
      const daemon = startDaemon(entry, config);
      try {
        const begun = performance.now();
        // The first one takes the mail in and orders the runs; the next one finds them under way.
        await service.ordered(RUNS);
        if (index === 0) console.log(`${kind}: ${RUNS} mails taken in and ordered in ${Math.round((performance.now() - begun) / 1_000)} s`);
        await sleep(settleS * 1_000);
        const before = { requests: service.seen.requests, cpu: daemon.cpuSeconds() };
        await sleep(measureS * 1_000);
        const requests = ((service.seen.requests - before.requests) / measureS).toFixed(1);
        const cpu = (((daemon.cpuSeconds() - before.cpu) / measureS) * 100).toFixed(1);
        const megabytes = Math.round(daemon.rss().most / 1e6);
        const cost = `${requests} requests/s, ${cpu} % of one CPU, RSS ${megabytes} MB at most`;
        console.log(`${kind}, ${RUNS} runs asked after every ${everyS} s, ${how}: ${cost}`);
      } finally {
        await daemon.kill();
      }
    }
    service.stop();
  }
} finally {
  await dovecot.stop();
  await rm(home, { recursive: true, force: true });
}
