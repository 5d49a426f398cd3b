/** The stage of the tour: a daemon to which four troubles have come, for whoever has to find and mend them, by command or by page. */
import { createHash } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { answer, atCommand, BODY, names } from "../faults/meddlers.ts";
import { freePort } from "../servers/ports.ts";
import type { Billhook, LogLine } from "../servers/process.ts";
import { startProxy, type TcpProxy } from "../servers/proxy.ts";
import { type Receiver, startReceiver } from "../servers/receiver.ts";
import { fixture } from "./outlets.ts";
import { type Stage, startStage } from "./stage.ts";

export type TourMail = { readonly id: string; readonly subject: string; readonly raw: Buffer };

/** By what came over them. */
export type TourMails = {
  /** Nothing: read, delivered and settled before the troubles began. */
  readonly fine: TourMail;
  /** The service was down for longer than its patience lasts. */
  readonly outage: readonly [TourMail, TourMail];
  /** The service refused it. */
  readonly refused: TourMail;
  /** The mail server will not give it. */
  readonly unread: TourMail;
  /** Larger than `limits.maxBytes`. */
  readonly held: TourMail;
  /** Read, and its receiver was dead for longer than its patience lasts. */
  readonly undelivered: TourMail;
};

export type Tour = {
  readonly stage: Stage;
  readonly mails: TourMails;
  readonly daemon: Billhook;
  /** The other side of the sink `erp`. */
  readonly receiver: Receiver;
  /** The address of the web page; the daemon listens there. */
  readonly page: string;
  /** Runs a command of billhook to its end. */
  readonly cli: (...args: string[]) => Promise<{ readonly code: number | NodeJS.Signals; readonly text: string; readonly said: string }>;
  /** What is done outside of billhook; its owner is then told, and does the rest. */
  readonly outside: {
    readonly serviceIsBack: () => Promise<void>;
    readonly receiverIsBack: () => Promise<void>;
    readonly serverGivesAll: () => void;
  };
  /** Resolves when the mailbox has been told of each of these that it is done with. */
  readonly settled: (...mails: readonly TourMail[]) => Promise<void>;
  readonly stop: () => Promise<void>;
};

const PATIENCE = "{ first: 100ms, longest: 300ms, giveUpAfter: 800ms }";
const LARGEST_KB = 40;

/** Resolves when all four troubles have come about; of what becomes of `mails.fine` nothing is left to do. */
export async function startTour(): Promise<Tour> {
  const receiver = await startReceiver();
  const files = 'files: { kind: file, directory: ./out, name: "{{message}}-{{position}}.json" }';
  const stage = await startStage({
    service: "extend",
    retry: PATIENCE,
    more: [`limits: { maxBytes: ${LARGEST_KB}KB }`, "breaker: { failures: 1000 }"],
    sinks: [files, `erp: { kind: http, url: "${receiver.url}", allowPrivate: true, retry: ${PATIENCE} }`],
  });
  const withheld = new Set<number>();
  const refuse = answer("NO That message is damaged");
  const proxy = await startProxy(
    stage.dovecot,
    atCommand(
      BODY,
      (wire, line) => ([...withheld].some((uid) => names(line, uid)) ? refuse(wire, line) : line),
      () => true,
    ),
  );
  const page = await listenOn(stage, proxy);
  const daemon = stage.start("run");
  const seen = (event: string, ...mails: readonly TourMail[]) =>
    Promise.all(mails.map(({ id }) => daemon.logged((line) => line.event === event && id.startsWith(line.message ?? "-"))));
  let uids = 0;
  const arrive = async (mail: TourMail) => {
    uids += 1;
    await stage.dovecot.append("INBOX", mail.raw);
  };

  const mails = await mailsOfTheTour();
  await arrive(mails.fine);
  await seen("settle.done", mails.fine);

  await stage.addFault({ call: "extend.create", times: 1, failureReason: "CORRUPT_FILE" });
  await receiver.shut();
  withheld.add(uids + 1);
  for (const mail of [mails.unread, mails.held, mails.refused]) await arrive(mail);
  await Promise.all([
    daemon.logged(({ event }) => event === "message.unreadable"),
    seen("extract.held", mails.held),
    seen("extract.failed", mails.refused),
  ]);
  await arrive(mails.undelivered);
  await seen("extract.done", mails.undelivered);
  await stage.addFault({ call: "extend.upload", times: 1_000_000, status: 503 });
  for (const mail of mails.outage) await arrive(mail);
  await Promise.all([seen("deliver.failed", mails.undelivered), seen("extract.failed", ...mails.outage)]);

  return {
    stage,
    mails,
    daemon,
    receiver,
    page,
    cli: async (...args) => {
      const run = stage.start(...args);
      const code = await run.ended;
      return { code, text: run.out.join("\n"), said: run.said.join("\n") };
    },
    outside: {
      serviceIsBack: () => clearFaults(stage),
      receiverIsBack: receiver.open,
      serverGivesAll: () => withheld.clear(),
    },
    settled: async (...wanted) => {
      const isDone = (line: LogLine) => line.event === "settle.done" && String(line.note).startsWith("done");
      await Promise.all(wanted.map(({ id }) => daemon.logged((line) => isDone(line) && id.startsWith(line.message ?? "-"))));
    },
    stop: async () => {
      await daemon.kill();
      await Promise.all([proxy.stop(), receiver.stop()]);
      await stage.stop();
    },
  };
}

/** The mailbox behind the proxy, where it speaks in clear text, and the page at a port of its own; resolves with its address. */
async function listenOn({ config, dovecot }: Stage, { host, port }: TcpProxy): Promise<string> {
  const web = await freePort();
  const written = await readFile(config, "utf8");
  const door = `    host: ${dovecot.host}\n    port: ${dovecot.tlsPort}\n    ca: ./ca.pem\n`;
  if (!written.includes(door)) throw new Error("the stage writes its mailbox in another way");
  await writeFile(config, `${written.replace(door, `    host: ${host}\n    port: ${port}\n    tls: none\n`)}web: { port: ${web} }\n`);
  return `http://127.0.0.1:${web}/`;
}

async function clearFaults({ config }: Stage): Promise<void> {
  const service = /^ {4}url: (\S+)$/m.exec(await readFile(config, "utf8"))?.[1] ?? "";
  const cleared = await fetch(new URL("/_sandbox/faults", service), { method: "DELETE" });
  if (!cleared.ok) throw new Error(`the sandbox keeps its faults: ${cleared.status}`);
}

async function mailsOfTheTour(): Promise<TourMails> {
  const { raw } = await fixture("04");
  const mail = (subject: string, padding = 0): TourMail => {
    const text = raw.toString("latin1").replace(/^Subject: [^\r\n]*/m, `Subject: ${subject}`);
    const own = text.replace(/^Message-ID: [^\r\n]*/m, `Message-ID: <${subject.replaceAll(" ", "-")}@tour.example>`);
    const bytes = Buffer.from(`${"X-Padding: a line that makes the mail larger\r\n".repeat(padding)}${own}`, "latin1");
    return { id: createHash("sha256").update(bytes).digest("hex"), subject, raw: bytes };
  };
  return {
    fine: mail("Invoice that nothing happens to"),
    outage: [mail("Invoice in the outage"), mail("Another invoice in the outage")],
    refused: mail("Invoice the service refuses"),
    unread: mail("Invoice the server withholds"),
    held: mail("Invoice over the limit", LARGEST_KB * 30),
    undelivered: mail("Invoice for a dead receiver"),
  };
}
