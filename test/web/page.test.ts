/** The status page without a browser: what it shows of hostile mails, whom it lets in, what its buttons do, and how it serves files. */
import { readFile, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { describe, expect, onTestFinished, test } from "vitest";
import { permanent, recordOf } from "../../src/base/errors.ts";
import { advance } from "../../src/pipeline/pipeline.ts";
import { arrive } from "../pipeline/works.ts";
import { type Answered, ENEMY, EVIL, hold, PNG, type Premises, premises, written } from "./premises.ts";

const header = (answer: Answered, name: string) => String(answer.headers[name] ?? "");
const standing = async ({ works }: Premises, id: string) => (await works.ledger.summary(id))?.standing;

describe("what a mail says", () => {
  test("is text wherever it is shown: subject, names, addresses, fields of the invoice, its HTML", async () => {
    const house = await premises();
    const id = await house.take(ENEMY);
    house.shut(true);
    const stuck = await house.take(written(`Another ${EVIL}`, EVIL, EVIL, [{ type: "text/plain", name: `${EVIL}.txt`, bytes: EVIL }]));
    const paths = [
      "/",
      "/mails",
      `/mails?subject=${encodeURIComponent(EVIL)}`,
      `/mails?from=${encodeURIComponent(EVIL)}&state=${encodeURIComponent(EVIL)}`,
    ];
    for (const of of [id, stuck]) paths.push(`/mail/${of}`, `/mail/${of}?part=html`, `/mail/${of}/again`, `/mail/${of}/ignore`);
    for (const path of paths) {
      const { status, text } = await house.ask(path);
      expect(status, path).toBe(200);
      expect(text.match(/<script\b/g), path).toHaveLength(1);
      expect(text, path).not.toMatch(/<img\b(?![^>]* src="\/mail\/)|onerror=alert\(\d\)[^&]*>|\u202e/);
      expect(text, path).toContain("&lt;script&gt;alert(1)");
    }
  });

  test("comes back in the search form as text, and a number of pages too large is no trouble", async () => {
    const { ask } = await premises();
    const { text, status } = await ask(
      `/mails?from=${encodeURIComponent(`"><script>${"x".repeat(5_000)}`)}&before=../../x&state=__proto__`,
    );
    expect(status).toBe(200);
    expect(text).toContain('value="&quot;&gt;&lt;script&gt;xxx');
    expect(text).not.toContain("x".repeat(300));
  });

  test("is shown as far as a person reads it, however long its sender made it", async () => {
    const house = await premises();
    const long = "x".repeat(200_000);
    const id = await house.take(written(long, long, long, [{ type: "text/plain", name: `${long}.txt`, bytes: "a" }]));
    for (const path of ["/", "/mails", `/mail/${id}`]) expect((await house.ask(path)).bytes.length, path).toBeLessThan(20_000);
  });

  test("that needs a person is counted and led to beyond what is shown", async () => {
    const house = await premises();
    for (let n = 0; n < 21; n += 1) await house.take(written(`Angebote ${n}`, "a", "a", []));
    const { text } = await house.ask("/");
    expect(text).toContain("<title>20 and more to look at");
    expect(text).toContain('<a href="/mails?state=failed">all that are failed</a>');
  });

  test("waits for a mailbox, or for a key that is not taken: a person is told at once, by name, with what to do", async () => {
    const house = await premises();
    const { ledger } = house.works;
    const pulse = await ledger.pulse();
    if (pulse === null) throw new Error("no pulse");
    const [mailbox] = pulse.mailboxes;
    if (mailbox === undefined) throw new Error("no mailbox");
    const login = { code: "imap.login", message: "the server does not let us in", advice: "check the password", temporary: true };
    await ledger.beat({ ...pulse, mailboxes: [{ ...mailbox, trouble: login }] });
    expect((await house.ask("/")).text, "a mailbox in trouble, long before it is red").toMatch(
      /1 thing is wrong[\s\S]*Mailbox invoices: the server does not let us in/,
    );
    house.ahead(6_000);
    await ledger.beat({ ...pulse, refusing: [{ service: "service", since: pulse.at }] });
    expect((await house.ask("/")).text, "nobody waits for it").toContain("Everything is running");
    const id = await arrive(house.works, "01-single-pdf", 7);
    const [split] = await ledger.due(house.works.clock.now(), 1, [], "split");
    if (split !== undefined) await advance(split, house.works, new AbortController().signal);
    expect((await ledger.tasks(id)).map(({ kind, status }) => [kind, status])).toContainEqual(["extract", "open"]);
    const { text } = await house.ask("/");
    expect(text).toContain("1 thing is wrong");
    expect(text).toMatch(/Service service has not taken its key since[\s\S]*right apiKey/);
  });

  test("of what was just done only known codes are told", async () => {
    const { ask } = await premises();
    expect((await ask("/?said=retry")).text).toContain("It is being tried again.");
    for (const code of ["constructor", "__proto__", EVIL]) {
      expect((await ask(`/?said=${encodeURIComponent(code)}`)).text).not.toContain('class="said"');
    }
  });
});

describe("every page", () => {
  test("allows nothing but what comes from here, in nobody's frame, and is kept by nobody", async () => {
    const house = await premises();
    const id = await house.take("01-single-pdf");
    for (const path of ["/", "/mails", `/mail/${id}`, "/nothing", "/mail/00", `/mail/${id}/again`]) {
      const answer = await house.ask(path);
      expect(header(answer, "content-security-policy"), path).toBe(
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; frame-src 'self'; " +
          "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
      );
      expect(header(answer, "x-content-type-options"), path).toBe("nosniff");
      expect(header(answer, "cross-origin-opener-policy"), path).toBe("same-origin");
      expect(header(answer, "cross-origin-resource-policy"), path).toBe("same-origin");
      expect(header(answer, "cache-control"), path).toBe("no-store");
      expect(answer.text, path).not.toMatch(/ style="| on[a-z]+="|https?:\/\/(?!127\.0\.0\.1)/);
    }
  });

  test("never gives damaged bytes as a whole file", async () => {
    const house = await premises();
    const id = await house.take("01-single-pdf");
    const file = house.works.spool.path("raw", id);
    const bytes = await readFile(file);
    bytes[0] = (bytes[0] ?? 0) ^ 1;
    await writeFile(file, bytes);
    const parts = await house.works.ledger.parts(id);
    for (const { sha256 } of parts) {
      const part = await readFile(house.works.spool.path("parts", sha256));
      part[0] = (part[0] ?? 0) ^ 1;
      await writeFile(house.works.spool.path("parts", sha256), part);
    }
    for (const path of ["raw", ...parts.map((one) => `part/${one.id}`)])
      await expect(house.ask(`/mail/${id}/${path}`), path).rejects.toThrow();
  });

  test("answers HEAD with the same head and nothing more (RFC 9110, 9.3.2)", async () => {
    const house = await premises();
    const id = await house.take("01-single-pdf");
    for (const path of ["/", `/mail/${id}`, `/mail/${id}/part/2`, `/mail/${id}/raw`]) {
      const [head, get] = [await house.ask(path, { method: "HEAD" }), await house.ask(path)];
      expect([head.status, head.bytes.length], path).toEqual([200, 0]);
      expect(header(head, "content-type"), path).toBe(header(get, "content-type"));
      expect(header(head, "content-length"), path).toBe(header(get, "content-length"));
    }
  });

  test.each([
    "/nothing",
    "/mail",
    "/mail/",
    "/mail/12",
    `/mail/${"0".repeat(64)}`,
    `/mail/${"0".repeat(64)}/part/1`,
    "/page/0.css",
    "/%00",
    "/mails/x",
  ])("%s is 404, as a page", async (path) => {
    const { status, text } = await (await premises()).ask(path);
    expect([status, text.startsWith("<!doctype html>")]).toEqual([404, true]);
  });

  test("has its style, script and icon under names made of their content, for ever", async () => {
    const { ask } = await premises();
    const { text } = await ask("/");
    const assets = [...text.matchAll(/"(\/page\/[0-9a-f]{16}\.(?:css|js|svg))"/g)].map(([, path = ""]) => path);
    expect(assets).toHaveLength(3);
    for (const path of assets) {
      const answer = await ask(path);
      expect(answer.status).toBe(200);
      expect(header(answer, "cache-control")).toContain("immutable");
    }
  });
});

describe("without a token", () => {
  test.each(["localhost", "localhost:8080", "127.0.0.1", "127.0.0.1:9", "[::1]:8080", "billhook.localhost"])(
    "who asks for %s may look",
    async (host) => {
      expect((await (await premises()).ask("/", { headers: { host } })).status).toBe(200);
    },
  );

  test.each([
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.evil.example:8080",
    "192.168.1.7:8080",
    "x@localhost",
    "0.0.0.0",
    "localhost:8080/",
    "127.1",
  ])("who asks for %j is told to ask for localhost: the name may be anybody's (DNS rebinding)", async (host) => {
    const house = await premises();
    const id = await house.take("01-single-pdf");
    for (const path of ["/", `/mail/${id}`, `/mail/${id}/raw`, "/events"]) {
      const { status, text } = await house.ask(path, { headers: { host } });
      expect([status, text.includes("Rechnung")], path).toEqual([421, false]);
    }
    expect((await house.send("/pause/files", {}, { host })).status).toBe(421);
    expect(await house.works.ledger.paused()).toEqual([]);
  });

  test("another site may lead here and nothing else: it cannot load, frame or listen", async () => {
    const { ask } = await premises();
    const from = (mode: string) => ask("/", { headers: { "sec-fetch-site": "cross-site", "sec-fetch-mode": mode } });
    expect([(await from("navigate")).status, (await from("no-cors")).status, (await from("cors")).status]).toEqual([200, 403, 403]);
  });
});

describe("a form", () => {
  test("is taken from the page itself, with the page's own word, and from nowhere else", async () => {
    const house = await premises();
    const { ask, send, works, url } = house;
    const csrf = /name="csrf" value="([^"]+)"/.exec((await ask("/")).text)?.[1] ?? "";
    const form = { csrf };
    const refused: readonly (readonly [string, Readonly<Record<string, string>>, Readonly<Record<string, string>>])[] = [
      ["nothing says where it stood", {}, form],
      ["another site", { "sec-fetch-site": "cross-site" }, form],
      ["another port or subdomain", { "sec-fetch-site": "same-site" }, form],
      ["an address typed in", { "sec-fetch-site": "none" }, form],
      ["another origin", { origin: "http://evil.example" }, form],
      ["an opaque origin", { origin: "null" }, form],
      ["the same origin, which Sec-Fetch-Site denies", { origin: url, "sec-fetch-site": "cross-site" }, form],
      ["no word", { "sec-fetch-site": "same-origin" }, {}],
      ["a wrong word", { "sec-fetch-site": "same-origin" }, { csrf: `${csrf}x` }],
      ["not a form", { "sec-fetch-site": "same-origin", "content-type": "text/plain" }, form],
    ];
    for (const [why, headers, said] of refused) {
      expect((await ask("/pause/files", { method: "POST", headers, form: said })).status, why).toBe(403);
    }
    expect(await works.ledger.paused()).toEqual([]);
    expect((await send("/pause/files")).status).toBe(303);
    expect((await ask("/pause/erp", { method: "POST", headers: { origin: url }, form })).status).toBe(303);
    expect((await works.ledger.paused()).map(({ name }) => name).toSorted()).toEqual(["erp", "files"]);
  });

  test("larger than any of ours is 413, and unread", async () => {
    const { send } = await premises();
    expect((await send("/pause/files", { csrf: "x", why: "y".repeat(9_000) })).status).toBe(413);
  });

  test("for what is not there is 404", async () => {
    const { send } = await premises();
    for (const path of [
      "/",
      "/mails",
      "/pause/",
      "/pause/nobody",
      "/pause/../x",
      `/mail/${"0".repeat(64)}/retry`,
      "/mail/u7/retry",
      `/mail/${"0".repeat(64)}/delete`,
    ]) {
      expect((await send(path)).status, path).toBe(404);
    }
  });
});

describe("with a token", () => {
  const TOKEN = "correct-horse-battery";
  const login = (house: Premises, token: string, headers: Readonly<Record<string, string>> = {}, to = "/") =>
    house.ask("/login", { method: "POST", headers: { origin: house.url, ...headers }, form: { token, to } });
  const cookieOf = (answer: Answered) => ({ cookie: String(answer.headers["set-cookie"]).split(";")[0] ?? "" });

  test("nothing is shown before it is given, and then what was wanted", async () => {
    const house = await premises({ token: TOKEN });
    const id = await house.take("01-single-pdf");
    for (const path of ["/", "/mails?state=done", `/mail/${id}`, `/mail/${id}/part/2`, `/mail/${id}/raw`]) {
      const answer = await house.ask(path);
      expect([answer.status, answer.text], path).toEqual([303, ""]);
      expect(header(answer, "location"), path).toBe(`/login?to=${encodeURIComponent(path)}`);
    }
    for (const path of ["/events", "/nothing", "/metrics"]) expect((await house.ask(path)).status, path).toBe(404);
    const form = await house.ask(`/login?to=${encodeURIComponent("/mails?state=done")}`);
    expect(form.text).toContain('name="to" value="/mails?state=done"');
    expect(form.text).not.toContain("<script");
    const answer = await login(house, TOKEN, {}, "/mails?state=done");
    expect([answer.status, header(answer, "location")]).toEqual([303, "/mails?state=done"]);
    expect((await house.ask("/", { headers: cookieOf(answer) })).text).toContain("Rechnung HP-2026-0147");
    // It may be asked for by any name then.
    expect((await house.ask("/", { headers: { ...cookieOf(answer), host: "billhook.example" } })).status).toBe(200);
  });

  test.each([
    "//evil.example/",
    "/\\evil.example",
    "https://evil.example",
    "/x\r\nset-cookie: a=b",
    "javascript:alert(1)",
    "",
    "/login?to=/login",
    "/.//evil.example/",
    "/a/..//evil.example/",
    "/%2e//evil.example/",
  ])("%j is no way to go on", async (to) => {
    const house = await premises({ token: TOKEN });
    expect(header(await login(house, TOKEN, {}, to), "location")).toBe("/");
  });

  test("health, readiness and webhooks are behind no token", async () => {
    const { ask } = await premises({ token: TOKEN });
    expect([(await ask("/healthz")).status, (await ask("/readyz")).status]).toEqual([200, 200]);
    expect((await ask("/webhooks/extend", { method: "POST", form: {} })).status).toBe(200);
    expect((await ask("/webhooks/extend")).status).toBe(405);
  });

  test("who goes on trying wrong ones keeps nobody at another address out", async () => {
    const house = await premises({ token: TOKEN });
    expect((await login(house, "wrong")).status).toBe(403);
    const elsewhere = { host: "127.0.0.1", port: house.port, localAddress: "127.0.0.2", path: "/login", method: "POST" };
    const headers = { origin: house.url, "content-type": "application/x-www-form-urlencoded" };
    const status = await new Promise((resolve, reject) => {
      const asked = request({ ...elsewhere, headers }, (answer) => resolve(answer.resume().statusCode));
      asked.on("error", reject);
      asked.end(`token=${TOKEN}`);
    });
    expect([status, (await login(house, TOKEN)).status]).toEqual([303, 429]);
  });

  test("a wrong one is refused, and for a second everyone at its address is: then the right one opens", async () => {
    const house = await premises({ token: TOKEN });
    expect((await login(house, "wrong")).status).toBe(403);
    expect((await login(house, TOKEN)).status).toBe(429);
    house.ahead(1_000);
    expect((await login(house, "")).status).toBe(403);
    house.ahead(1_000);
    expect((await login(house, TOKEN)).status).toBe(303);
    expect((await login(house, TOKEN, { origin: "http://evil.example" })).status).toBe(403);
  });

  test("the cookie is out of reach for scripts and other sites, and over TLS for whoever listens", async () => {
    const house = await premises({ token: TOKEN });
    expect(String((await login(house, TOKEN)).headers["set-cookie"])).toMatch(
      /^billhook=[\w-]{43}; Path=\/; Max-Age=43200; HttpOnly; SameSite=Strict$/,
    );
    const tls = await login(house, TOKEN, {
      origin: "https://billhook.example",
      host: "billhook.example",
      "sec-fetch-site": "same-origin",
    });
    expect(String(tls.headers["set-cookie"])).toMatch(
      /^__Host-billhook=[\w-]{43}; Path=\/; Max-Age=43200; HttpOnly; SameSite=Strict; Secure$/,
    );
    expect((await house.ask("/", { headers: cookieOf(tls) })).status).toBe(200);
    // What a proxy says of the scheme is anybody's to write.
    expect(String((await login(house, TOKEN, { "x-forwarded-proto": "https" })).headers["set-cookie"])).not.toContain("Secure");
  });

  test("a session ends when its reader leaves, and after twelve hours; its word is nobody else's", async () => {
    const house = await premises({ token: TOKEN });
    const [one, other] = [cookieOf(await login(house, TOKEN)), cookieOf(await login(house, TOKEN))];
    const csrf = /name="csrf" value="([^"]+)"/.exec((await house.ask("/", { headers: one })).text)?.[1] ?? "";
    expect((await house.send("/pause/files", { csrf }, other)).status).toBe(403);
    expect((await house.send("/pause/files", { csrf }, { cookie: "billhook=guessed" })).status).toBe(303);
    expect(await house.works.ledger.paused()).toEqual([]);
    expect((await house.send("/pause/files", { csrf }, one)).status).toBe(303);
    expect(await house.works.ledger.paused()).toHaveLength(1);
    const left = await house.send("/logout", {}, other);
    expect(left.headers["set-cookie"]).toEqual([
      expect.stringMatching(/^billhook=; .*Max-Age=0/),
      expect.stringMatching(/^__Host-billhook=; .*Max-Age=0.*Secure$/),
    ]);
    expect([(await house.ask("/", { headers: other })).status, (await house.ask("/", { headers: one })).status]).toEqual([303, 200]);
    house.ahead(12 * 3_600_000);
    expect((await house.ask("/", { headers: one })).status).toBe(303);
  });

  test("sessions that are never closed do not pile up", async () => {
    const house = await premises({ token: TOKEN });
    const first = cookieOf(await login(house, TOKEN));
    for (let count = 0; count < 100; count += 1) await login(house, TOKEN);
    expect((await house.ask("/", { headers: first })).status).toBe(303);
  });
});

describe("a part", () => {
  test("is shown when its bytes are a picture or a PDF, and is a file of nothing in particular otherwise", async () => {
    const house = await premises();
    const id = await house.take(ENEMY);
    const part = async (name: string) => {
      const answer = await house.ask(`/mail/${id}/part/${name}`);
      expect(header(answer, "x-content-type-options")).toBe("nosniff");
      expect(header(answer, "content-security-policy")).toMatch(/^default-src 'none'; .*frame-ancestors 'self'; sandbox$/);
      expect(header(answer, "cross-origin-resource-policy")).toBe("same-origin");
      return [answer.status, header(answer, "content-type"), header(answer, "content-disposition").split(";")[0]];
    };
    const file = [200, "application/octet-stream", "attachment"];
    expect(await part("html")).toEqual(file);
    expect(await part("2")).toEqual(file);
    expect(await part("3")).toEqual(file);
    expect(await part("4")).toEqual([200, "image/png", "inline"]);
    expect(await part("5")).toEqual(file);
    const pdf = await house.ask(`/mail/${await house.take("16-octet-stream")}/part/2`);
    expect([header(pdf, "content-type"), header(pdf, "content-disposition").split(";")[0]]).toEqual(["application/pdf", "inline"]);
    expect(pdf.bytes.subarray(0, 5).toString()).toBe("%PDF-");
    expect(header(pdf, "content-length")).toBe(String(pdf.bytes.length));
    expect(header(pdf, "content-security-policy")).toMatch(/^default-src 'none'; .*frame-ancestors 'self'$/);
  });

  test("keeps the name its sender gave it, without what could harm (RFC 6266, 8187)", async () => {
    const house = await premises();
    const id = await house.take(ENEMY);
    const name = async (part: string) => header(await house.ask(`/mail/${id}/part/${part}`), "content-disposition");
    expect(await name("4")).toBe(
      `inline; filename="___script_alert(7)__script_.png"; filename*=UTF-8''%22%3E%3Cscript%3Ealert%287%29%3C_script%3E.png`,
    );
    expect(await name("5")).toBe(`attachment; filename=".._.._etc__gnp.exe"; filename*=UTF-8''.._.._etc__gnp.exe`);
    const german = await house.take("10-charsets");
    expect(header(await house.ask(`/mail/${german}/part/3`), "content-disposition")).toBe(
      `inline; filename="M_bel _ber 2.000 _.pdf"; filename*=UTF-8''M%C3%B6bel%20%C3%BCber%202.000%20%E2%82%AC.pdf`,
    );
  });

  test.each(["..%2f..%2fledger.sqlite", "%2e%2e", "..", "2/../../x", "2%00", "9", "2.", "-1", "x".repeat(300), "constructor"])(
    "%s is none: a part is looked up, and no path",
    async (part) => {
      const house = await premises();
      const id = await house.take(written("Picture", "A", "B", [{ type: "image/png", name: "a.png", bytes: PNG }]));
      expect((await house.ask(`/mail/${id}/part/${part}`)).status).toBe(404);
    },
  );

  test("that was removed is told as that, and the page of its mail is there", async () => {
    const house = await premises();
    const id = await house.take("01-single-pdf");
    const { rm } = await import("node:fs/promises");
    const [part] = (await house.works.ledger.parts(id)).filter((one) => one.id === "2");
    await rm(house.works.spool.path("parts", part?.sha256 ?? ""));
    const answer = await house.ask(`/mail/${id}/part/2`);
    expect([answer.status, answer.text.includes("That could not be done")]).toEqual([409, true]);
    const page = await house.ask(`/mail/${id}`);
    expect([page.status, page.text.includes("<iframe"), page.text.includes("removed")]).toEqual([200, false, true]);
  });
});

describe("a person", () => {
  test("sees what failed and why, tries it again, and is told so", async () => {
    const house = await premises();
    const id = await house.take("08-no-invoice");
    const before = await house.ask("/");
    expect(before.text).toMatch(
      /Needs you[\s\S]*Reading: The service could not read it\. <span class="advice">Look at the document\.<\/span>/,
    );
    house.heal();
    const done = await house.send(`/mail/${id}/retry`);
    expect([done.status, header(done, "location"), house.woken()]).toEqual([303, `/mail/${id}?said=retry`, 1]);
    await house.drain();
    expect(await standing(house, id)).toBe("done");
    expect((await house.ask("/")).text).toContain("Nothing needs you.");
    expect(header(await house.send(`/mail/${id}/retry`, { back: "overview" }), "location")).toBe("/?said=nothing");
  });

  test("tries everything again that failed", async () => {
    const house = await premises();
    house.shut(true);
    const ids = [await house.take("01-single-pdf"), await house.take("04-xml-only")];
    expect((await house.ask("/")).text).toContain('action="/retry-failed"');
    house.shut(false);
    await house.send("/retry-failed");
    await house.drain();
    for (const id of ids) expect(await standing(house, id)).toBe("done");
  });

  test("lets go what is held", async () => {
    const house = await premises();
    const id = await hold(house.works, "04-xml-only", 1);
    const { text } = await house.ask("/");
    expect(text).toContain(`action="/mail/${id}/release"`);
    // The button stands beside it.
    expect(text).not.toContain("billhook release");
    await house.send(`/mail/${id}/release`);
    await house.drain();
    expect(await standing(house, id)).toBe("done");
  });

  test("sets a mail aside with a reason, and not without", async () => {
    const house = await premises();
    const id = await house.take("08-no-invoice");
    const without = await house.send(`/mail/${id}/ignore`, { why: "  " });
    expect([without.status, without.text.includes("A reason is needed")]).toEqual([409, true]);
    expect(await standing(house, id)).toBe("failed");
    await house.send(`/mail/${id}/ignore`, { why: `a newsletter ${EVIL}` });
    await house.drain();
    expect(await standing(house, id)).toBe("ignored");
    expect((await house.ask(`/mail/${id}`)).text).toMatch(/Set aside by hand\.[\s\S]*a newsletter &lt;script&gt;/);
  });

  test("sees a mail the server never gave, and sets it aside or has it fetched", async () => {
    const house = await premises();
    const origin = { mailbox: "invoices", uidValidity: "1", uid: 41 };
    const fault = recordOf(permanent("imap.unreadable", "the server answers NO", "ask who runs it"));
    await house.works.ledger.receiveUnreadable({
      origin,
      fault,
      cursor: { uidValidity: "1", uid: 41, since: null, until: 0 },
      now: new Date(),
    });
    const { text } = await house.ask("/");
    const id = /action="\/mail\/(u\d+)\/retry"/.exec(text)?.[1] ?? "";
    expect(text).toMatch(/UID 41 in invoices[\s\S]*The server answers NO\./);
    expect(header(await house.send(`/mail/${id}/retry`), "location")).toBe("/?said=retry");
    expect((await house.ask(`/mail/${id}/ignore`)).status).toBe(200);
    expect(header(await house.send(`/mail/${id}/ignore`, { why: `a test mail ${EVIL}` }), "location")).toBe("/?said=ignore");
    expect((await house.ask("/")).text).toContain("Nothing needs you.");
    // It is still to be found, and to be had.
    expect((await house.ask("/mails")).text).not.toContain("UID 41");
    const aside = (await house.ask("/mails?state=ignored")).text;
    expect(aside).toMatch(/Set aside without being read[\s\S]*UID 41 in invoices[\s\S]*a test mail &lt;script&gt;/);
    expect(aside).toContain(`action="/mail/${id}/retry"`);
    expect(header(await house.send(`/mail/${id}/retry`), "location")).toBe("/?said=retry");
    expect((await house.ask("/mails?state=ignored")).text).not.toContain("UID 41");
  });

  test("delivers again, to the sink that is chosen", async () => {
    const house = await premises();
    const id = await house.take("01-single-pdf");
    await house.send(`/mail/${id}/replay`, { sink: "erp" });
    await house.drain();
    const keys = (await house.works.ledger.receipts(id)).map(({ key }) => key.replace(id, "")).toSorted();
    expect(keys).toEqual([".1.erp", ".1.erp~2", ".1.files"]);
    expect((await house.send(`/mail/${id}/replay`, { sink: "nobody" })).status).toBe(409);
  });

  test("is told what reading again costs before it is ordered", async () => {
    const house = await premises();
    const id = await house.take("01-single-pdf");
    const asked = await house.ask(`/mail/${id}/again`);
    expect(asked.text).toMatch(/This buys <strong>at least 1 run<\/strong> at <strong>service<\/strong>/);
    expect(await house.works.ledger.runs(id)).toHaveLength(1);
    await house.send(`/mail/${id}/reextract`);
    await house.drain();
    expect((await house.works.ledger.runs(id)).length).toBe(2);
    expect((await house.ask(`/mail/${id}/again?service=nobody`)).status).toBe(409);
  });

  test("pauses and goes on, and sees it at once", async () => {
    const house = await premises();
    expect((await house.ask("/")).text).not.toContain("is paused since");
    await house.send("/pause/service");
    expect((await house.ask("/")).text).toMatch(/<strong>service<\/strong> is paused since/);
    await house.send("/resume/service");
    expect((await house.ask("/")).text).not.toContain("is paused since");
  });

  test("finds mails by sender, subject, state, id and Message-ID, and turns the page", async () => {
    const house = await premises();
    const ids: string[] = [];
    for (let count = 0; count < 52; count += 1) ids.push(await house.take(written(`Number ${count}`, "Many", "x", [])));
    const failed = await house.take("08-no-invoice");
    const named = async (path: string) =>
      [...(await house.ask(path)).text.matchAll(/<a href="\/mail\/([0-9a-f]{64})">/g)].map(([, id]) => id);
    const first = await house.ask("/mails");
    const older = /<a href="(\/mails\?[^"]+)">Older mails/.exec(first.text)?.[1]?.replaceAll("&amp;", "&") ?? "";
    expect(await named("/mails")).toEqual([failed, ...ids.toReversed()].slice(0, 50));
    expect(await named(older)).toEqual(ids.slice(0, 3).toReversed());
    expect((await house.ask(older)).text).not.toContain("Older mails");
    expect(await named("/mails?subject=number%2031")).toEqual([ids[31]]);
    expect(await named("/mails?from=kontor&state=failed")).toEqual([failed]);
    expect(await named("/mails?state=held")).toEqual([]);
    const find = async (id: string) => header(await house.ask(`/mails?id=${encodeURIComponent(id)}`), "location");
    expect(await find(failed.slice(0, 12))).toBe(`/mail/${failed}`);
    const messageId = (await house.works.ledger.message(failed))?.facts?.messageId ?? "";
    expect(await find(messageId)).toBe(`/mail/${failed}`);
    expect((await house.ask("/mails?id=ffffffffffffffff")).status).toBe(404);
  });

  test("sees a mail beside what was read, what was not found, its parts, receipts, price and history", async () => {
    const house = await premises();
    const { text } = await house.ask(`/mail/${await house.take("06-forwarded")}`);
    expect(text).toContain("<iframe src=");
    expect(text).toMatch(/<dt>Invoice number<\/dt><dd>RE-1<\/dd>/);
    expect(text).toMatch(/<dt>Gross<\/dt><dd>119\.00 EUR<\/dd>/);
    expect(text).toMatch(/<dt>Due<\/dt><dd><span class="missing">not found<\/span><\/dd>/);
    // The PDF is inside the mail inside the mail.
    expect(text).toMatch(/\.eml<\/bdi>[\s\S]*?<ul class="tree"><li>[\s\S]*?TF-26-5521\.pdf/);
    expect(text).toMatch(/Deliveries<\/h2>[\s\S]*files[\s\S]*document 1[\s\S]*Done[\s\S]*\/out\//);
    expect(text).toMatch(/Price<\/h2>[\s\S]*<code>run<\/code>[\s\S]*>2</);
    expect(text).toMatch(
      /What happened[\s\S]*Arrived, and its bytes are safe\.[\s\S]*Read by the service\.[\s\S]*Delivered to files\.[\s\S]*The mailbox was told\./,
    );
  });
});

describe("live", () => {
  /** Reads events until it is ended. */
  const listen = (house: Premises) => {
    const asking = request({ host: "127.0.0.1", port: house.port, path: "/events", agent: false });
    onTestFinished(() => void asking.destroy());
    const got: string[] = [];
    const waiting: (() => void)[] = [];
    const answered = new Promise<number>((resolve) => {
      asking.on("response", (answer) => {
        answer.setEncoding("utf8").on("data", (text: string) => {
          got.push(text);
          for (const wake of waiting.splice(0)) wake();
        });
        answer.on("error", () => {});
        resolve(answer.statusCode ?? 0);
      });
    });
    asking.on("error", () => {});
    asking.end();
    const until = async (count: number) => {
      while (got.join("").split("data: changed").length - 1 < count) await new Promise<void>((resolve) => waiting.push(resolve));
      return got.join("");
    };
    return { answered, until, end: () => asking.destroy() };
  };

  test("whoever listens is told of a change, at most once a second", async () => {
    const house = await premises();
    const reader = listen(house);
    expect(await reader.answered).toBe(200);
    const began = performance.now();
    for (let count = 0; count < 50; count += 1) house.page.tell();
    await reader.until(1);
    for (let count = 0; count < 50; count += 1) house.page.tell();
    expect(await reader.until(2)).toBe("retry: 5000\n\ndata: changed\n\ndata: changed\n\n");
    expect(performance.now() - began).toBeGreaterThan(950);
  });

  test("sixteen listen at once, pages are still served, and there is room again when one leaves", async () => {
    const house = await premises();
    const readers = Array.from({ length: 16 }, () => listen(house));
    expect(new Set(await Promise.all(readers.map(({ answered }) => answered)))).toEqual(new Set([200]));
    expect(await listen(house).answered).toBe(503);
    expect((await house.ask("/")).status).toBe(200);
    readers[0]?.end();
    await expect.poll(() => listen(house).answered).toBe(200);
  });

  test("who asks by HEAD holds no place", async () => {
    const house = await premises();
    for (let count = 0; count < 20; count += 1) expect((await house.ask("/events", { method: "HEAD" })).status).toBe(200);
  });
});
