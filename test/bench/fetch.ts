/** Prints messages per second of our intake, durable in spool and ledger, against a bare imapflow bulk fetch and mbsync over the same box. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ImapFlow } from "imapflow";
import { systemClock } from "../../src/base/clock.ts";
import { silent } from "../../src/base/logger.ts";
import { intake } from "../../src/daemon/intake.ts";
import { createImapSource } from "../../src/source/imap.ts";
import { openSpool } from "../../src/store/spool.ts";
import { openLedger } from "../../src/store/sql.ts";
import { worksOf } from "../faults/stage.ts";
import { startDovecot } from "../servers/dovecot.ts";

const MAILS = 2_000;
const ROUNDS = 3;
/** Of ten mails in accounts payable: links and texts, small invoices, scans, one with a stack of scans. */
const SIZES = [20_000, 20_000, 20_000, 150_000, 150_000, 150_000, 150_000, 500_000, 500_000, 3_000_000];
const LINE = `${Buffer.alloc(57, "invoice").toString("base64")}\r\n`;
const MBSYNC = "/usr/bin/mbsync";

type Server = { readonly host: string; readonly port: number; readonly user: string; readonly password: string };
type Figures = { readonly seconds: number; readonly messages: number; readonly bytes: number; readonly rss: number | null };

const WAYS = { "bare imapflow, nothing kept": bareFetch, "billhook, spool and ledger": ourIntake } as const;
const MBSYNC_WAY = "mbsync, Maildir";

const [, , way, told] = process.argv;
if (way !== undefined && told !== undefined && Object.hasOwn(WAYS, way)) {
  const figures = await WAYS[way as keyof typeof WAYS](JSON.parse(told) as Server);
  console.log(JSON.stringify({ ...figures, rss: process.resourceUsage().maxRSS * 1_024 }));
} else {
  await compare();
}

async function compare(): Promise<void> {
  const dovecot = await startDovecot();
  try {
    let bytes = 0;
    for (let n = 0; n < MAILS; n += 1) {
      const head = `Subject: invoice ${n}\r\nMessage-ID: <${n}@example.com>\r\nContent-Transfer-Encoding: base64\r\n\r\n`;
      const raw = head + LINE.repeat(Math.round((SIZES[n % SIZES.length] ?? 0) / LINE.length));
      bytes += raw.length;
      await dovecot.append("INBOX", raw);
    }
    const { host, port, user, password } = dovecot;
    const server = JSON.stringify({ host, port, user, password });
    console.log(`${MAILS} mails, ${Math.round(bytes / 1e6)} MB, Dovecot on loopback in clear text, ${ROUNDS} rounds in turn`);
    const ways = [...Object.keys(WAYS), ...(hasMbsync() ? [MBSYNC_WAY] : [])];
    const found = new Map<string, Figures[]>(ways.map((name) => [name, []]));
    // The first fetch of all makes Dovecot's index; it counts for nobody.
    measured(Object.keys(WAYS)[0] ?? "", server);
    for (let round = 0; round < ROUNDS; round += 1)
      for (const name of ways)
        found.get(name)?.push(name === MBSYNC_WAY ? await mirror(JSON.parse(server) as Server) : measured(name, server));
    for (const [name, rounds] of found) {
      const [middle] = [...rounds].sort((a, b) => a.seconds - b.seconds).slice(Math.floor(ROUNDS / 2));
      if (middle === undefined || middle.messages !== MAILS) throw new Error(`${name} gave ${middle?.messages} messages`);
      const rate = `${Math.round(MAILS / middle.seconds)} messages/s, ${Math.round(bytes / 1e6 / middle.seconds)} MB/s`;
      const all = rounds.map(({ seconds }) => seconds.toFixed(1)).join(", ");
      const memory = middle.rss === null ? "" : `, RSS ${Math.round(middle.rss / 1e6)} MB at most`;
      console.log(`${name.padEnd(28)} ${rate} (${all} s${memory})`);
    }
  } finally {
    await dovecot.stop();
  }
}

/** In a process of its own, so that none inherits the heap of another. */
function measured(name: string, server: string): Figures {
  const child = spawnSync(process.execPath, [import.meta.filename, name, server], {
    stdio: ["ignore", "pipe", "inherit"],
    encoding: "utf8",
  });
  return JSON.parse(child.stdout) as Figures;
}

async function bareFetch({ host, port, user, password }: Server): Promise<Figures> {
  const client = new ImapFlow({ host, port, secure: false, doSTARTTLS: false, auth: { user, pass: password }, logger: false });
  await client.connect();
  await client.mailboxOpen("INBOX", { readOnly: true });
  let [messages, bytes] = [0, 0];
  const began = performance.now();
  for await (const row of client.fetch("1:*", { uid: true, source: true }, { uid: true })) {
    messages += 1;
    bytes += row.source?.length ?? 0;
  }
  const seconds = (performance.now() - began) / 1_000;
  await client.logout();
  return { seconds, messages, bytes, rss: null };
}

async function ourIntake(server: Server): Promise<Figures> {
  const directory = await mkdtemp(join(tmpdir(), "billhook-bench-"));
  const ledger = await openLedger({ directory, own: true, now: new Date() });
  try {
    const works = worksOf(ledger, await openSpool(join(directory, "spool")));
    const afterwards = { done: { is: "none" }, failed: { is: "none" } } as const;
    const door = { ...server, tls: "none", ca: null, folder: "INBOX" } as const;
    const source = createImapSource({ name: "fetch", ...door, start: { is: "all" }, afterwards }, { clock: systemClock, log: silent });
    const began = performance.now();
    await intake({ source, works, tell: () => {}, log: silent, clock: systemClock, once: true }, new AbortController().signal);
    const seconds = (performance.now() - began) / 1_000;
    await source.close();
    return { seconds, messages: (await ledger.counts()).messages, bytes: 0, rss: null };
  } finally {
    await ledger.close();
    await rm(directory, { recursive: true, force: true });
  }
}

/** `isync` of Debian; it syncs every file as we do. */
async function mirror({ host, port, user, password }: Server): Promise<Figures> {
  const directory = await mkdtemp(join(tmpdir(), "billhook-bench-"));
  try {
    const path = join(directory, "mail");
    await mkdir(path);
    const remote = `IMAPAccount a\nHost ${host}\nPort ${port}\nUser ${user}\nPass ${password}\nSSLType None\nAuthMechs LOGIN PLAIN\n`;
    const stores = `IMAPStore r\nAccount a\n\nMaildirStore l\nPath ${path}/\nInbox ${path}/INBOX\n`;
    const channel = `Channel c\nFar :r:INBOX\nNear :l:INBOX\nSync Pull\nCreate Near\nSyncState *\n`;
    await writeFile(join(directory, "mbsyncrc"), [remote, stores, channel].join("\n"), { mode: 0o600 });
    const began = performance.now();
    const { status } = spawnSync(MBSYNC, ["-q", "-c", join(directory, "mbsyncrc"), "c"], { stdio: "inherit" });
    const seconds = (performance.now() - began) / 1_000;
    const messages = Number(
      execFileSync("sh", ["-c", `find ${path}/INBOX -type f -path '*/[nc][eu][wr]/*' | wc -l`], { encoding: "utf8" }),
    );
    return { seconds, messages: status === 0 ? messages : 0, bytes: 0, rss: null };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function hasMbsync(): boolean {
  if (existsSync(MBSYNC)) return true;
  const install = ["apt-get", "install", "-y", "--no-install-recommends", "isync"] as const;
  spawnSync("apt-get", ["update", "-q"], { stdio: "ignore" });
  spawnSync(install[0], install.slice(1), { stdio: "ignore", env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" } });
  if (!existsSync(MBSYNC)) console.log(`mbsync is missing; install it with: ${install.join(" ")}`);
  return existsSync(MBSYNC);
}
