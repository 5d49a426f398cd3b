/** The way to a receiver: TLS with certificates of one's own, proxies, and the addresses that are not called. */
import type { LookupAddress } from "node:dns";
import { describe, expect, onTestFinished, test } from "vitest";
import type { HttpOptions } from "../../src/http/http.ts";
import { isPrivate, proxiesOf } from "../../src/http/network.ts";
import type { Sink } from "../../src/sink/sink.ts";
import { makeCertificates } from "../servers/certificates.ts";
import { type ForwardProxy, startForwardProxy } from "../servers/forward-proxy.ts";
import { type Receiver, startReceiver } from "../servers/receiver.ts";
import { delivery, MESSAGE, piece } from "./deliveries.ts";
import { SECRET, sinkAt } from "./http-side.ts";

const never = new AbortController().signal;
const KEY = `${MESSAGE}.1.erp`;
const { ca, server, client, stranger } = makeCertificates();

async function receiver(tls: "tls" | "mutual" | null = null): Promise<Receiver> {
  const certificates = { key: server.key, cert: server.certificate, ca, requestCert: tls === "mutual" };
  const started = await startReceiver({ secrets: [SECRET], ...(tls === null ? {} : { tls: certificates }) });
  onTestFinished(started.stop);
  return started;
}

async function proxy(target: number, credentials: string | null = null): Promise<ForwardProxy> {
  const started = await startForwardProxy(target, credentials);
  onTestFinished(started.stop);
  return started;
}

function sink(url: string, http: Partial<HttpOptions>): Sink {
  const made = sinkAt(url, { secrets: [SECRET], format: "multipart", attachments: true }, { timeoutMs: 3_000, ...http });
  onTestFinished(made.http.close);
  return made.sink;
}

const given = delivery(KEY, { attachments: [piece("2", "a.pdf", Buffer.alloc(300_000, 0xff))] });

async function codeOf(attempt: Promise<unknown>): Promise<string> {
  return attempt.then(
    () => "delivered",
    (thrown: { code?: string }) => String(thrown.code),
  );
}

describe("TLS", () => {
  test("the owner's own authority is trusted, another is not", async () => {
    const other = await receiver("tls");
    expect(await codeOf(sink(other.url, { tls: { ca } }).deliver(given, KEY, never))).toBe("delivered");
    for (const tls of [{}, { ca: stranger.certificate }]) {
      expect(await codeOf(sink(other.url, { tls }).deliver(given, KEY, never))).toBe("http.unreachable");
      expect(await codeOf(sink(other.url, { tls }).probe(never))).toBe("http.unreachable");
    }
    await sink(other.url, { tls: { ca } }).probe(never);
    expect(other.asked).toHaveLength(1);
  });

  test("a receiver that asks for our certificate gets it; without a good one nothing is delivered, and it is tried again", async () => {
    const other = await receiver("mutual");
    expect(await codeOf(sink(other.url, { tls: { ca, ...client } }).deliver(given, KEY, never))).toBe("delivered");
    for (const tls of [{ ca }, { ca, ...stranger }]) {
      const fault = await sink(other.url, { tls })
        .deliver(given, KEY, never)
        .catch((thrown: unknown) => thrown);
      expect(fault).toMatchObject({ code: expect.stringMatching(/^http\./), temporary: true });
    }
    expect(other.taken).toHaveLength(1);
  });

  test.each([
    ["a key of another certificate", { certificate: client.certificate, key: stranger.key }],
    ["no key", { certificate: "-----BEGIN CERTIFICATE-----\nnobody-may-see\n-----END CERTIFICATE-----" }],
    ["no PEM", { key: "nobody-may-see" }],
  ])("%s is told at once", async (_, tls) => {
    const fault = await (async () => sink("https://127.0.0.1/", { tls }))().catch((thrown: unknown) => thrown);
    expect(fault).toMatchObject({ code: "config.tls", temporary: false });
    expect(String(fault)).not.toContain("nobody");
  });
});

describe("a proxy", () => {
  const proxies = (url: string, except = "") => ({ http: url, https: url, except });

  test("carries https through a tunnel, to a name that only it knows, with its password; TLS is between us and the receiver", async () => {
    const other = await receiver("mutual");
    const way = await proxy(other.port, "user:pass%20word");
    const through = { proxies: proxies(way.url.replace("pass%20word", "pass%2520word")), tls: { ca, ...client } };
    const tight = { ...through, allowPrivate: false };
    expect(await codeOf(sink("https://erp.example/invoices", tight).deliver(given, KEY, never))).toBe("delivered");
    expect(way.asked).toEqual(["CONNECT erp.example:443"]);
    await sink("https://erp.example/invoices", through).probe(never);
    expect(other.asked).toHaveLength(1);
    const strange = { ...through, tls: { ca: stranger.certificate } };
    expect(await codeOf(sink("https://erp.example/", strange).deliver(given, KEY, never))).toBe("http.unreachable");
  });

  test("carries http as whole URLs", async () => {
    const other = await receiver();
    const way = await proxy(other.port, "user:pass");
    expect(await codeOf(sink("http://erp.example/invoices", { proxies: proxies(way.url) }).deliver(given, KEY, never))).toBe("delivered");
    expect(way.asked).toEqual(["POST http://erp.example/invoices"]);
    expect(other.taken[0]?.headers).not.toHaveProperty("proxy-authorization");
  });

  test("is not asked for what NO_PROXY names, nor for the other scheme", async () => {
    for (const other of [await receiver(), await receiver("tls")]) {
      const way = await proxy(other.port);
      const mine = { http: null, https: null, except: "", [other.url.slice(0, other.url.indexOf(":"))]: way.url };
      const others = { http: way.url, https: way.url, except: "", [other.url.slice(0, other.url.indexOf(":"))]: null };
      for (const ways of [proxies(way.url, "example.com,127.0.0.1"), others]) {
        expect(await codeOf(sink(other.url, { proxies: ways, tls: { ca } }).deliver(given, KEY, never))).toBe("delivered");
      }
      expect(way.asked).toEqual([]);
      expect(await codeOf(sink(other.url, { proxies: mine, tls: { ca } }).deliver(given, KEY, never))).toBe("delivered");
      expect(way.asked).toHaveLength(1);
    }
  });

  test("that refuses us, or is not there, is a matter of time, and its password is not told", async () => {
    const other = await receiver("tls");
    const way = await proxy(other.port, "user:right");
    const wrong = way.url.replace("right", "nobody-may-see");
    for (const url of ["https://erp.example/", "http://erp.example/"]) {
      const fault = await sink(url, { proxies: proxies(wrong), tls: { ca } })
        .deliver(given, KEY, never)
        .catch((thrown: unknown) => thrown);
      expect(fault).toMatchObject({ code: expect.stringMatching(/^http\./), temporary: true });
      expect(String(fault)).not.toContain("nobody-may-see");
    }
    await way.stop().catch(() => {});
    expect(await codeOf(sink("https://erp.example/", { proxies: proxies(way.url) }).deliver(given, KEY, never))).toBe("http.unreachable");
    expect(other.taken).toEqual([]);
  });

  test("that never answers is given up at the deadline, and when we are stopped", async () => {
    const other = await receiver();
    other.behave("never reads");
    const through = { proxies: proxies(`http://127.0.0.1:${other.port}`), timeoutMs: 300 };
    expect(await codeOf(sink("https://erp.example/", through).deliver(given, KEY, never))).toMatch(/^http\./);
    expect(await codeOf(sink("https://erp.example/", through).probe(never))).toBe("http.unreachable");
    expect(await codeOf(sink("https://erp.example/", through).probe(AbortSignal.abort()))).toBe("http.stopped");
  });

  test("comes from the usual variables", () => {
    expect(proxiesOf({})).toEqual({ http: null, https: null, except: "" });
    expect(proxiesOf({ HTTP_PROXY: "http://a:1", HTTPS_PROXY: "b.example:2", NO_PROXY: "c" })).toEqual({
      http: "http://a:1/",
      https: "http://b.example:2/",
      except: "c",
    });
    expect(
      proxiesOf({ http_proxy: "http://a:1", HTTP_PROXY: "http://b:1", https_proxy: "", HTTPS_PROXY: "http://c", no_proxy: "*" }),
    ).toEqual({
      http: "http://a:1/",
      https: null,
      except: "*",
    });
    for (const wrong of ["socks5://user:secret@a", "http://user:secret@", "ftp://secret"]) {
      expect(() => proxiesOf({ HTTPS_PROXY: wrong })).toThrow(/^HTTPS_PROXY is not/);
      expect(() => proxiesOf({ HTTPS_PROXY: wrong })).not.toThrow(/secret/);
    }
  });
});

describe("addresses that are not of the public internet", () => {
  const PRIVATE =
    "0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.254 168.63.129.16 169.254.169.254 172.16.0.1 172.31.255.255 " +
    "192.0.0.192 192.168.1.1 198.18.0.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 :: ::1 ::ffff:127.0.0.1 ::ffff:a00:1 ::127.0.0.1 " +
    "64:ff9b::7f00:1 64:ff9b:1::a00:1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 fec0::1 ff02::1 100::1 2001::1 2001:db8::1 2002:7f00:1::1";
  test.each(PRIVATE.split(" "))("%s is one", (address) => expect(isPrivate(address)).toBe(true));
  test.each(
    "1.1.1.1 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 172.32.0.0 192.167.255.255 223.255.255.255 2606:4700::1111 2a00::1".split(
      " ",
    ),
  )("%s is not", (address) => expect(isPrivate(address)).toBe(false));

  test.each(
    "127.0.0.1 localhost LOCALHOST. x.localhost 127.1 0x7f.1 2130706433 017700000001 0 [::1] [::ffff:127.0.0.1] [::ffff:7f00:1]".split(" "),
  )("%s is not called unless allowed, with and without a proxy", async (host) => {
    const other = await receiver();
    const way = await proxy(other.port);
    for (const proxies of [
      { http: null, https: null, except: "" },
      { http: way.url, https: way.url, except: "" },
    ]) {
      const url = `http://${host}:${other.port}/invoices`;
      const tight = sink(url, { allowPrivate: false, proxies });
      const fault = await tight.deliver(given, KEY, never).catch((thrown: unknown) => thrown);
      expect(fault).toMatchObject({ code: "http.private-address", temporary: false, advice: expect.stringContaining("allow") });
      expect(await codeOf(tight.probe(never))).toBe("http.private-address");
    }
    expect(other.connections()).toBe(0);
    expect(way.asked).toEqual([]);
  });

  /** A name server that says something else each time. */
  function saying(...answers: readonly (readonly string[])[]) {
    const asked: string[] = [];
    const lookup = ((name: string, _options: object, callback: (error: null, found: LookupAddress[]) => void) => {
      const found = answers[Math.min(asked.length, answers.length - 1)] ?? [];
      asked.push(name);
      callback(
        null,
        found.map((address) => ({ address, family: address.includes(":") ? 6 : 4 })),
      );
    }) as unknown as NonNullable<HttpOptions["lookup"]>;
    return { lookup, asked };
  }

  test("a name that leads to them is not called; where it leads is asked once a connection, and never again after the check", async () => {
    const other = await receiver();
    for (const answers of [["127.0.0.1"], ["::1", "127.0.0.1"], ["fe80::1%lo"]]) {
      const { lookup, asked } = saying(answers);
      const tight = sink(`http://erp.example:${other.port}/`, { allowPrivate: false, lookup });
      expect(await codeOf(tight.deliver(given, KEY, never))).toBe("http.private-address");
      expect(asked).toEqual(["erp.example"]);
    }
    // Public when it is checked (an address nobody has), loopback ever after: what was checked is what is connected to.
    const { lookup, asked } = saying(["3ffe::1"], ["127.0.0.1"]);
    const tight = sink(`http://erp.example:${other.port}/`, { allowPrivate: false, lookup, timeoutMs: 500 });
    expect(await codeOf(tight.deliver(given, KEY, never))).toMatch(/^http\.(unreachable|interrupted)$/);
    expect(asked).toEqual(["erp.example"]);
    expect(await codeOf(tight.deliver(given, KEY, never))).toBe("http.private-address");
    expect(other.connections()).toBe(0);
  });

  test("of several addresses only the public ones are connected to", async () => {
    const other = await receiver();
    const { lookup } = saying(["127.0.0.1", "3ffe::1", "::1"]);
    const tight = sink(`http://erp.example:${other.port}/`, { allowPrivate: false, lookup, timeoutMs: 500 });
    expect(await codeOf(tight.deliver(given, KEY, never))).toMatch(/^http\.(unreachable|interrupted)$/);
    expect(other.connections()).toBe(0);
  });
});
