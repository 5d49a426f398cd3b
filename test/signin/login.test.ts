/** Signing in with the real process: the command, the daemon that goes on, and one that is killed with a token in its hands. */
import { randomBytes } from "node:crypto";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { type Dovecot, requireDovecot, startDovecot } from "../servers/dovecot.ts";
import { CLIENT, type OpenId, SCOPE, startOpenId, takeTokens } from "../servers/openid.ts";
import { type Billhook, billhook, startBillhook } from "../servers/process.ts";
import { startProxy, type TcpProxy } from "../servers/proxy.ts";
import { temporaryDirectory } from "../store/disk.ts";

const missing = requireDovecot();
const SECRETS = { TEST_CLIENT_SECRET: CLIENT.secret, TEST_KEY: randomBytes(32).toString("hex") };

describe.skipIf(missing !== null)(`billhook login ${missing ?? ""}`, () => {
  let dovecot: Dovecot;
  let openId: OpenId;
  let proxy: TcpProxy;
  let directory: string;
  let config: string;
  let running: Billhook[] = [];
  beforeAll(async () => {
    dovecot = await startDovecot();
    await takeTokens(dovecot);
  });
  afterAll(() => dovecot?.stop());
  beforeEach(async () => {
    openId = await startOpenId({ accessTokenSeconds: 4 });
    proxy = await startProxy({ host: dovecot.host, port: dovecot.tlsPort });
    directory = await temporaryDirectory();
  });
  afterEach(async () => {
    const said: string[] = [];
    for (const one of running) {
      await one.kill("SIGKILL");
      said.push(...one.out, ...one.said, ...one.log.map((line) => JSON.stringify(line)));
    }
    running = [];
    for (const secret of [...openId.given, ...Object.values(SECRETS)]) expect(said.join("\n")).not.toContain(secret);
    await proxy.stop();
    await openId.stop();
  });

  async function configure(grant: string, env: Record<string, string> = {}): Promise<(...args: string[]) => Billhook> {
    config = join(directory, "config.yaml");
    const refresh = grant === "refresh" ? `\n      refreshToken: \${TEST_REFRESH_TOKEN}` : "";
    await writeFile(join(directory, "ca.pem"), dovecot.ca);
    await writeFile(
      config,
      `
log: { format: json }
secrets: { key: "\${TEST_KEY}" }
mailboxes:
  invoices:
    host: ${proxy.host}
    port: ${proxy.port}
    ca: ./ca.pem
    user: ${dovecot.user}
    oauth2:
      provider: { issuer: "${openId.issuer}" }
      clientId: ${CLIENT.id}
      clientSecret: \${TEST_CLIENT_SECRET}
      scope: ${SCOPE}
      grant: ${grant}${refresh}
services: { cloudsquid: { kind: cloudsquid, url: "http://127.0.0.1:9", apiKey: x, project: p, table: 3c90c3cc-0d44-4b50-8888-8dd25736052a } }
sinks: { files: { kind: file, directory: ./out } }
`,
    );
    return (...args) => {
      const one = startBillhook([...args, "-c", config], { ...SECRETS, ...env });
      running.push(one);
      return one;
    };
  }

  test("a code typed in anywhere: printed, waited for, stored, and the mailbox opens", async () => {
    const start = await configure("device");
    const login = start("login", "invoices");
    const asked = await login.printed((line) => line.startsWith("Open "));
    const [, address = "", code = ""] = /^Open (\S+) in any browser, and type this code there: (\S+)$/.exec(asked) ?? [];
    await openId.agreeToDevice(address, code, dovecot.user);
    expect(await login.ended).toBe(0);
    expect(login.out.slice(1)).toEqual([
      "stored: mailbox invoices is signed in",
      "mailbox  invoices  ok: login ok (implicit TLS), folder INBOX with 0 messages",
    ]);
    expect(await readdir(join(directory, "state", "signin"))).toEqual(["invoices.json"]);
    const check = start("check");
    await check.ended;
    expect(check.out.find((line) => line.startsWith("mailbox"))).toContain("ok: login ok");
  });

  test("somebody else signs in by mistake: told, exit 3", async () => {
    const start = await configure("code");
    const login = start("login", "invoices");
    await openId.agreeInBrowser(await login.printed((line) => line.startsWith("http")), "other@example.com");
    expect(await login.ended).toBe(3);
    expect(login.said.join("\n")).toContain("does not let a…@example.com in");
    expect(login.said.join("\n")).toContain("may be read with this sign-in");
  });

  test("Ctrl-C ends the waiting; nothing is stored", async () => {
    const start = await configure("device");
    const login = start("login", "invoices");
    await login.printed((line) => line.startsWith("Open "));
    expect(await login.kill("SIGINT")).toBe(3);
    expect(login.said.join("\n")).toContain("was stopped");
    expect(await readdir(join(directory, "state", "signin")).catch(() => [])).toEqual([]);
  });

  test("what cannot be signed in to is a fault of usage", async () => {
    await configure("client");
    const env = { ...SECRETS };
    expect(await billhook(["login", "nobody", "-c", config], env)).toMatchObject({
      code: 2,
      said: [expect.stringContaining("has no mailbox nobody; it has invoices")],
    });
    expect((await billhook(["login", "invoices", "-c", config], env)).said.join()).toContain("by the application itself");
    await writeFile(config, (await readFile(config, "utf8")).replace(/oauth2:[\s\S]*?\nservices/, "password: hunter2\nservices"));
    expect(await billhook(["login", "invoices", "-c", config], env)).toMatchObject({
      code: 2,
      said: [expect.stringContaining("logs in with its password")],
    });
  });

  test("the daemon: red until somebody signs in, then at once; red again when it is taken back, without a storm; at once again", async () => {
    const start = await configure("code");
    const daemon = start("run");
    const trouble = await daemon.logged((line) => line.event === "mailbox.trouble");
    expect(trouble).toMatchObject({ fault: "signin.needed", advice: "`billhook login invoices` does." });

    const signIn = async () => {
      const login = start("login", "invoices");
      await openId.agreeInBrowser(await login.printed((line) => line.startsWith("http")), dovecot.user);
      expect(await login.ended).toBe(0);
    };
    await signIn();
    await daemon.logged((line) => line.event === "mailbox.watching");
    expect(openId.requests.filter(({ grant }) => grant === "refresh_token").length).toBeLessThan(3);

    openId.revokeAll();
    await daemon.logged((line) => {
      // The connection outlives the token: it takes a new one to notice.
      if (!daemon.log.some(({ fault }) => fault === "signin.consent")) proxy.cut();
      return line.fault === "signin.consent";
    });
    const refused = openId.requests.filter(({ status }) => status === 400).length;
    expect(refused).toBe(1);
    // The daemon's pulse tells it within ten seconds.
    while (!(await billhook(["status", "-c", config], SECRETS)).out.some((line) => line.includes("`billhook login invoices`")));
    expect(openId.requests.filter(({ status }) => status === 400)).toHaveLength(refused);

    await signIn();
    const watching = () => daemon.log.filter(({ event }) => event === "mailbox.watching").length;
    await daemon.logged(() => watching() === 2);
    expect(await daemon.kill()).toBe(0);
  });

  test("killed with a rotated token that was not used yet: the next one goes on with it", async () => {
    await openId.stop();
    // The next life finds its access token expired, and has to show the refresh token that came with it.
    openId = await startOpenId({ accessTokenSeconds: 2 });
    const start = await configure("refresh", { TEST_REFRESH_TOKEN: await openId.refreshTokenFor(dovecot.user) });
    const stored = () => readFile(join(directory, "state", "signin", "invoices.json"), "utf8").catch(() => "");
    proxy.refuse(true);
    for (let life = 1; life <= 3; life++) {
      const before = await stored();
      const doomed = start("run");
      await vi.waitUntil(async () => (await stored()) !== before, { interval: 1, timeout: 20_000 });
      await doomed.kill("SIGKILL");
    }
    proxy.refuse(false);
    const daemon = start("run");
    await daemon.logged(({ event }) => event === "mailbox.watching");
    expect(openId.requests.every(({ status }) => status === 200)).toBe(true);
    expect(new Set(openId.requests.map(({ refreshToken }) => refreshToken)).size).toBe(openId.requests.length);
    expect(await daemon.kill()).toBe(0);
  });
});
