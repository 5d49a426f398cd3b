/** URLs of the sandbox that open without a key, for a while and only as they were signed. */
import { createHmac, randomBytes } from "node:crypto";
import type { Clock } from "../base/clock.ts";
import { sameText } from "./exchange.ts";

export type Signer = {
  /** The URL by which a path opens until it expires. */
  readonly sign: (path: string, lastsMs: number) => string;
  readonly opens: (path: string, query: URLSearchParams) => boolean;
  /** The path a URL of ours opens; null for any other, and for one that is forged or has expired. */
  readonly pathOf: (url: string) => string | null;
};

export function createSigner(clock: Clock, origin: () => string): Signer {
  const secret = randomBytes(32);
  const signature = (path: string, expires: string) => createHmac("sha256", secret).update(`${path}\n${expires}`).digest("hex");

  function opens(path: string, query: URLSearchParams): boolean {
    const expires = query.get("expires") ?? "";
    return sameText(query.get("signature"), signature(path, expires)) && clock.now().getTime() < Number(expires);
  }

  return {
    sign: (path, lastsMs) => {
      const expires = String(clock.now().getTime() + lastsMs);
      return `${origin()}${path}?expires=${expires}&signature=${signature(path, expires)}`;
    },
    opens,
    pathOf: (url) => {
      const parsed = URL.parse(url);
      return parsed?.origin === origin() && opens(parsed.pathname, parsed.searchParams) ? parsed.pathname : null;
    },
  };
}
