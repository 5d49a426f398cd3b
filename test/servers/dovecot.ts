/** A real Dovecot 2.3 of its own: unprivileged, in a temporary directory, on random ports, with one user and three ways in. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { chmod, chown, mkdir, mkdtemp, readdir, readFile, rename, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { required } from "./debian.ts";
import { freePort, greets } from "./ports.ts";

export type AppendOptions = {
  /** Becomes INTERNALDATE. */
  readonly receivedAt?: Date;
};

/** An IMAP server with one account, as the tests of the IMAP source and of the daemon need it. */
export type ImapServer = {
  readonly name: string;
  readonly host: string;
  /** Clear text; STARTTLS where `ca` is given. */
  readonly port: number;
  readonly user: string;
  readonly password: string;
  /** Puts a message into a folder as a delivery agent does. */
  readonly append: (folder: string, raw: Uint8Array | string, options?: AppendOptions) => Promise<void>;
  readonly createFolder: (folder: string) => Promise<void>;
  readonly stop: () => Promise<void>;
};

export type Dovecot = ImapServer & {
  /** Implicit TLS. */
  readonly tlsPort: number;
  /** PEM of the self-signed certificate, valid for 127.0.0.1 and localhost. */
  readonly ca: string;
  readonly directory: string;
  /** Stops and starts the server; the mail, and the ports, stay. */
  readonly restart: () => Promise<void>;
  /** The same, and the folder comes back with another UIDVALIDITY and new UIDs. */
  readonly renumber: (folder: string) => Promise<void>;
};

const BINARY = "/usr/sbin/dovecot";
const HOST = "127.0.0.1";

/** Null when Dovecot can be started here; otherwise why not, for the name of the skipped suite. Installs it where that is possible. */
export function requireDovecot(): string | null {
  return required({ name: "Dovecot", packages: { "dovecot-core": BINARY, "dovecot-imapd": "/usr/lib/dovecot/imap" } });
}

export async function startDovecot(): Promise<Dovecot> {
  const directory = await mkdtemp(join(tmpdir(), "billhook-dovecot-"));
  const [port, tlsPort] = [await freePort(), await freePort()];
  const user = "ap@example.com";
  const password = "dovecot-Pass-1";
  const owner = account();
  const maildir = join(directory, "home", "Maildir");
  let running: ChildProcess | null = null;
  let delivered = 0;

  const cleanUp = () => {
    if (running?.pid !== undefined) kill(running.pid);
    rmSync(directory, { recursive: true, force: true });
  };
  process.once("exit", cleanUp);

  async function start(): Promise<void> {
    // As root the login processes refuse to run; the death signal covers a test process that is killed.
    const drop = owner.root ? ["--reuid", "nobody", "--regid", owner.group, "--clear-groups"] : [];
    const command = ["--pdeathsig", "KILL", ...drop, BINARY, "-F", "-c", join(directory, "dovecot.conf")];
    // The ports of a server that was just killed are free a moment later.
    for (let tries = 1; tries <= 100; tries++) {
      const child = spawn("setpriv", command, { stdio: "ignore", detached: true });
      running = child;
      while (child.exitCode === null && child.signalCode === null) {
        if (await greets(port)) return;
        await pause(10);
      }
    }
    throw new Error(`Dovecot did not start:\n${await readFile(join(directory, "log"), "utf8").catch(() => "it left no log")}`);
  }
  async function halt(): Promise<void> {
    const child = running;
    running = null;
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const over = once(child, "exit");
    kill(child.pid);
    await over;
  }
  async function own(path: string): Promise<void> {
    if (owner.root) await chown(path, owner.uid, owner.gid);
  }
  function pathOf(folder: string): string {
    return folder.toUpperCase() === "INBOX" ? maildir : join(maildir, `.${folder}`);
  }
  async function createFolder(folder: string): Promise<void> {
    for (const path of [pathOf(folder), ...["tmp", "new", "cur"].map((name) => join(pathOf(folder), name))]) {
      await mkdir(path, { recursive: true });
      await own(path);
    }
  }
  async function append(folder: string, raw: Uint8Array | string, options: AppendOptions = {}): Promise<void> {
    // maildir(5): written in tmp, renamed into new. Dovecot numbers new files in the order of their names.
    const name = `${Math.floor(Date.now() / 1_000)}.M${String(++delivered).padStart(9, "0")}P${process.pid}.test`;
    const temporary = join(pathOf(folder), "tmp", name);
    await writeFile(temporary, raw);
    await own(temporary);
    if (options.receivedAt) await utimes(temporary, options.receivedAt, options.receivedAt);
    await rename(temporary, join(pathOf(folder), "new", name));
  }
  async function renumber(folder: string): Promise<void> {
    await halt();
    const index = /^dovecot[-.](uidlist|index)/;
    for (const name of await readdir(pathOf(folder))) if (index.test(name)) await rm(join(pathOf(folder), name), { recursive: true });
    // The next UIDVALIDITY is counted on from this file's; without one it is the time in seconds, which may not have changed.
    for (const name of await readdir(maildir)) if (/^dovecot-uidvalidity/.test(name)) await rm(join(maildir, name));
    const next = `dovecot-uidvalidity.${(Math.floor(Date.now() / 1_000) + 1_000 + ++delivered).toString(16)}`;
    await writeFile(join(maildir, next), "");
    await writeFile(join(maildir, "dovecot-uidvalidity"), next.split(".")[1] ?? "");
    for (const name of [next, "dovecot-uidvalidity"]) await own(join(maildir, name));
    await start();
  }

  try {
    for (const path of [directory, join(directory, "home"), join(directory, "run"), join(directory, "state")]) {
      await mkdir(path, { recursive: true });
      await own(path);
    }
    await chmod(directory, 0o755);
    await createFolder("INBOX");
    makeCertificate(directory);
    await own(join(directory, "key.pem"));
    await writeFile(join(directory, "users"), `${user}:{PLAIN}${password}\n`);
    await writeFile(join(directory, "dovecot.conf"), configuration(directory, owner, port, tlsPort));
    await start();
  } catch (thrown) {
    process.removeListener("exit", cleanUp);
    cleanUp();
    throw thrown;
  }
  return {
    name: "Dovecot",
    host: HOST,
    port,
    tlsPort,
    user,
    password,
    ca: await readFile(join(directory, "cert.pem"), "utf8"),
    directory,
    append,
    createFolder,
    restart: async () => {
      await halt();
      await start();
    },
    renumber,
    stop: async () => {
      process.removeListener("exit", cleanUp);
      await halt();
      await rm(directory, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

type Owner = { readonly root: boolean; readonly user: string; readonly group: string; readonly uid: number; readonly gid: number };

function account(): Owner {
  const id = (...what: string[]) => execFileSync("id", what, { encoding: "utf8" }).trim();
  const root = process.getuid?.() === 0;
  const who = root ? ["nobody"] : [];
  return { root, user: id("-un", ...who), group: id("-gn", ...who), uid: Number(id("-u", ...who)), gid: Number(id("-g", ...who)) };
}

function configuration(directory: string, owner: Owner, port: number, tlsPort: number): string {
  return `
protocols = imap
listen = ${HOST}
base_dir = ${directory}/run
state_dir = ${directory}/state
log_path = ${directory}/log
default_internal_user = ${owner.user}
default_internal_group = ${owner.group}
default_login_user = ${owner.user}
first_valid_uid = 0
first_valid_gid = 0
mail_location = maildir:~/Maildir
mailbox_idle_check_interval = 1 secs
disable_plaintext_auth = no
auth_failure_delay = 0
ssl = yes
ssl_cert = <${directory}/cert.pem
ssl_key = <${directory}/key.pem
passdb {
  driver = passwd-file
  args = ${directory}/users
}
userdb {
  driver = static
  args = uid=${owner.uid} gid=${owner.gid} home=${directory}/home
}
service anvil {
  chroot =
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service imap-login {
  chroot =
  inet_listener imap {
    port = ${port}
  }
  inet_listener imaps {
    port = ${tlsPort}
    ssl = yes
  }
}
service stats {
  chroot =
}
`;
}

function makeCertificate(directory: string): void {
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", join(directory, "key.pem")];
  const names = ["-subj", "/CN=billhook test", "-addext", `subjectAltName=IP:${HOST},DNS:localhost`];
  execFileSync("openssl", ["req", "-x509", "-days", "2", ...key, ...names, "-out", join(directory, "cert.pem")], { stdio: "pipe" });
}

function kill(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // It is gone already.
  }
}
