/** Servers that are not as the RFC has them: each fault has an outcome a person can read, and nothing is lost. */
import { afterEach, describe, expect, test } from "vitest";
import type { Clock } from "../../src/base/clock.ts";
import { createImapSource, type ImapOptions } from "../../src/source/imap.ts";
import type { Cursor, Source } from "../../src/source/source.ts";
import { type Script, type Scripted, startScripted } from "./scripted.ts";
import { everythingIn, fastClock, type Line, listening, mail, optionsFor, shortsInFull, type Watcher, watch } from "./watching.ts";

let server: Scripted;
let source: Source;
let watcher: Watcher;
let lines: readonly Line[];
let heard: ReturnType<typeof listening>["heard"];

afterEach(async () => {
  await watcher.stop();
  await source.close();
  await server.stop();
});

async function begin(script: Partial<Script>, more: Partial<ImapOptions> = {}, since: Cursor | null = null, clock: Clock = fastClock) {
  server = await startScripted(script);
  const listener = listening();
  ({ lines, heard } = listener);
  source = createImapSource(optionsFor(server, more), { clock, log: listener.log });
  watcher = watch(source, since);
}
const box = (...uids: number[]) => uids.map((uid) => ({ uid, raw: mail(`m${uid}`) }));
const told = (code: string) => heard((line) => line.fields.fault === code);
const logins = () => server.heard.filter((line) => /^LOGIN|^AUTHENTICATE/.test(line)).length;

describe("what SELECT says", () => {
  for (const uidValidity of [null, "0"]) {
    for (const uidNext of [null, 3]) {
      test(`UIDVALIDITY ${uidValidity}, UIDNEXT ${uidNext}: read once, and new mail after it`, async () => {
        await begin({ uidValidity, uidNext, messages: box(1, 2) });
        expect(await watcher.sweep()).toMatchObject({ uids: [1, 2], cursor: { uidValidity: "0", uid: 2 } });
        const next = watcher.arrival();
        server.script.messages.push(...box(3));
        server.push("* 3 EXISTS");
        expect(await next).toMatchObject({ uid: 3 });
        source.sweep();
        expect((await watcher.sweep()).uids).toEqual([]);
        expect(lines.map((line) => line.name)).toEqual(["mailbox.watching"]);
      });
    }
  }

  test("no UIDNEXT and nothing in it: the message that comes first is read", async () => {
    await begin({ uidNext: null, start: undefined } as Partial<Script>, { start: { is: "now" } });
    expect(await watcher.sweep()).toMatchObject({ uids: [], cursor: { uid: 0 } });
    const next = watcher.arrival();
    server.script.messages.push(...box(9));
    server.push("* 1 EXISTS");
    expect(await next).toMatchObject({ uid: 9 });
  });

  test("EXISTS with two spaces (DavMail): not understood as a hint, found by the sweep", async () => {
    await begin({ messages: box(1), exists: (count) => `*  ${count} EXISTS` });
    expect((await watcher.sweep()).uids).toEqual([1]);
    const next = watcher.arrival();
    server.script.messages.push(...box(2));
    server.push("*  2 EXISTS");
    source.sweep();
    expect(await next).toMatchObject({ uid: 2 });
  });

  test("UIDs given a second time under the same UIDVALIDITY: all is read again, and said", async () => {
    await begin(
      { uidNext: 3, messages: [{ uid: 1, raw: mail("another one") }, ...box(2)] },
      {},
      { uidValidity: "7", uid: 40, since: null, until: 3 },
    );
    const swept = await watcher.sweep();
    expect(swept.uids).toEqual([1, 2]);
    expect(lines.find((line) => line.name === "mailbox.renumbered")).toMatchObject({ level: "warn", fields: { uidNext: 3 } });
  });

  test("a UIDNEXT that falls whenever the last message leaves brings the old mail again once, not each time", async () => {
    await begin({ uidNext: 3, messages: box(1, 2) }, {}, { uidValidity: "7", uid: 3, since: null, until: 3 });
    expect((await watcher.sweep()).uids).toEqual([1, 2]);
    for (const uidNext of [2, 1]) {
      server.script.messages.pop();
      server.script.uidNext = uidNext;
      source.sweep();
      expect((await watcher.sweep()).uids).toEqual([]);
    }
    server.script.messages.push({ uid: 1, raw: mail("new under an old number") });
    server.script.uidNext = 2;
    source.sweep();
    expect((await watcher.arrival()).raw.toString()).toBe(mail("new under an old number"));
  });

  test("a read-only folder is read; what cannot be told is a fault that says so", async () => {
    await begin({ readOnly: true, messages: box(1) }, { afterwards: { done: { is: "none" }, failed: { is: "flag" } } });
    const { origin } = (await watcher.arrival()).sight.arrival;
    const signal = new AbortController().signal;
    expect(await source.settle(origin, "done", signal)).toBe("nothing-to-do");
    await expect(source.settle(origin, "failed", signal)).rejects.toMatchObject({ code: "imap.readonly", temporary: false });
    expect((await watcher.sweep()).uids).toEqual([]);
  });
});

describe("noise", () => {
  test("rows nobody asked for, malformed BODYSTRUCTURE, garbage, EXPUNGE in between: every message once", async () => {
    const noise = [
      "* 1 FETCH (FLAGS (\\Seen))",
      '* 1 FETCH (UID 1 BODYSTRUCTURE ("TEXT" "PLAIN" NIL NIL NIL "7BIT" ((("x" 5))',
      "* 2 FETCH (BODYSTRUCTURE (NIL NIL NIL NIL) FLAGS (\\*))",
      "%&/()= garbage \u0001\u0002",
      "* ",
      "* OK [ALERT] Maintenance tonight",
      "* 99 EXPUNGE",
      "* 4 RECENT",
      "ZZ99 OK a tag nobody gave",
    ];
    await begin({
      messages: box(1, 2, 3),
      on: ({ line, say }) => {
        if (/^(SELECT|UID FETCH|IDLE)/.test(line)) say(...noise);
        return false;
      },
    });
    const swept = await watcher.sweep();
    expect(swept.uids).toEqual([1, 2, 3]);
    expect(swept.raws.map(String)).toEqual([1, 2, 3].map((uid) => mail(`m${uid}`)));
  });

  for (const wholeBytes of [1_000_000, 20]) {
    test(`a message that is listed and never sent is not taken for expunged (pieces of ${wholeBytes})`, async () => {
      const on: Script["on"] = ({ line, tag, say }) => {
        if (!/^UID FETCH 2\b.*BODY/.test(line)) return false;
        say(`${tag} OK Done`);
        return true;
      };
      await begin({ messages: box(2, 3), on }, { wholeBytes });
      const sight = await watcher.sight();
      expect(sight).toMatchObject({ is: "unreadable", origin: { uid: 2 }, fault: { code: "imap.unreadable" } });
      expect((await watcher.sweep()).uids).toEqual([3]);
    });
  }

  test("an answer that cannot be understood at all ends the connection, not the watching", async () => {
    let bad = true;
    await begin({
      messages: box(1),
      on: ({ line, tag, say }) => {
        if (!bad || !/^UID FETCH .*BODY/.test(line)) return false;
        bad = false;
        say(`${tag} ((( {`);
        return true;
      },
    });
    expect(await watcher.arrival()).toMatchObject({ uid: 1 });
    expect(lines.map((line) => line.fields.fault)).toContain("imap.lost");
  });
});

describe("BYE", () => {
  const at: readonly [string, RegExp, string][] = [
    ["as the greeting", /^$/, "imap.connect"],
    ["instead of a login", /^(LOGIN|AUTHENTICATE)/, "imap.connect"],
    ["instead of SELECT", /^SELECT/, "imap.lost"],
    ["instead of a listing", /^UID FETCH .*SIZE/, "imap.lost"],
    ["in the middle of a body", /^UID FETCH .*BODY/, "imap.lost"],
    ["in IDLE", /^IDLE/, "imap.lost"],
  ];
  for (const [when, pattern, code] of at) {
    for (const closes of [true, false]) {
      test(`${when}, the connection ${closes ? "closed" : "left open"}`, async () => {
        let often = 0;
        const options = { idleMs: 200, socketTimeoutMs: 400, connectTimeoutMs: 300 };
        const on: Script["on"] = ({ line, say, socket }) => {
          if (!pattern.test(line) || often++ > 0) return false;
          say("* BYE Server shutting down");
          if (closes) socket.end();
          return true;
        };
        await begin({ messages: box(1), on }, options, null, shortsInFull);
        expect(await watcher.arrival()).toMatchObject({ uid: 1 });
        await watcher.sweep();
        const next = watcher.arrival();
        if (line(code) === undefined) await told(code);
        server.script.messages.push(...box(2));
        server.push("* 2 EXISTS");
        source.sweep();
        expect(await next).toMatchObject({ uid: 2 });
        if (code === "imap.lost") expect(line(code)?.fields.why).toContain("Server shutting down");
      });
    }
  }
  const line = (code: string) => lines.find((one) => one.fields.fault === code);
});

describe("servers that ask for patience", () => {
  const refusals: readonly [string, string, number][] = [
    ["[LIMIT] Rate limit hit", "imap.connect", 60],
    ["[ALERT] Too many simultaneous connections. (Failure)", "imap.connect", 60],
    ["[OVERQUOTA] Account exceeded command or bandwidth limits.", "imap.connect", 60],
    ["Request is throttled. Suggested Backoff Time: 92415 milliseconds", "imap.connect", 92],
    ["[UNAVAILABLE] Temporary authentication failure", "imap.connect", 0],
    ["[INUSE] The mailbox is in use", "imap.connect", 0],
    ["[AUTHENTICATIONFAILED] Invalid credentials", "imap.login", 0],
  ];
  for (const [text, code, seconds] of refusals) {
    test(`${text}: ${seconds === 0 ? "the usual back-off" : `nothing for ${seconds} s, whoever pokes`}`, async () => {
      const waits: number[] = [];
      const sleep: Clock["sleep"] = (ms, signal) => {
        waits.push(ms);
        return fastClock.sleep(ms, signal);
      };
      const clock: Clock = { ...fastClock, sleep };
      let often = 0;
      const on: Script["on"] = ({ line, tag, say }) => {
        if (!/^(LOGIN|AUTHENTICATE)/.test(line) || often++ > 0) return false;
        say(`${tag} NO ${text}`);
        return true;
      };
      await begin({ messages: box(1), on }, { socketTimeoutMs: 100_000 }, null, clock);
      const first = watcher.arrival();
      const { fields } = await told(code);
      expect(fields.why).toContain(text.replace(/^\[\w+\] /, "").slice(0, 20));
      const { trouble } = source.freshness();
      expect(Math.round(((trouble?.retryAt?.getTime() ?? Date.now()) - Date.now()) / 1_000)).toBe(seconds);
      if (seconds > 0) {
        for (let poke = 0; poke < 5; poke++) source.sweep();
        expect(Math.max(...waits)).toBeGreaterThan(seconds * 1_000 - 1_000);
      } else {
        expect(Math.max(...waits.filter((wait) => wait < 90_000))).toBeLessThanOrEqual(4_000);
      }
      expect(await first).toMatchObject({ uid: 1 });
      expect(logins()).toBe(2);
    });
  }

  test("throttled in FETCH (Office 365): nothing is asked again before the time is over", async () => {
    let often = 0;
    const on: Script["on"] = ({ line, tag, say }) => {
      if (!/^UID FETCH .*BODY/.test(line) || often++ > 0) return false;
      say(`${tag} BAD Request is throttled. Suggested Backoff Time: 299609 milliseconds`);
      return true;
    };
    await begin({ messages: box(1), on });
    const first = watcher.arrival();
    expect((await told("imap.lost")).fields.why).toContain("Suggested Backoff Time: 299609");
    const wait = (source.freshness().trouble?.retryAt?.getTime() ?? 0) - Date.now();
    expect(wait).toBeGreaterThan(290_000);
    for (let poke = 0; poke < 5; poke++) source.sweep();
    expect(await first).toMatchObject({ uid: 1 });
    expect([often, logins()]).toEqual([2, 2]);
  });

  test("[LIMIT] in FETCH: the messages of the batch are not asked for one by one", async () => {
    let often = 0;
    const on: Script["on"] = ({ line, tag, say }) => {
      if (!/^UID FETCH .*BODY/.test(line) || often++ > 0) return false;
      say(`${tag} NO [LIMIT] FETCH Rate limit hit`);
      return true;
    };
    await begin({ messages: box(1, 2, 3), on });
    const first = watcher.arrival();
    await told("imap.refused");
    expect(source.freshness().trouble?.retryAt).not.toBeNull();
    expect(await first).toMatchObject({ uid: 1 });
    expect(often).toBe(2);
  });

  test("a server that lets us in and drops us at once sees a growing pause, and never two logins within 2 s", async () => {
    let now = Date.parse("2026-01-01T00:00:00Z");
    const waiting = new Map<() => void, number>();
    const clock: Clock = {
      now: () => new Date(now),
      random: () => 0,
      sleep: (ms, signal) =>
        new Promise((resolve) => {
          const wake = () => {
            waiting.delete(wake);
            resolve();
          };
          waiting.set(wake, now + ms);
          signal?.addEventListener("abort", wake, { once: true });
          if (signal?.aborted) wake();
        }),
    };
    // Time passes when nothing else happens; pokes come far more often.
    const passing = setInterval(() => {
      const [wake, then] = [...waiting].sort(([, one], [, other]) => one - other)[0] ?? [];
      now = Math.max(now, then ?? now);
      wake?.();
    }, 10);
    const at: number[] = [];
    const on: Script["on"] = ({ line, tag, say, socket }) => {
      if (!/^(LOGIN|AUTHENTICATE)/.test(line)) return false;
      at.push(now);
      if (at.length > 12) return false;
      say(`${tag} OK welcome`);
      socket.end();
      return true;
    };
    await begin({ messages: box(1), on }, { idleMs: 100_000, socketTimeoutMs: 100_000, connectTimeoutMs: 5_000 }, null, clock);
    const first = watcher.arrival();
    const poking = setInterval(() => source.sweep(), 1);
    expect(await first).toMatchObject({ uid: 1 });
    clearInterval(poking);
    clearInterval(passing);
    const gaps = at.slice(1).map((time, index) => time - (at[index] ?? 0));
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(2_000);
  });
});

describe("what a mail may weigh", () => {
  for (const wholeBytes of [1_000_000, 300]) {
    test(`above the limit it is a record without bytes, and the rest arrives (pieces of ${wholeBytes})`, async () => {
      const messages = [...box(1), { uid: 2, raw: `Subject: big\r\n\r\n${"x".repeat(5_000)}` }, ...box(3)];
      await begin({ messages }, { maxBytes: 4_000, wholeBytes });
      expect(await watcher.arrival()).toMatchObject({ uid: 1 });
      expect(await watcher.sight()).toMatchObject({
        is: "unreadable",
        origin: { uid: 2 },
        cursor: { uid: 2 },
        fault: { code: "imap.too-large", temporary: false },
      });
      expect(await watcher.arrival()).toMatchObject({ uid: 3 });
      expect(server.heard.filter((line) => /BODY.*\b2\b/.test(line))).toEqual([]);
      const whole = await source.read(2, new AbortController().signal);
      let bytes = 0;
      for await (const piece of whole ?? []) bytes += piece.length;
      expect(bytes).toBe(messages[1]?.raw.length);
      expect((await everythingIn(source)).map(({ size }) => size > 5_000)).toEqual([false, true, false]);
    });
  }

  test("a server that lies about the size is found out while it is read", async () => {
    const raw = `Subject: big\r\n\r\n${"x".repeat(5_000)}`;
    const on: Script["on"] = ({ line, tag, say }) => {
      if (!/^UID FETCH .*SIZE/.test(line)) return false;
      say("* 1 FETCH (UID 1 RFC822.SIZE 400)", `* 2 FETCH (UID 2 RFC822.SIZE ${mail("m2").length})`, `${tag} OK`);
      return true;
    };
    await begin({ messages: [{ uid: 1, raw }, ...box(2)], on }, { maxBytes: 1_000, wholeBytes: 300 });
    const sight = await watcher.sight();
    if (sight.is !== "arrival") throw new Error(sight.is);
    const reading = (async () => {
      for await (const _piece of sight.arrival.bytes);
    })();
    await expect(reading).rejects.toMatchObject({ code: "imap.too-large" });
    expect(await watcher.sight()).toMatchObject({ is: "unreadable", fault: { code: "imap.too-large" } });
    expect(await watcher.arrival()).toMatchObject({ uid: 2 });
  });
});

describe("labels of Gmail", () => {
  const afterwards = { done: { is: "label", label: "Read by billhook" }, failed: { is: "none" } } as const;

  test("are added, as often as it is told", async () => {
    await begin({ capabilities: "IMAP4rev1 IDLE X-GM-EXT-1", messages: box(1) }, { afterwards });
    const { origin } = (await watcher.arrival()).sight.arrival;
    const signal = new AbortController().signal;
    for (const _ of [1, 2]) expect(await source.settle(origin, "done", signal)).toBe("told");
    const stores = server.heard.filter((line) => line.startsWith("UID STORE"));
    expect(stores).toEqual(Array(2).fill('UID STORE 1 +X-GM-LABELS ("Read by billhook")'));
  });

  test("elsewhere there are none: a permanent fault with advice", async () => {
    await begin({ messages: box(1) }, { afterwards });
    const { origin } = (await watcher.arrival()).sight.arrival;
    const settling = source.settle(origin, "done", new AbortController().signal);
    await expect(settling).rejects.toMatchObject({ code: "imap.label", temporary: false });
  });
});
