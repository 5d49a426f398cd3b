/** Prints what a scheduled sweep of many folders of one account costs when nothing has happened in them: with CONDSTORE, and with it kept from us. */
import { setTimeout as pause } from "node:timers/promises";
import { systemClock } from "../../src/base/clock.ts";
import { silent } from "../../src/base/logger.ts";
import { createAccounts } from "../../src/source/imap/accounts.ts";
import { createImapSource } from "../../src/source/imap.ts";
import { startDovecot } from "../servers/dovecot.ts";
import { type Meddle, startProxy } from "../servers/proxy.ts";
import { mail } from "../source/watching.ts";

const FOLDERS = 20;
const MAILS = 50;
const ROUNDS = 5;
const LATENCY_MS = 20;

const dovecot = await startDovecot();
const folders = Array.from({ length: FOLDERS }, (_, index) => `Folder${index + 1}`);
try {
  for (const folder of folders) {
    await dovecot.createFolder(folder);
    for (let number = 1; number <= MAILS; number++) await dovecot.append(folder, mail(`${folder}-${number}`));
  }
  const baseline = await measured((line) => (/CAPABILITY/.test(line) ? line.replaceAll(/ (CONDSTORE|QRESYNC)\b/g, "") : line));
  const ours = await measured((line) => line);
  console.log(
    `${FOLDERS} folders of ${MAILS} mails, one connection, ${LATENCY_MS} ms to the server; a sweep of all of them, median of ${ROUNDS}:`,
  );
  console.log(`without CONDSTORE  ${baseline.ms.toFixed(0)} ms, ${baseline.commands} commands`);
  console.log(`with CONDSTORE     ${ours.ms.toFixed(0)} ms, ${ours.commands} commands: ${(ours.ms / baseline.ms).toFixed(2)} of the time`);
} finally {
  await dovecot.stop();
}

async function measured(onServer: Meddle): Promise<{ readonly ms: number; readonly commands: number }> {
  let commands = 0;
  const proxy = await startProxy(dovecot, {
    client: async (line) => {
      if (/^\S+ [A-Z]/.test(line)) commands += 1;
      await pause(LATENCY_MS);
      return line;
    },
    server: onServer,
  });
  const accounts = createAccounts(systemClock);
  const stop = new AbortController();
  const afterwards = { done: { is: "none" }, failed: { is: "none" } } as const;
  const { host, user, password } = dovecot;
  let swept = () => {};
  const sources = folders.map((folder) =>
    createImapSource(
      { name: folder, folder, host, port: proxy.port, tls: "none", ca: null, user, password, start: { is: "now" }, afterwards },
      { clock: systemClock, log: silent, accounts },
    ),
  );
  /** Resolves when so many sweeps were completed from now on. */
  const sweeps = (count: number) =>
    new Promise<void>((resolve) => {
      swept = () => {
        count -= 1;
        if (count === 0) resolve();
      };
    });
  const first = sweeps(FOLDERS);
  const watching = sources.map(async (source) => {
    for await (const sight of source.arrivals(null, stop.signal)) if (sight.is === "swept") swept();
  });
  await first;
  const figures: { readonly ms: number; readonly commands: number }[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    // What follows from the round before, such as IDLE, is over.
    await pause(1_000);
    const all = sweeps(FOLDERS);
    const [began, before] = [performance.now(), commands];
    for (const source of sources) source.sweep();
    await all;
    figures.push({ ms: performance.now() - began, commands: commands - before });
  }
  stop.abort();
  await Promise.all(watching);
  for (const source of sources) await source.close();
  await proxy.stop();
  return figures.toSorted((a, b) => a.ms - b.ms)[Math.floor(ROUNDS / 2)] ?? { ms: 0, commands: 0 };
}
