/** The network a call goes through: which addresses are of the public internet, the proxies of the environment, and whom TLS trusts. */
import { lookup as resolve } from "node:dns";
import { BlockList, isIP, type LookupFunction } from "node:net";
import { createSecureContext, rootCertificates, type SecureContext } from "node:tls";
import { type Fault, permanent, reasonOf } from "../base/errors.ts";

/** URLs of the proxies for `http:` and `https:`; `except` as in NO_PROXY. */
export type Proxies = { readonly http: string | null; readonly https: string | null; readonly except: string };

/** HTTP_PROXY, HTTPS_PROXY and NO_PROXY, in lower case first. Throws a permanent Fault `config.proxy` that does not tell their values. */
export function proxiesOf(env: { readonly [name: string]: string | undefined }): Proxies {
  const proxy = (name: string) => {
    const written = (env[name] ?? env[name.toUpperCase()])?.trim() ?? "";
    if (written === "") return null;
    const url = URL.parse(written.includes("://") ? written : `http://${written}`);
    if (url !== null && ["http:", "https:"].includes(url.protocol)) return url.href;
    throw permanent(
      "config.proxy",
      `${name.toUpperCase()} is not the http or https URL of a proxy`,
      "write it like http://proxy.example:3128",
    );
  };
  return { http: proxy("http_proxy"), https: proxy("https_proxy"), except: env.no_proxy ?? env.NO_PROXY ?? "" };
}

/** What is not of the public internet: the special-purpose registries of IANA (RFC 6890), multicast, and Azure's metadata service. */
const PRIVATE = new BlockList();
for (const range of (
  "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 168.63.129.16/32 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 " +
  "192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 " +
  // Those that stand for an IPv4 address, and examples. Everything outside 2000::/3 is refused without being listed.
  "2001::/23 2001:db8::/32 2002::/16 3fff::/20"
).split(" ")) {
  const [address = "", bits] = range.split("/");
  PRIVATE.addSubnet(address, Number(bits), isIP(address) === 4 ? "ipv4" : "ipv6");
}
const GLOBAL = new BlockList();
GLOBAL.addSubnet("2000::", 3, "ipv6");

/** Also for addresses that hold another one: IPv4-mapped, NAT64, 6to4, Teredo. */
export function isPrivate(address: string): boolean {
  const bare = address.replace(/%.*$/, "");
  if (isIP(bare) === 4) return PRIVATE.check(bare, "ipv4");
  return !GLOBAL.check(bare, "ipv6") || PRIVATE.check(bare, "ipv6");
}

/** Throws a permanent Fault `http.private-address` for a URL that names such an address, or this machine, itself; `name` says who is called. */
export function refusePrivate(name: string, url: string): void {
  const host = new URL(url).hostname.replace(/^\[|\]$/g, "");
  const own = isIP(host) === 0 ? /(^|\.)localhost\.?$/.test(host) : isPrivate(host);
  if (own) throw privateAddress(name, host);
}

/** A lookup for sockets that gives public addresses only: what was checked is what is connected to. Fails with `http.private-address`. */
export function publicOnly(name: string, lookup: typeof resolve = resolve): LookupFunction {
  return (host, options, callback) =>
    lookup(host, { ...options, all: true }, (thrown, found) => {
      const open = (found ?? []).filter(({ address }) => !isPrivate(address));
      const [first] = open;
      if (thrown !== null) callback(thrown, "");
      else if (first === undefined) callback(privateAddress(name, host), "");
      else if (options.all) callback(null, open);
      else callback(null, first.address, first.family);
    });
}

function privateAddress(name: string, host: string): Fault {
  const why = "is, or leads to, an address that is not of the public internet";
  return permanent("http.private-address", `${name}: ${host} ${why}`, "if it is really meant to be called, allow private addresses for it");
}

/** PEM: authorities that are trusted besides the usual ones; the certificate shown to the server, and its key. */
export type TlsFiles = { readonly ca?: string | null; readonly certificate?: string | null; readonly key?: string | null };

export function secureContextOf(name: string, { ca, certificate, key }: TlsFiles): SecureContext {
  try {
    return createSecureContext({
      ca: ca == null ? undefined : [...rootCertificates, ca],
      cert: certificate ?? undefined,
      key: key ?? undefined,
    });
  } catch (thrown) {
    const advice = "check that they are PEM files, that the key has no password, and that it is the key of this certificate";
    throw permanent("config.tls", `${name}: the certificates or the key cannot be used: ${reasonOf(thrown)}`, advice, thrown);
  }
}
