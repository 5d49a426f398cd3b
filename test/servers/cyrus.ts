/** A real Cyrus 3.6 of its own, as a second opinion besides Dovecot: unprivileged, in a temporary directory, on a random port, with one user. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { chmod, chown, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { ImapFlow } from "imapflow";
import { makeCertificates } from "./certificates.ts";
import { required, unpacked } from "./debian.ts";
import type { ImapServer } from "./dovecot.ts";
import { freePort, greets } from "./ports.ts";

export type Cyrus = ImapServer & {
  /** PEM of the authority the certificate of STARTTLS is signed by. */
  readonly ca: string;
  /** What any client may do in the account. */
  readonly client: () => Promise<ImapFlow>;
};

export type CyrusOptions = {
  /** `INBOX.Done` as Debian's configuration has it, or `Done` as Cyrus has it since version 3. */
  readonly folders?: "below INBOX" | "beside INBOX";
};

const PROGRAMS = "/usr/lib/cyrus/bin";
const MASTER = `${PROGRAMS}/master`;
/** Kept from run to run. */
const UNPACKED = join(tmpdir(), "billhook-cyrus-imapd");
const HOST = "127.0.0.1";
const DOMAIN = "example.com";

/**
 * Null when Cyrus can be started here; otherwise why not, for the name of the skipped suite. Installs it where that is possible: its IMAP
 * service only unpacked, because that package and Dovecot's throw each other out. A mail server is named so that no other comes with it.
 */
export function requireCyrus(): string | null {
  const common = { "cyrus-common": MASTER, postfix: "/usr/lib/postfix/sbin/master" };
  return (
    required({ name: "Cyrus", packages: common }) ??
    unpacked(
      "Cyrus",
      "cyrus-imapd",
      UNPACKED,
      ["imapd", "idled"].map((name) => `${PROGRAMS}/${name}`),
    )
  );
}

export async function startCyrus({ folders = "beside INBOX" }: CyrusOptions = {}): Promise<Cyrus> {
  const directory = await mkdtemp(join(tmpdir(), "billhook-cyrus-"));
  const port = await freePort();
  const [user, password] = [`ap@${DOMAIN}`, "cyrus-Pass-1"];
  const owner = account();
  const { ca, server } = makeCertificates();
  let running: ChildProcess | null = null;
  let passwords: Server | null = null;

  const cleanUp = () => {
    if (running?.pid !== undefined) kill(running.pid);
    rmSync(directory, { recursive: true, force: true });
  };
  process.once("exit", cleanUp);

  async function own(path: string): Promise<void> {
    if (owner.root) await chown(path, owner.uid, owner.gid);
  }
  async function start(): Promise<void> {
    // Cyrus refuses to run as root; the death signal covers a test process that is killed.
    const drop = owner.root ? ["--reuid", owner.user, "--regid", `${owner.gid}`, "--clear-groups"] : [];
    const files = ["-C", join(directory, "imapd.conf"), "-M", join(directory, "cyrus.conf"), "-p", join(directory, "master.pid")];
    const child = spawn("setpriv", ["--pdeathsig", "KILL", ...drop, MASTER, ...files, "-D"], { stdio: "ignore", detached: true });
    running = child;
    while (child.exitCode === null && child.signalCode === null) {
      if (await greets(port)) return;
      await pause(10);
    }
    throw new Error(`Cyrus did not start: its master ended with ${child.exitCode ?? child.signalCode}, and says why to syslog only`);
  }
  async function halt(): Promise<void> {
    const child = running;
    running = null;
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const over = once(child, "exit");
    kill(child.pid);
    await over;
  }
  async function client(): Promise<ImapFlow> {
    const made = new ImapFlow({ host: HOST, port, secure: false, doSTARTTLS: false, auth: { user, pass: password }, logger: false });
    made.on("error", () => {});
    await made.connect();
    return made;
  }

  let agent: ImapFlow | null = null;
  try {
    const databases = ["db", "socket", "proc", "lock", "log", "msg", "user", "quota"].map((name) => join("state", name));
    for (const name of ["", "mail", "state", ...databases]) {
      await mkdir(join(directory, name), { recursive: true });
      await own(join(directory, name));
    }
    await chmod(directory, 0o755);
    for (const [name, text] of Object.entries({
      "cert.pem": server.certificate,
      "key.pem": server.key,
      "imapd.conf": imapdConfiguration(directory, owner, folders),
      "cyrus.conf": masterConfiguration(directory, port),
    })) {
      await writeFile(join(directory, name), text);
      await own(join(directory, name));
    }
    passwords = await checkPasswords(join(directory, "saslauthd"), `${user}:${password}`);
    await start();
    agent = await client();
  } catch (thrown) {
    passwords?.close();
    process.removeListener("exit", cleanUp);
    cleanUp();
    throw thrown;
  }
  const deliver = agent;
  return {
    name: "Cyrus",
    host: HOST,
    port,
    user,
    password,
    ca,
    client,
    append: async (folder, raw, { receivedAt } = {}) => {
      if ((await deliver.append(folder, Buffer.from(raw), [], receivedAt)) === false) throw new Error(`Cyrus takes no mail for ${folder}`);
    },
    createFolder: async (folder) => void (await deliver.mailboxCreate(folder)),
    stop: async () => {
      process.removeListener("exit", cleanUp);
      deliver.close();
      passwords?.close();
      await halt();
      await rm(directory, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

type Owner = { readonly root: boolean; readonly user: string; readonly uid: number; readonly gid: number };

/** Debian's package makes the user cyrus; whoever is not root runs it as himself. */
function account(): Owner {
  const id = (...what: string[]) => execFileSync("id", what, { encoding: "utf8" }).trim();
  const root = process.getuid?.() === 0;
  const who = root ? ["cyrus"] : [];
  return { root, user: id("-un", ...who), uid: Number(id("-u", ...who)), gid: Number(id("-g", ...who)) };
}

function imapdConfiguration(directory: string, owner: Owner, folders: "below INBOX" | "beside INBOX"): string {
  const beside = folders === "beside INBOX" ? "yes" : "no";
  return `
configdirectory: ${directory}/state
defaultpartition: default
partition-default: ${directory}/mail
cyrus_user: ${owner.user}
altnamespace: ${beside}
unixhierarchysep: ${beside}
virtdomains: userid
defaultdomain: ${DOMAIN}
autocreate_quota: 0
idlesocket: ${directory}/state/socket/idle
allowplaintext: yes
failedloginpause: 0
sasl_mech_list: PLAIN
sasl_pwcheck_method: saslauthd
sasl_saslauthd_path: ${directory}/saslauthd
tls_server_cert: ${directory}/cert.pem
tls_server_key: ${directory}/key.pem
`;
}

/** It is read line by line. */
function masterConfiguration(directory: string, port: number): string {
  const configured = (program: string) => `${program} -C ${directory}/imapd.conf`;
  return `
START {
  recover cmd="${configured("ctl_cyrusdb")} -r"
}
SERVICES {
  imap cmd="${configured(`${UNPACKED}${PROGRAMS}/imapd`)}" listen="${HOST}:${port}" prefork=1 maxchild=100
}
DAEMON {
  idled cmd="${configured(`${UNPACKED}${PROGRAMS}/idled`)}"
}
`;
}

/** What saslauthd does: user, password, service and realm come in, each with its length before it; OK or NO goes out. */
async function checkPasswords(path: string, right: string): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    let asked = Buffer.alloc(0);
    socket.on("error", () => {});
    socket.on("data", (chunk) => {
      asked = Buffer.concat([asked, chunk]);
      const words: string[] = [];
      let at = 0;
      while (words.length < 4 && at + 2 <= asked.length) {
        const end = at + 2 + asked.readUInt16BE(at);
        if (end > asked.length) return;
        words.push(asked.toString("utf8", at + 2, end));
        at = end;
      }
      const [user = "", password = "", service, realm] = words;
      if (service === undefined || realm === undefined) return;
      const login = user.includes("@") ? user : `${user}@${realm || DOMAIN}`;
      socket.end(`\0\x02${`${login}:${password}` === right ? "OK" : "NO"}`);
    });
  });
  server.listen(path);
  await once(server, "listening");
  await chmod(path, 0o777);
  return server;
}

function kill(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // It is gone already.
  }
}
