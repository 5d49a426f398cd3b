/** A person signs in at a real OpenID provider; and providers that misbehave. */
import { setTimeout as pause } from "node:timers/promises";
import { inspect } from "node:util";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import type { Fault } from "../../src/base/errors.ts";
import { placeOf } from "../../src/signin/providers.ts";
import type { Asked } from "../../src/signin/signin.ts";
import { type OpenId, SCOPE, startOpenId } from "../servers/openid.ts";
import { temporaryDirectory } from "../store/disk.ts";
import { closeDoors, type Making, makeSignIn, never } from "./stage.ts";

const USER = "ap@example.com";
let openId: OpenId;
let directory: string;
beforeAll(async () => {
  openId = await startOpenId();
});
afterAll(() => openId.stop());
beforeEach(async () => {
  directory = await temporaryDirectory();
});
afterEach(async () => {
  openId.misbehave(null);
  await closeDoors();
});

const make = (more: Partial<Making> = {}) => makeSignIn({ openId, directory, grant: "code", ...more });
const refusal = (work: Promise<unknown>): Promise<Fault> =>
  work.then(
    () => Promise.reject(new Error("it went well")),
    (thrown) => thrown,
  );
const inBrowser = (asked: Asked) => void openId.agreeInBrowser(asked.address, USER);

describe("a person", () => {
  test("agrees in a browser; whoever waited is told and goes on at once, in another process too", async () => {
    const waiting = make();
    expect(await refusal(waiting.signIn.accessToken(false, never))).toMatchObject({ code: "signin.needed" });
    let page: Promise<string> | null = null;
    await make().signIn.login(({ address, code }) => {
      expect(code).toBeNull();
      expect(new URL(address).searchParams.get("code_challenge_method")).toBe("S256");
      page = openId.agreeInBrowser(address, USER);
    }, never);
    expect(await page).toBe("Done: this window can be closed.\n");
    expect(await waiting.signIn.accessToken(false, never)).toBe(openId.given.find((token) => token.split(".").length === 3));

    const poked = make({ scope: `${SCOPE} ` });
    await refusal(poked.signIn.accessToken(false, never));
    await make().signIn.login(inBrowser, never);
    await vi.waitUntil(() => poked.renewals() === 1, { timeout: 10_000 });
    await poked.signIn.close();
    await waiting.signIn.close();
  });

  test("types a code on another machine", async () => {
    const provider = { is: "endpoints", tokenUrl: openId.tokenUrl, deviceUrl: openId.deviceUrl, authorizeUrl: null } as const;
    const { signIn } = make({ grant: "device", provider });
    await signIn.login(({ address, code }) => void openId.agreeToDevice(address, code ?? "", USER), never);
    expect(await signIn.accessToken(false, never)).toContain(".");
  });

  test("signs in where a refresh token was configured and has been taken back", async () => {
    const refreshToken = await openId.refreshTokenFor(USER);
    const { signIn } = make({ grant: "refresh", refreshToken, provider: { ...urls(), deviceUrl: null } });
    openId.revokeAll();
    expect(await refusal(signIn.accessToken(false, never))).toMatchObject({ code: "signin.consent" });
    await signIn.login(inBrowser, never);
    expect(await signIn.accessToken(false, never)).toContain(".");
    await signIn.close();
  });

  test("does not agree", async () => {
    const fault = await refusal(
      make().signIn.login(({ address }) => {
        const asked = new URL(address);
        const back = new URL(asked.searchParams.get("redirect_uri") ?? "");
        back.search = String(
          new URLSearchParams({ error: "access_denied", state: asked.searchParams.get("state") ?? "", iss: openId.issuer }),
        );
        void fetch(back);
      }, never),
    );
    expect(fault).toMatchObject({ code: "signin.consent" });
    expect(fault.message).toContain("access_denied");
  });

  test("leaves, and is not waited for", async () => {
    for (const grant of ["device", "code"] as const) {
      const leaving = new AbortController();
      const fault = await refusal(make({ grant }).signIn.login(() => leaving.abort(), leaving.signal));
      expect(fault).toMatchObject({ code: "signin.stopped" });
    }
  });

  test("is not mistaken for somebody who calls the address without knowing the state", async () => {
    await make().signIn.login(async ({ address }) => {
      const back = new URL(new URL(address).searchParams.get("redirect_uri") ?? "");
      const wrong = await Promise.all([fetch(`${back}?code=x&state=y`), fetch(back.origin), fetch(back, { method: "POST" })]);
      expect(wrong.map(({ status }) => status)).toEqual([404, 404, 404]);
      await openId.agreeInBrowser(address, USER);
    }, never);
  });

  test("has nothing to do where the application signs in by itself, or the provider has no page", async () => {
    expect(await refusal(make({ grant: "client" }).signIn.login(() => {}, never))).toMatchObject({
      code: "signin.grant",
      temporary: false,
    });
    const none = { ...urls(), deviceUrl: null, authorizeUrl: null };
    for (const grant of ["device", "code", "refresh"] as const)
      expect(await refusal(make({ grant, provider: none }).signIn.login(() => {}, never))).toMatchObject({ code: "signin.grant" });
  });

  test("is told when the sign-in would not last", async () => {
    const fault = await refusal(make({ scope: "openid imap" }).signIn.login(inBrowser, never));
    expect(fault).toMatchObject({ code: "signin.grant" });
    expect(fault.advice).toContain("offline_access");
  });

  function urls() {
    const { tokenUrl, deviceUrl, authorizeUrl } = openId;
    return { is: "endpoints" as const, tokenUrl, deviceUrl: deviceUrl as string | null, authorizeUrl: authorizeUrl as string | null };
  }
});

describe("a provider that misbehaves", () => {
  const REFRESH = "refresh-token-of-the-test-1";
  const json = { "content-type": "application/json" };
  const token = { access_token: "access-token-of-the-test-1", token_type: "Bearer", refresh_token: "rotated-of-the-test-1" };
  const ask = async (status: number, headers: Record<string, string>, body: string | Buffer) => {
    openId.misbehave((_, answer) => void answer.writeHead(status, headers).end(body));
    const provider = { is: "endpoints", tokenUrl: openId.tokenUrl, deviceUrl: null, authorizeUrl: null } as const;
    const { signIn } = make({ grant: "refresh", refreshToken: REFRESH, provider });
    const fault = await refusal(signIn.accessToken(false, never));
    await signIn.close();
    expect(inspect(fault, { depth: 20, showHidden: true })).not.toMatch(/-of-the-test-1|secret-of-the-client/);
    return fault;
  };

  test.each([
    ["an error page", 500, { "content-type": "text/html" }, "<h1>oops</h1>"],
    ["a page that says it is well", 200, { "content-type": "text/html" }, "<h1>login</h1>"],
    ["a redirect", 302, { location: "http://127.0.0.1:1/" }, ""],
    ["nothing", 200, json, ""],
    ["JSON cut off", 200, json, JSON.stringify(token).slice(0, -1)],
    ["no token in it", 200, json, "{}"],
    ["a token of another type", 200, json, JSON.stringify({ ...token, token_type: "mac" })],
    ["an ID token that is none", 200, json, JSON.stringify({ ...token, id_token: "a.b.c" })],
    ["a life below zero", 200, json, JSON.stringify({ ...token, expires_in: -1 })],
    ["too much", 200, json, Buffer.alloc(40_000_000, 32)],
    ["a moment, please", 400, json, '{"error":"temporarily_unavailable"}'],
  ])("%s is temporary, and the provider's", async (_, status, headers, body) => {
    expect(await ask(status, headers as Record<string, string>, body)).toMatchObject({ code: "signin.provider", temporary: true });
  });

  test("when to come back is believed", async () => {
    for (const status of [429, 503]) {
      const fault = await ask(status, { ...json, "retry-after": "120" }, '{"error":"slow_down"}');
      expect((fault.retryAt?.getTime() ?? 0) - Date.now()).toBeGreaterThan(100_000);
    }
  });

  test("what it says is told on one line without what it should not say", async () => {
    const said = JSON.stringify({
      error: "interaction_required",
      error_description: `AADSTS50076\r\n${REFRESH}\u0007 ${"x".repeat(5_000)}`,
    });
    const fault = await ask(400, json, said);
    expect(fault.code).toBe("signin.consent");
    expect(fault.message).toContain("interaction_required: AADSTS50076 …");
    expect(fault.message.length).toBeLessThan(400);
  });

  test("silence ends", async () => {
    openId.misbehave(() => {});
    const { signIn } = make({ grant: "client", timeoutMs: 200 });
    const fault = await refusal(signIn.accessToken(false, never));
    expect(fault).toMatchObject({ code: "signin.provider" });
    const leaving = new AbortController();
    const left = refusal(make({ grant: "client", timeoutMs: 5_000 }).signIn.accessToken(false, leaving.signal));
    await pause(0);
    leaving.abort();
    expect(await left).toMatchObject({ code: "signin.stopped" });
  });
});

describe("where tokens are asked for", () => {
  test("Google", () => {
    expect(placeOf({ is: "google" }, "code")).toMatchObject({
      endpoints: { token: "https://oauth2.googleapis.com/token", device: null, authorize: "https://accounts.google.com/o/oauth2/v2/auth" },
      scope: "https://mail.google.com/",
      extra: { access_type: "offline" },
    });
  });

  test("Microsoft, of one directory or any", () => {
    expect(placeOf({ is: "microsoft", tenant: "example.com" }, "device")).toMatchObject({
      endpoints: {
        token: "https://login.microsoftonline.com/example.com/oauth2/v2.0/token",
        device: "https://login.microsoftonline.com/example.com/oauth2/v2.0/devicecode",
      },
      scope: "https://outlook.office.com/IMAP.AccessAsUser.All offline_access",
    });
    expect(placeOf({ is: "microsoft", tenant: "organizations" }, "client").scope).toBe("https://outlook.office365.com/.default");
  });
});
