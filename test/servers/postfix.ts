/** A real Postfix 3 of its own: in a temporary directory, on a random port, delivering into a Maildir that a Dovecot shows over IMAP. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { required } from "./debian.ts";
import type { Dovecot } from "./dovecot.ts";
import { freePort, greets } from "./ports.ts";

export type Postfix = {
  readonly host: string;
  /** STARTTLS, demanded; no login: whoever speaks to it here may send to `domain`. */
  readonly port: number;
  readonly ca: string;
  /** Mail to anybody there ends in the Dovecot's INBOX; mail to any other domain is refused. */
  readonly domain: string;
  /** Longest mail it takes, in bytes. */
  readonly longest: number;
  readonly stop: () => Promise<void>;
};

const MASTER = "/usr/lib/postfix/sbin/master";
const HOST = "127.0.0.1";
const DOMAIN = "seilerei.example";
const LONGEST = 1_000_000;

/** Null when Postfix can be started here; otherwise why not, for the name of the skipped suite. Installs it where that is possible. */
export function requirePostfix(): string | null {
  return required({ name: "Postfix", packages: { postfix: MASTER }, asRoot: "Postfix's master wants to be root" });
}

/** The certificate is the Dovecot's, which it must outlive. */
export async function startPostfix(dovecot: Dovecot): Promise<Postfix> {
  const directory = await mkdtemp(join(tmpdir(), "billhook-postfix-"));
  const port = await freePort();
  let running: ChildProcess | null = null;

  const cleanUp = () => {
    if (running?.pid !== undefined) kill(running.pid);
    rmSync(directory, { recursive: true, force: true });
  };
  process.once("exit", cleanUp);
  try {
    for (const name of ["etc", "queue", "data"]) await mkdir(join(directory, name));
    await chmod(directory, 0o755);
    await writeFile(join(directory, "etc", "main.cf"), configuration(directory, dovecot));
    await writeFile(join(directory, "etc", "master.cf"), services(port));
    execFileSync("chown", ["postfix", join(directory, "data")]);
    // Makes the queue's directories with their owners.
    execFileSync("postfix", ["-c", join(directory, "etc"), "check"], { stdio: "pipe" });
    const child = spawn("setpriv", ["--pdeathsig", "KILL", MASTER, "-c", join(directory, "etc"), "-d"], {
      stdio: "ignore",
      detached: true,
    });
    running = child;
    for (let tries = 1; !(await greets(port)); tries++) {
      if (tries > 500 || child.exitCode !== null) {
        throw new Error(`Postfix did not start:\n${await readFile(join(directory, "queue", "log"), "utf8").catch(() => "it left no log")}`);
      }
      await pause(20);
    }
  } catch (thrown) {
    process.removeListener("exit", cleanUp);
    cleanUp();
    throw thrown;
  }
  return {
    host: HOST,
    port,
    ca: dovecot.ca,
    domain: DOMAIN,
    longest: LONGEST,
    stop: async () => {
      process.removeListener("exit", cleanUp);
      const child = running;
      if (child?.pid !== undefined && child.exitCode === null) {
        const over = once(child, "exit");
        kill(child.pid);
        await over;
      }
      await rm(directory, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

function configuration(directory: string, dovecot: Dovecot): string {
  const id = (what: string) => execFileSync("id", [what, "nobody"], { encoding: "utf8" }).trim();
  return `
compatibility_level = 3.6
queue_directory = ${directory}/queue
data_directory = ${directory}/data
daemon_directory = /usr/lib/postfix/sbin
command_directory = /usr/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = ${directory}/queue/log
maillog_file_prefixes = ${directory}
myhostname = mx.buyer.example
mydestination =
inet_interfaces = ${HOST}
inet_protocols = ipv4
mynetworks =
smtpd_relay_restrictions = reject_unauth_destination
smtpd_tls_security_level = encrypt
smtpd_tls_cert_file = ${dovecot.directory}/cert.pem
smtpd_tls_key_file = ${dovecot.directory}/key.pem
message_size_limit = ${LONGEST}
virtual_mailbox_limit = 0
virtual_mailbox_domains = ${DOMAIN}
virtual_mailbox_base = ${dovecot.directory}/home
virtual_mailbox_maps = static:Maildir/
virtual_minimum_uid = 1
virtual_uid_maps = static:${id("-u")}
virtual_gid_maps = static:${id("-g")}
alias_maps =
alias_database =
local_recipient_maps =
`;
}

function services(port: number): string {
  return `
${HOST}:${port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
`;
}

function kill(pid: number): void {
  try {
    process.kill(-pid, "SIGTERM");
  } catch {
    // It is gone already.
  }
}
