/** The daemon in earnest with four mailboxes: three fall ill, each in its way; `status --alive` names them, and they mend by themselves. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startNullService } from "../bench/service.ts";
import { type Dovecot, requireDovecot, startDovecot } from "../servers/dovecot.ts";
import { billhook, type LogLine, startBillhook } from "../servers/process.ts";
import { startProxy, type TcpProxy } from "../servers/proxy.ts";
import { atCommand, LOGIN } from "./meddlers.ts";
import { bodyOf, hashOf } from "./stage.ts";

const missing = requireDovecot();
const MAILBOXES = ["sound", "unreachable", "silent", "locked-out"] as const;
type Mailbox = (typeof MAILBOXES)[number];

describe.skipIf(missing !== null)(`a daemon whose mailboxes fall ill ${missing ?? ""}`, () => {
  let dovecot: Dovecot;
  let directory = "";
  let lockedOut = false;
  const proxies = new Map<Mailbox, TcpProxy>();
  const sent: string[] = [];

  beforeAll(async () => {
    dovecot = await startDovecot();
    directory = await mkdtemp(join(tmpdir(), "billhook-faults-"));
    for (const name of MAILBOXES) {
      await dovecot.createFolder(name);
      const refusing = atCommand(
        LOGIN,
        (wire, line) => {
          wire.say(`${line.split(" ")[0]} NO [AUTHENTICATIONFAILED] Authentication failed.\r\n`);
          return null;
        },
        () => lockedOut,
      );
      proxies.set(name, await startProxy(dovecot, name === "locked-out" ? refusing : null));
    }
  });
  afterAll(async () => {
    for (const proxy of proxies.values()) await proxy.stop();
    await dovecot?.stop();
    await rm(directory, { recursive: true, force: true });
  });

  const proxyOf = (name: Mailbox): TcpProxy => {
    const proxy = proxies.get(name);
    if (proxy === undefined) throw new Error(`no proxy for ${name}`);
    return proxy;
  };
  async function deliver(to: readonly Mailbox[] = MAILBOXES): Promise<void> {
    for (const name of to) {
      const raw = bodyOf(`${name}-${sent.length}`);
      sent.push(hashOf(raw));
      await dovecot.append(name, raw);
    }
  }
  const rows = <T>(question: string): T[] => {
    const ledger = new Database(join(directory, "state", "ledger.sqlite"), { readonly: true });
    try {
      return ledger.prepare(question).all() as T[];
    } finally {
      ledger.close();
    }
  };
  const received = () => new Set(rows<{ id: string }>("SELECT id FROM message").map(({ id }) => id));
  async function until(holds: () => Promise<boolean> | boolean): Promise<void> {
    while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 200));
  }

  test("red names who is ill and why, the sound one goes on, and green comes back by itself", { timeout: 95_000 }, async () => {
    const service = await startNullService(true);
    const mailboxes = MAILBOXES.map((name) => {
      const { host, port } = proxyOf(name);
      const door = `host: ${host}, port: ${port}, tls: none, user: ${dovecot.user}, password: ${dovecot.password}`;
      return `  ${name}: { ${door}, folder: ${name}, start: all, sweep: "* * * * * *" }`;
    });
    const config = join(directory, "config.yaml");
    await writeFile(
      config,
      `
state: { directory: ./state }
log: { format: json }
mailboxes:
${mailboxes.join("\n")}
services:
  null: { kind: extend, apiKey: key, url: "${service.url}", extractor: { id: ex_1 } }
sinks:
  files: { kind: file, directory: ./out }
`,
    );
    const alive = async () => {
      const { code, out } = await billhook(["status", "--alive", "-c", config]);
      return { well: code === 0, out: out.join("\n") };
    };
    const daemon = startBillhook(["run", "-c", config]);
    try {
      await deliver();
      await daemon.logged(({ event }) => event === "daemon.started");
      await until(() => received().size === sent.length);
      await until(async () => (await alive()).well);

      await proxyOf("unreachable").close(true);
      proxyOf("unreachable").cut();
      proxyOf("silent").freeze();
      lockedOut = true;
      proxyOf("locked-out").cut();
      await deliver();
      let said = "";
      await until(async () => {
        said = (await alive()).out;
        return ["unreachable", "silent", "locked-out"].every((name) => said.includes(`mailbox ${name}`));
      });
      expect(said).not.toContain("mailbox sound");
      expect(said).toMatch(/mailbox unreachable.*Could not connect/);
      expect(said).toMatch(/mailbox locked-out.*does not let/);
      expect(received()).toContain(sent[4]);
      expect(received().size).toBe(5);

      await proxyOf("unreachable").close(false);
      proxyOf("silent").cut();
      lockedOut = false;
      await until(() => received().size === sent.length);
      await until(async () => (await alive()).well);

      const writer = new Database(join(directory, "state", "ledger.sqlite"));
      writer.exec("BEGIN IMMEDIATE");
      await deliver();
      await daemon.logged(({ event, fault }) => event === "receive.trouble" && fault === "ledger.busy");
      writer.exec("ROLLBACK");
      writer.close();
      await until(() => received().size === sent.length);
      await until(async () => (await alive()).well);
    } finally {
      await daemon.kill();
      service.stop();
    }
    expect(received()).toEqual(new Set(sent));
    expect(rows("SELECT 1 FROM event WHERE what = 'seen-again'")).toEqual([]);
    expect(rows<{ n: number }>("SELECT count(*) AS n FROM arrival")).toEqual([{ n: sent.length }]);
  });

  test("a mail above the largest waits for a person's word; with too little disk no mail is taken, and it says why", async () => {
    const service = await startNullService(true);
    await dovecot.createFolder("Guarded");
    const config = join(directory, "guarded.yaml");
    const write = (minFree: string) =>
      writeFile(
        config,
        `
state: { directory: ./guarded, minFree: ${minFree} }
log: { format: json }
mailboxes:
  guarded: { host: ${dovecot.host}, port: ${dovecot.port}, tls: none, user: ${dovecot.user}, password: ${dovecot.password}, folder: Guarded, start: all, largest: 20KB }
services:
  null: { kind: extend, apiKey: key, url: "${service.url}", extractor: { id: ex_1 } }
sinks:
  files: { kind: file, directory: ./out }
routes:
  - { name: everything, when: { mailbox: guarded }, ignore: this is about taking it in }
`,
      );
    const once = () => billhook(["run", "--once", "-c", config]);
    const isA = (line: LogLine, event: string, fault?: string) => line.event === event && (fault === undefined || line.fault === fault);
    try {
      await dovecot.append("Guarded", Buffer.concat([bodyOf("large"), Buffer.alloc(30_000, "large\r\n")]));
      await write("90000GB");
      expect((await once()).log.filter((line) => isA(line, "message.unreadable", "imap.too-large"))).toHaveLength(1);
      await dovecot.append("Guarded", bodyOf("small"));
      const full = await once();
      expect(full.code).toBe(3);
      expect(full.log.find((line) => isA(line, "receive.trouble"))).toMatchObject({ mailbox: "guarded", fault: "spool.low" });
      expect(full.log.some((line) => isA(line, "message.received"))).toBe(false);

      await write("1MB");
      expect((await once()).log.filter((line) => isA(line, "message.received"))).toHaveLength(1);
      expect((await billhook(["retry", "u1", "-c", config])).code).toBe(0);
      expect((await once()).log.filter((line) => isA(line, "message.received"))).toHaveLength(1);
      expect((await billhook(["status", "-c", config])).out).toContain("messages  2");
    } finally {
      service.stop();
    }
  });
});
