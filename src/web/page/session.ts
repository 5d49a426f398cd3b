/** Sessions of readers who showed the token: kept in memory, ended with the process or after twelve hours. */
import { createHash, createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import type { Clock } from "../../base/clock.ts";

export type Sessions = {
  /** Of the reader who sent these headers; null for a stranger. */
  readonly of: (headers: IncomingHttpHeaders) => string | null;
  /** `slow`: a wrong token was tried less than a second ago, and this one was not looked at. Otherwise a cookie (RFC 6265). */
  readonly open: (token: string, from: string, isOverTls: boolean) => "wrong" | "slow" | { readonly cookie: string };
  /** Gives the cookies that end it in the browser. */
  readonly end: (session: string) => readonly string[];
  /** Stands in every form of this session. */
  readonly csrf: (session: string) => string;
};

const LASTS_MS = 12 * 3_600_000;
const PAUSE_MS = 1_000;
const MOST = 100;
/** A cookie of the second name cannot come from a sibling domain, and is not sent without TLS. */
const NAMES = ["billhook", "__Host-billhook"] as const;
/** The session of everybody, where no token is asked for. */
export const OPEN = "";

export function createSessions(token: string, clock: Clock): Sessions {
  const secret = randomBytes(32);
  /** Until when each lasts. */
  const until = new Map<string, number>();
  /** Until when each address waits that tried a wrong token: one that goes on trying keeps nobody out but itself. */
  const shut = new Map<string, number>();
  const now = () => clock.now().getTime();
  const isAlive = (session: string) => now() < (until.get(session) ?? 0);
  return {
    of: ({ cookie = "" }) => cookiesOf(cookie).find(isAlive) ?? null,
    open: (shown, from, isOverTls) => {
      // A clock that was set back must not keep it shut.
      for (const [address, until] of shut) if (now() >= until || until - now() > PAUSE_MS) shut.delete(address);
      if (shut.has(from) || shut.size >= MOST) return "slow";
      if (!same(shown, token)) {
        shut.set(from, now() + PAUSE_MS);
        return "wrong";
      }
      for (const session of until.keys()) if (!isAlive(session) || until.size >= MOST) until.delete(session);
      const session = randomBytes(32).toString("base64url");
      until.set(session, now() + LASTS_MS);
      const [plain, overTls] = NAMES;
      const cookie = `${isOverTls ? overTls : plain}=${session}; Path=/; Max-Age=${LASTS_MS / 1_000}; HttpOnly; SameSite=Strict`;
      return { cookie: isOverTls ? `${cookie}; Secure` : cookie };
    },
    end: (session) => {
      until.delete(session);
      return NAMES.map((name) => `${name}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict${name.startsWith("__Host-") ? "; Secure" : ""}`);
    },
    csrf: (session) => createHmac("sha256", secret).update(session).digest("base64url"),
  };
}

function cookiesOf(header: string): readonly string[] {
  return header.split(";").flatMap((pair) => {
    const [name = "", value = ""] = pair.trim().split("=");
    return (NAMES as readonly string[]).includes(name) ? [value] : [];
  });
}

/** In a time that says nothing about either. */
export function same(shown: string, expected: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(shown), digest(expected));
}
