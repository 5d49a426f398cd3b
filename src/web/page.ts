/** The status page: what billhook knows of the mails, and the buttons to put right what went wrong, for a bookkeeper with a browser. */
import { asFault } from "../base/errors.ts";
import { type Acted, actOnMail, askAgain, askIgnore, pauseOrResume, retryFailed, type Said } from "./page/act.ts";
import { assetAt } from "./page/assets.ts";
import { isOverTls, isOwnForm, mayLook } from "./page/guard.ts";
import { page, redirect, troubled, type View } from "./page/layout.ts";
import { mailList } from "./page/list.ts";
import { createLive } from "./page/live.ts";
import { login, wayBack } from "./page/login.ts";
import { mail } from "./page/mail.ts";
import type { Means, Reader } from "./page/means.ts";
import { overview } from "./page/overview.ts";
import { servePart, serveRaw } from "./page/serve.ts";
import { createSessions, OPEN, same } from "./page/session.ts";
import { flash } from "./page/words.ts";
import { isAskedAsLoopback } from "./rebinding.ts";
import type { Reply, Route, RouteRequest } from "./web.ts";

export type PageOptions = Means & {
  /** null: everybody who reaches the port may look and decide; it must be on loopback then. */
  readonly token: string | null;
};

export type Page = {
  /** Everything that is nobody else's path. */
  readonly routes: readonly Route[];
  /** Something changed: whoever looks is told. */
  readonly tell: () => void;
};

/** A reason, a token, a name: no form of ours is longer. */
const LONGEST_FORM = 8 * 1024;

const MAIL = /^mail\/([0-9a-f]{64}|u\d{1,15})(?:\/(again|ignore|raw|retry|release|replay|reextract|part\/([\w.-]{1,200})))?$/;
/** What a stranger is asked to sign in for. */
const VIEW = /^(mails?(\/.*)?)?$/;
const PLACE = /^(pause|resume)\/([a-z0-9][a-z0-9_-]{0,199})$/;
const ACTS = ["retry", "release", "replay", "reextract", "ignore"];

/** Every reply of the page, its errors too, comes from here: no request gets past the guard. */
export function createPage({ token, ...means }: PageOptions): Page {
  const { clock } = means;
  const sessions = createSessions(token ?? "", clock);
  const live = createLive(clock);

  const get = async ({ rest, query, gone }: RouteRequest, reader: Reader): Promise<Reply> => {
    const now = clock.now();
    const show = (view: View) => page({ ...view, said: flash(query.get("said")) }, reader);
    if (rest === "") return show(await overview(means, reader, now));
    if (rest === "events") {
      const bytes = live.listen(gone);
      if (bytes === null)
        return page(troubled(503, "Too many look already", { message: "the page is live for sixteen at a time", advice: null }), reader);
      return { status: 200, bytes, type: "text/event-stream; charset=utf-8" };
    }
    if (rest === "mails") {
      const named = (query.get("id") ?? "").trim();
      if (named === "") return show(await mailList(means, query, reader, now));
      const id = await means.desk.find(named);
      return redirect(id.startsWith("u") ? "/" : `/mail/${id}`);
    }
    const [, id, what, part] = MAIL.exec(rest) ?? [];
    if (id === undefined) return page(NOT_HERE, reader);
    if (part !== undefined) return servePart(means.desk, id, part);
    if (what === "raw") return serveRaw(means.desk, id);
    if (what === "again") return show(await askAgain(means, id, query.get("service"), reader));
    if (what === "ignore") return show(await askIgnore(means, id, reader));
    if (what !== undefined) return redirect(`/mail/${id}`);
    return show(await mail(means, id, query.get("part"), reader, now));
  };

  const act = async (rest: string, said: Said): Promise<Acted | null> => {
    if (rest === "retry-failed") return retryFailed(means);
    const [, what, name] = PLACE.exec(rest) ?? [];
    if (name !== undefined) return pauseOrResume(means, what === "pause" ? "pause" : "resume", name);
    const [, id, act = ""] = MAIL.exec(rest) ?? [];
    return id !== undefined && ACTS.includes(act) ? actOnMail(means, id, act, said) : null;
  };

  const post = async ({ rest }: RouteRequest, said: Said, session: string, reader: Reader): Promise<Reply> => {
    if (rest === "logout") return redirect("/login", { "set-cookie": [...sessions.end(session)] });
    const acted = await act(rest, said);
    if (acted === null) return page(NOT_HERE, reader);
    live.tell();
    return redirect(`${acted.to}?said=${acted.code}`);
  };

  const signIn = (said: Said, { from, headers }: RouteRequest): Reply => {
    const opened = sessions.open(said.get("token"), from, isOverTls(headers));
    const to = wayBack(said.get("to"));
    return typeof opened === "string" ? page(login(to, opened), null) : redirect(to, { "set-cookie": opened.cookie });
  };

  const readerOf = (session: string): Reader => ({ csrf: sessions.csrf(session), mayLeave: token !== null });
  // Without a token whoever reaches the port may look, and a page of any other site reaches it from the owner's browser.
  const isStranger = ({ headers }: RouteRequest) => token === null && !isAskedAsLoopback(headers);

  const look = async (request: RouteRequest): Promise<Reply> => {
    const { rest, query, headers } = request;
    if (isStranger(request)) return page(ELSEWHERE, null);
    if (!mayLook(headers)) return page(FOREIGN, null);
    const asset = assetAt(`/${rest}`);
    if (asset !== null) return asset;
    if (rest === "login") return token === null ? redirect("/") : page(login(wayBack(query.get("to") ?? "/")), null);
    const session = token === null ? OPEN : sessions.of(headers);
    if (session === null && !VIEW.test(rest)) return page(NOT_HERE, null);
    if (session === null) return redirect(`/login?to=${encodeURIComponent(`/${rest}${query.size === 0 ? "" : `?${query}`}`)}`);
    const reader = readerOf(session);
    return get(request, reader).catch((thrown: unknown) => failed(thrown, reader));
  };

  const change = async (request: RouteRequest): Promise<Reply> => {
    const { rest, headers } = request;
    if (isStranger(request)) return page(ELSEWHERE, null);
    if (!isOwnForm(headers)) return page(FOREIGN, null);
    if (!/^application\/x-www-form-urlencoded(;|$)/.test(headers["content-type"] ?? "")) return page(FOREIGN, null);
    const body = new URLSearchParams(Buffer.from(await request.body(LONGEST_FORM)).toString());
    const said: Said = { get: (name) => body.get(name) ?? "" };
    if (rest === "login" && token !== null) return signIn(said, request);
    const session = token === null ? OPEN : sessions.of(headers);
    if (session === null) return redirect("/login");
    const reader = readerOf(session);
    if (!same(said.get("csrf"), reader.csrf)) return page(OLD, reader);
    return post(request, said, session, reader).catch((thrown: unknown) => failed(thrown, reader));
  };

  return {
    routes: [
      { method: "GET", path: "/", answer: look },
      { method: "POST", path: "/", answer: change },
    ],
    tell: live.tell,
  };
}

const NOT_HERE = troubled(404, "Not here", { message: "there is no such page", advice: null });
const ELSEWHERE = troubled(421, "Not here", {
  message: "this page answers to localhost and 127.0.0.1 only",
  advice: "open it by one of them, or set web.token to reach it by another name",
});
const FOREIGN = troubled(403, "Not from here", {
  message: "this was not asked for by the page itself",
  advice: "open the page, and use its own buttons",
});
const OLD = troubled(403, "Too old", {
  message: "this form is of before billhook was started",
  advice: "go back, load the page anew, and try again",
});

/** What is known to be wrong is told; what is not is the server's trouble, and its log's. */
function failed(thrown: unknown, reader: Reader): Reply {
  const fault = asFault(thrown);
  if (fault.code === "unknown" || fault.code.startsWith("web.")) throw thrown;
  if (fault.code === "desk.unknown") return page(troubled(404, "Not here", fault), reader);
  return page(troubled(fault.code.startsWith("ledger.") ? 503 : 409, "That could not be done", fault), reader);
}
