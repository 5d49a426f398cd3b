/** Prints how long a new mail takes from the server's own notification to our spool and ledger, against a bare imapflow client. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { ImapFlow } from "imapflow";
import { systemClock } from "../../src/base/clock.ts";
import { silent } from "../../src/base/logger.ts";
import { intake } from "../../src/daemon/intake.ts";
import { createImapSource } from "../../src/source/imap.ts";
import { openSpool } from "../../src/store/spool.ts";
import { openLedger } from "../../src/store/sql.ts";
import { bodyOf, worksOf } from "../faults/stage.ts";
import { startDovecot } from "../servers/dovecot.ts";

const MAILS = 40;
/** Two notifications must not become one. */
const APART_MS = 1_000;

const directory = await mkdtemp(join(tmpdir(), "billhook-bench-"));
const dovecot = await startDovecot();
const { host, port, tlsPort, user, password, ca } = dovecot;
const bare = new ImapFlow({ host, port, secure: false, doSTARTTLS: false, auth: { user, pass: password }, logger: false });
const ledger = await openLedger({ directory, own: true, now: new Date() });
const stopping = new AbortController();
let told = Promise.withResolvers<number>();
let kept = Promise.withResolvers<number>();
try {
  await bare.connect();
  await bare.mailboxOpen("INBOX", { readOnly: true });
  bare.on("exists", () => told.resolve(performance.now()));
  void bare.idle();

  const swept = Promise.withResolvers<void>();
  const works = worksOf(
    {
      ...ledger,
      swept: async (...args) => {
        await ledger.swept(...args);
        swept.resolve();
      },
    },
    await openSpool(join(directory, "spool")),
  );
  const afterwards = { done: { is: "none" }, failed: { is: "none" } } as const;
  const source = createImapSource(
    { name: "idle", host, port: tlsPort, tls: "implicit", ca, user, password, folder: "INBOX", start: { is: "all" }, afterwards },
    { clock: systemClock, log: silent },
  );
  const tell = () => kept.resolve(performance.now());
  const reading = intake({ source, works, tell, log: silent, clock: systemClock, once: false }, stopping.signal);
  await swept.promise;

  const figures: { readonly server: number; readonly ours: number }[] = [];
  for (let n = 0; n < MAILS; n += 1) {
    told = Promise.withResolvers();
    kept = Promise.withResolvers();
    await pause(APART_MS);
    await dovecot.append("INBOX", bodyOf(`idle-${n}`));
    const began = performance.now();
    const [server, ours] = await Promise.all([told.promise, kept.promise]);
    figures.push({ server: server - began, ours: ours - began });
  }
  console.log(`${MAILS} mails of 4 KB over TLS, milliseconds from delivery:`);
  console.log(`a bare imapflow client is notified  ${spread(figures.map(({ server }) => server))}`);
  console.log(`in our spool and ledger, durable    ${spread(figures.map(({ ours }) => ours))}`);
  console.log(`beyond the bare client              ${spread(figures.map(({ server, ours }) => ours - server))}`);
  stopping.abort();
  await source.close();
  await reading;
} finally {
  bare.close();
  await ledger.close();
  await dovecot.stop();
  await rm(directory, { recursive: true, force: true });
}

function spread(values: readonly number[]): string {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) => Math.round(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0);
  return `median ${at(0.5)}, 90th percentile ${at(0.9)}, least ${at(0)}, most ${at(1)}`;
}
