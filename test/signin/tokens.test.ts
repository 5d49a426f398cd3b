/** Tokens from a real OpenID provider, shown to a real Dovecot. */
import { readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { inspect } from "node:util";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Clock, systemClock } from "../../src/base/clock.ts";
import type { Fault } from "../../src/base/errors.ts";
import { type Dovecot, requireDovecot, startDovecot } from "../servers/dovecot.ts";
import { type OpenId, startOpenId, takeTokens } from "../servers/openid.ts";
import { startProxy } from "../servers/proxy.ts";
import { noDisk, smallDisk, temporaryDirectory } from "../store/disk.ts";
import { closeDoors, type Making, makeSignIn, makeSource, never } from "./stage.ts";

const missing = requireDovecot();

/** A clock that can be put forward; it waits as long as it says. */
function movedClock() {
  let ahead = 0;
  const clock: Clock = { ...systemClock, now: () => new Date(Date.now() + ahead) };
  return {
    clock,
    forward: (milliseconds: number) => {
      ahead += milliseconds;
    },
  };
}

const MINUTE = 60_000;

describe.skipIf(missing !== null)(`tokens ${missing ?? ""}`, () => {
  let dovecot: Dovecot;
  let openId: OpenId;
  let directory: string;
  beforeAll(async () => {
    dovecot = await startDovecot();
    await takeTokens(dovecot);
  });
  afterAll(() => dovecot?.stop());
  beforeEach(async () => {
    openId = await startOpenId();
    directory = await temporaryDirectory();
  });
  afterEach(async () => {
    await closeDoors();
    await openId.stop();
  });

  const make = (more: Partial<Making> = {}) => makeSignIn({ openId, directory, grant: "refresh", ...more });
  const withToken = async (more: Partial<Making> = {}) => make({ refreshToken: await openId.refreshTokenFor(dovecot.user), ...more });
  const refusal = (work: Promise<unknown>): Promise<Fault> =>
    work.then(
      () => Promise.reject(new Error("it went well")),
      (thrown) => thrown,
    );
  const file = () => join(directory, "signin", "invoices.json");

  test("a refresh token opens the mailbox, by either mechanism", async () => {
    const { signIn } = await withToken();
    for (const [mechanism, command] of [
      ["auto", /AUTHENTICATE OAUTHBEARER/],
      ["oauthbearer", /AUTHENTICATE OAUTHBEARER/],
      ["xoauth2", /AUTHENTICATE XOAUTH2/],
    ] as const) {
      const proxy = await startProxy(dovecot);
      const heard = proxy.hears(command);
      const source = makeSource({ ...dovecot, port: proxy.port }, signIn, { mechanism });
      expect((await source.probe(never)).said).toContain("login ok");
      await heard;
      await proxy.stop();
    }
    expect(openId.requests.map(({ grant }) => grant)).toEqual(["refresh_token"]);
  });

  test("what the server offers is taken; what it does not offer is told", async () => {
    const old = await startDovecot();
    await takeTokens(old, "xoauth2");
    const { signIn } = make({ grant: "client" });
    expect((await makeSource(old, signIn).probe(never)).said).toContain("login ok");
    const fault = await refusal(makeSource(old, signIn, { mechanism: "oauthbearer" }).probe(never));
    expect(fault).toMatchObject({ code: "imap.mechanism" });
    expect(fault.message).toContain("offers no OAUTHBEARER");
    await old.stop();
    // RFC 5801 section 4: the one way has no escapes for these, the other needs none.
    const proxy = await startProxy(dovecot);
    const heard = proxy.hears(/AUTHENTICATE XOAUTH2/);
    await refusal(makeSource({ ...dovecot, port: proxy.port, user: "a=b@example.com" }, signIn).probe(never));
    await heard;
    await proxy.stop();
  });

  test("the application by itself, without anything stored", async () => {
    const { signIn } = make({ grant: "client" });
    expect((await makeSource(dovecot, signIn).probe(never)).said).toContain("login ok");
    expect(await readdir(directory)).toEqual([]);
    const other = make({ grant: "client" });
    const tokens = await Promise.all(Array.from({ length: 20 }, () => other.signIn.accessToken(false, never)));
    expect(new Set(tokens).size).toBe(1);
    expect(openId.requests).toHaveLength(2);
  });

  test("who waits at the same time shares one request; what was given is kept until shortly before it expires", async () => {
    const { clock, forward } = movedClock();
    const { signIn } = await withToken({ clock });
    const tokens = await Promise.all(Array.from({ length: 20 }, () => signIn.accessToken(false, never)));
    expect(new Set(tokens).size).toBe(1);
    forward(54 * MINUTE);
    expect(await signIn.accessToken(false, never)).toBe(tokens[0]);
    expect(openId.requests).toHaveLength(1);
    forward(2 * MINUTE);
    expect(await signIn.accessToken(false, never)).not.toBe(tokens[0]);
    expect(openId.requests).toHaveLength(2);
  });

  test("a rotated token is stored before it is used, encrypted and for its owner only, and found again", async () => {
    const { clock, forward } = movedClock();
    const refreshToken = await openId.refreshTokenFor(dovecot.user);
    const first = await make({ clock, refreshToken }).signIn.accessToken(false, never);
    expect((await stat(file())).mode & 0o777).toBe(0o600);
    const text = await readFile(file(), "utf8");
    for (const secret of [...openId.given, refreshToken]) {
      expect(text).not.toContain(secret);
      expect(text).not.toContain(Buffer.from(secret).toString("base64").slice(0, -4));
    }
    expect(await readdir(join(directory, "signin"))).toEqual(["invoices.json"]);

    const again = make({ clock, refreshToken });
    expect(await again.signIn.accessToken(false, never)).toBe(first);
    forward(56 * MINUTE);
    await again.signIn.accessToken(false, never);
    forward(56 * MINUTE);
    await make({ clock, refreshToken }).signIn.accessToken(false, never);
    expect(openId.requests.map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(new Set(openId.requests.map((one) => one.refreshToken)).size).toBe(3);
  });

  test.skipIf(noDisk !== null)(
    "what cannot be stored is not used; it is stored and used when it can be, without asking again",
    async () => {
      const disk = await smallDisk("64k");
      const { signIn } = await withToken({ directory: disk });
      const proxy = await startProxy(dovecot);
      const source = makeSource({ ...dovecot, port: proxy.port }, signIn);
      // One page is left: for the lease, not for the tokens.
      const filler = join(disk, "filler");
      await writeFile(filler, Buffer.alloc(256 * 1024)).catch(() => {});
      await truncate(filler, (await stat(filler)).size - 4096);
      for (let knock = 0; knock < 3; knock++) {
        const fault = await refusal(source.probe(never));
        expect(fault).toMatchObject({ code: "signin.store", temporary: true });
        expect(fault.message).toContain("ENOSPC");
      }
      expect([proxy.accepted(), openId.requests.length]).toEqual([0, 1]);
      await rm(filler);
      expect((await source.probe(never)).said).toContain("login ok");
      expect([proxy.accepted(), openId.requests.length]).toEqual([1, 1]);
      await proxy.stop();
    },
  );

  test("two processes' worth of sign-ins never show one refresh token twice", async () => {
    const { clock, forward } = movedClock();
    const refreshToken = await openId.refreshTokenFor(dovecot.user);
    const both = [make({ clock, refreshToken }), make({ clock, refreshToken }), make({ clock, refreshToken })];
    for (let round = 0; round < 3; round++) {
      const tokens = await Promise.all(both.map(({ signIn }) => signIn.accessToken(false, never)));
      expect(new Set(tokens).size).toBe(1);
      forward(56 * MINUTE);
    }
    expect(openId.requests.map(({ status }) => status)).toEqual([200, 200, 200]);
  });

  test("a token that is not taken is replaced once, not in a loop", async () => {
    const { clock, forward } = movedClock();
    const { signIn } = await withToken({ clock });
    const proxy = await startProxy(dovecot);
    const stranger = makeSource({ ...dovecot, port: proxy.port, user: "somebody@example.com" }, signIn);
    const fault = await refusal(stranger.probe(never));
    expect(fault).toMatchObject({ code: "imap.login", temporary: true });
    expect(fault.advice).toContain("s…@example.com may be read with this sign-in");
    expect(proxy.accepted()).toBe(2);
    expect(openId.requests).toHaveLength(2);
    const other = makeSource({ ...dovecot, port: proxy.port, user: "somebody@example.com" }, signIn, { mechanism: "xoauth2" });
    for (const one of [stranger, other, stranger]) expect((await refusal(one.probe(never))).code).toBe("imap.login");
    expect(proxy.accepted()).toBe(5);
    expect(openId.requests).toHaveLength(2);
    forward(11 * MINUTE);
    await refusal(stranger.probe(never));
    expect(openId.requests).toHaveLength(3);
    for (const token of openId.given) expect(inspect(fault, { depth: 20, showHidden: true })).not.toContain(token);
    expect((await makeSource(dovecot, signIn).probe(never)).said).toContain("login ok");
    await proxy.stop();
  });

  test("a stale token is replaced, and the mailbox opens", async () => {
    const short = await startOpenId({ accessTokenSeconds: 2 });
    // By a clock that stands still it is good for ever; not by Dovecot's.
    const still = new Date();
    const clock: Clock = { ...systemClock, now: () => still };
    const { signIn } = make({ openId: short, refreshToken: await short.refreshTokenFor(dovecot.user), clock });
    const first = await signIn.accessToken(false, never);
    const withFirst = makeSource(dovecot, { ...signIn, accessToken: async () => first });
    while ((await withFirst.probe(never).catch(() => null)) !== null);
    expect((await makeSource(dovecot, signIn).probe(never)).said).toContain("login ok");
    expect(short.requests).toHaveLength(2);
    await short.stop();
  });

  test("a consent taken back is told with its remedy, and asked about seldom", async () => {
    const { clock, forward } = movedClock();
    const refreshToken = await openId.refreshTokenFor(dovecot.user);
    const { signIn } = make({ clock, refreshToken });
    const proxy = await startProxy(dovecot);
    const source = makeSource({ ...dovecot, port: proxy.port }, signIn);
    await signIn.accessToken(false, never);
    openId.revokeAll();
    forward(56 * MINUTE);
    for (let knock = 0; knock < 10; knock++) {
      const fault = await refusal(source.probe(never));
      expect(fault).toMatchObject({ code: "signin.consent", temporary: true });
      expect(fault.message).toContain("invalid_grant");
      expect(fault.advice).toContain("`billhook login invoices`");
      expect(inspect(fault, { depth: 20, showHidden: true })).not.toMatch(new RegExp([...openId.given, refreshToken].join("|")));
    }
    expect(openId.requests).toHaveLength(2);
    expect(proxy.accepted()).toBe(0);
    forward(11 * MINUTE);
    await refusal(source.probe(never));
    expect(openId.requests).toHaveLength(3);
    await signIn.close();
    await proxy.stop();
  });

  test("nobody has signed in yet, or with another configuration", async () => {
    const { signIn } = make({ grant: "device" });
    expect(await refusal(signIn.accessToken(false, never))).toMatchObject({ code: "signin.needed" });
    await (await withToken()).signIn.accessToken(false, never);
    expect(await refusal(make({ grant: "device" }).signIn.accessToken(false, never))).toMatchObject({ code: "signin.needed" });
    expect(openId.requests).toHaveLength(1);
    await signIn.close();
  });

  test("another key: told, nothing is asked for, nothing is overwritten", async () => {
    const refreshToken = await openId.refreshTokenFor(dovecot.user);
    await make({ refreshToken }).signIn.accessToken(false, never);
    const before = await readFile(file());
    const { signIn } = make({ refreshToken, key: "ab".repeat(32) });
    const fault = await refusal(signIn.accessToken(false, never));
    expect(fault).toMatchObject({ code: "signin.key" });
    expect(fault.advice).toContain("secrets.key");
    expect(fault.message).toContain(file());
    expect(await readFile(file())).toEqual(before);
    expect(openId.requests).toHaveLength(1);
    await signIn.close();
    for (const damaged of ["", "{", "null", '{"sealed":""}', JSON.stringify({ sealed: Buffer.alloc(40).toString("base64") })]) {
      await writeFile(file(), damaged);
      const other = make({ refreshToken });
      expect(await refusal(other.signIn.accessToken(false, never))).toMatchObject({ code: "signin.key" });
      await other.signIn.close();
    }
  });

  test("a wrong secret of the application is told as that", async () => {
    const { signIn } = await withToken({ clientSecret: "wrong-secret-of-the-client" });
    const fault = await refusal(signIn.accessToken(false, never));
    expect(fault).toMatchObject({ code: "signin.client" });
    expect(fault.advice).toContain("clientSecret");
    expect(inspect(fault, { depth: 20, showHidden: true })).not.toContain("wrong-secret");
    await signIn.close();
  });

  test("a provider that is down: told, asked again after a moment, and a good token is used meanwhile", async () => {
    const { clock, forward } = movedClock();
    const { signIn } = await withToken({ clock });
    await openId.down();
    expect(await refusal(signIn.accessToken(false, never))).toMatchObject({ code: "signin.provider", temporary: true });
    await openId.up();
    expect(await refusal(signIn.accessToken(false, never))).toMatchObject({ code: "signin.provider" });
    forward(6_000);
    const token = await signIn.accessToken(false, never);
    await openId.down();
    expect(await signIn.accessToken(false, never)).toBe(token);
    await openId.up();
  });
});
