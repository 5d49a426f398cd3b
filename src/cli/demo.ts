/** `billhook demo`: the real daemon against a mailbox and a sandbox on this machine, shown as it happens. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { systemClock } from "../base/clock.ts";
import { EXIT, permanent, reasonOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { loadConfig } from "../config/load.ts";
import { runDaemon } from "../daemon/daemon.ts";
import { assembleLedger } from "../daemon/state.ts";
import { startMailServer } from "../sandbox/mailserver.ts";
import { startSandbox } from "../sandbox/sandbox.ts";
import type { Event } from "../store/record.ts";
import { progressOf, type Row, rowsOf, tableOf, totalsOf } from "./demo-table.ts";
import type { Terminal } from "./terminal.ts";

type Options = { readonly once: boolean; readonly json: boolean; readonly out: string };

/** The packaged and the checked-out tree have these two at the same place. */
const CONFIG = fileURLToPath(new URL("../../config/demo.yaml", import.meta.url));
const MAIL = fileURLToPath(new URL("../../fixtures/mail/", import.meta.url));

const USER = "invoices";
const PASSWORD = "demo";
const KEY = "demo-key";

export async function demo(options: Options, { out, say, stop }: Terminal): Promise<number> {
  const home = await mkdtemp(join(tmpdir(), "billhook-demo-"));
  const target = resolve(options.out);
  const drop = join(home, "drop");
  const service = await startSandbox({ port: 0, apiKey: KEY, clock: systemClock });
  const mail = await startMailServer({ clock: systemClock, user: USER, password: PASSWORD, folder: drop }).catch(async (thrown) => {
    await service.stop();
    throw thrown;
  });
  try {
    await mkdir(target, { recursive: true }).catch((thrown: unknown) => {
      throw permanent("config.usage", `cannot make the directory ${target}: ${reasonOf(thrown)}`, "say where with --out DIRECTORY", thrown);
    });
    const madeToFail = new Map<string, string>();
    for (const name of (await readdir(MAIL)).filter((name) => name.endsWith(".eml")).sort()) {
      const raw = await readFile(join(MAIL, name));
      const { settles, shows } = JSON.parse(await readFile(join(MAIL, name.replace(/eml$/, "json")), "utf8")) as Record<string, string>;
      if (settles === "failed") madeToFail.set(createHash("sha256").update(raw).digest("hex"), shows ?? "");
      mail.append(raw);
    }
    const show = { path: (path: string) => relative(target, path), madeToFail };
    const config = await loadConfig(CONFIG, {
      DEMO_STATE: join(home, "state"),
      DEMO_IMAP_PORT: String(mail.imapPort),
      DEMO_PASSWORD: PASSWORD,
      DEMO_SERVICE_URL: service.url,
      DEMO_SERVICE_KEY: KEY,
      DEMO_OUT: target,
      DEMO_WEB_PORT: String(await freePort()),
    });
    say(`mailbox   imap://${USER}:${PASSWORD}@127.0.0.1:${mail.imapPort}/INBOX`);
    say(`service   ${service.url} (the sandbox: reads what it is sent, on this machine)`);
    say(`extend    ${service.extendUrl} (the same sandbox, keeping Extend's contract; the key of both is ${KEY})`);
    say(`results   ${target}`);
    if (!options.once) {
      say(`page      http://127.0.0.1:${config.web?.port}/`);
      say(`send mail to smtp://127.0.0.1:${mail.smtpPort}, or drop an .eml file into ${drop}`);
      say("Ctrl-C ends the demo");
    }
    say("");
    const log: Logger = {
      // What becomes of each message is shown below; only what is wrong with the demo itself belongs between the lines.
      event: (level, name, { why } = {}) => {
        if (level !== "info" && level !== "debug" && why !== undefined) say(`${name}: ${why}`);
      },
    };
    const progress = progressOf(() => assembleLedger(config, new Date()), show, say);
    const tell = (event: Event) => progress.tell(event);
    const code = await runDaemon({ config, clock: systemClock, log, once: options.once, tell }, stop);
    await progress.end();

    const ledger = await assembleLedger(config, new Date());
    const rows: readonly Row[] = await rowsOf(ledger, show).finally(ledger.close);
    if (options.json) out(JSON.stringify({ ...totalsOf(rows), out: target }));
    else for (const line of tableOf(rows, process.stdout.columns ?? 120)) out(line);
    return options.once && rows.some((row) => row.standing !== "done" && row.standing !== "failed") ? EXIT.door : code;
  } finally {
    await mail.stop();
    await service.stop();
    await rm(home, { recursive: true, force: true });
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
